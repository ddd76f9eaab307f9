"""Which reads of the gate count together: the same kind of target, mostly the same bars, the same term. Pure.

A read is keyed by what it looks at. Two reads are of one family if they are of one kind of target and size of bar and

- belong to a problem of the same name, or
- their symbols overlap by at least half of their union (Jaccard's index), or, of two universes of at least 20 names,
  by half of the smaller one, or
- at least half of their series are the same series, whatever they are called.

Why the target's parameters are left out of the count: a horizon of 6 for one of 5, a barrier of 2.05 for one of 2, the
date's mean taken off or not are further tries at the same bars, and each with a budget of its own would buy as many
budgets as there are numbers. Whether two forecasts are of the same quantity is another question, and stays exact:
champions, recipes and licences are known by ``alike``.

Why half of the union: to add or drop a symbol must not buy a new budget of error. A panel of n symbols and one that
differs from it by a symbol overlap by n / (n + 1), half at the least (one symbol beside two). Why half of the smaller
universe, too: two random halves of a universe share a third of their union. A single name and a panel that holds it
are different looks, and stay apart.

Why series are fingerprinted: a file copied under another name is still the same bars. The fingerprint is over the
returns from session to session, which know neither the target nor the price's unit, in the term before the current one,
which every daily gate covers.

Why one calendar counts the terms: an exchange's bars fit several calendars, and each with terms of its own would begin
a new count on another date.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd

TERM_SESSIONS = 252
LEAST_OVERLAP = 0.5
PANEL_NAMES = 20
LEAST_RETURNS = 60
"""A fingerprint of fewer returns is none: a series that hardly moves repeats others by chance."""

COUNTING = "XNYS"
"""The calendar whose sessions the terms are counted by, whatever the problem's own is."""

DECIMALS = 6
BEGINNING = pd.Timestamp("1970-01-01")
END = "9999-12-31"
PREDICTS = re.compile(r"(?P<target>\w+)(?: \(.*\))? over \d+ x (?P<bar>\w+) on \S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """252 sessions of New York's calendar, counted from 1970: first session, the next term's first, the one before.

    Dates are ISO. Neither a problem's own calendar nor its ``term`` or ``gate_sessions`` moves them.
    """

    first: str
    next: str
    before: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a read looks at: what is predicted (``Problem.predicts``), the symbols, the series behind them, the term.

    ``problem`` is the name under which it is looked at: what the name hides, the rest finds, and the other way round.
    """

    predicts: str
    symbols: frozenset[str]
    series: frozenset[str]
    term: Term
    problem: str = ""

    def holds(self, predicts: str, symbols: Collection[str], series: Collection[str], problem: str = "") -> bool:
        """Whether another read, of whatever term, counts with this: the same kind of target, mostly the same bars."""
        if counted_as(predicts) != counted_as(self.predicts):
            return False
        return (bool(problem) and problem == self.problem) or self._mostly(symbols, series)

    def alike(self, predicts: str, symbols: Collection[str], series: Collection[str]) -> bool:
        """Whether another look is at the very same quantity, parameters included, of mostly the same bars."""
        return predicts == self.predicts and self._mostly(symbols, series)

    def _mostly(self, symbols: Collection[str], series: Collection[str]) -> bool:
        return overlapping(self.symbols, symbols) or jaccard(self.series, series) >= LEAST_OVERLAP


def counted_as(predicts: str) -> str:
    """Target and size of bar of ``Problem.predicts``: what reads are counted by. Other words stand for themselves.

    "triple_barrier (profit 2, stop 2) over 5 x 1d on XNYS" is counted as "triple_barrier of 1d".
    """
    found = PREDICTS.fullmatch(predicts)
    return f"{found['target']} of {found['bar']}" if found else predicts


def jaccard(one: Collection[str], other: Collection[str]) -> float:
    """Size of the intersection over that of the union; 0 for two empty sets, which have nothing in common."""
    mine, theirs = set(one), set(other)
    return len(mine & theirs) / len(mine | theirs) if mine or theirs else 0.0


def overlapping(one: Collection[str], other: Collection[str]) -> bool:
    """Whether two universes are mostly the same: half of their union, or half of the smaller of two panels."""
    if jaccard(one, other) >= LEAST_OVERLAP:
        return True
    smaller = min(len(set(one)), len(set(other)))
    return smaller >= PANEL_NAMES and len(set(one) & set(other)) >= LEAST_OVERLAP * smaller


def term_of(session: pd.Timestamp) -> Term:
    """The canonical term that holds a session (naive midnight)."""
    dates = _boundaries(session.year + 3)
    place = max(bisect_right(dates, session.date().isoformat()) - 1, 0)
    return Term(first=dates[place], next=dates[place + 1], before=dates[max(place - 1, 0)])


@lru_cache(maxsize=32)
def _boundaries(year: int) -> tuple[str, ...]:
    """ISO dates of every 252nd session from 1970 through a year, and an end of time."""
    import exchange_calendars  # noqa: PLC0415 - 0.2 s, and only where the gate is judged

    last = exchange_calendars.get_calendar(COUNTING).bound_max()
    end = pd.Timestamp(year, 12, 31) if last is None else min(pd.Timestamp(year, 12, 31), last)
    sessions = exchange_calendars.get_calendar(COUNTING, start=BEGINNING, end=end).sessions
    return (*(day.date().isoformat() for day in sessions[::TERM_SESSIONS]), END)


def fingerprints(bars: pd.DataFrame, term: Term) -> frozenset[str]:
    """Digests of the symbols' returns in the term before ``term``, by session and to six decimals, without their names.

    bars: columns ``symbol, session, close``, in time order within each symbol; the last close of a session counts. A
    panel has a digest a symbol; of fewer than 20 symbols each has one a month, so that a single bar that was changed
    does not make another series. A symbol with fewer than 60 returns there has none.
    """
    inside = bars["session"].between(pd.Timestamp(term.before), pd.Timestamp(term.first), inclusive="left")
    closes = bars.loc[inside, ["symbol", "session", "close"]].drop_duplicates(["symbol", "session"], keep="last")
    groups = [_returns(group) for _, group in closes.groupby("symbol", sort=False)]
    known = [group for group in groups if len(group) >= LEAST_RETURNS]
    if len(known) >= PANEL_NAMES:
        return frozenset(map(_fingerprint, known))
    return frozenset(
        _fingerprint(month)
        for group in known
        for _, month in group.groupby(pd.DatetimeIndex(group.index).to_period("M"))
    )


def _returns(bars: pd.DataFrame) -> pd.Series:
    """Log returns from session to session, by session; what is not finite is left out."""
    closes = bars.set_index("session")["close"].astype(np.float64).sort_index()
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = pd.Series(np.log(closes.to_numpy())[1:] - np.log(closes.to_numpy())[:-1], closes.index[1:])
    return returns[np.isfinite(returns)]


def _fingerprint(returns: pd.Series) -> str:
    rounded = np.round(returns.to_numpy(np.float64), DECIMALS) + 0.0  # minus zero is zero
    days = returns.index.to_numpy("datetime64[D]").astype(np.int64)
    return hashlib.sha256(days.tobytes() + rounded.tobytes()).hexdigest()[:16]
