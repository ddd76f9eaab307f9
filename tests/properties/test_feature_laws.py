"""The two laws of every feature column, and its independence of units.

1. What comes later changes nothing: a row is the same to the last bit, whatever follows it.
2. What came long before changes nothing: beyond the declared lookback, history moves a value by at most 1e-9 of the
   column's standard deviation, so that what is served from a tail of bars is what was trained on.
3. Prices in another unit (with the tick) change nothing, nor does volume in another unit.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.features import catalogue, matrix
from tasks.features.series import Array
from tests.features.market import PRICES, TICK, Bars, cut, index_bars, lean_bars, made_bars, panel_bars

COLUMNS = tuple(catalogue.CATALOGUE)
LOOKBACKS = np.array([catalogue.feature(name).lookback for name in COLUMNS])
LONGEST = int(LOOKBACKS.max())
FORGOTTEN = 1e-9
LEAN = ("spy", "aapl", "ibm", "bac", "aaa", "wm", "uso")

quick = settings(max_examples=30, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
seeds = st.integers(0, 2**32 - 1)
volatilities = st.sampled_from([0.005, 0.01, 0.02, 0.04])
prices = st.sampled_from([0.8, 5.0, 20.0, 400.0, 30_000.0])


def _features(bars: Bars, tick: float = TICK) -> Array:
    return matrix.compute(bars, COLUMNS, tick)


def _named(wrong: np.ndarray) -> dict[str, int]:
    """Columns with a wrong row, and how many."""
    return {COLUMNS[j]: int(wrong[:, j].sum()) for j in np.flatnonzero(wrong.any(axis=0))}


def _same(a: Array, b: Array) -> np.ndarray:
    same: np.ndarray = (a == b) | (np.isnan(a) & np.isnan(b))
    return same


def _scales(full: Array) -> Array:
    return np.array([np.std(full[first - 1 :, j]) for j, first in enumerate(LOOKBACKS)])


def _forgotten(bars: Bars, full: Array, start: int) -> dict[str, int]:
    """Columns that still differ, beyond the lookback, if history starts at ``start``."""
    tail = _features(cut(bars, start))
    apart = np.abs(tail - full[start:]) > FORGOTTEN * _scales(full)
    settled = np.arange(len(tail))[:, None] >= LOOKBACKS - 1
    return _named((apart | np.isnan(tail)) & settled)


@given(seed=seeds, volatility=volatilities, price=prices, calm=st.booleans(), at=st.floats(0.01, 0.99))
@quick
def test_later_bars_change_nothing(seed: int, volatility: float, price: float, calm: bool, at: float) -> None:
    bars = made_bars(seed, 1000, volatility=volatility, price=price, calm=calm)
    other = made_bars(seed + 1, 1000, volatility=0.05, price=price * 2.0)
    now = max(int(at * 1000), 1)
    full = _features(bars)
    removed = _features(cut(bars, 0, now))
    changed = _features({name: np.concatenate([bars[name][:now], other[name][now:]]) for name in bars})
    assert not _named(~_same(full[:now], removed))
    assert not _named(~_same(full[:now], changed[:now]))


@pytest.mark.parametrize("name", ["sp500", "nasdaq"])
def test_later_bars_change_nothing_on_real_indices(name: str) -> None:
    bars = index_bars(name)
    full = _features(bars)
    for now in (1, 30, 757, 2500, 5000):
        assert not _named(~_same(full[:now], _features(cut(bars, 0, now))))


@given(seed=seeds, volatility=volatilities, price=prices, calm=st.booleans(), start=st.integers(1, 600))
@quick
def test_history_is_forgotten(seed: int, volatility: float, price: float, calm: bool, start: int) -> None:
    bars = made_bars(seed, LONGEST + 900, volatility=volatility, price=price, calm=calm)
    assert not _forgotten(bars, _features(bars), start)


@pytest.mark.parametrize("name", ["sp500", "nasdaq"])
def test_history_is_forgotten_on_real_indices(name: str) -> None:
    bars = index_bars(name)
    full = _features(bars)
    for start in (1, 500, 1203, 2411, 3607, len(full) - LONGEST):
        assert not _forgotten(bars, full, start)


@pytest.mark.needs_data
@pytest.mark.parametrize("symbol", LEAN)
def test_history_is_forgotten_on_raw_stocks(symbol: str, market_data: Path) -> None:
    bars = lean_bars(market_data, symbol)
    full = _features(bars)
    for start in np.linspace(1, len(full) - LONGEST, 4).astype(int):
        assert not _forgotten(bars, full, int(start))


@pytest.mark.needs_data
def test_history_is_forgotten_on_a_panel(market_data: Path) -> None:
    frame = panel_bars(market_data)
    for symbol in sorted(frame["symbol"].unique())[::18]:
        bars = matrix.arrays(frame[frame["symbol"] == symbol])
        if len(bars["close"]) > LONGEST:
            full = _features(bars)
            assert not _forgotten(bars, full, 100), symbol
            assert not _forgotten(bars, full, len(full) - LONGEST), symbol


@given(seed=seeds, volatility=volatilities, price=prices, calm=st.booleans())
@quick
def test_every_row_past_the_lookback_is_finite(seed: int, volatility: float, price: float, calm: bool) -> None:
    full = _features(made_bars(seed, 1000, volatility=volatility, price=price, calm=calm))
    settled = np.arange(len(full))[:, None] >= LOOKBACKS - 1
    assert not _named(~np.isfinite(full) & settled)
    assert not _named(~np.isnan(full) & ~settled)


@given(seed=seeds, volatility=volatilities, price=prices, factor=st.sampled_from([10.0, 0.01, 8.0]))
@quick
def test_the_unit_of_prices_changes_nothing(seed: int, volatility: float, price: float, factor: float) -> None:
    bars = made_bars(seed, 1000, volatility=volatility, price=price)
    scaled = {name: values * factor if name in PRICES else values for name, values in bars.items()}
    full = _features(bars)
    assert not _named(_far(full, _features(scaled, TICK * factor)))


@given(seed=seeds, factor=st.sampled_from([1000.0, 0.01, 8.0]))
@quick
def test_the_unit_of_volume_changes_nothing(seed: int, factor: float) -> None:
    bars = made_bars(seed, 1000)
    full = _features(bars)
    assert not _named(_far(full, _features({**bars, "volume": bars["volume"] * factor})))


def _far(full: Array, other: Array) -> np.ndarray:
    return np.abs(full - other) > 1e-8 * np.where(_scales(full) > 0.0, _scales(full), 1.0)
