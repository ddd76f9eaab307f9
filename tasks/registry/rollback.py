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
from tasks.registry.mlflow_store import Store
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
    if standing(ledger, name).epoch == 0:
        repair(store, ledger, name)
    now = standing(ledger, name)
    target = to or _before(ledger, now)
    tags = {} if target == NONE else require_proved(store, ledger, name, target)
    after = "" if target == NONE else target
    if after == now.champion:
        raise ConfigurationError(f"{name}: {_words(after)} is champion already; nothing was moved")
    challenger = "" if now.challenger == after or not after else now.challenger
    change = replace(now, champion=after, challenger=challenger, share=0.0)
    reason = why.strip() or "no reason was given"
    moved = move(ledger, store, now, change, "rolled back", (reason,), "", by_hand())
    return RolledBack(
        name=name,
        before=now.champion,
        after=after,
        candidate=tags.get("candidate", ""),
        training_end=tags.get("training_end", ""),
        epoch=moved.epoch,
        why=reason,
        by=by_hand(),
        seconds=round(time.perf_counter() - begun, 3),
    )


def _before(ledger: Ledger, now: Standing) -> str:
    stack = champions(history(ledger, now.name))
    earlier = [version for version in stack[:-1] if version]
    if not earlier:
        raise ConfigurationError(
            f"{now.name}: no version was champion before {_words(now.champion)}; name one with --to VERSION, or take "
            f"the name out of service with --to {NONE}"
        )
    return earlier[-1]


def _words(version: str) -> str:
    return f"version {version}" if version else "no version"
