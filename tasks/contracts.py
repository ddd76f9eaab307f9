"""The frozen values that cross stages. Tasks pass these and never frames, models or open handles.

Everything here is immutable and survives JSON: ``to_json`` and ``from_json`` are inverses.
This module travels inside promoted models: standard library only.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from typing import Any, Literal

from .documents import from_json as from_json
from .documents import to_json as to_json

TargetName = Literal["volatility", "return", "direction", "triple_barrier"]
EngineName = Literal["baseline", "linear", "h2o", "autokeras"]
WindowName = Literal["train", "validation", "blending", "selection", "fold", "gate"]
CrossSection = Literal["none", "rank", "zscore"]
Severity = Literal["refused", "quarantined", "set_aside", "warning", "info"]
Outcome = Literal["promoted", "refreshed", "kept", "baseline", "quarantined", "unchanged"]

SEARCH_WINDOWS: tuple[WindowName, ...] = ("train", "validation", "blending", "selection")


@dataclass(frozen=True, slots=True, kw_only=True)
class Ref:
    """A stored file: where it is, the SHA-256 of its bytes, and how many rows or entries it holds."""

    path: str
    sha256: str
    rows: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing the data checks found. ``time`` is ISO 8601 UTC; ``row`` counts the source's data rows from 1."""

    rule: str
    severity: Severity
    symbol: str = ""
    time: str = ""
    row: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """An immutable, content-addressed set of bars. ``sha256`` depends on the bars' values alone, not on the file.

    ``sessions`` is how many sessions the longest symbol's history has. ``quarantined_from`` gives, for each quarantined
    symbol, the first session (ISO date) from which its bars are left out: what came before stays. ``survivors_only``
    marks several symbols that all reach the last session: those that vanished meanwhile are missing.
    """

    sha256: str
    bars: Ref
    symbols: tuple[str, ...]
    first: str
    last: str
    bar: str
    calendar: str
    true_opens: bool
    has_volume: bool
    sessions: int = 0
    quarantined: tuple[str, ...] = ()
    quarantined_from: dict[str, str] = field(default_factory=dict)
    survivors_only: bool = False
    findings: Ref | None = None
    finding_counts: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSpec:
    """What fixes the values of every feature column besides the bars; it travels inside the model.

    ``cross_section`` says how a panel's columns are put on one scale within each date, from that date alone;
    ``universe`` names the symbols that a model of a panel was trained on, of which it must be given most.
    """

    columns: tuple[str, ...]
    tick: float
    bar: str = "1d"
    cross_section: CrossSection = "none"
    universe: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.tick > 0:
            raise ValueError(f"tick must be positive, got {self.tick}")


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureMatrix:
    """One row a bar, aligned with the snapshot's rows; NaN only inside a column's lookback."""

    ref: Ref
    spec: FeatureSpec
    lookback: int
    left_out: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """A stretch of label rows in time order: first and last bar time (ISO, UTC), rows and distinct dates.

    ``effective`` is the sum of its labels' average uniqueness (López de Prado 2018, chapter 4), averaged over symbols:
    how many labels that share no bar the window is worth.
    """

    name: WindowName
    first: str
    last: str
    rows: int
    dates: int
    effective: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What is predicted. ``kind`` tells engines how to fit; ``loss`` is the ranking loss, lower is better.

    ``profit`` and ``stop`` are the barriers of ``triple_barrier`` in units of past volatility over the horizon;
    ``neutral`` means that the date's mean over a panel was taken off the label.
    """

    name: TargetName
    horizon: int
    kind: Literal["regression", "classification"]
    loss: Literal["mse", "log_loss"]
    profit: float = 0.0
    stop: float = 0.0
    neutral: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """Labels and windows, one row a bar, aligned with the snapshot's rows.

    The file has the columns ``symbol, time, session, label, label_end, weight, window, scored_by`` and one boolean
    column for each name in ``fits``. ``window`` is a WindowName or empty (purged, embargoed, inside the lookback, or
    without a label). ``weight`` is the label's average uniqueness, in (0, 1]; it is handed to the engines where
    ``weighted``.

    ``fits``, in time order: ``fit_fold_1`` … ``fit_fold_K``, ``fit_gate``, ``fit_origin_1`` … ``fit_origin_M``,
    ``fit_all``. Each column marks what that fit may learn from: labels that end, with the embargo, before the stretch
    that it is scored on. ``scored_by`` names the fit whose predictions count on the row: ``fit_fold_k`` on fold k;
    in the gate window ``fit_gate`` until the first origin, then ``fit_origin_j``; empty elsewhere.
    """

    ref: Ref
    target: Target
    windows: tuple[Window, ...]
    purged: int
    embargo: int
    term_start: str
    fits: tuple[str, ...] = ("fit_gate", "fit_all")
    folds: tuple[Window, ...] = ()
    weighted: bool = False
    floored_share: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineBudget:
    """How much an engine may try: models (or trials), wall seconds, epochs a trial, threads, JVM megabytes."""

    models: int
    seconds: int
    epochs: int = 0
    threads: int = 2
    memory_mb: int = 3072


@dataclass(frozen=True, slots=True, kw_only=True)
class RefitJob:
    """One recipe to be fitted again on the rows that a column of ``Rows.fits`` marks.

    ``shuffle``, if not zero, is the seed of a permutation of all labels by blocks of dates (a canary: whatever such a
    fit seems to know of the permuted labels, it knows by a leak).
    """

    name: str
    recipe: dict[str, Any]
    rows: str
    shuffle: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineRequest:
    """The whole input of an engine's process."""

    engine: str
    mode: Literal["search", "refit", "explain"]
    features: FeatureMatrix
    rows: Rows
    budget: EngineBudget
    seed: int
    jobs: tuple[RefitJob, ...] = ()
    explain: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A fitted recipe. ``model`` is a folder in the serving format; ``predictions`` aligns with the snapshot's rows.

    ``held_out_smearing`` is Duan's factor (volatility only) from residuals on rows that an earlier fit of the recipe
    had not seen; None where the candidate's own predictions on validation and blending rows serve. ``rows`` says which
    fit of ``Rows.fits`` a refit is; it is empty for what a search returns. ``shuffle`` is the job's.
    """

    name: str
    engine: EngineName
    recipe: dict[str, Any]
    model: str
    predictions: Ref
    train_seconds: float
    predict_us_per_row: float
    reproducible: bool = True
    rows: str = ""
    shuffle: int = 0
    held_out_smearing: float | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineResult:
    """What an engine's process leaves behind: candidates, or the error that stopped it."""

    engine: str
    candidates: tuple[Candidate, ...] = ()
    work_seconds: float = 0.0
    start_seconds: float = 0.0
    error: str = ""
    reproducible: bool = True
    notes: tuple[str, ...] = ()
    importance: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What a rule that trades on predictions would have earned after costs, on stated rows.

    Rates are a year and in shares of capital (0.05 is five per cent): ``annual_return`` is geometric and
    ``excess_return`` what is left of it over cash; ``turnover`` is what is traded in multiples of capital;
    ``costs`` what trading and borrowing took. ``sharpe`` is of returns over cash, annualised; ``deflated_sharpe`` the
    probability that the true one is positive after counting the trials; ``max_drawdown`` is a positive share;
    ``break_even_bps`` is the cost of a traded unit, in basis points, at which the excess return is nil; ``alpha`` and
    ``beta`` are against buy-and-hold; ``capacity`` is the capital at which impact alone takes the excess return.
    NaN stands where a figure is not defined. ``illustrative`` says why the result could not have been had, if so.
    ``equity``: Parquet with ``session, net, gross, hold``, growth of one.
    """

    candidate: str
    rule: str
    rows: Literal["folds", "gate"]
    dates: int
    annual_return: float
    excess_return: float
    annual_volatility: float
    sharpe: float
    max_drawdown: float
    turnover: float
    costs: float
    break_even_bps: float
    alpha: float
    beta: float
    deflated_sharpe: float = float("nan")
    capacity: float = float("nan")
    illustrative: str = ""
    equity: Ref | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A candidate's standing on the joined walk-forward rows. ``metrics`` holds the target's whole set, by name.

    ``fold_scores`` is the ranking loss in each fold and was used to choose; ``skill_interval`` the 95 % stationary
    bootstrap interval of the skill; ``p_values`` the one-sided Diebold-Mariano p by rival (every baseline, and the
    champion where it could be scored). ``selection_score`` is the loss on the selection rows, where the search itself
    ranked; NaN where there was none.
    """

    rank: int
    candidate: str
    engine: EngineName
    metric: str
    direction: Literal["minimize", "maximize"]
    score: float
    skill: float
    metrics: dict[str, float] = field(default_factory=dict)
    fold_scores: tuple[float, ...] = ()
    skill_interval: tuple[float, float] = (float("nan"), float("nan"))
    p_values: dict[str, float] = field(default_factory=dict)
    selection_score: float = float("nan")
    train_seconds: float = 0.0
    predict_us_per_row: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class NightStatistics:
    """What one night's ranking says as a whole: figures that only make sense over all candidates together.

    ``spa_p``: Hansen's (2005) test that no candidate beats the best baseline; ``superior``: those that StepM (Romano
    and Wolf 2005) finds better than it at 5 %; ``confidence_set``: the 95 % model confidence set (Hansen, Lunde and
    Nason 2011); ``overfitting``: probability of backtest overfitting by CSCV; ``mincer_zarnowitz``: by candidate,
    intercept, slope and the p-value of (0, 1); ``trials``: independent trials so far, by clusters of the ledger.
    """

    spa_p: float
    superior: tuple[str, ...]
    confidence_set: tuple[str, ...]
    overfitting: float
    mincer_zarnowitz: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    trials: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaderboard:
    """Every refitted candidate on the same walk-forward rows. ``sha256`` leaves timings out.

    ``refused`` names candidates that could not be scored on every row, with the reason; ``not_refitted`` those that
    stayed behind on the selection rows, with their loss there: neither has a rank. ``predictions``: Parquet with
    ``symbol, time, session, label, label_end, fold`` and a column for each ranked candidate, out of sample throughout.
    ``alarms`` are reasons to suspect a leak.
    """

    scores: tuple[Score, ...]
    rows: int
    dates: int
    sha256: str
    smearing: dict[str, float] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    not_refitted: dict[str, float] = field(default_factory=dict)
    predictions: Ref | None = None
    statistics: NightStatistics | None = None
    backtests: tuple[Backtest, ...] = ()
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateComparison:
    """The challenger against one rival on the gate window, losses averaged by date first.

    ``difference`` is rival's mean loss less the challenger's (positive: the challenger is better), ``statistic`` the
    Diebold-Mariano t, ``p_value`` one-sided. ``clark_west_p`` and ``hln_p`` are reported and decide nothing.
    ``qlike_worse_p`` (volatility): p of the test that the challenger's QLIKE is higher; small is bad, 1 elsewhere.
    """

    rival: str
    role: Literal["champion", "baseline"]
    rival_loss: float
    challenger_loss: float
    difference: float
    statistic: float
    p_value: float
    dates: int
    lag: int
    clark_west_p: float = float("nan")
    hln_p: float = float("nan")
    qlike_worse_p: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Licence:
    """Whether the champion's recipe may be refreshed this term: refits inside the gate against its frozen gated fit.

    ``increase`` is the refits' mean loss over the frozen fit's, less one; ``upper`` its one-sided 95 % bound, which
    must lie below ``limit``. Each refit is scored on what came after its origin.
    """

    recipe_sha256: str
    term: str
    granted: bool
    increase: float
    upper: float
    limit: float
    origins: int
    dates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All that the gate's decision depends on, besides the policy.

    ``champion_unscored`` says why the champion could not be scored on the gate rows (no predictions, fitted on rows
    inside the gate); it is empty where it was scored or where there is none. ``required_dates`` is what ``dates``
    must reach before anything is replaced, ``required_effective`` the same for ``effective``. ``read`` is the number
    of this read of the gate within its term, 0 if the gate was not read for a challenger; ``level`` the significance
    that this read has. ``gate_losses``: mean loss by date-averaged rows of everything scored on the gate.
    """

    challenger: str
    challenger_engine: EngineName
    challenger_recipe_sha256: str
    best_baseline: str
    comparisons: tuple[GateComparison, ...]
    dates: int
    champion: str = ""
    champion_recipe_sha256: str = ""
    champion_unscored: str = ""
    required_dates: int = 504
    effective: float = 0.0
    required_effective: float = 0.0
    read: int = 1
    level: float = 0.05
    not_read: str = ""
    term: str = ""
    gate_losses: dict[str, float] = field(default_factory=dict)
    licence: Licence | None = None
    refreshable: str = ""
    obstacles: tuple[str, ...] = ()
    waivers: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the gate decided and why. ``promote`` names the candidate that takes the alias, empty if none does."""

    outcome: Outcome
    promote: str
    reasons: tuple[str, ...]


def resolved(value: Any, folder: str) -> Any:
    """A copy in which every relative ``Ref.path`` and ``Candidate.model`` is taken as lying below ``folder``.

    A stage's output folder is published under its key by a rename, so what lies in it refers to itself relatively.
    """
    if isinstance(value, Ref):
        return dataclasses.replace(value, path=os.path.join(folder, value.path))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changes = {f.name: resolved(getattr(value, f.name), folder) for f in dataclasses.fields(value)}
        if isinstance(value, Candidate):
            changes["model"] = os.path.join(folder, value.model)
        return dataclasses.replace(value, **changes)
    if isinstance(value, tuple):
        return tuple(resolved(item, folder) for item in value)
    return value
