"""Calendar features, from the session's date alone: what a calendar on the wall knows.

They describe the bar's own session. Exchange holidays are not used: they are announced and changed over time.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from .feature import Feature
from .series import Array, Series

Dates = npt.NDArray[np.datetime64]
YEAR = 365.2425
EPOCH_WEEKDAY = 3  # 1970-01-01 was a Thursday


def weekday(dates: Dates) -> npt.NDArray[np.int64]:
    """0 for Monday to 6 for Sunday."""
    return (dates.astype(np.int64) + EPOCH_WEEKDAY) % 7


def _month(dates: Dates) -> Dates:
    return dates.astype("datetime64[M]")


def month_turn(dates: Dates) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Weekdays of the month before the date, and after it."""
    month = _month(dates)
    before = np.busday_count(month.astype("datetime64[D]"), dates)
    after = np.busday_count(dates + 1, (month + 1).astype("datetime64[D]"))
    return before, after


def _turn(s: Series, side: int) -> Array:
    days: Array = s.once(("month_turn",), lambda: month_turn(s.session))[side].astype(np.float64)
    return days


def third_friday(dates: Dates) -> Dates:
    """The third Friday of each date's month, when listed options expire."""
    return np.busday_offset(_month(dates).astype("datetime64[D]"), 2, roll="forward", weekmask="Fri")


def _year_angle(s: Series) -> Array:
    start = s.session.astype("datetime64[Y]").astype("datetime64[D]")
    angle: Array = (s.session - start).astype(np.float64) * (2.0 * np.pi / YEAR)
    return angle


def _days_since_previous(s: Series) -> Array:
    days = np.full(len(s), np.nan)
    days[1:] = np.diff(s.session).astype(np.float64)
    return days


def _expiry_week(s: Series) -> Array:
    monday = third_friday(s.session) - 4
    return ((s.session >= monday) & (s.session <= monday + 4)).astype(np.float64)


def _quarter_end(s: Series) -> Array:
    flag: Array = ((_month(s.session).astype(np.int64) % 3) == 2).astype(np.float64)
    return flag


def _entry(name: str, compute: Callable[[Series], Array], unit: str, description: str, lookback: int = 1) -> Feature:
    return Feature(
        name=name,
        compute=compute,
        lookback=lookback,
        inputs=("session",),
        unit=unit,
        description=description,
        formula="from the session's date",
    )


FEATURES: tuple[Feature, ...] = (
    _entry("weekday", lambda s: weekday(s.session).astype(np.float64), "0..6", "Day of the week, Monday is 0."),
    _entry("is_monday", lambda s: (weekday(s.session) == 0).astype(np.float64), "flag", "A Monday."),
    _entry("is_friday", lambda s: (weekday(s.session) == 4).astype(np.float64), "flag", "A Friday."),
    _entry("year_sin", lambda s: np.sin(_year_angle(s)), "sine", "Season: sine of the day of the year."),
    _entry("year_cos", lambda s: np.cos(_year_angle(s)), "cosine", "Season: cosine of the day of the year."),
    _entry(
        "weekdays_into_month",
        lambda s: _turn(s, 0),
        "weekdays",
        "Weekdays of the month gone.",
    ),
    _entry(
        "weekdays_left_in_month",
        lambda s: _turn(s, 1),
        "weekdays",
        "Weekdays of the month to come.",
    ),
    _entry("quarter_end_month", _quarter_end, "flag", "A month that ends a quarter."),
    _entry("expiry_week", _expiry_week, "flag", "The week of the third Friday, when options expire."),
    _entry(
        "days_since_previous", _days_since_previous, "days", "Days since the session of the bar before.", lookback=2
    ),
)
