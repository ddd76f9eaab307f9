"""Which reads of the gate count together: the same target, mostly the same bars, the same term. Pure.

A read is keyed by what it looks at, not by what the problem is called. Two reads are of one family if they are of one
kind of target and size of bar and their symbols overlap by at least half of their union (Jaccard's index), or if at
least half of their series are the same series whatever they are called.

Why the target's parameters are left out of the count: a horizon of 6 for one of 5, a barrier of 2.05 for one of 2, the
date's mean taken off or not are further tries at the same bars, and each with a budget of its own would buy as many
budgets as there are numbers. Whether two forecasts are of the same quantity is another question, and stays exact:
champions, recipes and licences are known by ``alike``.

Why half of the union: to add or drop a symbol must not buy a new budget of error. A panel of n symbols and one that
differs from it by a symbol overlap by n / (n + 1), half at the least (one symbol beside two); and two universes that
share less than half of their union are mostly other data.

Why series are fingerprinted: a file copied under another name, or a tick, calendar or fold turned by a hair, is still
the same bars. The fingerprint is over the labels of the term before the current one, which every daily gate covers.
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

from tasks.errors import ConfigurationError

TERM_SESSIONS = 252
LEAST_OVERLAP = 0.5
LEAST_LABELS = 60
"""A fingerprint of fewer labels is none: sides (up, not up) of few days repeat by chance."""

DECIMALS = 9
BEGINNING = pd.Timestamp("1970-01-01")
END = "9999-12-31"
PREDICTS = re.compile(r"(?P<target>\w+)(?: \(.*\))? over \d+ x (?P<bar>\w+) on \S+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """252 sessions of a calendar, counted from its beginning: first session, the next term's first, the one before.

    Dates are ISO. Neither a problem's own ``term`` nor its ``gate_sessions`` moves them.
    """

    first: str
    next: str
    before: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """What a read looks at: what is predicted (``Problem.predicts``), the symbols, the series behind them, the term."""

    predicts: str
    symbols: frozenset[str]
    series: frozenset[str]
    term: Term

    def holds(self, predicts: str, symbols: Collection[str], series: Collection[str]) -> bool:
        """Whether another read, of whatever term, counts with this: the same kind of target, mostly the same bars."""
        return self._mostly(counted_as(predicts) == counted_as(self.predicts), symbols, series)

    def alike(self, predicts: str, symbols: Collection[str], series: Collection[str]) -> bool:
        """Whether another look is at the very same quantity, parameters included, of mostly the same bars."""
        return self._mostly(predicts == self.predicts, symbols, series)

    def _mostly(self, target: bool, symbols: Collection[str], series: Collection[str]) -> bool:
        named = target and jaccard(self.symbols, symbols) >= LEAST_OVERLAP
        return named or jaccard(self.series, series) >= LEAST_OVERLAP


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


def term_of(calendar: str, session: pd.Timestamp) -> Term:
    """The canonical term that holds a session (naive midnight). Raises ConfigurationError for an unknown calendar."""
    dates = _boundaries(calendar, session.year + 3)
    place = max(bisect_right(dates, session.date().isoformat()) - 1, 0)
    return Term(first=dates[place], next=dates[place + 1], before=dates[max(place - 1, 0)])


@lru_cache(maxsize=32)
def _boundaries(calendar: str, year: int) -> tuple[str, ...]:
    """ISO dates of every 252nd session from 1970 (or the calendar's own first) through a year, and an end of time."""
    import exchange_calendars  # noqa: PLC0415 - 0.2 s, and only where the gate is judged

    try:
        known = exchange_calendars.get_calendar(calendar)
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise ConfigurationError(f"calendar '{calendar}' is not known to exchange-calendars") from error
    first, last = known.bound_min(), known.bound_max()
    start = BEGINNING if first is None else max(BEGINNING, first)
    end = pd.Timestamp(year, 12, 31) if last is None else min(pd.Timestamp(year, 12, 31), last)
    sessions = exchange_calendars.get_calendar(calendar, start=start, end=end).sessions
    return (*(day.date().isoformat() for day in sessions[::TERM_SESSIONS]), END)


def fingerprints(rows: pd.DataFrame, term: Term) -> frozenset[str]:
    """One digest a symbol of its labels in the term before ``term``, by session and to nine decimals, without its name.

    rows: columns ``symbol, session, label``; any window. A symbol with fewer than 60 labels there has none.
    """
    inside = rows["session"].between(pd.Timestamp(term.before), pd.Timestamp(term.first), inclusive="left")
    part = rows.loc[inside & np.isfinite(rows["label"].to_numpy(np.float64)), ["symbol", "session", "label"]]
    groups = part.groupby("symbol", sort=False)
    return frozenset(_fingerprint(group) for _, group in groups if len(group) >= LEAST_LABELS)


def _fingerprint(group: pd.DataFrame) -> str:
    ordered = group.sort_values("session", kind="stable")
    labels = np.round(ordered["label"].to_numpy(np.float64), DECIMALS) + 0.0  # minus zero is zero
    days = ordered["session"].to_numpy("datetime64[D]").astype(np.int64)
    return hashlib.sha256(days.tobytes() + labels.tobytes()).hexdigest()[:16]
