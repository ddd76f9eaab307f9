"""The exchange's sessions, and the place of every bar in them: its session label and its close in UTC."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.describe import SourceDescription
from tasks.bars.stamps import NAT, Times
from tasks.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Sessions:
    """Sessions in order: label (naive midnight), open and close (UTC, naive), all datetime64[ns] of shape (n,)."""

    labels: Times
    opens: Times
    closes: Times
    tz: str


@dataclass(frozen=True, slots=True)
class Placed:
    """Per bar its start and close (UTC, naive) and session label; NaT where the exchange was closed."""

    start: Times
    close: Times
    session: Times


class CalendarRangeError(Exception):
    """The calendar does not know the years that the data covers."""


def load_sessions(name: str, first: np.datetime64, last: np.datetime64) -> Sessions:
    """The sessions of the years of ``first`` to ``last``.

    Raises ConfigurationError for an unknown calendar, CalendarRangeError for years that it does not know.
    """
    start, end = str(first.astype("datetime64[Y]")), str(last.astype("datetime64[Y]"))
    try:
        return _load(name, f"{start}-01-01", f"{end}-12-31")
    except CalendarRangeError:
        # A calendar may begin or end within a year.
        return _load(name, str(first.astype("datetime64[D]")), str(last.astype("datetime64[D]")))


def place(dates: Times, instants: Times, sessions: Sessions, description: SourceDescription) -> Placed:
    """Each bar's place. ``dates`` are session labels, ``instants`` stamps in UTC; one of the two is NaT in each row.

    A daily bar closes with its session. An intraday bar belongs to the session that it overlaps, and closes no later
    than it: the bar of 09:00 to 10:00 before an open at 09:30 covers 09:30 to 10:00.
    """
    if description.daily:
        at = np.where(np.isnat(dates), _daily_index(instants, sessions, description), _label_index(dates, sessions))
        known = at >= 0
        return Placed(
            np.where(known, sessions.opens[at], NAT),
            np.where(known, sessions.closes[at], NAT),
            np.where(known, sessions.labels[at], NAT),
        )
    step = np.timedelta64(description.step)
    start = instants if description.label == "start" else instants - step
    end = start + step
    at = np.minimum(np.searchsorted(sessions.closes, start, side="right"), len(sessions.closes) - 1)
    inside = (sessions.opens[at] < end) & (start < sessions.closes[at])
    close = np.minimum(end, sessions.closes[at])
    return Placed(start, np.where(inside, close, NAT), np.where(inside, sessions.labels[at], NAT))


def _label_index(dates: Times, sessions: Sessions) -> npt.NDArray[np.int64]:
    at = np.minimum(np.searchsorted(sessions.labels, dates), len(sessions.labels) - 1)
    return np.where(sessions.labels[at] == dates, at, -1)


def _daily_index(instants: Times, sessions: Sessions, description: SourceDescription) -> npt.NDArray[np.int64]:
    """Daily bars stamped with a time of day: the session of that local date, and never an earlier one.

    A start at or after that session's close (futures open the evening before) is the next session's.
    """
    if np.isnat(instants).all():
        return np.full(len(instants), -1)
    local = pd.DatetimeIndex(instants).tz_localize("UTC").tz_convert(sessions.tz).tz_localize(None).normalize()
    at = _label_index(local.to_numpy(), sessions)
    if description.label == "end":
        return at
    following = np.minimum(np.searchsorted(sessions.closes, instants, side="right"), len(sessions.closes) - 1)
    began = (sessions.opens[following] <= instants) & (instants < sessions.closes[following])
    late = (at >= 0) & (instants >= sessions.closes[at]) | ((at < 0) & began)
    return np.where(late, np.where(began, following, -1), at)


@functools.lru_cache(maxsize=8)
def _load(name: str, first: str, last: str) -> Sessions:
    import exchange_calendars  # noqa: PLC0415 - 0.2 s, and only where bars are read

    if name not in exchange_calendars.get_calendar_names(include_aliases=True):
        raise ConfigurationError(f"calendar {name!r} is unknown; examples: XNYS, XNAS, XLON, XTKS, CMES, 24/7, 24/5")
    try:
        # Without explicit dates a calendar covers the last 20 years only.
        calendar = exchange_calendars.get_calendar(name, start=first, end=last)
    except ValueError as error:
        raise CalendarRangeError(str(error)) from error
    opens = calendar.opens.dt.tz_localize(None).to_numpy().astype("datetime64[ns]")
    labels = calendar.sessions.to_numpy().astype("datetime64[ns]")
    if name == "24/5":
        # The currency week opens on Sunday at 17:00 in New York, 21:00 or 22:00 UTC: those hours are Monday's.
        opens = np.where(pd.DatetimeIndex(labels).dayofweek == 0, opens - np.timedelta64(3, "h"), opens)
    closes = calendar.closes.dt.tz_localize(None).to_numpy().astype("datetime64[ns]")
    return Sessions(labels, opens, closes, str(calendar.tz))
