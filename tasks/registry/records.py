"""What the registry's functions take and give. Frozen, JSON-ready by ``contracts.to_json``, free of MLflow."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, Self

from tasks.contracts import Candidate, EngineResult, FeatureMatrix, Rows, Snapshot
from tasks.evaluation import Backtest, Decision, Evidence, Leaderboard, Score
from tasks.live import Standing
from tasks.problem import Problem

Role = Literal["shipped", "gated"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """The row of the ledger's ``outcomes`` that a night left, and the row's hash: by it the ledger is known again."""

    row: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """The facts of one night: what went in, what competed, how it ranked.

    ``importance``: the leading features of the candidate ``importance_of``, with their shares, largest first.
    ``flow_run``: the run of the flow, by which what a night that died left in the registry is found.
    """

    problem: Problem
    snapshot: Snapshot
    features: FeatureMatrix
    rows: Rows
    results: tuple[EngineResult, ...]
    leaderboard: Leaderboard
    code_version: str
    notes: tuple[str, ...] = ()
    importance_of: str = ""
    importance: tuple[tuple[str, float], ...] = ()
    flow_run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One model for the registry: what consumers get, the gated fit whose evidence it carries, and the decision.

    shipped and gated are the same recipe; with the policy ``none`` they are the same candidate. ``*_training_end``
    are the closes (ISO UTC) of the last bar each was fitted on, label included. distance: root mean square difference
    of the two fits' predictions on the gate rows, in the target's unit; NaN where they were not compared. ``smearing``
    is Duan's factor for the gated fit (volatility; NaN where it is not known). ``title`` is the name that a refreshed
    champion keeps, whatever tonight's job was called. ``read_row`` is the ledger's row of the read behind a decision,
    ``ledger`` what the night left there. ``expected`` is the standing that the decision was made in, None if unknown.
    ``coverage``: how its intervals held on the gate window, as JSON (``coverage.IntervalCoverage``), empty if unknown.
    """

    shipped: Candidate
    gated: Candidate
    shipped_training_end: str
    gated_training_end: str
    decision: Decision
    evidence: Evidence | None = None
    score: Score | None = None
    gate_metrics: tuple[tuple[str, float], ...] = ()
    distance: float = float("nan")
    smearing: float = float("nan")
    title: str = ""
    read_row: int = 0
    ledger: Mark | None = None
    backtests: tuple[Backtest, ...] = ()
    notes: tuple[str, ...] = ()
    expected: Standing | None = None
    coverage: dict[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """What the candidate is called in the registry."""
        return self.title or self.gated.name

    @property
    def one_fit(self) -> bool:
        """Whether what ships is the gated fit itself."""
        return self.shipped.model == self.gated.model


@dataclass(frozen=True, slots=True, kw_only=True)
class LoggedNight:
    """Where a night was logged."""

    run_id: str
    experiment_id: str
    tracking_uri: str
    url: str
    model_uris: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A registered version and the two models behind it (``gated_uri`` equals ``model_uri``'s source if one fit)."""

    name: str
    version: str
    model_uri: str
    gated_uri: str
    tracking_uri: str
    bars_needed: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChampionInfo:
    """What holds the alias ``champion``: enough to score it fairly, to fit its recipe again, and to name it.

    ``recipe`` is empty, and ``smearing`` NaN, where the entry does not tell them: such a champion is not refreshed.
    """

    name: str
    version: str
    model_uri: str
    gated_uri: str
    candidate: str
    engine: str
    recipe_sha256: str
    training_end: str
    gated_training_end: str
    tracking_uri: str
    bars_needed: int = 0
    predicts: str = ""
    symbols: tuple[str, ...] = ()
    recipe: dict[str, Any] = field(default_factory=dict)
    smearing: float = float("nan")

    def recipe_for(self, predicts: str) -> tuple[str, dict[str, Any]] | None:
        """Engine and recipe, to be fitted again beside candidates that predict this; None where that cannot be."""
        return (self.engine, self.recipe) if self.recipe and self.predicts == predicts else None


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionInfo:
    """One registered version as ``nocturne models`` shows it. Times are ISO UTC; ``promoted`` is empty if never."""

    name: str
    version: str
    aliases: tuple[str, ...]
    candidate: str
    engine: str
    registered: str
    promoted: str
    outcome: str
    reasons: tuple[str, ...]
    training_end: str
    run_id: str

    @classmethod
    def of(cls, version: Any, aliases: tuple[str, ...]) -> Self:
        """From MLflow's own record of a version."""
        tags = version.tags
        registered = datetime.fromtimestamp(version.creation_timestamp / 1000, UTC)
        return cls(
            name=version.name,
            version=str(version.version),
            aliases=aliases,
            candidate=tags.get("candidate", ""),
            engine=tags.get("engine", ""),
            registered=registered.isoformat(timespec="seconds"),
            promoted=tags.get("promoted", ""),
            outcome=tags.get("outcome", ""),
            reasons=tuple(json.loads(tags.get("reasons", "[]"))),
            training_end=tags.get("training_end", ""),
            run_id=version.run_id or "",
        )
