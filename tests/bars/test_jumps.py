"""Wrong units, splits and spikes, planted in real bars and found; the market's own extremes, left alone."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.bars.defects.jumps import spikes, unapplied_splits, unexplained_jumps, unit_errors
from tasks.bars.defects.table import RULES, look
from tests.bars.panels import history_of, multiply, real_bars, real_panel, rows_of

PRICES = ["open", "high", "low", "close"]
JUMPS = tuple(rule for rule in RULES if rule.explains)


def _scaled(first: int, last: int, factor: float, volume: float = 1.0) -> pd.DataFrame:
    """NASDAQ with the prices of some rows multiplied."""
    frame = real_bars().copy()
    multiply(frame, slice(first, last - 1), PRICES, factor)
    multiply(frame, slice(first, last - 1), "volume", volume)
    return frame


def _found(frame: pd.DataFrame) -> list[tuple[str, int, int]]:
    return [(n.rule, n.defect.at, n.defect.rows) for n in look(history_of(frame), JUMPS)]


def test_twenty_years_of_two_indices_hold_no_jump_that_is_wrong() -> None:
    # Among them 2001-09-17, 2008-09-29, 2008-10-13, 2010-05-06, 2011-08-08, 2015-08-24 and 2018-12-26.
    assert _found(real_bars("builtin:sp500")) == []
    assert _found(real_bars()) == []


@pytest.mark.parametrize("factor", [100.0, 0.01, 1000.0, 10.0, 0.1])
@pytest.mark.parametrize("days", [1, 7, 40])
def test_a_unit_error_for_some_days(factor: float, days: int) -> None:
    found = _found(_scaled(2000, 2000 + days, factor))
    assert found == [("unit-error", 2000, days)]


def test_a_unit_that_changes_for_good() -> None:
    frame = _scaled(3000, len(real_bars()), 0.01)
    assert _found(frame) == [("unit-error", 3000, len(frame) - 3000)]
    assert "1 / 100" in unit_errors(history_of(frame))[0].detail


@pytest.mark.parametrize("ratio", [1.5, 2.0, 3.0, 4.0, 7.0, 20.0])
def test_a_split_that_was_not_applied(ratio: float) -> None:
    later = _scaled(3000, len(real_bars()), 1 / ratio, volume=ratio)
    assert _found(later) == [("split", 3000, 1)]
    assert f"{ratio:g}:1" in unapplied_splits(history_of(later))[0].detail
    reverse = _scaled(3000, len(real_bars()), ratio, volume=1 / ratio)
    assert [rule for rule, *_ in _found(reverse)] == ["split"]
    # Vendors adjust volume and forget prices.
    assert _found(_scaled(3000, len(real_bars()), 1 / ratio)) == [("split", 3000, 1)]


def test_a_split_applied_to_some_days_only_is_named_once() -> None:
    found = look(history_of(_scaled(3000, 3030, 0.5, volume=2.0)), JUMPS)
    assert [(n.rule, n.defect.at) for n in found] == [("split", 3000)]
    assert "undone on" in found[0].defect.detail


def test_a_share_that_halves_in_heavy_trading_is_no_split() -> None:
    # As Apple on 2000-09-29: half the price overnight, ten times the turnover.
    frame = _scaled(3000, len(real_bars()), 0.5)
    multiply(frame, 3000, "volume", 20)
    assert _found(frame) == []
    wide = _scaled(3000, len(real_bars()), 0.5)
    multiply(wide, 3000, "low", 0.8)
    assert _found(wide) == []


@pytest.mark.parametrize("factor", [1.3, 0.8, 1.15])
def test_one_bar_apart_from_both_neighbours(factor: float) -> None:
    assert _found(_scaled(2000, 2001, factor)) == [("spike", 2000, 1)]
    assert _found(_scaled(2000, 2004, factor if factor != 1.15 else 1.4)) == [("spike", 2000, 4)]


def test_a_bad_print_inside_a_bar() -> None:
    for column, factor in (("low", 0.1), ("high", 2.0), ("low", 0.5)):
        frame = real_bars().copy()
        multiply(frame, 2500, column, factor)
        assert _found(frame) == [("spike", 2500, 1)]
    # The first print of the day is bad: the open itself does not support the high.
    frame = real_bars().copy()
    frame.loc[2500, ["open", "high"]] = 2 * frame["close"].iloc[2500]
    assert _found(frame) == [("spike", 2500, 1)]


def test_extremes_that_many_symbols_share_are_the_markets() -> None:
    frame = real_panel(symbols=6)
    rows = [rows_of(frame, f"S{at}")[400] for at in range(6)]
    multiply(frame, rows, "low", 0.5)
    assert spikes(history_of(frame)) == []
    multiply(frame, rows[1:], "low", 2)
    assert [defect.at for defect in spikes(history_of(frame))] == [rows[0]]


def test_a_real_reversal_of_a_tenth_is_kept() -> None:
    # Down 10 % and up again, by trading: the bars overlap.
    frame = real_bars().copy()
    before = frame["close"].iloc[2499]
    frame.loc[2500, ["low", "close"]] = before * 0.9
    frame.loc[2501, ["open", "low"]] = before * 0.905
    assert _found(frame) == []


def test_a_jump_without_trading_is_said() -> None:
    # A spin-off of a fifth: no split's factor.
    frame = _scaled(3000, len(real_bars()), 0.8)
    found = look(history_of(frame), JUMPS)
    assert [(n.rule, n.severity, n.defect.at) for n in found] == [("unexplained-jump", "warning", 3000)]
    assert "-20% from the last close" in found[0].defect.detail
    assert unexplained_jumps(history_of(frame, has_volume=False)) == []


def test_neither_the_order_of_symbols_nor_their_unit_matters() -> None:
    frame = real_panel(symbols=3)
    at = rows_of(frame, "S1")[300]
    multiply(frame, at, PRICES, 1.4)
    cheap = frame.copy()
    cheap[PRICES] *= 1e-3
    for panel in (frame, cheap):
        assert _found(panel) == [("spike", at, 1)]
    renamed = frame.assign(symbol=frame["symbol"].map({"S0": "C", "S1": "B", "S2": "A"}))
    renamed = renamed.sort_values(["symbol", "time"], ignore_index=True)
    assert [(rule, rows) for rule, _, rows in _found(renamed)] == [("spike", 1)]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    at=st.integers(700, 4200),
    days=st.integers(1, 20),
    power=st.sampled_from([2, 3, -2, -3]),
    scale=st.floats(1e-3, 1e3),
)
def test_a_hundredfold_error_is_found_wherever_it_lies(at: int, days: int, power: int, scale: float) -> None:
    frame = real_bars().iloc[at - 300 : at + 300].reset_index(drop=True)
    frame[PRICES] *= scale
    multiply(frame, slice(300, 299 + days), PRICES, 10.0**power)
    assert _found(frame) == [("unit-error", 300, days)]


def test_prices_below_zero_are_no_error_of_the_check() -> None:
    frame = real_bars().head(300).copy()
    frame[PRICES] -= frame["close"].median()
    assert all(np.isfinite(rows) for *_, rows in _found(frame))
