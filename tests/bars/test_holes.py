"""Missing sessions against the exchange's calendar, and clocks that do not keep the exchange's."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.bars.defects.holes import clock_shifts, gaps, lost_sessions, short_sessions
from tasks.bars.describe import SourceDescription
from tests.bars.panels import history_of, real_bars, real_panel, rows_of

HOURLY = SourceDescription(source="x", bar="1h", label="start", tz="America/New_York")
CURRENCY = SourceDescription(source="x", bar="1h", calendar="24/5", label="start", tz="UTC")


def _without(frame: pd.DataFrame, rows: list[int] | np.ndarray) -> pd.DataFrame:
    return frame.drop(index=frame.index[rows]).reset_index(drop=True)


def test_every_session_of_twenty_years_is_there() -> None:
    assert gaps(history_of(real_bars())) == []
    assert lost_sessions(history_of(real_panel())) == []


def test_a_hole_is_said_and_a_long_one_quarantined_after_it() -> None:
    found = gaps(history_of(_without(real_bars(), [100, 101, 102])))
    assert [(d.at, d.severity, d.rows) for d in found] == [(100, None, 0)]
    assert "3 sessions without a bar between 1999-05-26 and 1999-06-02" in found[0].detail
    assert [d.severity for d in gaps(history_of(_without(real_bars(), np.arange(100, 121))))] == ["quarantined"]
    assert [d.severity for d in gaps(history_of(_without(real_bars(), np.arange(100, 112))))] == [None]
    # The first bar after the hole is the first that is left out.
    assert gaps(history_of(_without(real_bars(), np.arange(100, 130))))[0].at == 100


def test_many_small_holes_within_a_year_add_up() -> None:
    found = gaps(history_of(_without(real_bars(), np.arange(1000, 1130, 10))))
    assert [d.severity for d in found] == [None] * 12 + ["quarantined"]
    assert "13 within a year" in found[-1].detail
    # Spread over years they do not.
    assert all(d.severity is None for d in gaps(history_of(_without(real_bars(), np.arange(10, 5000, 50)))))


def test_a_session_that_nobody_has_is_the_sources() -> None:
    frame = real_panel(symbols=6)
    rows = [int(rows_of(frame, f"S{at}")[300]) for at in range(6)]
    missing = history_of(_without(frame, rows))
    assert gaps(missing) == []
    found = lost_sessions(missing)
    assert len(found) == 1
    assert found[0].shared
    assert f"{frame['session'].iloc[rows[0]]:%Y-%m-%d}" in found[0].detail
    # If two of the six have it, the others lack it.
    assert len(gaps(history_of(_without(frame, rows[:4])))) == 4


def _hours(sessions: pd.DataFrame, shift: tuple[int, int] = (0, 0)) -> pd.DataFrame:
    """Seven bars a session, the first at the open; those of sessions ``shift`` begin one hour late."""
    parts = []
    for number, (end, session) in enumerate(zip(sessions["time"], sessions["session"], strict=True)):
        late = int(shift[0] <= number < shift[1])
        closes = end - pd.Timedelta(hours=6.5 - late) + pd.to_timedelta(np.arange(1, 8), "h")
        ends = closes.where(closes < end, end)[: 7 - late]
        bars = pd.DataFrame({"symbol": "X", "time": ends, "session": session, "volume": 1.0})
        parts.append(bars.assign(open=10.0, high=11.0, low=9.0, close=10.0))
    return pd.concat(parts, ignore_index=True)


@pytest.fixture(scope="module")
def whole_days() -> pd.DataFrame:
    """Sessions of 2017 that close at 16:00, over both clock changes."""
    bars = real_bars()
    whole = bars["time"].dt.tz_convert("America/New_York").dt.hour == 16
    year: pd.DataFrame = bars.loc[whole & (bars["session"].dt.year == 2017)]
    return year.reset_index(drop=True)


def test_the_exchanges_own_clock_change_is_no_shift(whole_days: pd.DataFrame) -> None:
    assert clock_shifts(history_of(_hours(whole_days), HOURLY)) == []
    assert short_sessions(history_of(_hours(whole_days), HOURLY)) == []


def test_a_clock_that_is_an_hour_late_for_some_weeks(whole_days: pd.DataFrame) -> None:
    found = clock_shifts(history_of(_hours(whole_days, (50, 65)), HOURLY))
    assert len(found) == 1
    assert found[0].detail.startswith(
        f"15 sessions to {whole_days['session'].iloc[64]:%Y-%m-%d} begin 60 minutes later"
    )
    # Four late starts in a row are halts or holidays.
    assert clock_shifts(history_of(_hours(whole_days, (50, 54)), HOURLY)) == []


def _currency_hours(zone: str = "") -> pd.DataFrame:
    """Two years of hourly bars whose weeks open at 17:00 New York on Sundays.

    A broker stamps them seven hours ahead of New York; ``zone`` is what those stamps are taken for, if for another.
    """
    sundays = pd.date_range("2016-01-03 17:00", periods=104, freq="7D", tz="America/New_York")
    hours = pd.to_timedelta(np.tile(np.arange(100), len(sundays)), "h")
    closes = sundays.tz_convert("UTC").repeat(100) + hours + pd.Timedelta(hours=1)
    if zone:
        stamps = closes.tz_convert("America/New_York").tz_localize(None) + pd.Timedelta(hours=7)
        closes = stamps.tz_localize(zone, ambiguous="NaT", nonexistent="NaT").tz_convert("UTC")
    closes = closes.dropna().unique().sort_values()
    local = closes.tz_convert("America/New_York").tz_localize(None) + pd.Timedelta(hours=6)
    frame = pd.DataFrame({"symbol": "EURUSD", "time": closes, "session": local.normalize()})
    return frame.assign(open=1.0, high=1.1, low=0.9, close=1.0, volume=1.0)


def test_a_brokers_clock_that_changes_with_new_york_read_as_athens() -> None:
    # In the weeks between the American and the European change, every stamp is an hour off.
    found = clock_shifts(history_of(_currency_hours("Europe/Athens"), CURRENCY))
    assert [defect.detail.split(" begin")[0] for defect in found] == ["2 weeks to 2016-03-21", "2 weeks to 2017-03-20"]
    assert all("60 minutes later" in defect.detail for defect in found)
    assert clock_shifts(history_of(_currency_hours(), CURRENCY)) == []


def test_sessions_with_less_than_half_of_their_bars(whole_days: pd.DataFrame) -> None:
    frame = _hours(whole_days)
    thin = frame[(frame["session"] != whole_days["session"].iloc[9]) | (frame.index % 3 == 0)]
    found = short_sessions(history_of(thin, HOURLY))
    assert len(found) == 1
    assert f"1 of {len(whole_days)} sessions" in found[0].detail
