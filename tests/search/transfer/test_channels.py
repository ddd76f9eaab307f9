"""Windows of bars: inside one symbol, of nothing later, with what is not known marked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.backbones import MAY_LACK
from tasks.errors import EngineError
from tasks.features import catalogue
from tasks.search.transfer.channels import (
    BODY,
    BODY_KNOWN,
    CHANNELS,
    KNOWN,
    LOG_RANGE,
    MASKED,
    MASKS,
    STEP,
    VOLUME,
    Bars,
    from_matrix,
    levels,
    usable,
    windows,
)
from tests.search.transfer.windows import bars_of_two, two_symbols

LENGTH = 32
LOOKBACK = 21


def test_a_step_is_the_catalogues_columns_and_masks() -> None:
    values, symbols = two_symbols()
    turned = (*reversed(CHANNELS), "rsi_14")
    bars = from_matrix(np.column_stack([values[:, ::-1], values[:, 0]]), turned, symbols)
    assert bars.starts.tolist() == [0, 300]
    known = np.isfinite(values[:, VOLUME])
    np.testing.assert_array_equal(bars.values[:, :VOLUME], values[:, :VOLUME].astype(np.float32))
    np.testing.assert_array_equal(bars.values[:, KNOWN], known.astype(np.float32))
    np.testing.assert_array_equal(bars.values[known, VOLUME], values[known, VOLUME].astype(np.float32))
    assert (bars.values[~known, VOLUME] == 0).all()
    assert (bars.values[:, BODY_KNOWN] == 1).all()
    assert list(range(len(CHANNELS), STEP)) == [KNOWN, BODY_KNOWN], "the order of weights that are kept"
    assert MASKS == ((VOLUME, KNOWN), (BODY, BODY_KNOWN))
    assert tuple(MASKED) == MAY_LACK


def test_windows_end_at_their_row_and_stay_inside_their_symbol() -> None:
    bars = bars_of_two()
    ends = np.flatnonzero(usable(bars, LENGTH))
    assert ends.tolist() == [*range(LOOKBACK + LENGTH - 2, 300), *range(300 + LOOKBACK + LENGTH - 2, 600)]
    found = windows(bars, ends, LENGTH)
    assert found.shape == (len(ends), LENGTH, STEP)
    assert found.dtype == np.float32
    for place in (0, 100, len(ends) - 1):
        np.testing.assert_array_equal(found[place], bars.values[ends[place] - LENGTH + 1 : ends[place] + 1])
    assert np.isfinite(found).all()
    np.testing.assert_allclose(levels(bars, ends, LENGTH), found[:, :, LOG_RANGE].mean(axis=1), rtol=1e-6)


def test_a_window_into_another_symbol_is_refused() -> None:
    bars = bars_of_two()
    with pytest.raises(EngineError, match=r"2 windows would reach into another symbol \(first: row 302, with 3 bars"):
        windows(bars, np.array([299, 302, 310]), LENGTH)
    with pytest.raises(EngineError, match="reach into another symbol"):
        levels(bars, np.array([4]), LENGTH)


@pytest.mark.parametrize("kept", [40, 150, 299])
def test_nothing_depends_on_a_later_bar(kept: int) -> None:
    """Each symbol cut short: the rows that are left have the windows, and the use, that they had."""
    values, symbols = two_symbols()
    rows = np.concatenate([np.arange(kept), 300 + np.arange(kept)])
    whole, short = from_matrix(values, CHANNELS, symbols), from_matrix(values[rows], CHANNELS, symbols[rows])
    np.testing.assert_array_equal(usable(short, LENGTH), usable(whole, LENGTH)[rows])
    ends = np.flatnonzero(usable(short, LENGTH))
    np.testing.assert_array_equal(windows(short, ends, LENGTH), windows(whole, rows[ends], LENGTH))
    np.testing.assert_array_equal(levels(short, ends, LENGTH), levels(whole, rows[ends], LENGTH))


def test_no_volume_is_an_unknown_volume_and_not_one_of_zero() -> None:
    values, symbols = two_symbols()
    unknown, zeros = values.copy(), values.copy()
    unknown[:, VOLUME], zeros[:, VOLUME] = np.nan, 0.0
    without = from_matrix(values[:, :VOLUME], CHANNELS[:VOLUME], symbols)
    np.testing.assert_array_equal(without.values, from_matrix(unknown, CHANNELS, symbols).values)
    assert (without.values[:, KNOWN] == 0).all()
    assert (from_matrix(zeros, CHANNELS, symbols).values[:, KNOWN] == 1).all()
    assert usable(without, LENGTH).sum() == 2 * (300 - LENGTH), "only the first return of each symbol is not known"


def test_no_open_is_an_unknown_body_and_not_one_of_zero() -> None:
    values, symbols = two_symbols()
    unknown, zeros = values.copy(), values.copy()
    unknown[:, BODY], zeros[:, BODY] = np.nan, 0.0
    kept = [place for place in range(len(CHANNELS)) if place != BODY]
    without = from_matrix(values[:, kept], [CHANNELS[place] for place in kept], symbols)
    np.testing.assert_array_equal(without.values, from_matrix(unknown, CHANNELS, symbols).values)
    assert not without.values[:, [BODY, BODY_KNOWN]].any()
    assert (from_matrix(zeros, CHANNELS, symbols).values[:, BODY_KNOWN] == 1).all()
    np.testing.assert_array_equal(usable(without, LENGTH), usable(bars_of_two(), LENGTH))


@pytest.mark.parametrize("channel", [VOLUME, BODY])
def test_a_window_has_one_mask_of_each_kind(channel: int) -> None:
    bars = bars_of_two()
    bars.values[150, [channel, dict(MASKS)[channel]]] = 0.0
    use = usable(bars, LENGTH)
    assert not use[150 : 150 + LENGTH].any()
    assert use[149]
    assert use[150 + LENGTH]


def test_columns_that_cannot_be_done_without_are_named() -> None:
    values, symbols = two_symbols()
    with pytest.raises(EngineError, match=r"lacks har_1: a transfer looks at .* only relative_volume_20, bop may be"):
        from_matrix(values[:, [0, 2, 4]], ("return_1", "medprice", "relative_volume_20"), symbols)


def test_what_the_catalogue_leaves_out_of_a_source_has_a_mask() -> None:
    """So that bars without volumes or true opens, as the built-in S&P 500's, are none that a transfer is refused on."""
    for volume, opens, lacking in ((True, True, set()), (True, False, {"bop"}), (False, False, set(MASKED))):
        assert set(CHANNELS) - set(catalogue.select(volume, opens, 1000)) == lacking


