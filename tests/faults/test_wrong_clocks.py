"""A clock a day off, one that jumps back, and the nights of a clock change: no session twice, none never.

The nights are those of the simulated decade: the product's own guard, opening, ingest, store, ledger and record.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from prefect.server.schemas.schedules import CronSchedule

from tasks.bars.night import night_of, sessions_between
from tests.faults import decade
from tests.faults.decade import Decade, account, live, slots
from tests.faults.simulated import world

NEW_YORK = ZoneInfo("America/New_York")
Tell = Callable[[str, object], None]
WEEKS = {
    "a day ahead, weeks of March": (timedelta(days=1), date(2018, 3, 5), date(2018, 3, 16)),
    "a day behind, weeks of November": (timedelta(days=-1), date(2018, 10, 31), date(2018, 11, 9)),
}
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.mark.parametrize("weeks", WEEKS)
def test_weeks_in_which_the_clock_is_wrong_every_third_night(
    weeks: str, monkeypatch: pytest.MonkeyPatch, record_property: Tell
) -> None:
    """The clock is right again two hours after the night began, so it jumps, back or ahead, in the midst of it."""
    off, first, last = WEEKS[weeks]
    monkeypatch.setattr(decade, "HISTORY", date(2017, 6, 1))
    monkeypatch.setattr(decade, "OFTEN", dict.fromkeys(decade.OFTEN, 0.0))
    lived, every = Decade(first, last, seed=1), slots(first, last)
    with world(lived.market):
        for number, slot in enumerate(every):
            if number % 3 == 0:
                lived.clock.off, lived.clock.right_from = off, slot + timedelta(hours=2)
            live(lived, [slot])
        found = account(lived, every, 1.0)
    assert found.wrong == ()
    states = ", ".join(f"{count} {state}" for state, count in lived.told.items() if count)
    record_property("happened", f"{weeks}: {states}; each session once")


@pytest.mark.parametrize("calendar", ["XNYS", "24/7"])
@pytest.mark.parametrize("cron", ["30 1 * * *", "30 2 * * *", "0 17 * * *"])
def test_a_daily_schedule_meets_each_night_of_a_clock_change_once(
    calendar: str, cron: str, record_property: Tell
) -> None:
    """02:30 is not there in March, 01:30 is there twice in November: still one slot for each night."""
    schedule = CronSchedule(cron=cron, timezone="America/New_York")
    for first, last in ((date(2026, 3, 2), date(2026, 3, 14)), (date(2026, 10, 26), date(2026, 11, 7))):
        start = datetime.combine(first, datetime.min.time(), NEW_YORK)
        end = datetime.combine(last, datetime.max.time(), NEW_YORK)
        moments = asyncio.run(schedule.get_dates(60, start=start, end=end))
        nights = Counter(night_of(calendar, datetime.fromtimestamp(each.timestamp(), UTC)).day for each in moments)
        sessions = sessions_between(calendar, first, last - timedelta(days=1))
        assert {session.label: nights[session.label] for session in sessions} == {
            session.label: 1 for session in sessions
        }, f"{cron} on {calendar}"
    record_property("happened", f"{cron} on {calendar}: each session once")
