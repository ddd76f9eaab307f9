"""What the monitor says: frozen, JSON-ready by ``documents.to_json`` (NaN as null), standard library only."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

State = Literal["within", "retrain", "exceeded", "nothing live"]
Verdict = Literal["within", "exceeded"]

PREDICTION = "prediction"
"""What the model's own forecasts are called among the watched columns."""

MEASURES = ("psi", "ks")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnDrift:
    """A column's distance in the last window, and what it may be. ``ratio``: the larger of distance over limit."""

    column: str
    psi: float
    ks: float
    psi_limit: float
    ks_limit: float
    ratio: float

    @property
    def exceeds(self) -> bool:
        """Whether either distance passes its limit."""
        return self.ratio > 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Detector:
    """One alarm: what it is at, where its limit lies, whether it is passed and since which session (ISO date).

    ``first``: the first session on which it was passed since the training end; empty where it never was.
    """

    name: Literal["distribution", "cusum", "adwin"]
    value: float
    limit: float
    exceeds: bool
    since: str = ""
    first: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """The champion's realised loss: sessions known so far, its mean, that of the reference it is standardised by."""

    sessions: int
    mean: float
    reference_mean: float
    reference_sessions: int
    source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Champion against fallback over the window's realised losses; p of the test that the fallback's is lower."""

    version: str
    sessions: int
    champion_loss: float
    fallback_loss: float
    p_value: float
    level: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """A live session of the curves: the distribution's maximum over its limit, CUSUM, the loss; NaN where unknown."""

    session: str
    ratio: float
    cusum: float = float("nan")
    loss: float = float("nan")
    risen: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """One look at a champion in service.

    ``state``: ``within``; ``retrain``: an alarm asks for a retraining run; ``exceeded``: past the limit, the fallback
    does significantly better and clients go over to it; ``nothing live``: no bar after the training end yet.
    ``run_length``: sessions without drift until all alarms together raise a false one, on average, at least.
    ``training_end`` and ``sessions`` are those of ``since_version``, which brought the recipe in: ``version`` is that
    one or a refresh of it. ``notes`` say what could not be watched, and why.
    """

    name: str
    version: str
    candidate: str
    at: str
    snapshot: str
    training_end: str
    window: int
    sessions: int
    last: str
    state: State
    run_length: int
    training_sessions: int = 0
    columns: tuple[ColumnDrift, ...] = ()
    detectors: tuple[Detector, ...] = ()
    losses: Losses | None = None
    comparison: Comparison | None = None
    curve: tuple[Point, ...] = ()
    since: str = ""
    since_version: str = ""
    said: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    files: dict[str, str] = field(default_factory=dict)

    @property
    def alarm(self) -> bool:
        """Whether a retraining run is asked for."""
        return self.state in ("retrain", "exceeded")

    @property
    def verdict(self) -> Verdict:
        """The registered model's tag: only what is past the limit sends clients to the fallback."""
        return "exceeded" if self.state == "exceeded" else "within"


def begins(before: DriftReport | None, now: DriftReport) -> bool:
    """Whether an alarm begins with this report, or becomes worse: ``before`` is the last run's, None without one.

    The same alarm of the same recipe is no beginning, refreshed or not; one that comes back after a quiet report is.
    """
    if not now.alarm:
        return False
    if before is None or not before.alarm:
        return True
    recipe, last = (each.since_version or each.version for each in (now, before))
    return recipe != last or (now.state == "exceeded" and before.state != "exceeded")
