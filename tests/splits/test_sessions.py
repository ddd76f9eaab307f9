"""The sessions that terms are counted from start at a fixed date, whatever today is."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.errors import ConfigurationError
from tasks.splits.sessions import calendar_sessions


def test_sessions_start_in_1970_and_end_with_the_data() -> None:
    sessions = calendar_sessions("XNYS", pd.Timestamp("2018-12-31"))
    assert sessions[0] == pd.Timestamp("1970-01-02")
    assert sessions[-1] == pd.Timestamp("2018-12-31")
    assert pd.Timestamp("2018-12-05") not in sessions  # national day of mourning
    longer = calendar_sessions("XNYS", pd.Timestamp("2019-06-28"))
    assert longer[: len(sessions)].equals(sessions)


def test_a_calendar_that_begins_later_starts_at_its_own_bound() -> None:
    sessions = calendar_sessions("XTKS", pd.Timestamp("2018-12-28"))
    assert sessions[0] == pd.Timestamp("1997-01-06")


def test_round_the_clock_calendars_have_every_day() -> None:
    assert len(calendar_sessions("24/7", pd.Timestamp("1970-12-31"))) == 365


def test_unknown_calendars_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="'XFOO' is not known"):
        calendar_sessions("XFOO", pd.Timestamp("2018-12-31"))
