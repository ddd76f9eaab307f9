"""Dates on which a model of the whole universe would not predict are not scored."""

from __future__ import annotations

import numpy as np

from tasks.splits.lost import whole_sections


def test_a_date_that_lacks_a_tenth_of_the_universe_is_left_out_once_the_universe_is_there() -> None:
    days = np.repeat(np.arange("2020-01-01", "2020-01-07", dtype="datetime64[D]"), 10).astype("datetime64[ns]")
    there = np.ones((6, 10), dtype=bool)
    there[0, 5:] = False  # the universe is still growing
    there[3, 8:] = False  # a bad day
    there[4, 9:] = False  # just enough
    kept, told = whole_sections(days, there.ravel(), np.full(60, 10))
    assert kept.reshape(6, 10).all(axis=1).tolist() == [True, True, True, False, True, True]
    assert told == (
        "8 rows on 1 dates with less than 90% of the 10 names are left out: a model of the whole cross-section would "
        "not predict there",
    )
    assert whole_sections(days, np.ones(60, dtype=bool), np.full(60, 10))[1] == ()


def test_a_universe_that_changes_is_asked_for_who_belonged() -> None:
    days = np.repeat(np.arange("2020-01-01", "2020-01-05", dtype="datetime64[D]"), 10).astype("datetime64[ns]")
    expected = np.repeat([0, 5, 5, 10], 10)
    there = np.zeros((4, 10), dtype=bool)
    there[1, :5] = there[2, :4] = there[3, :9] = True
    kept, _ = whole_sections(days, there.ravel(), expected)
    assert kept.reshape(4, 10).all(axis=1).tolist() == [True, True, False, True]
