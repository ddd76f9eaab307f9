"""The digest of a model's whole folder: what was logged, file by file, whoever holds a copy of it.

MLflow puts ``registered_model_meta`` into a folder that it downloads by a registered name; it is not the model's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from ...errors import IntegrityError
from .model_folder import digest

NOT_THE_MODELS = ("registered_model_meta",)


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
    total, files = hashlib.sha256(), 0
    for path in files_of(folder):
        total.update(f"{path.relative_to(folder).as_posix()}\0{digest(path)}\n".encode())
        files += 1
    if not files:
        raise IntegrityError(f"{folder}: holds no file of a model")
    return total.hexdigest()
