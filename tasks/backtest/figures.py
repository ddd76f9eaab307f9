"""The figures of a run, as the ``Backtest`` contract wants them: rates a year, shares of capital.

Bars are joined to sessions first, so that intraday problems are judged by the day too. The cash rate is the run's: nil
unless the caller gave one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq

from tasks.backtest import risk
from tasks.backtest.costs import BASIS_POINT
from tasks.backtest.evaluator import Run
from tasks.backtest.market import FloatArray
from tasks.evaluation import Backtest

HIGHEST_COST = 0.5
"""A break-even cost is looked for up to this share of what is traded, either way."""

HIGHEST_SCALE = 1e4
"""Capacity is looked for up to the square of this many times the stated capital."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Daily:
    """Simple returns by session, (sessions,)."""

    sessions: npt.NDArray[np.datetime64]
    net: FloatArray
    gross: FloatArray


def daily(run: Run) -> Daily:
    """A run's returns joined to sessions."""
    starts = np.flatnonzero(np.concatenate([[True], run.sessions[1:] != run.sessions[:-1]]))
    return Daily(
        sessions=run.sessions[starts],
        net=np.multiply.reduceat(run.growth(), starts) - 1.0,
        gross=np.multiply.reduceat(run.gross, starts) - 1.0,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """Whose figures they are, and under which conditions."""

    candidate: str
    rule: str
    rows: Literal["folds", "gate"]
    capital: float
    illustrative: str


def backtest(about: About, run: Run, hold: Run) -> Backtest:
    """All figures of a run but the deflated Sharpe ratio, which needs the night's other candidates."""
    mine, theirs = daily(run), daily(hold)
    n, cash = len(mine.net), (1.0 + run.cash) ** (1.0 / run.periods) - 1.0
    years = n / run.periods
    excess, benchmark = mine.net - cash, theirs.net - cash
    annual = risk.annual_return(mine.net, run.periods)
    return Backtest(
        candidate=about.candidate,
        rule=about.rule,
        rows=about.rows,
        dates=n,
        annual_return=annual,
        excess_return=annual - run.cash,
        annual_volatility=risk.annual_volatility(mine.net, run.periods),
        sharpe=risk.sharpe(excess, run.periods),
        max_drawdown=risk.max_drawdown(mine.net),
        turnover=float(run.traded.sum()) / years,
        costs=float(run.taken.sum()) / years,
        break_even_bps=break_even(run) / BASIS_POINT,
        alpha=risk.alpha(excess, benchmark, run.periods),
        beta=risk.beta(excess, benchmark),
        alpha_t=risk.alpha_t(excess, benchmark),
        capacity=capacity(run, about.capital),
        illustrative=about.illustrative,
    )


def break_even(run: Run) -> float:
    """The cost of a traded unit, as a share of it, at which the excess return is nil; borrowing is paid besides.

    It stands for commission, spread and impact together. Negative where the run loses before them; NaN where nothing is
    traded or no cost up to ``HIGHEST_COST`` does it.
    """
    if not run.traded.any():
        return risk.NAN
    return _root(lambda unit: _excess(run, run.growth(unit, impact_scale=0.0)), -HIGHEST_COST, HIGHEST_COST)


def capacity(run: Run, capital: float) -> float:
    """The capital at which impact takes all excess return that the other costs leave, currency.

    Impact grows with the square root of capital. NaN where there is no such return, or no impact to take it.
    """
    if not run.impact.any() or _excess(run, run.growth(impact_scale=0.0)) <= 0:
        return risk.NAN
    scale = _root(lambda multiple: _excess(run, run.growth(impact_scale=multiple)), 0.0, HIGHEST_SCALE)
    return float(capital * scale**2)


def _excess(run: Run, growth: FloatArray) -> float:
    """Log growth over cash of the whole run: its sign is the excess return's."""
    sessions = len(np.unique(run.sessions))
    with np.errstate(divide="ignore"):
        total = float(np.log(growth).sum())
    return max(total, -1e6) - float(np.log1p(run.cash)) * sessions / run.periods


def _root(function: Callable[[float], float], low: float, high: float) -> float:
    if not function(low) * function(high) < 0:
        return risk.NAN
    return float(brentq(function, low, high, xtol=1e-14, rtol=1e-14))
