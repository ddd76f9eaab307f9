"""Labels permuted by blocks of dates: what moves, what stays, and what nobody gets."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.statistics.shuffle import shuffled_labels

Panel = tuple[npt.NDArray[np.float64], npt.NDArray[np.datetime64], npt.NDArray[np.object_]]


def panel(dates: int, symbols: int, bars: int = 1) -> Panel:
    """A label says whose it is and of which bar: symbol * 1e6 + date * 100 + bar of the date."""
    day, bar = (grid.ravel() for grid in np.meshgrid(np.arange(dates), np.arange(bars), indexing="ij"))
    days = np.datetime64("2010-01-01", "ns") + day * np.timedelta64(1, "D")
    label = np.concatenate([symbol * 1e6 + day * 100.0 + bar for symbol in range(symbols)])
    names = np.repeat(np.array([f"S{i}" for i in range(symbols)], dtype=object), len(day))
    return label, np.tile(days, symbols), names


def date_of(label: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    return (label % 1e6 // 100).astype(np.int64)


def test_whole_blocks_move_in_one_piece_and_none_stays() -> None:
    label, sessions, symbols = panel(210, 1)
    moved = date_of(shuffled_labels(label, sessions, symbols, seed=3)).reshape(10, 21)
    np.testing.assert_array_equal(np.diff(moved, axis=1), 1)
    starts = moved[:, 0]
    assert sorted(starts) == list(range(0, 210, 21))
    assert (starts != np.arange(0, 210, 21)).all()


def test_all_symbols_of_a_date_get_the_labels_of_the_same_other_date_and_their_own() -> None:
    label, sessions, symbols = panel(100, 4, bars=3)
    moved = shuffled_labels(label, sessions, symbols, seed=3).reshape(4, 100, 3)
    assert (moved // 1e6 == np.arange(4)[:, None, None]).all()
    assert (moved % 100 == np.arange(3)).all()
    dates = date_of(moved)
    assert (dates == dates[:1, :, :1]).all()


def test_a_seed_settles_the_permutation() -> None:
    data = panel(400, 2)
    first = shuffled_labels(*data, seed=5)
    np.testing.assert_array_equal(first, shuffled_labels(*data, seed=5))
    assert (first != shuffled_labels(*data, seed=6)).any()


def test_dependence_within_a_block_stays_and_the_link_to_what_lies_beside_it_goes() -> None:
    random = np.random.default_rng(1)
    x = np.zeros(4200)
    for t in range(1, len(x)):
        x[t] = 0.9 * x[t - 1] + random.standard_normal()
    sessions = np.datetime64("2010-01-01", "ns") + np.arange(len(x)) * np.timedelta64(1, "D")
    moved = shuffled_labels(x, sessions, np.full(len(x), "S", dtype=object), seed=1)
    assert np.corrcoef(moved[1:], moved[:-1])[0, 1] > 0.8
    assert abs(np.corrcoef(x, moved)[0, 1]) < 0.1


@given(
    seed=st.integers(0, 2**31 - 1),
    dates=st.integers(30, 120),
    symbols=st.integers(1, 3),
    block=st.integers(1, 25),
    missing=st.floats(0.0, 0.3),
)
def test_ragged_panels_keep_missing_labels_in_place_and_every_symbol_its_own(
    seed: int, dates: int, symbols: int, block: int, missing: float
) -> None:
    label, sessions, names = panel(dates, symbols)
    random = np.random.default_rng(seed)
    label = np.where(random.random(len(label)) < missing, np.nan, label)
    rows = random.random(len(label)) > missing / 2
    label, sessions, names = label[rows], sessions[rows], names[rows]
    if len(np.unique(sessions[np.isfinite(label)])) <= block:
        with pytest.raises(ValueError, match="two are needed"):
            shuffled_labels(label, sessions, names, seed, block)
        return
    moved = shuffled_labels(label, sessions, names, seed, block)
    np.testing.assert_array_equal(np.isnan(moved), np.isnan(label))
    for name in np.unique(names.astype(str)):
        mine = names == name
        np.testing.assert_array_equal(np.sort(moved[mine]), np.sort(label[mine]))


def test_a_symbol_with_gaps_follows_the_others_as_closely_as_they_allow() -> None:
    label, sessions, symbols = panel(420, 2)
    gaps = np.flatnonzero(symbols == "S1")[[50, 51, 200]]
    label[gaps] = np.nan
    moved = shuffled_labels(label, sessions, symbols, seed=2).reshape(2, 420)
    known = np.isfinite(moved[1])
    apart = np.abs(date_of(moved[0][known]) - date_of(moved[1][known]))
    # At most as many places apart as labels are missing; further only across the seam of two blocks.
    assert np.mean(apart <= 3) > 0.8


def test_too_few_dates_are_refused() -> None:
    label, sessions, symbols = panel(21, 3)
    with pytest.raises(ValueError, match="21 dates cannot be shuffled in blocks of 21"):
        shuffled_labels(label, sessions, symbols, seed=1)
    assert (shuffled_labels(*panel(22, 3), seed=1) != panel(22, 3)[0]).all()
