"""Reading one of a bundle's own JSON files, once the manifest has been verified."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ...documents import from_json
from ...errors import IntegrityError, StorageError


def read_part(path: Path, kind: type, format: int, what: str) -> Any:  # noqa: A002 - the document's own word
    """The file as a value of ``kind``; None where the bundle has no such file. ``what`` names it in errors.

    Raises IntegrityError for a malformed or unknown document, StorageError if it cannot be read.
    """
    try:
        document = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise IntegrityError(f"{path}: not a JSON document: {error}") from error
    if not isinstance(document, dict) or document.get("format") != format:
        raise IntegrityError(f"{path}: not {what} of format {format}; this client may be too old")
    try:
        return from_json(kind, document)
    except (TypeError, ValueError) as error:
        raise IntegrityError(f"{path}: malformed {what}: {error}") from error
