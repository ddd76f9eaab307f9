"""A serving model's folder: ``model.json`` and the files it names, each with its SHA-256.

The folder is what engines leave behind and what consumers load. Nothing in it is parsed before its digest was
checked, and nothing in it is a pickle. This module does not know how a model scores: see ``scorers``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...errors import IntegrityError, StorageError

DOCUMENT = "model.json"
FORMAT = 1
_FIELDS = ("format", "kind", "output", "columns", "history", "digests")


def write_model(folder: Path, document: Mapping[str, Any]) -> None:
    """Write ``model.json`` beside the files that ``document["files"]`` names, with their SHA-256 filled in.

    The document is complete or absent: it is written under another name first. Raises StorageError if a named file is
    missing or the document cannot be written, ValueError for NaN or infinity among the numbers.
    """
    names = sorted(set(document.get("files", {}).values()))
    complete = {"format": FORMAT, "history": 0, **document, "digests": {name: digest(folder / name) for name in names}}
    _require_fields(folder / DOCUMENT, complete)
    data = json.dumps(complete, indent=1, sort_keys=True, allow_nan=False).encode()
    temporary = folder / f".{DOCUMENT}.{os.getpid()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, folder / DOCUMENT)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise StorageError(f"{folder / DOCUMENT}: cannot be written: {error.strerror}{_free(folder)}") from error


def _free(folder: Path) -> str:
    try:
        return f" ({shutil.disk_usage(folder).free:,} bytes free)"
    except OSError:
        return ""


def read_document(folder: Path) -> dict[str, Any]:
    """The model's description, once every file that it names has the recorded SHA-256.

    Raises IntegrityError naming the file that is missing, altered or not declared, StorageError if ``model.json``
    cannot be read.
    """
    path = folder / DOCUMENT
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise IntegrityError(f"{path}: not a JSON document: {error}") from error
    _require_fields(path, document)
    for name in document.get("files", {}).values():
        if name not in document["digests"]:
            raise IntegrityError(f"{path}: file '{name}' is named without a digest")
    verify_digests(folder, document["digests"])
    return dict(document)


def verify_digests(folder: Path, recorded: Mapping[str, str]) -> None:
    """Compare files below ``folder`` with their recorded SHA-256. Raises IntegrityError for the first that differs."""
    for name, expected in sorted(recorded.items()):
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise IntegrityError(f"{folder}: '{name}' points out of the model's folder")
        try:
            found = digest(folder / name)
        except StorageError as error:
            raise IntegrityError(f"{folder / name}: recorded in the model and missing: {error}") from error
        if found != expected:
            raise IntegrityError(
                f"{folder / name}: SHA-256 is {found[:12]}…, recorded was {expected[:12]}…: the file was altered or "
                "damaged. Pull the model again."
            )


def digest(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal. Raises StorageError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error


def _require_fields(path: Path, document: Any) -> None:
    missing = [name for name in _FIELDS if not isinstance(document, dict) or name not in document]
    if missing:
        raise IntegrityError(f"{path}: not a serving model: lacks {', '.join(missing)}")
    if document["format"] != FORMAT:
        raise IntegrityError(f"{path}: format {document['format']!r}, this version reads format {FORMAT}")
    if document["output"] not in ("value", "probability"):
        raise IntegrityError(f"{path}: output must be 'value' or 'probability', got {document['output']!r}")
