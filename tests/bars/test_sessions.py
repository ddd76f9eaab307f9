"""The place of a bar in its session: closes, early closes, bars that reach over an open or a close."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tasks.bars.describe import SourceDescription
from tasks.bars.sessions import CalendarRangeError, Placed, load_sessions, place
from tasks.errors import ConfigurationError


def times(*texts: str) -> Any:
    """UTC stamps."""
    return np.array(texts, dtype="datetime64[ns]")


def placed(stamps: Any, dates: Any = None, **options: Any) -> Placed:
    """Place stamps (or dates) in a calendar."""
    description = SourceDescription(source="x.csv", **options)
    known = stamps if dates is None else dates
    none = np.full(len(known), np.datetime64("NaT", "ns"))
    sessions = load_sessions(description.calendar, known.min(), known.max())
    return place(none if dates is None else dates, none if stamps is None else stamps, sessions, description)


def test_an_hour_bar_that_begins_before_the_open_covers_its_second_half() -> None:
    # LEAN's bar of 09:00 New York covers 09:30 to 10:00.
    found = placed(times("2018-01-02T14:00", "2018-01-02T15:00", "2018-01-02T20:00"), bar="1h", label="start")
    assert found.close.tolist() == times("2018-01-02T15:00", "2018-01-02T16:00", "2018-01-02T21:00").tolist()


def test_a_bar_never_closes_after_its_session() -> None:
    # 15:30 to 16:30 New York: the session ends at 16:00, on the day before Independence Day at 13:00.
    starts = times("2018-01-02T20:30", "2018-07-03T16:30")
    expected = times("2018-01-02T21:00", "2018-07-03T17:00").tolist()
    assert placed(starts, bar="1h", label="start").close.tolist() == expected
    assert placed(starts + np.timedelta64(1, "h"), bar="1h").close.tolist() == expected


@pytest.mark.parametrize("stamp", ["2018-07-03T17:00", "2018-07-03T20:00", "2018-07-04T15:00", "2018-01-06T15:00"])
def test_a_bar_that_begins_when_the_exchange_is_closed_has_no_place(stamp: str) -> None:
    # At the early close, after it, on a holiday, on a Saturday.
    assert np.isnat(placed(times(stamp), bar="1h", label="start").close).all()


def test_a_stamp_at_the_open_cannot_be_a_bars_end() -> None:
    assert np.isnat(placed(times("2018-01-02T14:30"), bar="30min").close).all()
    assert not np.isnat(placed(times("2018-01-02T14:30"), bar="30min", label="start").close).any()


def test_a_date_closes_with_its_session() -> None:
    found = placed(None, times("2018-07-02", "2018-07-03", "2018-07-04", "2018-12-31"))
    assert found.close[[0, 1, 3]].tolist() == times("2018-07-02T20:00", "2018-07-03T17:00", "2018-12-31T21:00").tolist()
    assert np.isnat(found.close[2])


def test_a_day_of_crypto_closes_at_the_next_midnight() -> None:
    found = placed(None, times("2018-01-06"), calendar="24/7")
    assert found.close.tolist() == times("2018-01-07").tolist()


def test_the_currency_week_opens_on_sunday_evening() -> None:
    found = placed(times("2018-07-01T21:00", "2018-07-01T20:00"), calendar="24/5", bar="1h", label="start")
    assert str(found.session[0])[:10] == "2018-07-02"
    # A bar that ends at the open does not overlap the session.
    assert np.isnat(found.session[1])


@pytest.mark.parametrize("stamp", ["2018-06-06T04:00", "2018-06-06T13:30", "2018-06-06T20:00", "2018-06-06T20:15"])
def test_a_daily_bar_with_a_time_of_day_is_never_given_an_earlier_session(stamp: str) -> None:
    # Midnight in New York, the open, the close, a quarter of an hour later: all of them mean that day.
    assert str(placed(times(stamp)).session[0])[:10] == "2018-06-06"


def test_a_futures_day_that_starts_the_evening_before_is_the_next_session() -> None:
    found = placed(times("2018-06-05T22:00"), calendar="CMES", label="start")
    assert str(found.session[0])[:10] == "2018-06-06"


def test_sessions_reach_back_further_than_the_librarys_default() -> None:
    assert str(placed(None, times("1962-01-02")).close[0])[:10] == "1962-01-02"


def test_unknown_calendars_and_years_are_named() -> None:
    with pytest.raises(ConfigurationError, match="'NYSE2'"):
        placed(None, times("2018-01-02"), calendar="NYSE2")
    with pytest.raises(CalendarRangeError, match="XTKS"):
        placed(None, times("1950-01-04"), calendar="XTKS")
