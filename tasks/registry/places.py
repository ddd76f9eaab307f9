"""Who takes which place after a night: champion, challenger, fallback.

1. Is a new fallback due? Then it is registered beside the night's entry (``fallback``).
2. Entry and fallback are loaded afresh in one clean process and must repeat what was evaluated (``verification``).
3. The entry becomes champion if the gate decided so, in the epoch after the one that the decision was made in; whoever
   moved anything meanwhile was first, and nothing is moved. Else it becomes the challenger, unless a rollout is under
   way, it is a baseline or the champion's own recipe, or the night is in quarantine. Where the problem lets a new
   recipe take over gradually, what the gate approved becomes the challenger too: a rollout follows. What the drift
   monitor said of a champion that is merely refreshed stands until it looks again.
4. The fallback takes its place.

A version that fails verification takes no place; where it was to be champion, the night fails.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from tasks import journal
from tasks.documents import digest
from tasks.errors import RegistryError
from tasks.live import Standing
from tasks.registry import fallback, mlflow_store
from tasks.registry.bundle import entry_evidence
from tasks.registry.fits import Fits
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store
from tasks.registry.nights import register
from tasks.registry.projection import project
from tasks.registry.promotions import move, standing
from tasks.registry.records import ChampionInfo, Entry, LoggedNight, Night
from tasks.registry.standings import StaleEpochError, swap
from tasks.registry.takeover import NIGHT, under_way
from tasks.registry.verification import Subject, verify
from tasks.registry.watched import carry_drift
from tasks.storage import sha256_json

log = logging.getLogger("nocturne.registry")


def take_places(  # noqa: PLR0917 - each is another stage's answer
    store: Store,
    night: Night,
    logged: LoggedNight,
    fits: Fits,
    subject: Subject,
    judged: ChampionInfo | None,
) -> Standing:
    """The standing after the night, as the module's text says; what was moved is on the disk and shown.

    judged: the champion that the decision was made against. Raises RegistryError, with the champion unmoved, if the
    version that was to be champion does not load or is not what was evaluated; StaleEpochError if somebody moved the
    standing since the decision.
    """
    entry, name = subject.entry, night.problem.name
    with Ledger.open() as ledger:
        expected = _expected(ledger, subject, judged)
        leads = bool(entry.decision.promote) and not _gradually(night, entry, expected)
        recipe = digest(entry.gated.recipe) if leads else judged.recipe_sha256 if judged else ""
        spare = fallback.due(night, fits, entry, recipe, _ready(store, standing(ledger, name)))
        spares = [] if spare is None else [Subject(registered=register(store, night, logged, spare), entry=spare)]
        mine = [subject] if leads or _challenges(ledger, entry, judged, name) else []
        found = verify(store, [*mine, *spares], night) if mine or spares else ()
        journal.mark("verified")
        if leads:
            _promote(store, ledger, subject, expected, found[0])
        elif mine:
            _challenge(store, ledger, subject, found[0])
        for kept in spares:
            _keep(store, ledger, kept, found[-1])
        now = standing(ledger, name)
        journal.mark("moved", str(now.epoch))
        return now


def _expected(ledger: Ledger, subject: Subject, judged: ChampionInfo | None) -> Standing:
    """The standing that the decision was made in: as noted with it, else the present one."""
    name = subject.registered.name
    expected = subject.entry.expected or standing(ledger, name)
    before, after = judged.version if judged else "none", expected.champion or "none"
    if subject.entry.decision.promote and before != after:
        raise StaleEpochError(
            f"{name}: the decision was made against champion version {before}, but {after} is champion now: run again"
        )
    return expected


def _promote(store: Store, ledger: Ledger, subject: Subject, expected: Standing, found: float | RegistryError) -> None:
    if isinstance(found, RegistryError):
        raise found
    entry, version = subject.entry, subject.registered.version
    outcome = entry.decision.outcome
    moved = swap(
        ledger,
        expected,
        _with_champion(expected, version, refreshed=outcome == "refreshed"),
        "refreshed" if outcome == "refreshed" else "baseline" if outcome == "baseline" else "promoted",
        entry.decision.reasons,
        _evidence(entry),
        NIGHT,
        alongside=ledger.alias_row(expected.name, digest(entry.gated.recipe), version),
    )
    project(store, ledger, moved.name)
    if outcome == "refreshed":
        carry_drift(store, moved.name, expected.champion, version)
    log.info("%s: version %s is champion", moved.name, version)


def _with_champion(before: Standing, version: str, *, refreshed: bool) -> Standing:
    """A challenger keeps its place and, beside a champion that was merely refreshed, its share of the requests."""
    challenger = "" if before.challenger == version else before.challenger
    return replace(
        before, champion=version, challenger=challenger, share=before.share if refreshed and challenger else 0.0
    )


def _gradually(night: Night, entry: Entry, expected: Standing) -> bool:
    """Whether a rollout is to come between the gate's approval and the alias: only where there is one to replace."""
    return night.problem.takeover == "gradual" and entry.decision.outcome == "promoted" and bool(expected.champion)


def _challenges(ledger: Ledger, entry: Entry, judged: ChampionInfo | None, name: str) -> bool:
    """Whether the entry is worth a challenger's place, and the place is free."""
    own = judged is not None and judged.recipe_sha256 == digest(entry.gated.recipe)
    barred = entry.gated.engine == "baseline" or entry.decision.outcome == "quarantined" or own
    return not barred and not under_way(ledger, name) and bool(standing(ledger, name).champion)


def _challenge(store: Store, ledger: Ledger, subject: Subject, found: float | RegistryError) -> None:
    name, version = subject.registered.name, subject.registered.version
    if isinstance(found, RegistryError):
        log.warning("%s: version %s does not become challenger: %s", name, version, found)
        return
    now = standing(ledger, name)
    if not under_way(ledger, name):
        approved = subject.entry.decision.outcome == "promoted"
        how = "the gate approved it, and it takes over gradually" if approved else "the gate did not promote it"
        why = (f"the night's leader: {how}", *subject.entry.decision.reasons[:1])
        change = replace(now, challenger=version)
        move(ledger, store, now, change, "challenged", why, _evidence(subject.entry), NIGHT)


def _ready(store: Store, now: Standing) -> dict[str, str] | None:
    """The tags of the version that is the fallback, if there is one and it has not been deleted."""
    return mlflow_store.version_tags(store, now.name, now.fallback) if now.fallback else None


def _keep(store: Store, ledger: Ledger, subject: Subject, found: float | RegistryError) -> None:
    name, version = subject.registered.name, subject.registered.version
    if isinstance(found, RegistryError):
        log.warning("%s: version %s cannot be kept ready as the fallback: %s", name, version, found)
        return
    now = standing(ledger, name)
    change = replace(now, fallback=version)
    move(ledger, store, now, change, "kept ready", subject.entry.decision.reasons, _evidence(subject.entry), NIGHT)


def _evidence(entry: Entry) -> str:
    return sha256_json(entry_evidence(entry))
