"""Calendar features against Python's own calendar, and days that everyone can look up."""

from __future__ import annotations

import calendar
import datetime
import math

import numpy as np
import pytest

from tasks.features import matrix
from tasks.features.calendar_features import third_friday, weekday
from tests.features.market import TICK

NAMES = (
    *("weekday", "is_monday", "is_friday", "year_sin", "year_cos", "weekdays_into_month", "weekdays_left_in_month"),
    *("quarter_end_month", "expiry_week"),
)
DAYS = np.arange("1999-01-01", "2028-12-31", 3, dtype="datetime64[D]")


def _expected(day: datetime.date) -> list[float]:
    length = calendar.monthrange(day.year, day.month)[1]
    month = [datetime.date(day.year, day.month, n) for n in range(1, length + 1)]
    fridays = [date for date in month if date.weekday() == 4]
    angle = 2.0 * math.pi * (day.timetuple().tm_yday - 1) / 365.2425
    return [
        float(day.weekday()),
        float(day.weekday() == 0),
        float(day.weekday() == 4),
        math.sin(angle),
        math.cos(angle),
        float(sum(date < day and date.weekday() < 5 for date in month)),
        float(sum(date > day and date.weekday() < 5 for date in month)),
        float(day.month in (3, 6, 9, 12)),
        float(0 <= (day - (fridays[2] - datetime.timedelta(days=4))).days <= 4),
    ]


def test_every_day_of_thirty_years() -> None:
    found = matrix.compute({"session": DAYS}, NAMES, TICK)
    np.testing.assert_allclose(found, [_expected(day) for day in DAYS.tolist()], atol=1e-12)


@pytest.mark.parametrize("friday", ["2008-09-19", "2020-03-20", "2024-11-15", "2021-01-15"])
def test_third_fridays_that_are_known(friday: str) -> None:
    day = np.array([friday], dtype="datetime64[D]")
    assert weekday(day)[0] == 4
    assert third_friday(day)[0] == day[0]
    assert third_friday(day.astype("datetime64[M]").astype("datetime64[D]"))[0] == day[0]


def test_days_since_the_previous_session() -> None:
    days = np.array(["2001-09-10", "2001-09-17", "2001-09-18", "2001-09-18"], dtype="datetime64[D]")
    np.testing.assert_array_equal(
        matrix.compute({"session": days}, ("days_since_previous",), TICK)[:, 0], [np.nan, 7.0, 1.0, 0.0]
    )
