"""Registered versions, loaded afresh in one clean process, beside what was evaluated. Nothing here moves an alias."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.contracts import Candidate, Rows, Snapshot
from tasks.errors import RegistryError
from tasks.registry.mlflow_store import Store, set_version_tags, version_tags
from tasks.registry.parity import TOLERANCE, Said, ask, require_parity
from tasks.registry.records import Entry, Registered
from tasks.storage import read_parquet, read_predictions

FAILED = "failed: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A registered version and the entry that it must turn out to be."""

    registered: Registered
    entry: Entry

    @property
    def fits(self) -> tuple[tuple[str, Candidate], ...]:
        """Its one or two models by where they are loaded from, and what was evaluated."""
        shipped = (self.registered.model_uri, self.entry.shipped)
        return (shipped,) if self.entry.one_fit else (shipped, (self.registered.gated_uri, self.entry.gated))


def verify(
    store: Store, subjects: Sequence[Subject], snapshot: Snapshot, rows: Rows
) -> tuple[float | RegistryError, ...]:
    """By version, the largest relative difference between its fits and what was evaluated, or what is wrong with it.

    All are loaded in one clean process, and compared over every row that both predict; no gate row may be missing. What
    came of it is noted on each version as its tag ``verified``.
    """
    found = tuple(
        _undigested(store, subject) or result
        for subject, result in zip(subjects, _verify(subjects, snapshot, rows), strict=True)
    )
    for subject, result in zip(subjects, found, strict=True):
        failed = f"{FAILED}{result}"[:4000]
        text = failed if isinstance(result, RegistryError) else _passed(result)
        set_version_tags(store, subject.registered, {"verified": text})
    return found


def passed(tags: dict[str, str]) -> bool:
    """Whether a version with these tags was loaded afresh once and was what had been evaluated."""
    return bool(tags.get("verified")) and not tags["verified"].startswith(FAILED)


def _passed(worst: float) -> str:
    return f"largest relative difference {worst:.3g} in a clean process"


def _undigested(store: Store, subject: Subject) -> RegistryError | None:
    """A version is digested before it is registered: one without may be a part of an upload that was cut off."""
    name, version = subject.registered.name, subject.registered.version
    if (version_tags(store, name, version) or {}).get("model_sha256"):
        return None
    return RegistryError(f"{name}: version {version} has no digest: it was not uploaded whole; run the night again")


def _verify(subjects: Sequence[Subject], snapshot: Snapshot, rows: Rows) -> tuple[float | RegistryError, ...]:
    asked = [fit for subject in subjects for fit in subject.fits]
    try:
        said = ask(subjects[0].registered.tracking_uri, [uri for uri, _ in asked], snapshot)
    except RegistryError as error:
        return tuple(error for _ in subjects)
    gate = read_parquet(rows.ref, columns=["window"])["window"].to_numpy() == "gate"
    answers = iter(said)
    return tuple(_worst(subject, [next(answers) for _ in subject.fits], gate) for subject in subjects)


def _worst(subject: Subject, said: Sequence[Said], gate: npt.NDArray[np.bool_]) -> float | RegistryError:
    tolerance = TOLERANCE[subject.entry.gated.engine]
    try:
        return max(
            require_parity(answer, read_predictions(candidate.predictions), gate, tolerance)
            for answer, (_, candidate) in zip(said, subject.fits, strict=True)
        )
    except RegistryError as error:
        return error
