"""The frozen values about models in service: who holds which alias, how that came about, what was predicted.

A standing belongs to one registered name; the ledger keeps every standing that there ever was, and MLflow's aliases
are its projection.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Alias = Literal["champion", "challenger", "fallback"]
Action = Literal[
    "adopted", "promoted", "refreshed", "baseline", "challenged", "kept ready", "rolled back", "rollout", "dropped"
]

ALIASES: tuple[Alias, ...] = ("champion", "challenger", "fallback")

LOGGED = ("name", "version", "role", "symbol", "time", "prediction", "lower", "upper", "shown", "key", "at")
"""Columns of logged predictions. ``role``: the alias that the version held; ``time``: close of the last bar that was
predicted from, ns UTC; ``shown``: whether the caller got this one; ``key``: of the request; ``at``: when, ns UTC."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Which versions of a name hold the aliases (empty: none does). Epoch 0: nothing was ever promoted.

    ``share`` is the part of requests, in [0, 1], that are shown the challenger's prediction.
    """

    name: str
    epoch: int = 0
    champion: str = ""
    challenger: str = ""
    fallback: str = ""
    share: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """One step of a name's history: what it led to, when (ISO UTC), why, on which evidence, and by whose hand.

    ``evidence`` is the SHA-256 of the evidence that the registry keeps with the version, empty for a person's decision.
    """

    standing: Standing
    action: Action
    at: str
    why: tuple[str, ...]
    by: str
    evidence: str = ""
