"""Registered versions proved in one clean process before any of them takes a place. Nothing here moves an alias."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tasks.errors import RegistryError
from tasks.registry.mlflow_store import Store, set_version_tags, version_run, version_tags
from tasks.registry.proof import Proof, largest, prove_all, record
from tasks.registry.records import Entry, Night, Registered

FAILED = "failed: "


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """A registered version and the entry that it must turn out to be."""

    registered: Registered
    entry: Entry


def verify(store: Store, subjects: Sequence[Subject], night: Night) -> tuple[float | RegistryError, ...]:
    """By version, the largest relative difference between its fits and what was evaluated, or what is wrong with it.

    All are loaded in one clean process, the first of them looked at more closely; see ``proof``. The proof is kept with
    the night's run, and what came of it is on the version as its tag ``verified``.
    """
    proofs = prove_all([(subject.registered, subject.entry) for subject in subjects], night)
    return tuple(_noted(store, subject, found) for subject, found in zip(subjects, proofs, strict=True))


def passed(tags: Mapping[str, str]) -> bool:
    """Whether a version with these tags was loaded afresh once and was what had been evaluated."""
    return bool(tags.get("verified")) and not tags["verified"].startswith(FAILED)


def _noted(store: Store, subject: Subject, found: tuple[Proof, ...] | RegistryError) -> float | RegistryError:
    wrong = _undigested(store, subject) or found
    if isinstance(wrong, RegistryError):
        set_version_tags(store, subject.registered, {"verified": f"{FAILED}{wrong}"[:4000]})
        return wrong
    worst = largest(wrong)
    record(store, subject.registered, version_run(store, subject.registered), wrong)
    said = f"largest relative difference {worst:.3g} in a clean process"
    set_version_tags(store, subject.registered, {"verified": said})
    return worst


def _undigested(store: Store, subject: Subject) -> RegistryError | None:
    """A version is digested before it is registered: one without may be a part of an upload that was cut off."""
    name, version = subject.registered.name, subject.registered.version
    if (version_tags(store, name, version) or {}).get("model_sha256"):
        return None
    return RegistryError(f"{name}: version {version} has no digest: it was not uploaded whole; run the night again")
