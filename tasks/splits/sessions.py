"""The sessions of an exchange calendar from a beginning that never moves: what the gate's terms are counted from."""

from __future__ import annotations

from functools import lru_cache

import exchange_calendars
import pandas as pd

from tasks.errors import ConfigurationError

BEGINNING = pd.Timestamp("1970-01-01")


@lru_cache(maxsize=8)
def calendar_sessions(name: str, last: pd.Timestamp) -> pd.DatetimeIndex:
    """All sessions (naive midnights) from 1970, or the calendar's own first bound if that is later, through ``last``.

    The beginning is given explicitly because the library's default is twenty years before today: it would slide.
    Raises ConfigurationError for an unknown calendar.
    """
    try:
        bound = exchange_calendars.get_calendar(name).bound_min()
    except exchange_calendars.errors.InvalidCalendarName as error:
        raise ConfigurationError(
            f"calendar '{name}' is not known to exchange-calendars (for example XNYS, 24/7)"
        ) from error
    start = BEGINNING if bound is None else max(BEGINNING, bound)
    # The day after, because a calendar that ends on its first session is refused.
    calendar = exchange_calendars.get_calendar(name, start=start, end=last.normalize() + pd.Timedelta(days=1))
    sessions = pd.DatetimeIndex(calendar.sessions)
    return sessions[sessions <= last]
