"""What a backbone learns from: labels against a plain loop, parts that share no bar, samples that lose nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tasks.errors import DataError
from tasks.search.transfer.channels import LOG_RANGE, RETURN, Bars, usable
from tasks.search.transfer.source import (
    HELD,
    LEAST,
    PURGED,
    TRAIN,
    WATCHED,
    Source,
    har,
    iso,
    labels,
    nanoseconds,
    of_sample,
    sample,
    source_of,
    stacked,
    unseen,
)
from tests.search.transfer.shifted import market

LENGTH, HORIZONS = 24, (1, 5)
DAY = 86_400 * 10**9


def times(bars: Bars) -> np.ndarray:
    """The same days for every symbol."""
    each = len(bars.values) // len(bars.starts)
    return np.tile((np.arange(each) * DAY).astype("datetime64[ns]"), len(bars.starts))


@pytest.fixture(scope="module")
def source() -> Source:
    bars = market(1500, 2)
    return source_of(bars, times(bars), LENGTH, HORIZONS)


def test_labels_are_those_of_a_plain_loop() -> None:
    bars = market(60, 2)
    bars.values[30, LOG_RANGE] = np.nan
    volatility, direction = labels(bars, (1, 3))
    for row in range(120):
        for column, h in enumerate((1, 3)):
            ahead = range(row + 1, row + h + 1)
            inside = row // 60 == (row + h) // 60 and row + h < 120
            ranges = [float(bars.values[k, LOG_RANGE]) for k in ahead] if inside else []
            if not inside or not np.isfinite(ranges).all():
                assert np.isnan(volatility[row, column])
            else:
                wanted = 0.5 * np.log(np.mean(np.exp(2 * np.array(ranges))))
                assert volatility[row, column] == pytest.approx(wanted, abs=1e-9)
            if not inside:
                assert np.isnan(direction[row, column])
            else:
                up = sum(float(bars.values[k, RETURN]) for k in ahead) > 0
                assert direction[row, column] == float(up)


def test_what_har_regresses_on_are_means_of_past_variance() -> None:
    bars = market(50)
    found = har(bars, np.array([30, 49]))
    for place, row in enumerate((30, 49)):
        variance = np.exp(2.0 * bars.values[:, LOG_RANGE].astype(float))
        wanted = [0.5 * np.log(variance[row - d + 1 : row + 1].mean()) for d in (1, 5, 22)]
        assert found[place] == pytest.approx([1.0, *wanted], abs=1e-9)


def test_no_label_and_no_window_of_one_part_reaches_into_another(source: Source) -> None:
    n = len(source.times)
    edges = [source.times[source.rows(part)] for part in (TRAIN, WATCHED, HELD)]
    for (part, before), after in zip(((TRAIN, edges[0]), (WATCHED, edges[1])), edges[1:], strict=True):
        assert len(before)
        assert before.max() < after.min()
        rows = source.rows(part)
        assert source.times[np.minimum(rows + max(HORIZONS), n - 1)].max() < after.min()
        later = source.rows(part + 1)
        assert source.times[later - LENGTH + 1].min() > source.times[rows].max()
    assert usable(source.bars, LENGTH)[source.part != PURGED].all()
    assert np.isfinite(source.volatility[source.part != PURGED]).all()


def test_the_latest_bars_are_held_out(source: Source) -> None:
    share = (source.part == HELD).sum() / len(source.times)
    assert 0.1 < share < 0.15
    assert source.rows(HELD).max() == np.flatnonzero(source.part != PURGED).max()


def test_too_few_bars_are_refused_with_what_is_needed() -> None:
    bars = market(300)
    with pytest.raises(
        DataError, match=rf"too few bars to pre-train on: 300 bars of 1 symbols.*at least {LEAST[TRAIN]}"
    ):
        source_of(bars, times(bars), LENGTH, HORIZONS)


def test_a_sample_keeps_windows_labels_and_parts(source: Source) -> None:
    whole = of_sample(sample(source, 1), LENGTH)
    np.testing.assert_array_equal(whole.part, source.part)
    np.testing.assert_array_equal(whole.bars.values, source.bars.values)
    cut = of_sample(sample(source, 1, most=800), LENGTH)
    assert len(cut.times) == 800
    assert 0 < (cut.part == HELD).sum() <= (source.part == HELD).sum()
    assert usable(cut.bars, LENGTH)[cut.part != PURGED].all()


def test_of_many_symbols_some_are_drawn() -> None:
    bars = market(60, 40)
    found = sample(source_unchecked(bars), 1, most=1_200)
    assert len(found["starts"]) == 20
    assert len(found["values"]) == 20 * 60


def source_unchecked(bars: Bars) -> Source:
    """Bars whose parts nobody needs."""
    volatility, direction = labels(bars, HORIZONS)
    return Source(
        bars=bars,
        times=times(bars).astype(np.int64),
        horizons=HORIZONS,
        volatility=volatility.astype(np.float32),
        direction=direction.astype(np.float32),
        part=np.zeros(len(bars.values), dtype=np.int8),
    )


def test_two_samples_are_one_after_the_other(source: Source) -> None:
    one, two = sample(source, 1, most=2400), sample(source, 1, most=2000)
    both = of_sample(stacked(one, two), LENGTH)
    assert len(both.times) == 4400
    assert both.bars.starts.tolist() == [0, 1200, 2400, 3400]


def test_an_update_learns_from_labels_that_end_after_its_parent_did() -> None:
    bars = market(1500)
    stamps = times(bars)
    end = iso(int(stamps[1199].astype(np.int64)))
    found = source_of(bars, stamps, LENGTH, HORIZONS, held_out=0.25, watched=0.15, after=end)
    rows = np.flatnonzero(found.part != PURGED)
    assert rows.min() + max(HORIZONS) == 1200
    assert found.times[found.rows(TRAIN) + max(HORIZONS)].max() < found.times[found.rows(WATCHED)].min()
    with pytest.raises(DataError, match="too few bars"):
        source_of(bars, stamps, LENGTH, HORIZONS, after=iso(int(stamps[1470].astype(np.int64))))


@pytest.mark.parametrize("new", [10, 20, 30, 60, 100])
def test_nothing_is_held_out_from_an_update_that_its_parent_saw_a_part_of(new: int) -> None:
    """However few they are: either all are learned from, or the held-out bars close after the parent's end."""
    bars = market(500, 10)
    stamps = times(bars)
    end = int(stamps[499 - new].astype(np.int64))
    found = source_of(bars, stamps, LENGTH, HORIZONS, held_out=0.25, watched=0.15, after=iso(end))
    assert (found.times[found.part == HELD] >= end).all()
    assert (found.part == HELD).any() == (new > 30)


def test_what_no_parent_saw_is_told_horizon_by_horizon() -> None:
    """Five new bars: labels of five dates over one bar, of one over five bars, of none over 22."""
    bars, horizons = market(120, 3), (1, 5, 22)
    stamps, end = times(bars), 114
    volatility, direction = labels(bars, horizons)
    whole = replace(
        source_unchecked(bars), horizons=horizons, volatility=volatility.astype(np.float32),
        direction=direction.astype(np.float32),
    )  # fmt: skip
    found = unseen(whole, LENGTH, iso(int(stamps[end].astype(np.int64))))
    rows = found.rows(HELD)
    assert rows.tolist() == [120 * symbol + row for symbol in range(3) for row in range(end, 119)]
    assert np.isfinite(found.volatility[rows]).sum(axis=0).tolist() == [15, 3, 0]
    assert not (found.part == TRAIN).any()


def test_times_go_to_words_and_back() -> None:
    assert iso(nanoseconds("2009-12-31T21:00:00+00:00")) == "2009-12-31T21:00:00+00:00"
