"""Concurrency and uniqueness: the book's example, brute force, and what overlapping labels are worth."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.statistics.uniqueness import average_uniqueness, concurrency

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def brute_force(first: IntArray, last: IntArray, symbol: IntArray) -> FloatArray:
    """For each label, the mean over its bars of one over how many labels of its symbol use the bar."""
    out = []
    for f, e, s in zip(first, last, symbol, strict=True):
        inverse = [1 / sum((symbol == s) & (first <= bar) & (bar <= last)) for bar in range(f, e + 1)]
        out.append(np.mean(inverse))
    return np.array(out)


def test_the_example_of_the_book() -> None:
    """López de Prado (2018), section 4.5.3: labels on bars 0-2, 2-3 and 4-5."""
    first, last = np.array([0, 2, 4]), np.array([2, 3, 5])
    assert concurrency(first, last, 6).tolist() == [1, 1, 2, 1, 1, 1]
    assert average_uniqueness(first, last) == pytest.approx([5 / 6, 3 / 4, 1.0])


@given(
    labels=st.lists(st.tuples(st.integers(0, 25), st.integers(0, 8), st.integers(0, 3)), min_size=1, max_size=30),
)
@settings(max_examples=100, deadline=None)
def test_it_is_brute_force(labels: list[tuple[int, int, int]]) -> None:
    first, length, symbol = (np.array(column, dtype=np.int64) for column in zip(*labels, strict=True))
    found = average_uniqueness(first, first + length, symbol)
    np.testing.assert_allclose(found, brute_force(first, first + length, symbol), rtol=1e-12)
    assert ((found > 0) & (found <= 1)).all()


def test_labels_that_share_no_bar_are_worth_one_each() -> None:
    first = np.arange(0, 100, 5)
    assert (average_uniqueness(first, first + 4) == 1.0).all()


@pytest.mark.parametrize("horizon", [1, 5, 20])
def test_n_daily_labels_of_h_bars_are_worth_n_over_h(horizon: int) -> None:
    first = np.arange(1, 1001)
    size = average_uniqueness(first, first + horizon - 1).sum()
    # Labels at either edge have fewer neighbours.
    assert 1000 / horizon <= size <= 1000 / horizon + 2.5


def test_symbols_share_no_bar() -> None:
    first = np.tile(np.arange(50), 3)
    symbol = np.repeat(np.arange(3), 50)
    together = average_uniqueness(first, first + 4, symbol)
    alone = average_uniqueness(first[:50], first[:50] + 4)
    np.testing.assert_allclose(together, np.tile(alone, 3), rtol=1e-12)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(1)
    first, symbol = rng.integers(0, 40, 60), rng.integers(0, 3, 60)
    last, order = first + rng.integers(0, 6, 60), rng.permutation(60)
    moved = average_uniqueness(first[order], last[order], symbol[order])
    np.testing.assert_allclose(moved, average_uniqueness(first, last, symbol)[order], rtol=1e-12)


def test_no_labels_are_worth_nothing() -> None:
    none = np.array([], dtype=np.int64)
    assert len(average_uniqueness(none, none)) == 0
    assert concurrency(none, none, 3).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("first", "last", "text"), [(3, 2, "from 3 to 2"), (-1, 2, "from -1 to 2"), (1, 9, "from 1 to 9")]
)
def test_bars_that_are_no_stretch_are_refused(first: int, last: int, text: str) -> None:
    with pytest.raises(ValueError, match=f"1 labels.*row 1: {text}"):
        concurrency(np.array([0, first]), np.array([0, last]), 5)
