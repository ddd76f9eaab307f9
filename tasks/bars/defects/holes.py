"""Sessions of the exchange without a bar, and intraday bars whose clock does not keep the exchange's."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.defects.defect import Defect
from tasks.bars.defects.history import History, Rows

Spans = npt.NDArray[np.timedelta64]

LONGEST = 21
"""More sessions than this without a bar: a month."""
YEAR = 252
SHARE = 0.05
"""Of the sessions of a year, at most this share may lack."""
EVERYONE = 0.9
CROWD = 5
CURRENCY_ZONE = "America/New_York"
SHIFT = np.timedelta64(30, "m")
HOLIDAY = np.timedelta64(4, "h")
"""A week or session that begins so much later begins with a holiday."""
SHIFTED = {"session": 5, "week": 2}
"""So many sessions (weeks of a currency calendar) in a row that begin at the same wrong time."""
FEW_BARS = 0.5


def gaps(h: History) -> list[Defect]:
    """Holes between two bars of a symbol, measured in the exchange's sessions; one finding each.

    Above a month, or from where 5 % of a year are missing, the symbol is quarantined from the bar after the hole on.
    Sessions that nine tenths of at least five symbols lack are the source's, not the symbol's: see ``lost_sessions``.
    """
    at, missing = _holes(h)
    shared = np.r_[0, np.cumsum(_lost(h))]
    own = missing - (shared[h.position[at]] - shared[h.position[at - 1] + 1])
    yearly = _within_a_year(h, at, own)
    found = []
    for row, n, mine, total in zip(at.tolist(), missing.tolist(), own.tolist(), yearly.tolist(), strict=True):
        if mine <= 0:
            continue
        many = mine > LONGEST or total > SHARE * YEAR
        sums = f"; {total:,} within a year" if many and mine <= LONGEST else ""
        noun = "session" if n == 1 else "sessions"
        detail = f"{n:,} {noun} without a bar between {h.day(row - 1)} and {h.day(row)}{sums}"
        found.append(Defect(at=row, rows=0, detail=detail, severity="quarantined" if many else None))
    return found


def _within_a_year(h: History, at: Rows, own: Rows) -> Rows:
    """For each hole, the sessions missing from the symbol in the 252 sessions that end with it."""
    order = h.symbol[at] * (2 * len(h.sessions.labels) + YEAR) + h.position[at]
    total = np.r_[0, np.cumsum(own)]
    year: Rows = total[1:] - total[np.searchsorted(order, order - YEAR, side="right")]
    return year


def lost_sessions(h: History) -> list[Defect]:
    """Sessions of which at least nine tenths of the symbols, five or more, have no bar though they trade on."""
    return [
        Defect(
            at=int(np.flatnonzero(h.position > position)[0]),
            rows=0,
            shared=True,
            detail=f"hardly any symbol has a bar of {h.sessions.labels[position].astype('datetime64[D]')!s}",
        )
        for position in np.flatnonzero(_lost(h)).tolist()
    ]


def _holes(h: History) -> tuple[Rows, Rows]:
    """Rows before which sessions are missing, and how many."""
    missing = np.r_[0, np.diff(h.position) - 1] if len(h) else h.position
    at = np.flatnonzero(~h.begins & (missing > 0))
    return at, missing[at]


def _lost(h: History) -> npt.NDArray[np.bool_]:
    """Per session of the calendar, whether hardly any of the symbols that trade before and after has a bar."""
    size = len(h.sessions.labels) + 1
    present, alive = np.zeros(size), np.zeros(size)
    first = np.flatnonzero(h.begins | np.r_[True, np.diff(h.position) != 0]) if len(h) else h.position
    np.add.at(present, h.position[first], 1)
    np.add.at(alive, h.position[h.begins], 1)
    np.add.at(alive, h.position[h.ends()] + 1, -1)
    alive = np.cumsum(alive)
    return np.asarray((alive >= CROWD) & (present <= (1 - EVERYONE) * alive))


def short_sessions(h: History) -> list[Defect]:
    """Intraday: symbols with sessions that hold less than half of the bars due; one finding each."""
    if h.daily or not len(h):
        return []
    first = np.flatnonzero(h.begins | np.r_[True, np.diff(h.position) != 0])
    counts = np.diff(np.r_[first, len(h)])
    due = (h.sessions.closes - h.sessions.opens)[h.position[first]] / h.step
    short = counts < FEW_BARS * due
    found = []
    for symbol in np.unique(h.symbol[first][short]).tolist():
        rows = first[short & (h.symbol[first] == symbol)]
        total = int((h.symbol[first] == symbol).sum())
        last = h.day(int(rows[-1]))
        detail = f"{len(rows):,} of {total:,} sessions have less than half of their bars, the last {last}"
        found.append(Defect(at=int(rows[0]), rows=0, detail=detail))
    return found


def clock_shifts(h: History) -> list[Defect]:
    """Intraday: stretches of sessions that begin at another time than the symbol's sessions usually do.

    The exchange's open is the reference, so that its own clock changes do not count; for currencies it is the week's
    first bar by New York's clock, where the week opens at 17:00. Five sessions (two weeks) in a row must be off by the
    same half hour or more: a stamp zone that changes its clock on other days than the exchange does, or never.
    """
    if h.daily or not len(h) or h.calendar == "24/7":
        return []
    weekly = h.calendar.startswith("24/")
    first, offset = _weekly_offsets(h) if weekly else _session_offsets(h)
    least = SHIFTED["week" if weekly else "session"]
    found = []
    for symbol in range(len(h.names)):
        mine = h.symbol[first] == symbol
        found += _shifted(h, first[mine], offset[mine], least, "weeks" if weekly else "sessions")
    return found


def _shifted(h: History, first: Rows, offset: Spans, least: int, noun: str) -> list[Defect]:
    values, counts = np.unique(offset, return_counts=True)
    usual = values[np.argmax(counts)]
    cut = np.flatnonzero(np.r_[True, offset[1:] != offset[:-1]])
    found = []
    for start, length in zip(cut.tolist(), np.diff(np.r_[cut, len(offset)]).tolist(), strict=True):
        shift = offset[start] - usual
        if length >= least and SHIFT <= abs(shift) < HOLIDAY:
            minutes = int(shift / np.timedelta64(1, "m"))
            last = h.day(int(first[start + length - 1]))
            side = "later" if minutes > 0 else "earlier"
            detail = f"{length:,} {noun} to {last} begin {abs(minutes)} minutes {side} than usual: the clock shifted"
            found.append(Defect(at=int(first[start]), rows=0, detail=detail))
    return found


def _session_offsets(h: History) -> tuple[Rows, Spans]:
    """The first row of each session of each symbol, and by how much its bar closes after the exchange's open."""
    first = np.flatnonzero(h.begins | np.r_[True, np.diff(h.position) != 0])
    return first, (h.time[first] - h.sessions.opens[h.position[first]]).astype("timedelta64[ns]")


def _weekly_offsets(h: History) -> tuple[Rows, Spans]:
    """The first row of each week of each symbol, and by how much its bar closes after the week's Sunday in New York."""
    day = h.session.astype("datetime64[D]").astype(np.int64)
    week = (day + 3) // 7  # 1970-01-01 was a Thursday
    first = np.flatnonzero(h.begins | np.r_[True, week[1:] != week[:-1]])
    local = pd.DatetimeIndex(h.time[first]).tz_localize("UTC").tz_convert(CURRENCY_ZONE).tz_localize(None).to_numpy()
    sunday = (7 * week[first] - 4).astype("datetime64[D]")
    return first, (local - sunday).astype("timedelta64[ns]")
