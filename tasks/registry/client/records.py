"""What the client knows of a registered model: who holds which alias, and the facts of one version.

A version's facts lie beside its copy on disk as ``version.json``; what held which alias when the registry was last
seen lies in the cache as a standing. Both are written whole or not at all.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...errors import ConfigurationError, IntegrityError, StorageError

MODEL = "model"
VERSION = "version.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,199}")
_VERSION = re.compile(r"[0-9]{1,18}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One version of a registered model. ``alias``: what it was asked by, empty for a pinned one.

    ``model_sha256`` is the digest of its whole folder, ``signature`` the signing tool's document over it,
    ``signing_key`` the fingerprint of the public key, ``epoch`` that of the standing that it was taken from,
    ``pulled_at`` ISO UTC.
    """

    name: str
    version: str
    model_sha256: str
    signature: str = ""
    signing_key: str = ""
    alias: str = ""
    epoch: int = 0
    pulled_at: str = ""

    @property
    def entry(self) -> str:
        """What its folder in the cache is called: the same version of another registry has another digest."""
        return f"{self.version}-{self.model_sha256[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a source says of a name: the version that each alias points to, the epoch, the challenger's share in [0, 1].

    ``drifted``: the monitor says that the champion's inputs or losses left what it was trained on.
    """

    name: str
    aliases: Mapping[str, str] = field(default_factory=dict)
    epoch: int = 0
    share: float = 0.0
    drifted: bool = False


def require_name(name: str) -> str:
    """The name, if it can be a folder's; raises ConfigurationError for one that points anywhere else."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{name!r} is no registered model's name: letters, digits, space, dot, dash and underscore"
        )
    return name


def checked(version: Version) -> Version:
    """The version, if its fields can be trusted as parts of a path. Raises IntegrityError for any that cannot."""
    require_name(version.name)
    if not _VERSION.fullmatch(version.version):
        raise IntegrityError(f"{version.name}: {version.version[:40]!r} is not a version number")
    if not version.model_sha256:
        raise IntegrityError(
            f"{version.name} version {version.version} has no recorded digest (tag 'model_sha256'): it was registered "
            "before models were sealed, so nothing says what it should hold. Use a newer version, or register it anew"
        )
    if not _SHA256.fullmatch(version.model_sha256):
        raise IntegrityError(f"{version.name} version {version.version}: its recorded digest is not a SHA-256")
    return version


def read_version(path: Path) -> Version:
    """The facts in a ``version.json``.

    Raises StorageError if it cannot be read, IntegrityError if it is not one; fields of later formats are ignored.
    """
    document = read_document(path)
    kinds = {item.name: int if item.name == "epoch" else str for item in dataclasses.fields(Version)}
    given = {name: value for name, value in document.items() if name in kinds}
    wrong = [name for name, value in given.items() if type(value) is not kinds[name]]
    lacks = [name for name in ("name", "version", "model_sha256") if name not in given]
    if wrong or lacks:
        raise IntegrityError(f"{path}: not a pulled model's record: look at {', '.join(wrong + lacks)}")
    return checked(Version(**given))


def read_document(path: Path) -> dict[str, Any]:
    """A JSON object from a file. Raises StorageError if it cannot be read, IntegrityError if it is none."""
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise IntegrityError(f"{path}: not a JSON document: {error}") from error
    if not isinstance(document, dict):
        raise IntegrityError(f"{path}: not a JSON object")
    return document


def write_document(path: Path, document: Mapping[str, Any]) -> None:
    """Write JSON under another name first, then rename. Raises StorageError with what is wrong."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            json.dump(document, stream, indent=1, sort_keys=True)
        os.replace(temporary, path)
    except OSError as error:
        raise StorageError(f"{path}: cannot be written: {error.strerror}") from error


def as_document(value: Version | Seen) -> dict[str, Any]:
    """The value's fields, ready for JSON."""
    return dataclasses.asdict(value)
