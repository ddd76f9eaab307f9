"""What is inside a promoted model: ``manifest.json`` with the digest of every file, and ``model/``, the serving folder.

``read_manifest`` verifies first and parses afterwards; a folder that lost a file, gained one, or differs by a bit is
refused. The writing side is the registry's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...contracts import FeatureSpec, Target
from ...documents import from_json
from ...errors import IntegrityError, StorageError
from .bars import BAR_NANOSECONDS, BarRules
from .model_folder import verify_digests

MANIFEST = "manifest.json"
MODEL = "model"
PROBLEM = "problem.json"
FORMAT = 2
READABLE = (1, 2)
"""Format 1 lacks ``requires`` and everything in a bundle but the manifest and the model."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Everything about a promoted model that is not its parameters.

    spec: the feature columns that the model uses, in its order. tz: the calendar's zone. training_end: close of the
    last bar it was fitted on, ISO UTC. role: ``shipped``, ``gated`` or ``searched``. versions: of packages that shaped
    it. requires: packages with the versions that it supports (``numpy>=2.2,<3``). statistics, intervals: whether the
    bundle has these files. evidence: the leaderboard's and the gate's figures, as the report shows them. code_sha256:
    of the code that travels; lock_sha256: of the versions that the house ran on.
    """

    problem: str
    target: Target
    spec: FeatureSpec
    calendar: str
    tz: str
    symbols: tuple[str, ...]
    has_volume: bool
    negative_prices: bool
    training_end: str
    role: str
    candidate: str
    engine: str
    recipe_sha256: str
    snapshot_sha256: str
    lock_sha256: str
    code_version: str
    code_sha256: str
    seed: int
    versions: dict[str, str]
    evidence: dict[str, Any]
    notes: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    statistics: bool = False
    intervals: bool = False
    format: int = FORMAT
    files: dict[str, str] = field(default_factory=dict)

    @property
    def rules(self) -> BarRules:
        """What the model expects of the bars it is given."""
        return BarRules(
            bar=self.spec.bar,
            tz=self.tz,
            symbols=self.symbols,
            has_volume=self.has_volume,
            negative_prices=self.negative_prices,
        )


def read_manifest(bundle: Path) -> Manifest:
    """The manifest of a bundle whose every file has the recorded digest.

    Raises IntegrityError for a missing, altered, unlisted or malformed file, StorageError if there is no manifest.
    """
    path = bundle / MANIFEST
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}; the model is incomplete") from error
    except ValueError as error:
        raise IntegrityError(f"{path}: not a JSON document: {error}") from error
    if not isinstance(document, dict) or document.get("format") not in READABLE:
        readable = " or ".join(map(str, READABLE))
        raise IntegrityError(f"{path}: not a manifest of format {readable}; this code may be older than the model")
    _verify(bundle, document.get("files"))
    try:
        manifest: Manifest = from_json(Manifest, document)
    except (TypeError, ValueError) as error:
        raise IntegrityError(f"{path}: malformed manifest: {error}") from error
    if manifest.spec.bar not in BAR_NANOSECONDS:
        raise IntegrityError(f"{path}: unknown bar size {manifest.spec.bar!r}")
    return manifest


def files_below(bundle: Path) -> set[str]:
    """Relative names of every file of a bundle but the manifest itself."""
    return {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()} - {MANIFEST}


def _verify(bundle: Path, recorded: Any) -> None:
    if not isinstance(recorded, dict):
        raise IntegrityError(f"{bundle / MANIFEST}: lists no files")
    unlisted = sorted(files_below(bundle) - set(recorded))
    if unlisted or not recorded:
        raise IntegrityError(f"{bundle}: files that the manifest does not list: {unlisted[:5]}")
    verify_digests(bundle, recorded)
