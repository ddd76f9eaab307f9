"""The date of a bar's features: the same for training, which knows the session, and for serving, which knows closes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.bars.describe import SourceDescription
from tasks.bars.sessions import load_sessions, place
from tasks.features.matrix import arrays
from tasks.registry.bundle import calendar_zone
from tasks.registry.serving.bars import BarRules, SymbolBars, read_bars

FIRST, LAST = np.datetime64("2014-01-01", "ns"), np.datetime64("2023-12-31", "ns")
CALENDARS = ("XNYS", "XASX", "XNZE", "XTKS", "XHKG", "XSES", "CMES", "us_futures", "XLON", "XTAE", "24/5", "24/7")
RAW = ["time", "open", "high", "low", "close", "volume"]


def canonical(time: np.ndarray, session: np.ndarray) -> pd.DataFrame:
    known = ~np.isnat(time)
    frame = pd.DataFrame({"symbol": "S", "time": pd.DatetimeIndex(time[known]).tz_localize("UTC")})
    frame["session"] = session[known]
    return frame.assign(open=1.0, high=1.0, low=1.0, close=1.0, volume=1.0)


def served(bars: pd.DataFrame, calendar: str, bar: str = "1d") -> SymbolBars:
    return read_bars(bars[RAW], BarRules(bar=bar, tz=calendar_zone(calendar)))[0]


@pytest.mark.parametrize("calendar", CALENDARS)
def test_daily_closes_and_session_labels_give_the_date_of_training(calendar: str) -> None:
    sessions = load_sessions(calendar, FIRST, LAST)
    bars = canonical(sessions.closes, sessions.labels)
    trained = arrays(bars, "1d")["session"]
    np.testing.assert_array_equal(trained, sessions.labels.astype("datetime64[D]"))
    np.testing.assert_array_equal(served(bars, calendar).session, trained)
    np.testing.assert_array_equal(served(bars.assign(time=bars["session"]), calendar).session, trained)


@pytest.mark.parametrize("calendar", ["XNYS", "XASX", "CMES", "24/5", "24/7"])
@pytest.mark.parametrize("bar", ["1h", "30min"])
def test_shorter_bars_have_the_utc_date_of_their_close_in_training_too(calendar: str, bar: str) -> None:
    stamps = pd.date_range("2021-02-25", "2021-04-10", freq=bar).to_numpy().astype("datetime64[ns]")
    description = SourceDescription(source="x.csv", bar=bar, calendar=calendar)
    sessions = load_sessions(calendar, FIRST, LAST)
    placed = place(np.full(len(stamps), np.datetime64("NaT")), stamps, sessions, description)
    bars = canonical(placed.close, placed.session).drop_duplicates("time")
    trained = arrays(bars, bar)["session"]
    np.testing.assert_array_equal(served(bars, calendar, bar).session, trained)
    last_moment = (bars["time"] - pd.Timedelta(1, "ns")).dt.strftime("%Y-%m-%d")
    assert [str(date) for date in trained] == last_moment.tolist()


def test_a_session_that_spans_two_utc_dates_has_two_dates_and_one_session() -> None:
    times = np.array(["2021-03-01T23:00", "2021-03-02T00:00", "2021-03-02T01:00"], dtype="datetime64[ns]")
    bars = canonical(times, np.array(["2021-03-02"] * 3, dtype="datetime64[ns]"))
    assert [str(date) for date in arrays(bars, "1h")["session"]] == ["2021-03-01", "2021-03-01", "2021-03-02"]
    assert len(set(arrays(bars, "1d")["session"])) == 1


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_local_midnights_are_taken_as_the_day_that_they_name(zone: str) -> None:
    """What some sources stamp daily bars with."""
    days = pd.bdate_range("2021-01-04", periods=30)
    bars = canonical(days.to_numpy(), days.to_numpy()).assign(time=days.tz_localize(zone))
    found = read_bars(bars[RAW], BarRules(bar="1d", tz=zone))[0].session
    np.testing.assert_array_equal(found, days.to_numpy().astype("datetime64[D]"))
