"""Putting an earlier version back in the champion's place: a move like any other, and the ledger keeps it.

No model is loaded: what may come back was loaded afresh before, in a clean process, and was what had been evaluated.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from tasks.errors import ConfigurationError
from tasks.live import Standing
from tasks.registry import continuity
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store, registered_model, version_tags
from tasks.registry.projection import repair
from tasks.registry.promotions import by_hand, champions, history, move, require_proved, standing

NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolledBack:
    """What a rollback did: the champion before and after (empty: none), and how long ledger and aliases took."""

    name: str
    before: str
    after: str
    candidate: str
    training_end: str
    epoch: int
    why: str
    by: str
    seconds: float


def rollback(store: Store, ledger: Ledger, name: str, to: str = "", why: str = "") -> RolledBack:
    """Make ``to`` the champion again: by default the one before, ``none`` takes the name out of service.

    The challenger's share ends. Raises ConfigurationError for a version that is not there, was never verified or was
    quarantined, and where no champion came before; IntegrityError if the ledger is not this registry's.
    """
    begun = time.perf_counter()
    continuity.require(ledger, continuity.told_by(store, name))
    now = _present(store, ledger, name)
    target = to or _before(store, ledger, now)
    tags = {} if target == NONE else require_proved(store, ledger, name, target)
    change = _change(store, now, "" if target == NONE else target)
    reason = why.strip() or "no reason was given"
    moved = move(ledger, store, now, change, "rolled back", (reason,), "", by_hand())
    return RolledBack(
        name=name,
        before=now.champion,
        after=change.champion,
        candidate=tags.get("candidate", ""),
        training_end=tags.get("training_end", ""),
        epoch=moved.epoch,
        why=reason,
        by=by_hand(),
        seconds=round(time.perf_counter() - begun, 3),
    )


def _present(store: Store, ledger: Ledger, name: str) -> Standing:
    """The standing to begin from: adopted if there was none, without the places of deleted versions."""
    if registered_model(store, name) is not None:
        repair(store, ledger, name)
    return standing(ledger, name)


def _change(store: Store, now: Standing, champion: str) -> Standing:
    challenger = "" if now.challenger == champion or not champion else now.challenger
    change = replace(now, champion=champion, challenger=challenger, share=0.0)
    if registered_model(store, now.name) is None:
        change = Standing(name=now.name, epoch=now.epoch)
    if champion == now.champion and (champion or change == now):
        raise ConfigurationError(f"{now.name}: {_words(champion)} is champion already; nothing was moved")
    return change


def _before(store: Store, ledger: Ledger, now: Standing) -> str:
    """The champion before the present one, of those that have not been deleted."""
    stack = champions(history(ledger, now.name))
    earlier = [version for version in stack[:-1] if version and version_tags(store, now.name, version) is not None]
    if not earlier:
        raise ConfigurationError(
            f"{now.name}: no version was champion before {_words(now.champion)}; name one with --to VERSION, or take "
            f"the name out of service with --to {NONE}"
        )
    return earlier[-1]


def _words(version: str) -> str:
    return f"version {version}" if version else "no version"
