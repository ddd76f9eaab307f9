"""Every candidate's backtest on the same rows: predictions to edges, weights, a run and its figures.

1. The market is the snapshot's bars from the first prediction to the bar at which the last position runs off.
2. Fills are at the next open; at the next close where the source has no true opens, and then the result is marked
   ``illustrative``: nobody could have had it. So is that of an index, which cannot be bought.
3. Buy-and-hold is evaluated on the same bars with the same costs and stands among the results under ``HOLD``.

Pure: nothing is read or written here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.backtest import figures, positions, risk
from tasks.backtest.costs import Costs
from tasks.backtest.evaluator import Ground, Run, buy_and_hold, run
from tasks.backtest.market import Fill, FloatArray, Liquidity, Market, legs, liquidity
from tasks.contracts import Snapshot
from tasks.errors import ConfigurationError, DataError
from tasks.evaluation import Backtest
from tasks.problem import Problem
from tasks.statistics.sharpe import deflated_sharpe, sharpe_ratio

Places = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
Span = Literal["folds", "gate"]
HOLD = "buy and hold"
TARGETS = ("return", "direction", "triple_barrier")
"""A forecast of volatility says nothing about which way to trade."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What all candidates of a backtest share, cut to the bars first..last of the market: ``rate`` is the base rate
    known at each bar (nil for returns), (bars, 1)."""

    ground: Ground
    rate: FloatArray
    rule: positions.Rule
    horizon: int
    illustrative: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """A candidate's figures, its target weights (bars, symbols) and its equity: ``session, net, gross, hold``."""

    figures: Backtest
    weights: FloatArray
    equity: pd.DataFrame


def check_rule(problem: Problem, symbols: int) -> None:
    """Refuse before the night what its end could not do. Raises ConfigurationError."""
    if problem.target in TARGETS and problem.positions == "decile" and symbols < positions.NAMES:
        raise ConfigurationError(
            f"positions 'decile' needs at least {positions.NAMES} symbols, there are {symbols}: set positions to "
            "'sign', 'proportional' or 'volatility_target'"
        )


def conditions(problem: Problem, snapshot: Snapshot) -> tuple[Fill, str]:
    """At which price fills are possible, and why the result could not have been had (empty if it could)."""
    reasons = []
    if not snapshot.true_opens:
        reasons.append("no true opens, so filled at the next close")
    if any(_indices(problem, snapshot.symbols)):
        reasons.append("an index cannot be bought")
    return ("open" if snapshot.true_opens else "close"), "; ".join(reasons)


def setting(problem: Problem, snapshot: Snapshot, market: Market, labels: pd.DataFrame, times: pd.Series) -> Setting:
    """What the candidates of a problem share on the predictions at ``times``; ``market`` holds all bars there are.

    ``labels``: columns ``label, label_end`` of all rows (for the base rate, which looks at no later ones).
    """
    fill, reason = conditions(problem, snapshot)
    first, last = _ends(market, times, problem.horizon)
    known, part = liquidity(market), market.between(first, last)
    rate = np.zeros(len(part.times))
    if problem.target != "return":
        ends = labels["label_end"].to_numpy(dtype="datetime64[ns]")
        rate = positions.base_rate(part.times, labels["label"].to_numpy(float), ends)
    cut = slice(first, last + 1)
    value = np.where(_indices(problem, market.symbols), 0.0, known.value[cut])  # an index's volume is not money
    known = Liquidity(volatility=known.volatility[cut], value=value)
    return Setting(
        ground=Ground(market=part, earned=legs(part, fill), known=known, costs=Costs.of(problem)),
        rate=rate[:, None],
        rule=problem.positions,
        horizon=problem.horizon,
        illustrative=reason,
        first=first,
        last=last,
    )


