"""Whether bars are late is decided by sessions, not by days, and said in words."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tasks.bars.freshness import lateness
from tasks.problem import Problem

THURSDAY = "2026-11-19T21:00:00Z"


def problem(fresh_within: int) -> Problem:
    return Problem(name="spx", source="bars/spx.csv", fresh_within=fresh_within)


@pytest.mark.parametrize(
    ("moment", "fresh_within", "late"),
    [
        (datetime(2026, 11, 19, 22, tzinfo=UTC), 1, False),
        (datetime(2026, 11, 20, 20, tzinfo=UTC), 1, False),  # Friday's session has not closed
        (datetime(2026, 11, 20, 21, tzinfo=UTC), 1, True),
        (datetime(2026, 11, 20, 22, tzinfo=UTC), 2, False),
        (datetime(2026, 11, 23, 20, tzinfo=UTC), 2, False),  # a weekend makes nothing late
        (datetime(2026, 11, 23, 22, tzinfo=UTC), 2, True),
        (datetime(2027, 11, 23, 22, tzinfo=UTC), 0, False),  # nobody asks
    ],
)
def test_sessions_since_the_newest_bar_are_counted(moment: datetime, fresh_within: int, late: bool) -> None:
    assert bool(lateness(problem(fresh_within), THURSDAY, moment)) == late


def test_the_words_name_sessions_source_and_newest_bar() -> None:
    one = lateness(problem(1), THURSDAY, datetime(2026, 11, 20, 22, tzinfo=UTC))
    assert "bars/spx.csv lacks session 2026-11-20 of XNYS" in one
    assert f"newest bar closed at {THURSDAY}" in one
    assert "a bar of the last session" in one
    more = lateness(problem(2), THURSDAY, datetime(2026, 11, 27, 19, tzinfo=UTC))
    assert "lacks sessions 2026-11-20 to 2026-11-27 (5 of them)" in more  # Thanksgiving is none; Friday closes early
    assert "one of the last 2 sessions" in more
