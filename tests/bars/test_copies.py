"""Bars of a later session, and one series under several names."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.bars.defects.copies import later_bars, same_series
from tests.bars.panels import history_of, multiply, real_bars, real_panel, rows_of

PRICES = ["open", "high", "low", "close"]
BAR = [*PRICES, "volume"]


def _copied(frame: pd.DataFrame, early: int, late: int, columns: list[str] | None = None) -> pd.DataFrame:
    """The frame with a bar replaced by a later one."""
    changed = frame.copy()
    changed.loc[early, columns or BAR] = frame[columns or BAR].to_numpy()[late]
    return changed


def _at(frame: pd.DataFrame, has_volume: bool = True) -> list[int]:
    return [defect.at for defect in later_bars(history_of(frame, has_volume=has_volume))]


def test_two_indices_hold_no_bar_of_a_later_session() -> None:
    assert _at(real_bars()) == []
    assert _at(real_bars("builtin:sp500")) == []
    assert _at(real_panel()) == []


@settings(max_examples=20, deadline=None)
@given(early=st.integers(0, 5000), ahead=st.integers(1, 500))
def test_a_copied_bar_is_found_with_its_session(early: int, ahead: int) -> None:
    late = min(early + ahead, 5030)
    found = later_bars(history_of(_copied(real_bars(), early, late)))
    assert [defect.at for defect in found] == [early]
    assert f"bar of {real_bars()['session'].iloc[late]:%Y-%m-%d}, a later session's" in found[0].detail


def test_prices_alone_are_enough_where_ticks_are_fine() -> None:
    assert _at(_copied(real_bars(), 3000, 3004, PRICES)) == [3000]
    assert _at(_copied(real_bars(), 3000, 3004, PRICES).assign(volume=0.0), has_volume=False) == [3000]


def test_a_bar_of_another_symbol_of_a_later_date() -> None:
    frame = real_panel()
    early, late = rows_of(frame, "S4")[100], rows_of(frame, "S1")[140]
    found = later_bars(history_of(_copied(frame, int(early), int(late))))
    assert [defect.at for defect in found] == [early]
    assert "of S1, a later session's" in found[0].detail


def test_equal_bars_of_a_cheap_share_are_chance() -> None:
    # Two dollars, ranges of a few cents: equal bars abound, and none of them is a copy.
    frame = real_bars().copy()
    frame[PRICES] = (frame[PRICES] / 2000).round(2)
    frame["high"] = frame[PRICES].max(axis=1)
    frame["low"] = frame[PRICES].min(axis=1)
    assert frame.duplicated(PRICES).sum() > 500
    assert _at(frame) == []
    # Their volume tells them apart from a copy.
    wide = int(np.argmax(frame["high"] - frame["low"]))
    assert _at(_copied(frame, wide - 7, wide)) == [wide - 7]


def test_many_symbols_that_repeat_one_session_are_copies_even_if_each_could_be_chance() -> None:
    frame = real_panel(symbols=6, bars=250)
    frame[PRICES] = (frame[PRICES] / 500).round(2)
    frame["high"], frame["low"] = frame[PRICES].max(axis=1), frame[PRICES].min(axis=1)
    rng = np.random.default_rng(1)
    before = _at(frame)
    for at in range(6):
        early, late = rows_of(frame, f"S{at}").tolist()[120:124:3]
        frame.loc[early, PRICES] = frame[PRICES].to_numpy()[late]
        multiply(frame, early, "volume", rng.uniform(1.5, 3))
    planted = [int(rows_of(frame, f"S{at}")[120]) for at in range(6)]
    assert before == []
    assert _at(frame) == planted


def test_bars_without_a_range_are_never_copies() -> None:
    frame = real_bars().copy()
    frame.loc[2000:2100, PRICES] = 2000.0
    assert _at(frame) == []


def test_one_series_under_two_names() -> None:
    frame = real_panel()
    copy = frame[frame["symbol"] == "S2"].assign(symbol="S2X").tail(700)
    both = pd.concat([frame, copy]).sort_values(["symbol", "time"], ignore_index=True)
    found = same_series(history_of(both))
    assert [both["symbol"].iloc[defect.at] for defect in found] == ["S2X"]
    assert "700 of 700 bars are those of S2" in found[0].detail
    assert same_series(history_of(frame)) == []


@pytest.mark.parametrize(("share", "expected"), [(0.9, 0), (0.97, 1)])
def test_two_classes_of_one_share_are_two_series(share: float, expected: int) -> None:
    frame = real_panel(symbols=2)
    twin = frame[frame["symbol"] == "S1"].assign(symbol="S1B").reset_index(drop=True)
    multiply(twin, twin.index[int(share * len(twin)) :], PRICES, 1.001)
    both = pd.concat([frame, twin]).sort_values(["symbol", "time"], ignore_index=True)
    assert len(same_series(history_of(both))) == expected
