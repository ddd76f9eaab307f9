"""Zipline as the check on the evaluator: the same positions, traded by both, compared.

The evaluator's zipline mode must give Zipline's trades and equity but for rounding; how far the economic mode is from
them says what whole shares, impact, borrowing and delistings come to. A check that cannot be made says why and fails
nothing: figures come from the evaluator alone.
"""

from __future__ import annotations

import logging

import exchange_calendars as xc
import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.backtest import risk
from tasks.backtest.candidates import Result, Setting, conditions
from tasks.backtest.market import FloatArray, Market
from tasks.backtest.zipline_mode import on_sessions, simulate
from tasks.backtest.zipline_run import SECONDS, compare, run_zipline
from tasks.contracts import Snapshot
from tasks.errors import EngineError
from tasks.evaluation import ZiplineCheck
from tasks.problem import Problem

CALENDAR = "XNYS"
LARGEST = 60_000
"""Names times sessions that are given to Zipline, the last ones: it takes about 0.2 ms for each."""

log = logging.getLogger("nocturne.backtest")


def obstacle(problem: Problem) -> str:
    """Why Zipline cannot be run for a problem; empty if it can."""
    if problem.bar != "1d" or problem.calendar != CALENDAR:
        return f"Zipline is run on daily bars of {CALENDAR} only, not on {problem.bar} of {problem.calendar}"
    return ""


def check(
    problem: Problem, snapshot: Snapshot, where: Setting, result: Result, seconds: float = SECONDS
) -> ZiplineCheck:
    """One candidate's weights under Zipline and under the evaluator's zipline mode, on the last ``LARGEST`` cells."""
    name = result.figures.candidate
    try:
        return _check(problem, snapshot, where, result, seconds)
    except (EngineError, ValueError) as error:
        log.warning("zipline check of %s: %s", name, error)
        return ZiplineCheck(candidate=name, error=str(error))


def sessions_between(market: Market) -> npt.NDArray[np.datetime64]:
    """The exchange's sessions from a market's first to its last."""
    first, last = pd.Timestamp(market.sessions[0]), pd.Timestamp(market.sessions[-1])
    calendar = xc.get_calendar(CALENDAR, start=first - pd.Timedelta(days=7), end=last + pd.Timedelta(days=7))
    found = calendar.sessions_in_range(first, last)
    return np.asarray(found.to_numpy(dtype="datetime64[ns]"))


def _check(problem: Problem, snapshot: Snapshot, where: Setting, result: Result, seconds: float) -> ZiplineCheck:
    market, weights = where.ground.market, result.weights
    first = max(0, len(market.times) - max(LARGEST // len(market.symbols), 2))
    part = market.between(first, len(market.times) - 1)
    ready = on_sessions(part, sessions_between(part), conditions(problem, snapshot)[0])
    place = pd.Index(part.sessions).get_indexer(pd.Index(ready.sessions))
    targets = np.where((place >= 0)[:, None], weights[first:][place], np.nan)
    mine = simulate(ready, targets, where.ground.costs)
    theirs, took = run_zipline(ready, targets, where.ground.costs, seconds=seconds)
    apart = compare(mine, theirs)
    economic = result.equity.set_index("session")["net"].reindex(pd.DatetimeIndex(ready.sessions)).to_numpy(float)
    economic[:1] = np.nan_to_num(economic[:1], nan=1.0)  # the bar of the first decision, before anything is held
    return ZiplineCheck(
        candidate=result.figures.candidate,
        sessions=len(ready.sessions),
        trades=apart.trades,
        unmatched=apart.unmatched,
        equity_difference=apart.equity,
        annual_return=_annual(theirs.equity, market.periods),
        economic_return=_annual(economic, market.periods),
        seconds=took,
    )


def _annual(equity: FloatArray, periods: int) -> float:
    return risk.annual_return(np.asarray(equity[1:] / equity[:-1] - 1.0, dtype=np.float64), periods)
