"""The code that travels inside a model: features, serving, errors and contracts under a name of their own.

The package is called ``nocturne_model_<first 12 of its digest>``: a consumer may have a module ``tasks`` of its own,
and two versions with different feature code live in one process, which Python's module cache would otherwise merge.
The parts keep their relative depth, and import each other relatively, so that the same files work in both places.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import ConfigurationError
from tasks.storage import PROJECT, sha256_file

ROOT = PROJECT / "tasks"
PACKAGES = ("features", "registry/serving")
MODULES = ("__init__.py", "errors.py", "documents.py", "contracts.py", "membership.py", "registry/__init__.py")

MODEL_SCRIPT = '''"""MLflow loads this model from code: no pickle is involved."""

from mlflow.models import set_model

from {package}.registry.serving.pyfunc import BarsModel

set_model(BarsModel())
'''


def travelling_files() -> Iterator[str]:
    """Names, relative to ``tasks``, of all that a model takes along; never a ``task.py``."""
    yield from MODULES
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            if path.name != "task.py":
                yield path.relative_to(ROOT).as_posix()


def travel_digest() -> str:
    """SHA-256 over the names and bytes of the travelling files."""
    digest = hashlib.sha256()
    for name in sorted(travelling_files()):
        digest.update(f"{name}\0{sha256_file(ROOT / name)}\n".encode())
    return digest.hexdigest()


def package_name() -> str:
    """The name under which the present code travels."""
    return f"nocturne_model_{travel_digest()[:12]}"


def write_package(folder: Path) -> Path:
    """Copy the travelling code to ``folder/<package name>`` and return that path.

    Raises ConfigurationError if a file imports the project absolutely: it would find the consumer's own ``tasks``.
    """
    package = folder / package_name()
    for name in travelling_files():
        _refuse_absolute_imports(ROOT / name)
        target = package / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, target)
    return package


def write_script(folder: Path, package: str) -> Path:
    """The model script, which names the package that it was logged with."""
    script = folder / "model.py"
    script.write_text(MODEL_SCRIPT.format(package=package), encoding="utf-8")
    return script


def _refuse_absolute_imports(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if line.strip().startswith(("from tasks", "import tasks")):
            raise ConfigurationError(f"{path}:{number}: travels inside models, so it must import relatively: {line!r}")