def test_rows_of_a_symbol_stand_together() -> None:
    values, _ = two_symbols()
    with pytest.raises(EngineError, match="the rows of A lie apart"):
        from_matrix(values, CHANNELS, np.repeat(np.array(["A", "B", "A"], dtype=object), 200))


def test_no_bars_have_no_windows() -> None:
    none = from_matrix(np.empty((0, 5)), CHANNELS, np.empty(0, dtype=object))
    nowhere = np.empty(0, dtype=np.int64)
    assert usable(none, LENGTH).shape == (0,)
    assert windows(bars_of_two(), nowhere, LENGTH).shape == (0, LENGTH, STEP)
    assert levels(bars_of_two(), nowhere, LENGTH).shape == (0,)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=5), st.integers(1, 6), st.integers(0, 999))
def test_usable_is_what_a_loop_says(lengths: list[int], length: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    rows = sum(lengths)
    values = rng.normal(size=(rows, STEP)).astype(np.float32)
    values[rng.random(rows) < 0.1, 2] = np.nan
    values[:, KNOWN], values[:, BODY_KNOWN] = rng.random((2, rows)) < 0.8
    starts = np.cumsum([0, *lengths[:-1]])
    bars = Bars(values=values, starts=starts)
    for row in range(rows):
        first = row - length + 1
        inside = first >= starts[starts <= row].max()
        part = values[max(first, 0) : row + 1]
        expected = inside and bool(np.isfinite(part).all()) and len(set(map(tuple, part[:, KNOWN:].tolist()))) == 1
        assert usable(bars, length)[row] == expected
