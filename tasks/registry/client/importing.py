"""Imports the code that travels inside a verified model, from memory, under its own package name.

The sources are read once, compared with the digests that were checked, and never read from disk again: what runs is
what was checked, no bytecode is read or written, nothing is put on ``sys.path``, and the cache may go. Packages of
several models live side by side; a consumer's own module ``tasks`` is never looked at, since models import relatively.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType

from ...errors import IntegrityError
from ..serving.folder import names_digest

_PACKAGE = re.compile(r"nocturne_model_[0-9a-f]{12,64}")
_LOCK = threading.Lock()


class Package(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finder and loader of one package whose sources are in memory."""

    def __init__(self, name: str, root: Path, sources: Mapping[str, bytes]) -> None:
        """sources: by path relative to the package's folder ``root``, with slashes."""
        self.name, self._root, self._sources = name, root, sources
        self.sha256 = _sha256(sources)

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None,  # noqa: ARG002 - the import system's signature
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> importlib.machinery.ModuleSpec | None:
        """The spec of the package or a module below it; None for any other name."""
        file = self._file(fullname)
        if file is None:
            return None
        origin = str(self._root / file)
        below = [str(Path(origin).parent)] if file.endswith("__init__.py") else None
        return importlib.util.spec_from_file_location(fullname, origin, loader=self, submodule_search_locations=below)

    def is_package(self, fullname: str) -> bool:
        """Whether the module is a package."""
        return str(self._file(fullname)).endswith("__init__.py")

    def get_source(self, fullname: str) -> str:
        """The module's source, as it was checked."""
        return self._bytes(fullname).decode()

    def get_code(self, fullname: str) -> CodeType:
        """The module, compiled."""
        return self.source_to_code(self._bytes(fullname), str(self._root / str(self._file(fullname))))

    def _bytes(self, fullname: str) -> bytes:
        file = self._file(fullname)
        if file is None:
            raise ImportError(f"{fullname} is not in the model", name=fullname)
        return self._sources[file]

    def _file(self, fullname: str) -> str | None:
        package, _, rest = fullname.partition(".")
        if package != self.name:
            return None
        stem = rest.replace(".", "/")
        candidates = (f"{stem}/__init__.py", f"{stem}.py") if stem else ("__init__.py",)
        return next((file for file in candidates if file in self._sources), None)


def import_module(model: Path, module: str, files: Mapping[str, str]) -> ModuleType:
    """A module of the package that a checked model's folder brings, imported with everything that it imports.

    files: the SHA-256 of each of the model's files, as it was checked. Raises IntegrityError if the folder brings no
    package or several, a source that is another one by now, or a package that differs from one of the same name that
    was imported before.
    """
    folder = _package_folder(model)
    sources = {path.relative_to(folder).as_posix(): _read(path, model, files) for path in sorted(folder.rglob("*.py"))}
    with _LOCK:
        name = _register(folder, sources)
    return importlib.import_module(f"{name}.{module}")


def _read(path: Path, model: Path, files: Mapping[str, str]) -> bytes:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != files.get(path.relative_to(model).as_posix()):
        raise IntegrityError(f"{path}: is not the file that was checked, and was not imported")
    return data


def _register(folder: Path, sources: Mapping[str, bytes]) -> str:
    package = Package(folder.name, folder, sources)
    mine = {found.name: found for found in sys.meta_path if isinstance(found, Package)}
    if folder.name in sys.modules and folder.name not in mine:
        # MLflow loaded a model of the same code, which nobody checked. Relative imports work under any name.
        package.name = f"{folder.name}_checked"
    before = mine.get(package.name)
    if before is None:
        sys.meta_path.insert(0, package)
    elif before.sha256 != package.sha256:
        raise IntegrityError(f"{folder}: another package of this name, with other code, is loaded in this process")
    return package.name


def _package_folder(model: Path) -> Path:
    found = sorted(path for path in (model / "code").glob("*") if path.is_dir())
    if len(found) != 1 or not _PACKAGE.fullmatch(found[0].name):
        raise IntegrityError(f"{model}: a model brings one package nocturne_model_…, found {[p.name for p in found]}")
    return found[0]


def _sha256(sources: Mapping[str, bytes]) -> str:
    return names_digest({name: hashlib.sha256(data).hexdigest() for name, data in sources.items()})
