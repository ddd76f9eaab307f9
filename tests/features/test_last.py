"""The last bar's features from a tail: what the whole history gives, for every column, alone and among others."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.errors import ConfigurationError
from tasks.features import catalogue, matrix
from tasks.features.last import Last
from tasks.features.series import Array
from tests.features.market import TICK, Bars, cut, index_bars, lean_bars, made_bars
from tests.features.test_guards import CASES

COLUMNS = tuple(catalogue.CATALOGUE)
LOOKBACKS = np.array([catalogue.feature(name).lookback for name in COLUMNS])
LONGEST = int(LOOKBACKS.max())
FORGOTTEN = 1e-9
FROZEN = ("constant price", "constant price, no volume", "still in the middle", "still at the end", "prices below zero")
"""Where a price stands still for hundreds of bars, oscillators are quotients of what has vanished, in a batch too."""
ODD = sorted(set(CASES) - set(FROZEN))


def scales(full: Array) -> Array:
    """Each column's standard deviation past its lookback, 1 where it is constant."""
    found = np.array([np.std(full[first - 1 :, j]) for j, first in enumerate(LOOKBACKS)])
    return np.where(found > 1e-12, found, 1.0)


def apart(found: Array, expected: Array, scale: Array) -> dict[str, float]:
    """The columns that differ by more than is promised, and by how much of their scale."""
    far = np.abs(found - expected) / scale
    return {name: float(far[j]) for j, name in enumerate(COLUMNS) if not far[j] <= FORGOTTEN}


def check_tails(bars: Bars, ends: list[int]) -> None:
    full, last = matrix.compute(bars, COLUMNS, TICK), Last(COLUMNS, TICK)
    for end in ends:
        assert not apart(last.row(cut(bars, end - LONGEST, end)), full[end - 1], scales(full)), end


@pytest.mark.parametrize("name", ["sp500", "nasdaq"])
def test_every_column_of_real_indices(name: str) -> None:
    check_tails(index_bars(name), np.linspace(LONGEST, 5031, 60).astype(int).tolist())


@pytest.mark.parametrize("seed", [1, 2])
def test_every_column_where_nothing_moves_for_a_while(seed: int) -> None:
    check_tails(made_bars(seed, 1300, calm=True), list(range(LONGEST, 1300, 7)))


@pytest.mark.parametrize("case", ODD)
def test_every_column_of_odd_bars(case: str) -> None:
    check_tails(CASES[case], list(range(LONGEST, 1400, 31)))


@pytest.mark.parametrize("case", sorted(CASES))
def test_values_are_finite_whatever_the_bars(case: str) -> None:
    last = Last(COLUMNS, TICK)
    for end in range(LONGEST, 1400, 101):
        assert np.isfinite(last.row(cut(CASES[case], end - LONGEST, end))).all(), end


@pytest.mark.needs_data
@pytest.mark.parametrize("symbol", ["aapl", "bac"])
def test_every_column_of_raw_stocks(symbol: str, market_data: Path) -> None:
    bars = lean_bars(market_data, symbol)
    check_tails(bars, np.linspace(LONGEST, len(bars["close"]), 40).astype(int).tolist())


def test_each_column_alone_from_exactly_its_lookback() -> None:
    bars = index_bars("sp500")
    full = matrix.compute(bars, COLUMNS, TICK)
    scale = scales(full)
    for end in (1203, 4807):
        for j, (name, lookback) in enumerate(zip(COLUMNS, LOOKBACKS, strict=True)):
            found = Last((name,), TICK).row(cut(bars, end - int(lookback), end))
            assert abs(found[0] - full[end - 1, j]) <= FORGOTTEN * scale[j], name


def test_one_object_serves_many_tails_and_no_columns() -> None:
    bars = index_bars("sp500")
    last = Last(("har_22", "weekday"), TICK)
    first = last.row(cut(bars, 0, 100)).copy()
    last.row(cut(bars, 0, 300))
    assert last.row(cut(bars, 0, 100)).tolist() == first.tolist()
    assert Last((), TICK).row(bars).tolist() == []


def test_an_unknown_column_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="tarot"):
        Last(("tarot",), TICK)
