"""Which session a scheduled night belongs to, by the exchange's calendar. Pure: no clock, no file.

```
          open      close                     open      close
 local ────┤ day D   ├──── the night of D ──────┤ day D+1 ├──── the night of D+1 ──
           9:30     16:00        0:00          9:30
```

A night begins when its day's session closes and ends when the next day's would open, so 18:30 on a Friday and 02:00 on
the Saturday are both Friday's night, and a schedule that comes once a day meets every session once. Where one session
opens as the other closes (24/7, currencies, futures), the night of a day ends at the next day's close.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from tasks.bars.sessions import CalendarRangeError, Sessions, load_sessions
from tasks.bars.stamps import Times
from tasks.errors import ConfigurationError

AROUND = timedelta(days=31)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """The night that an instant lies in: the exchange's local ``day``, and its session's close (UTC).

    ``closed`` says why the day has no session, in words (empty: it has one); ``close`` is None then.
    """

    calendar: str
    tz: str
    day: date
    close: datetime | None
    closed: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """A session's label and its close, aware and in UTC."""

    label: date
    close: datetime


def night_of(calendar: str, moment: datetime) -> Night:
    """The night of an aware instant.

    Raises ConfigurationError for an unknown calendar or a naive instant, CalendarRangeError for a time that the
    calendar does not know.
    """
    if moment.tzinfo is None:
        raise ConfigurationError(f"a night is found by an instant with a time zone, got {moment.isoformat()}")
    sessions, starts = _around(calendar, moment.astimezone(UTC).date())
    local = moment.astimezone(ZoneInfo(sessions.tz)).replace(tzinfo=None)
    day = (local - starts).date()
    at = int(np.searchsorted(sessions.labels, np.datetime64(day, "ns")))
    known = at < len(sessions.labels) and sessions.labels[at] == np.datetime64(day, "ns")
    return Night(
        calendar=calendar,
        tz=sessions.tz,
        day=day,
        close=_aware(sessions.closes[at]) if known else None,
        closed="" if known else _why_closed(calendar, day),
    )


def why_not(calendar: str, moment: datetime) -> str:
    """Why a night scheduled for an aware instant has nothing to do, in words; empty where it has.

    Raises ConfigurationError for an instant before its session's close: a schedule that is always early would miss
    every session. Else as ``night_of`` does.
    """
    night = night_of(calendar, moment)
    if night.close is None:
        return f"{calendar} is closed on {night.day} ({night.closed})"
    if moment >= night.close:
        return ""
    zone = ZoneInfo(night.tz)
    raise ConfigurationError(
        f"the session of {night.day} on {calendar} is not over at {moment.astimezone(zone):%H:%M}: it closes at "
        f"{night.close.astimezone(zone):%H:%M} ({night.tz}); schedule the night after the close"
    )


def sessions_between(calendar: str, first: date, last: date) -> tuple[Session, ...]:
    """The sessions labelled from ``first`` to ``last``, both included, in order. Raises as ``night_of`` does."""
    sessions = load_sessions(calendar, np.datetime64(first), np.datetime64(last))
    inside = (sessions.labels >= np.datetime64(first, "ns")) & (sessions.labels <= np.datetime64(last, "ns"))
    return tuple(
        Session(label=pd.Timestamp(label).date(), close=_aware(close))
        for label, close in zip(sessions.labels[inside], sessions.closes[inside], strict=True)
    )


def sessions_behind(calendar: str, newest: datetime, moment: datetime) -> tuple[Session, ...]:
    """The sessions that closed after the bar that closed at ``newest`` and by ``moment`` (both aware), in order.

    Raises as ``night_of`` does.
    """
    since = sessions_between(calendar, newest.astimezone(UTC).date() - timedelta(days=1), moment.astimezone(UTC).date())
    return tuple(session for session in since if newest < session.close <= moment)


@functools.lru_cache(maxsize=512)
def _around(calendar: str, day: date) -> tuple[Sessions, timedelta]:
    """The sessions around a day, and how long after local midnight a day begins then.

    Asks for the weeks before the day and one day after it, no more: some calendars end with the year.
    """
    first, last = np.datetime64(day - AROUND, "ns"), np.datetime64(day + timedelta(days=1), "ns")
    found = load_sessions(calendar, first, last)
    near = slice(*np.searchsorted(found.labels, [first, last]))
    opens, closes = (_usual(found.labels[near], times[near], found.tz) for times in (found.opens, found.closes))
    overnight = opens <= pd.Timedelta(0) or closes - opens >= pd.Timedelta(hours=20)
    return found, (closes if overnight else opens).to_pytimedelta()


def _usual(labels: Times, times: Times, tz: str) -> pd.Timedelta:
    """The most frequent distance of opens or closes from their label's midnight, by the exchange's clock."""
    local = pd.DatetimeIndex(times).tz_localize("UTC").tz_convert(tz).tz_localize(None)
    return pd.Series(local - pd.DatetimeIndex(labels)).mode().max()


def _why_closed(calendar: str, day: date) -> str:
    return _holidays(calendar, day.year).get(day) or (DAYS[day.weekday()] if day.weekday() >= 5 else "a holiday")


@functools.lru_cache(maxsize=32)
def _holidays(calendar: str, year: int) -> dict[date, str]:
    """The names of a year's regular holidays, where the calendar tells them; others have none."""
    import exchange_calendars  # noqa: PLC0415 - 0.2 s, and only where a night has no session

    try:
        rules = exchange_calendars.get_calendar(calendar, start=f"{year}-01-01", end=f"{year}-12-31").regular_holidays
    except ValueError:  # it ends within the year
        return {}
    if rules is None:
        return {}
    found = rules.holidays(pd.Timestamp(year, 1, 1), pd.Timestamp(year, 12, 31), return_name=True)
    return {moment.date(): str(name) for moment, name in found.items()}


def _aware(moment: np.datetime64) -> datetime:
    return pd.Timestamp(moment).tz_localize("UTC").to_pydatetime()


__all__ = ["CalendarRangeError", "Night", "Session", "night_of", "sessions_behind", "sessions_between", "why_not"]
