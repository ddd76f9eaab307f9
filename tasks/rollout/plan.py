"""What a rollout is agreed to be before its first date counts. Frozen, JSON-ready, written once and never changed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Mode = Literal["shadow", "gradual"]
Outcome = Literal["promoted", "rolled back", "kept", "superseded", "stopped"]

SHARES: tuple[float, ...] = (0.01, 0.05, 0.25, 0.5, 1.0)
"""Parts of requests that see the challenger. The last one is the promotion itself."""

ROLLBACK_LEVEL = 0.05
LIMIT_DATES = 504
LIMIT_RANGE = (20, 5040)


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What the decision looks at besides the evidence.

    ``level`` bounds the chance of a false promotion, ``rollback_level`` that of a false rollback. ``limit``: so many
    dates, and the champion is kept. ``pace``: the share's i-th step up is not taken before i times so many dates.
    """

    mode: Mode
    level: float
    rollback_level: float = ROLLBACK_LEVEL
    limit: int = LIMIT_DATES
    pace: int = 5

    def __post_init__(self) -> None:
        for name in ("level", "rollback_level"):
            if not 0.0 < getattr(self, name) < 1.0:
                raise ValueError(f"{name} must lie between 0 and 1, got {getattr(self, name)}")
        if self.limit < 1 or self.pace < 0:
            raise ValueError(f"limit must be at least 1 and pace at least 0, got {self.limit} and {self.pace}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who is compared, on what, and what it takes.

    ``after``: no date up to and with this one (ISO) may count; it is no earlier than the last bar that either model
    learned from and the last bar there was when the rollout began. ``streams``: one more than how many later dates'
    labels share a bar with a date's. ``bound``: the clip bound, in the loss's unit; ``prior``: the differences of the
    earlier dates that it was fixed from, in time order. ``read`` is the number of the read of the gate whose level this
    is (0 for a shadow), ``read_row`` its row in the ledger, ``approved`` whether the gate itself approved the version.
    ``recipe`` (the challenger's), ``champion_recipe`` and ``evidence`` (of what was agreed) are digests. A champion
    that is refitted meanwhile stays the champion: its recipe is what the challenger is compared with.
    """

    id: str
    name: str
    mode: Mode
    champion: str
    challenger: str
    predicts: str
    loss: Literal["mse", "log_loss"]
    started: str
    after: str
    streams: int
    bound: float
    level: float
    limit: int = LIMIT_DATES
    read: int = 0
    read_row: int = 0
    approved: bool = False
    recipe: str = ""
    champion_recipe: str = ""
    evidence: str = ""
    champion_is: str = ""
    challenger_is: str = ""
    prior: tuple[float, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def policy(self) -> Policy:
        """What the decision looks at."""
        return Policy(mode=self.mode, level=self.level, limit=self.limit)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How and when (ISO UTC) a rollout ended, after how many dates, and why."""

    outcome: Outcome
    at: str
    dates: int
    why: tuple[str, ...] = ()
