"""Writes the wheel, without a build backend: the same checkout gives the same bytes, on any machine.

Members are stored uncompressed (compressors differ), sorted, with one date. The version carries the digest of what is
inside, so that an installer sees that another build is another version.
"""

from __future__ import annotations

import base64
import hashlib
import os
import tomllib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployments.client.closure import closure
from tasks.registry.needs import BASE_NEEDS, SCORER_NEEDS
from tasks.registry.serving.folder import names_digest
from tasks.storage import PROJECT

DISTRIBUTION, PACKAGE = "nocturne-client", "nocturne_client"
_MAIN = f"{PACKAGE}.registry.client.cli:main"
_REGISTRY = tuple(need for need in BASE_NEEDS if need.startswith("mlflow"))
_DATE = (1980, 1, 1, 0, 0, 0)

INIT = '''"""Promoted models, pulled, checked and asked: ``Champion`` for services, ``pull`` for everything else."""

from .errors import (
    ConfigurationError,
    IntegrityError,
    ModelInputError,
    NocturneError,
    RegistryError,
    StorageError,
)
from .registry.client.events import Event, State
from .registry.client.prediction_log import read_log
from .registry.client.pulling import Pulled, pull
from .registry.client.service import Champion

__all__ = [
    "Champion",
    "ConfigurationError",
    "Event",
    "IntegrityError",
    "ModelInputError",
    "NocturneError",
    "Pulled",
    "RegistryError",
    "State",
    "StorageError",
    "pull",
    "read_log",
]
'''


def build(out: Path) -> Path:
    """Write the wheel into the folder ``out`` and return its path. Raises ConfigurationError as ``closure``."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    files = package_files()
    version = f"{project['version']}+g{_digest({**files, 'METADATA': metadata(project, '')})[:12]}"
    info = f"{PACKAGE}-{version}.dist-info"
    files |= {
        f"{info}/METADATA": metadata(project, version),
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: nocturne\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{DISTRIBUTION} = {_MAIN}\n".encode(),
        f"{info}/licenses/LICENSE": (PROJECT / "LICENSE").read_bytes(),
    }
    files[f"{info}/RECORD"] = _record(files, f"{info}/RECORD")
    out.mkdir(parents=True, exist_ok=True)
    path = out / f"{PACKAGE}-{version}-py3-none-any.whl"
    _write(path, files)
    return path


def package_files() -> dict[str, bytes]:
    """The package's files by their names in the wheel."""
    tasks = PROJECT / "tasks"
    files = {f"{PACKAGE}/{name}": (tasks / name).read_bytes() for name in closure(tasks)}
    return files | {f"{PACKAGE}/__init__.py": INIT.encode(), f"{PACKAGE}/py.typed": b""}


def metadata(project: Mapping[str, Any], version: str) -> bytes:
    """The METADATA document; its description is ``docs/client.md``."""
    needs = [f"Requires-Dist: {need}" for need in BASE_NEEDS if need not in _REGISTRY]
    for extra, wanted in extras(project).items():
        needs += [f"Provides-Extra: {extra}", *(f"Requires-Dist: {need} ; extra == '{extra}'" for need in wanted)]
    head = [
        "Metadata-Version: 2.4",
        f"Name: {DISTRIBUTION}",
        f"Version: {version}",
        "Summary: Pulls, checks and serves models that a Nocturne registry promoted.",
        f"License-Expression: {project['license']}",
        "License-File: LICENSE",
        f"Requires-Python: {project['requires-python'].partition(',')[0]}",
        "Classifier: Private :: Do Not Upload",  # somebody else's package has this name on the public index
        *needs,
        "Description-Content-Type: text/markdown",
    ]
    return ("\n".join(head) + "\n\n").encode() + (PROJECT / "docs" / "client.md").read_bytes()


def extras(project: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """What each extra brings: the same versions as the models' own needs and the project's."""
    arrow = tuple(need for need in project["dependencies"] if need.startswith("pyarrow"))
    signing = tuple(project["optional-dependencies"]["signing"])
    return {
        "registry": _REGISTRY,
        "mojo": SCORER_NEEDS["mojo"],
        "onnx": SCORER_NEEDS["onnx"],
        "signing": signing,
        "log": arrow,
    }


def _record(files: Mapping[str, bytes], own: str) -> bytes:
    lines = []
    for name, data in sorted(files.items()):
        digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(data)}\n")
    return "".join([*lines, f"{own},,\n"]).encode()


def _write(path: Path, files: Mapping[str, bytes]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items(), key=lambda item: (".dist-info/" in item[0], item[0])):
            member = zipfile.ZipInfo(name, _DATE)
            member.external_attr, member.create_system = 0o100644 << 16, 3
            archive.writestr(member, data)
    os.replace(temporary, path)


def _digest(files: Mapping[str, bytes]) -> str:
    return names_digest({name: hashlib.sha256(data).hexdigest() for name, data in files.items()})