def evaluate(
    where: Setting, keys: pd.DataFrame, predictions: Mapping[str, FloatArray], rows: Span, trials: int
) -> list[Result]:
    """Backtest every candidate, then buy-and-hold. ``keys``: ``symbol, time`` of the predictions' rows.

    ``trials``: independent trials so far, by which the candidates' Sharpe ratios are deflated. Raises DataError if a
    prediction is for a bar that the market does not have.
    """
    hold = buy_and_hold(where.ground)
    place = _places(where.ground.market, keys)
    results = []
    for name, values in predictions.items():
        weights = target_weights(where, _grid(where.ground.market, place, values))
        results.append(_result(_about(where, name, rows), run(where.ground, weights), hold, weights))
    untouched = np.full(where.ground.market.close.shape, np.nan)
    held = _result(_about(where, HOLD, rows), hold, hold, untouched)
    return [*deflated(results, max(trials, 1), where), *deflated([held], 1, where)]


def deflated(results: list[Result], trials: int, where: Setting) -> list[Result]:
    """With deflated Sharpe ratios: the variance among these candidates stands for that of the trials, floored."""
    cash = where.ground.daily_cash
    ratios = [sharpe_ratio(_returns(result.equity) - cash) for result in results]
    values = np.array([ratio.value for ratio in ratios if np.isfinite(ratio.value)])
    spread = float(np.var(values, ddof=1)) if len(values) > 1 else risk.NAN
    told = [
        replace(result.figures, deflated_sharpe=deflated_sharpe(ratio, trials, spread))
        for result, ratio in zip(results, ratios, strict=True)
    ]
    return [replace(result, figures=mine) for result, mine in zip(results, told, strict=True)]


def _returns(equity: pd.DataFrame) -> FloatArray:
    net = equity["net"].to_numpy(float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.nan_to_num(net / np.concatenate([[1.0], net[:-1]]) - 1.0))


def target_weights(where: Setting, prediction: FloatArray) -> FloatArray:
    """Target weights from predictions, both (bars, symbols); NaN where there is no prediction."""
    yearly = where.ground.known.volatility * np.sqrt(where.ground.market.periods)
    return positions.sleeves(positions.signals(prediction - where.rate, where.rule, yearly), where.horizon)


def _about(where: Setting, name: str, rows: Span) -> figures.About:
    return figures.About(
        candidate=name,
        rule="hold" if name == HOLD else where.rule,
        rows=rows,
        capital=where.ground.costs.capital,
        illustrative=where.illustrative,
    )


def _result(about: figures.About, mine: Run, hold: Run, weights: FloatArray) -> Result:
    days, theirs = figures.daily(mine), figures.daily(hold)
    curves = {"net": days.net, "gross": days.gross, "hold": theirs.net}
    equity = pd.DataFrame({"session": days.sessions, **{key: np.cumprod(1.0 + r) for key, r in curves.items()}})
    return Result(figures=figures.backtest(about, mine, hold), weights=weights, equity=equity)


def _indices(problem: Problem, symbols: tuple[str, ...]) -> list[bool]:
    return [problem.source.startswith("builtin:") or symbol.startswith("^") for symbol in symbols]


def _ends(market: Market, times: pd.Series, run_off: int) -> tuple[int, int]:
    stamps = times.to_numpy(dtype="datetime64[ns]")
    first, last = (int(np.searchsorted(market.times, stamp)) for stamp in (stamps.min(), stamps.max()))
    end = min(last + run_off, len(market.times) - 1)  # as far as the last label looks, so never into the gate
    if end == first:
        raise DataError(f"no bar after the first prediction ({times.min()}): nothing can be filled")
    return first, end


def _places(market: Market, keys: pd.DataFrame) -> Places:
    """Row and column of each prediction in the market's arrays."""
    stamps = keys["time"].to_numpy(dtype="datetime64[ns]")
    row = np.searchsorted(market.times, stamps)
    column = pd.Index(market.symbols).get_indexer(pd.Index(keys["symbol"]))
    lost = np.flatnonzero((column < 0) | (market.times[np.minimum(row, len(market.times) - 1)] != stamps))
    if len(lost):
        named = ", ".join(f"{keys['symbol'].iloc[i]} {keys['time'].iloc[i]}" for i in lost[:5])
        raise DataError(f"{len(lost)} predictions are for bars that the snapshot does not have ({named}): run again")
    return row, column


def _grid(market: Market, place: Places, values: FloatArray) -> FloatArray:
    grid = np.full(market.close.shape, np.nan)
    grid[place] = values
    return grid
