"""Which session a scheduled night belongs to: every session exactly one, holidays and early closes in words."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import exchange_calendars
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.bars.night import CalendarRangeError, night_of, sessions_behind, sessions_between, why_not
from tasks.errors import ConfigurationError

NEW_YORK, CHICAGO = ZoneInfo("America/New_York"), ZoneInfo("America/Chicago")


def at(text: str, zone: ZoneInfo = NEW_YORK) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@pytest.mark.parametrize(
    ("calendar", "moment", "reason"),
    [
        ("XNYS", at("2026-11-25T18:30"), ""),
        ("XNYS", at("2026-11-26T18:30"), "XNYS is closed on 2026-11-26 (Thanksgiving)"),
        ("XNYS", at("2026-07-03T18:30"), "XNYS is closed on 2026-07-03 (July 4th)"),
        ("XNYS", at("2025-01-09T18:30"), "XNYS is closed on 2025-01-09 (a holiday)"),  # a day of mourning has no name
        ("XNYS", at("2026-11-28T18:30"), "XNYS is closed on 2026-11-28 (Saturday)"),
        ("XNYS", at("2026-11-28T10:00"), "XNYS is closed on 2026-11-28 (Saturday)"),
        ("XNYS", at("2026-11-28T02:00"), ""),  # still Friday's night
        ("XNYS", at("2026-11-27T02:00"), "XNYS is closed on 2026-11-26 (Thanksgiving)"),
        ("XNYS", datetime(2026, 11, 26, 23, 30, tzinfo=UTC), "XNYS is closed on 2026-11-26 (Thanksgiving)"),
        ("XTKS", datetime(2026, 11, 23, 9, 0, tzinfo=UTC), "XTKS is closed on 2026-11-23 (Labor Thanksgiving Day)"),
        ("XBOM", datetime(2026, 12, 25, 12, 0, tzinfo=UTC), "XBOM is closed on 2026-12-25 (a holiday)"),
        ("24/7", at("2026-12-25T12:00"), ""),
        ("24/7", at("2026-11-28T00:30"), ""),
        ("24/5", datetime(2026, 11, 28, 0, 30, tzinfo=UTC), ""),  # Friday's session closed half an hour ago
        ("24/5", datetime(2026, 11, 29, 12, 0, tzinfo=UTC), "24/5 is closed on 2026-11-28 (Saturday)"),
        ("CMES", at("2026-11-24T18:00", CHICAGO), ""),  # the next session trades already
        ("CMES", at("2026-11-28T18:00", CHICAGO), "CMES is closed on 2026-11-28 (Saturday)"),
    ],
)
def test_why_a_night_has_nothing_to_do(calendar: str, moment: datetime, reason: str) -> None:
    assert why_not(calendar, moment) == reason


def test_a_schedule_before_the_early_close_is_refused_in_words_and_one_at_it_runs() -> None:
    early = r"2026-11-27 on XNYS is not over at 12:59: it closes at 13:00 \(America/New_York\); schedule the"
    with pytest.raises(ConfigurationError, match=early):
        why_not("XNYS", at("2026-11-27T12:59"))
    assert why_not("XNYS", at("2026-11-27T13:00")) == ""
    with pytest.raises(ConfigurationError, match="closes at 16:00"):
        why_not("XNYS", at("2026-11-25T13:00"))


def test_unknown_calendars_naive_times_and_years_beyond_a_calendar_are_errors() -> None:
    with pytest.raises(ConfigurationError, match="calendar 'NYSE2' is unknown"):
        why_not("NYSE2", at("2026-11-25T18:30"))
    with pytest.raises(ConfigurationError, match="time zone"):
        why_not("XNYS", datetime(2026, 11, 25, 18, 30))
    with pytest.raises(CalendarRangeError):
        why_not("XKRX", at("2060-11-25T18:30"))
    assert why_not("XKRX", datetime(2050, 12, 29, 12, 0, tzinfo=UTC)) == ""  # its last session


@pytest.mark.parametrize("calendar", ["XNYS", "XTKS", "CMES", "24/5", "24/7"])
@given(hour=st.integers(0, 23), minute=st.integers(0, 59))
@settings(max_examples=4, deadline=None)
def test_a_daily_schedule_outside_trading_meets_every_session_once(calendar: str, hour: int, minute: int) -> None:
    known = exchange_calendars.get_calendar(calendar, start="2024-01-01", end="2024-12-31")
    slots = [datetime.combine(date(2024, 2, 1) + timedelta(days=n), time(hour, minute)) for n in range(230)]
    moments = [slot.replace(tzinfo=ZoneInfo(str(known.tz))) for slot in slots]
    nights = [night_of(calendar, moment) for moment in moments]
    assert [night.day for night in nights] == [nights[0].day + timedelta(days=n) for n in range(230)]
    met = [night.day for night in nights if night.close is not None]
    wanted = [label.date() for label in known.sessions if nights[0].day <= label.date() <= nights[-1].day]
    assert met == wanted
    for night, moment in zip(nights, moments, strict=True):
        if night.close is not None and night.close > moment:
            with pytest.raises(ConfigurationError, match="is not over"):
                why_not(calendar, moment)
        else:
            assert (why_not(calendar, moment) == "") == (night.close is not None)


def test_sessions_of_a_range_and_those_that_a_newest_bar_lacks() -> None:
    found = sessions_between("XNYS", date(2026, 11, 24), date(2026, 11, 30))
    assert [session.label.day for session in found] == [24, 25, 27, 30]
    assert found[2].close == at("2026-11-27T13:00")
    newest = at("2026-11-24T16:00")
    assert [s.label.day for s in sessions_behind("XNYS", newest, at("2026-11-27T12:00"))] == [25]
    assert [s.label.day for s in sessions_behind("XNYS", newest, at("2026-11-27T13:00"))] == [25, 27]
    assert sessions_behind("XNYS", newest, at("2026-11-24T18:30")) == ()
