"""The digest of a model's whole folder: what was logged, file by file, whoever holds a copy of it.

MLflow puts ``registered_model_meta`` into a folder that it downloads by a registered name; it is not the model's. Nor
is the bytecode that whoever loads a model from a shared disk leaves beside its code: every copy that is fetched loses
it before anything else is done, so that it is neither counted nor signed nor run.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

from ...errors import IntegrityError
from .model_folder import digest

NOT_THE_MODELS = ("registered_model_meta",)
BYTECODE = "__pycache__"


def drop_bytecode(folder: Path) -> None:
    """Remove every folder of bytecode from a copy that was fetched just now; links stay, which ``files_of`` refuses.

    Raises OSError if one cannot be removed.
    """
    for found in [path for path in folder.rglob(BYTECODE) if path.is_dir() and not path.is_symlink()]:
        if found.exists():  # not inside one that is gone already
            shutil.rmtree(found)


def files_of(folder: Path) -> Iterator[Path]:
    """Every file of the folder that belongs to the model, sorted by its relative name.

    Raises IntegrityError for a symbolic link or anything else that is neither file nor folder.
    """
    for path in sorted(folder.rglob("*"), key=lambda found: found.relative_to(folder).as_posix()):
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise IntegrityError(f"{path}: a model's folder holds plain files only")
        if path.is_file() and path.relative_to(folder).as_posix() not in NOT_THE_MODELS:
            yield path


def folder_digest(folder: Path) -> str:
    """SHA-256 over the relative names and the SHA-256 of all of the model's files.

    Raises IntegrityError as ``files_of``, and for a folder without a file.
    """
    return names_digest(listed(folder))


def listed(folder: Path) -> dict[str, str]:
    """The SHA-256 of each of the model's files, by its relative name with slashes. Raises as ``folder_digest``."""
    found = {path.relative_to(folder).as_posix(): digest(path) for path in files_of(folder)}
    if not found:
        raise IntegrityError(f"{folder}: holds no file of a model")
    return found


def names_digest(files: Mapping[str, str]) -> str:
    """SHA-256 over files by their names (with slashes) and each one's SHA-256, in the order of the names."""
    total = hashlib.sha256()
    for name, sha256 in sorted(files.items()):
        total.update(f"{name}\0{sha256}\n".encode())
    return total.hexdigest()
