"""The frozen values of what a night finds out: scores, backtests, the gate's evidence, the decision.

Like ``contracts.py``: immutable, survives JSON (NaN as null), standard library only.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .contracts import EngineName, Ref

CHAMPION = "champion"
"""What the champion's recipe is called on the board where tonight's search did not come upon it itself."""

Outcome = Literal["promoted", "refreshed", "kept", "baseline", "quarantined", "unchanged"]
Verdict = Literal["helps", "no difference", "hurts", "not known"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Backtest:
    """What a rule that trades on predictions would have earned after costs, on stated rows.

    Rates are a year and in shares of capital (0.05 is five per cent): ``annual_return`` is geometric and
    ``excess_return`` what is left of it over cash; ``turnover`` is what is traded in multiples of capital;
    ``costs`` what trading and borrowing took. ``sharpe`` is of returns over cash, annualised; ``deflated_sharpe`` the
    probability that the true one is positive after counting the trials; ``max_drawdown`` is a positive share;
    ``break_even_bps`` is the cost of a traded unit, in basis points, at which the excess return is nil; ``alpha`` and
    ``beta`` are against buy-and-hold, ``alpha_t`` its Newey-West t statistic; ``capacity`` is the capital at which
    impact takes the excess return that the other costs leave.
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
    alpha_t: float = float("nan")
    deflated_sharpe: float = float("nan")
    capacity: float = float("nan")
    illustrative: str = ""
    equity: Ref | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ZiplineCheck:
    """A candidate's positions traded again by Zipline: whole shares, commission and spread, no impact and no borrow.

    ``equity_difference`` is the largest relative difference between Zipline's equity and the evaluator's in the same
    mode, and ``unmatched`` the trades that only one of them made: both are nil but for rounding, or the evaluator is
    wrong. ``annual_return`` is Zipline's, ``economic_return`` the economic evaluator's on the same sessions, all costs
    in. ``error`` says why there is no comparison; the figures are NaN then.
    """

    candidate: str
    sessions: int = 0
    trades: int = 0
    unmatched: int = 0
    equity_difference: float = float("nan")
    annual_return: float = float("nan")
    economic_return: float = float("nan")
    seconds: float = float("nan")
    error: str = ""


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
class TransferWorth:
    """What a transfer was worth against the same without pre-training, on the same walk-forward rows.

    ``difference`` is the control's mean loss less the candidate's (positive: the transfer helped), losses averaged by
    date first, with its 95 % ``interval``; ``hurts_p`` and ``helps_p`` are one-sided Diebold-Mariano p-values.
    ``frozen`` is the share of the encoder's layers that kept their weights. ``backbone`` is ``name:version``.
    ``verdict`` is ``not known`` where the two cannot be compared; ``note`` says what a reader of it must know.
    """

    candidate: str
    control: str
    strategy: str
    backbone: str
    frozen: float
    difference: float
    interval: tuple[float, float]
    hurts_p: float
    helps_p: float
    verdict: Verdict
    dates: int = 0
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CarriedError:
    """Errors of a pre-trained candidate and of its control on one group of the walk-forward rows: with and without.

    ``by`` is what the rows are divided by, ``group`` which of them these are. Losses are averaged by date first;
    ``difference`` is the control's less the candidate's, with its 95 % ``interval`` (not corrected for the number of
    groups); ``*_bias`` are mean prediction less mean label.
    """

    candidate: str
    control: str
    by: Literal["market's volatility", "market's trend", "symbols", "volatility quintile"]
    group: str
    rows: int
    dates: int
    control_loss: float
    candidate_loss: float
    difference: float
    interval: tuple[float, float]
    control_bias: float
    candidate_bias: float


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
    ``alarms`` are reasons to suspect a leak; ``transfers`` say what each pre-trained candidate owes to its pre-training
    and ``carried`` where, group of rows by group of rows, its errors are others than without.
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
    transfers: tuple[TransferWorth, ...] = ()
    carried: tuple[CarriedError, ...] = ()


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
    ``refreshable`` names the candidate that is the champion's recipe refitted through last night, if the champion may
    be refreshed with it; ``not_refreshed`` says why it may not. ``underpowered`` says why the gate finds too little
    to be read for the challenger; ``notes`` are what a reader of the decision must know and what decides nothing.
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
    not_refreshed: str = ""
    obstacles: tuple[str, ...] = ()
    waivers: tuple[str, ...] = ()
    partial: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    underpowered: str = ""
    notes: tuple[str, ...] = ()
    worth: TransferWorth | None = None
    from_scratch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the gate decided and why. ``promote`` names the candidate that takes the alias, empty if none does."""

    outcome: Outcome
    promote: str
    reasons: tuple[str, ...]
