"""What a pre-trained encoder's folder is, and where one may be used: what pre-training, registry and search agree on.

```
backbone.json   the manifest: what it is, what it saw, how it was made, its evidence, the digest of every other file
weights.npz     the encoder's weights      heads.npz   what was trained on top of it, task by task
source.npz      a sample of what it saw    fisher.npz  how much each weight mattered there
```

Nothing here parses arrays: each file is read once, and the bytes that were verified are those that are parsed.
"""

from __future__ import annotations

import json
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from tasks.contracts import Backbone, Rows
from tasks.errors import IntegrityError
from tasks.storage import sha256_bytes

FORMAT = 2
"""1 had one mask, the volume's: its networks take windows that are no longer made."""

MANIFEST = "backbone.json"
FILES = ("weights.npz", "heads.npz", "source.npz", "fisher.npz")
SCALE_FREE = "scale_free_by_window"
"""The rule by which a backbone takes bars of another size: its network divides each window by its own scale."""

MAY_LACK = ("relative_volume_20", "bop")
"""Channels that bars may do without, a mask says so to the network: FX and indices have no volume, and where opens
repeat the previous close a bar has no body."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """A folder as it was read, once: its manifest, the digest of that, and the bytes of every other file, each as the
    manifest says. Whatever is parsed is parsed from these bytes.
    """

    document: dict[str, Any]
    sha256: str
    files: dict[str, bytes]


def contents(folder: Path, sha256: str = "") -> Contents:
    """Everything of a folder, verified. sha256: of the manifest, where it is known.

    Raises IntegrityError that names the file that is missing, altered or not of this format.
    """
    path = folder / MANIFEST
    data = _content(path)
    if sha256:
        _require(path, data, sha256)
    document = _parsed(path, data)
    if document.get("format") != FORMAT:
        raise IntegrityError(f"{path}: format is {document.get('format')!r}, this version reads {FORMAT}")
    digests = document.get("digests")
    if not isinstance(digests, dict) or set(digests) != set(FILES):
        raise IntegrityError(f"{path}: must name the digests of {', '.join(FILES)}")
    files = {name: _content(folder / name) for name in FILES}
    for name, content in files.items():
        _require(folder / name, content, str(digests[name]))
    return Contents(document=document, sha256=sha256_bytes(data), files=files)


def described(folder: Path, version: str = "") -> Backbone:
    """The backbone in a folder, once every file of it is what its manifest says. Raises as ``contents``."""
    return backbone_of(folder, contents(folder), version)


def backbone_of(folder: Path, found: Contents, version: str = "") -> Backbone:
    """The backbone of a folder that was read. Raises IntegrityError where its manifest lacks something."""
    document = found.document
    try:
        return Backbone(
            name=document["name"],
            version=version,
            sha256=found.sha256,
            folder=str(folder),
            end=document["end"],
            bar=document["bar"],
            channels=tuple(document["channels"]),
            length=int(document["spec"]["length"]),
            tasks=tuple(document["tasks"]),
            architecture=document["spec"]["architecture"],
            other_bars=document["other_bars"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise IntegrityError(f"{folder / MANIFEST}: not a backbone's manifest: {error!r}") from error


def first_scored(rows: Rows) -> str:
    """The first bar (ISO, UTC) that anything is chosen or scored by: where the validation window begins."""
    return min(window.first for window in rows.windows if window.name != "train")


def refusal(
    backbone: Backbone, *, bar: str, columns: Collection[str], first_scored: str, cross_section: str = "none"
) -> str:
    """Why a backbone may not be used, in words; empty where it may.

    columns: of the target's feature matrix. first_scored: the first bar (ISO, UTC) that anything is chosen or scored
    by: what the backbone saw must end before it, or the score would be of what it was trained on.
    """
    called = f"backbone {backbone.name}" + (f" version {backbone.version}" if backbone.version else "")
    if cross_section != "none":
        return (
            f"{called} reads bars in their own units, and cross_section is '{cross_section}': features ranked or "
            "standardised within a date say nothing of scale; set cross_section to 'none', or leave transfer out"
        )
    if _moment(backbone.end) >= _moment(first_scored):
        return (
            f"{called} was trained on bars up to {backbone.end}, and the first row that is scored is of {first_scored}:"
            " it would look ahead; pre-train with an earlier 'until', or choose an older version"
        )
    if backbone.bar != bar and backbone.other_bars != SCALE_FREE:
        return (
            f"{called} was trained on bars of {backbone.bar} and has no rule for others; these are of {bar}: pre-train "
            f"one on bars of {bar}"
        )
    missing = [name for name in backbone.channels if name not in columns and name not in MAY_LACK]
    if missing:
        return f"{called} needs the features {', '.join(missing)}, which these bars do not have"
    return ""


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise IntegrityError(f"{path}: cannot be read: {error.strerror}; the backbone is not whole") from error


def _parsed(path: Path, data: bytes) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except ValueError as error:
        raise IntegrityError(f"{path}: not a JSON document: {error}") from error
    if not isinstance(document, dict):
        raise IntegrityError(f"{path}: must hold a mapping, got {type(document).__name__}")
    return document


def _require(path: Path, content: bytes, recorded: str) -> None:
    found = sha256_bytes(content)
    if found != recorded:
        raise IntegrityError(
            f"{path}: SHA-256 is {found[:12]}…, recorded was {recorded[:12]}…: the backbone was altered or damaged; "
            "pull it again, or pre-train it anew"
        )
