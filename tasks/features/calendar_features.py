"""Calendar features, from the bar's date alone (see dates): what a calendar on the wall knows.

They describe the bar's own day. Exchange holidays are not used: they are announced and changed over time.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from .feature import Feature
from .series import Array, Series

Dates = npt.NDArray[np.datetime64]
Flags = npt.NDArray[np.bool_]
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


def third_friday(dates: Dates) -> Dates:
    """The third Friday of each date's month, when listed options expire."""
    return np.busday_offset(_month(dates).astype("datetime64[D]"), 2, roll="forward", weekmask="Fri")


def _year_angle(dates: Dates) -> Array:
    start = dates.astype("datetime64[Y]").astype("datetime64[D]")
    angle: Array = (dates - start).astype(np.float64) * (2.0 * np.pi / YEAR)
    return angle


def _expiry_week(dates: Dates) -> Flags:
    monday = third_friday(dates) - 4
    return (dates >= monday) & (dates <= monday + 4)


def _quarter_end(dates: Dates) -> Flags:
    flags: Flags = _month(dates).astype(np.int64) % 3 == 2
    return flags


def _days_since_previous(s: Series) -> Array:
    if s.scalar:
        return float(s.last_day - s.day_before)  # type: ignore[return-value]
    days = np.full(len(s), np.nan)
    days[1:] = np.diff(s.session).astype(np.float64)
    return days


def _of_day(compute: Callable[[Dates], npt.NDArray[Any]]) -> Callable[[Series], Array]:
    """A feature of the date: computed once for each day of the span and looked up for the bars."""

    @functools.cache
    def year(first: int) -> list[float]:
        """Of the 366 days from a day on."""
        return [float(value) for value in compute(np.arange(first, first + 366).astype("datetime64[D]"))]

    def look_up(s: Series) -> Array:
        if s.scalar:
            day = s.last_day
            return year(day // 366 * 366)[day % 366]  # type: ignore[return-value]
        if not len(s):
            return np.empty(0)
        first, last = s.session.min(), s.session.max()
        values = compute(np.arange(first, last + 1)).astype(np.float64)
        found: Array = values[(s.session - first).astype(np.int64)]
        return found

    return look_up


def _entry(name: str, compute: Callable[[Series], Array], unit: str, description: str, lookback: int = 1) -> Feature:
    return Feature(
        name=name,
        compute=compute,
        lookback=lookback,
        inputs=("session",),
        unit=unit,
        description=description,
        formula="from the bar's date: of a daily bar its session, of a shorter one the UTC date of its close",
    )


FEATURES: tuple[Feature, ...] = (
    _entry("weekday", _of_day(weekday), "0..6", "Day of the week, Monday is 0."),
    _entry("is_monday", _of_day(lambda dates: weekday(dates) == 0), "flag", "A Monday."),
    _entry("is_friday", _of_day(lambda dates: weekday(dates) == 4), "flag", "A Friday."),
    _entry("year_sin", _of_day(lambda dates: np.sin(_year_angle(dates))), "sine", "Season: sine."),
    _entry(
        "year_cos",
        _of_day(lambda dates: np.cos(_year_angle(dates))),
        "cosine",
        "Season: cosine.",
    ),
    _entry(
        "weekdays_into_month",
        _of_day(lambda dates: month_turn(dates)[0]),
        "weekdays",
        "Weekdays of the month gone.",
    ),
    _entry(
        "weekdays_left_in_month",
        _of_day(lambda dates: month_turn(dates)[1]),
        "weekdays",
        "Weekdays of the month to come.",
    ),
    _entry("quarter_end_month", _of_day(_quarter_end), "flag", "A month that ends a quarter."),
    _entry("expiry_week", _of_day(_expiry_week), "flag", "The week of the third Friday, when options expire."),
    _entry("days_since_previous", _days_since_previous, "days", "Days since the date of the bar before.", lookback=2),
)
