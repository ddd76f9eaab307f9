"""Information coefficients by date against SciPy and pandas, date by date."""

from __future__ import annotations

import math
import time

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.statistics import information as info

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def panel(seed: int, dates: int = 30, names: int = 60) -> tuple[FloatArray, FloatArray, IntArray, IntArray]:
    """A ragged panel in random order with ties and gaps: prediction, label, date, symbol."""
    rng = np.random.default_rng(seed)
    date, symbol = np.repeat(np.arange(dates), names), np.tile(np.arange(names), dates)
    keep = rng.random(len(date)) < rng.uniform(0.2, 1.0, dates)[date]
    date, symbol = date[keep], symbol[keep]
    order = rng.permutation(len(date))
    prediction = np.round(rng.normal(size=len(date)), 1)
    label = 0.1 * prediction + rng.normal(size=len(date))
    prediction[rng.random(len(date)) < 0.03] = np.nan
    label[rng.random(len(date)) < 0.03] = np.nan
    return prediction[order], label[order], date[order], symbol[order]


def test_coefficients_are_scipys_on_every_date() -> None:
    prediction, label, date, _ = panel(1)
    found = info.information(prediction, label, date)
    expected = {}
    for day in np.unique(date):
        rows = (date == day) & np.isfinite(prediction) & np.isfinite(label)
        if rows.sum() >= 20:
            x, y = prediction[rows], label[rows]
            expected[int(day)] = (rows.sum(), stats.pearsonr(x, y)[0], stats.spearmanr(x, y)[0])
    assert 5 < len(expected) < 30
    assert found.date.tolist() == list(expected)
    table = np.array(list(expected.values()))
    np.testing.assert_array_equal(found.names, table[:, 0])
    np.testing.assert_allclose(found.ic, table[:, 1], atol=1e-12)
    np.testing.assert_allclose(found.rank_ic, table[:, 2], atol=1e-12)


def test_the_decile_spread_is_top_less_bottom_tenth() -> None:
    rng = np.random.default_rng(2)
    prediction, label, date = rng.normal(size=500), rng.normal(size=500), np.repeat(np.arange(10), 50)
    found = info.information(prediction, label, date)
    for day in range(10):
        order = np.argsort(prediction[date == day])
        ours = label[date == day][order]
        assert found.decile_spread[day] == pytest.approx(ours[-5:].mean() - ours[:5].mean())


@given(values=st.lists(st.tuples(st.integers(0, 3), st.integers(-4, 4)), min_size=1, max_size=60))
@settings(max_examples=80, deadline=None)
def test_ranks_within_dates_are_pandas(values: list[tuple[int, int]]) -> None:
    group, x = (np.array(column) for column in zip(*values, strict=True))
    expected = pd.Series(x).groupby(group).rank().to_numpy()
    np.testing.assert_array_equal(info.rank_by_date(x.astype(np.float64), group), expected)


def test_rank_turnover_is_one_less_the_rank_correlation_of_shared_names() -> None:
    prediction, _, date, symbol = panel(3)
    table = pd.DataFrame({"p": prediction, "d": date, "s": symbol}).pivot(index="d", columns="s", values="p")
    found = info.rank_turnover(prediction, date, symbol)
    assert len(found) == 29
    defined = 0
    for day in range(29):
        both = table.iloc[[day, day + 1]].dropna(axis=1)
        if both.shape[1] < 20:
            assert math.isnan(found[day])
        else:
            defined += 1
            expected = 1 - stats.spearmanr(both.iloc[0], both.iloc[1])[0]
            assert found[day] == pytest.approx(expected, abs=1e-12)
    assert defined > 3


def test_an_order_that_stays_or_turns_around() -> None:
    x = np.random.default_rng(4).normal(size=40)
    date, symbol = np.repeat(np.arange(3), 40), np.tile(np.arange(40), 3)
    assert info.rank_turnover(np.concatenate([x, 3 * x, -x]), date, symbol) == pytest.approx([0.0, 2.0])


def test_dates_with_few_names_are_skipped() -> None:
    date = np.array([0] * 19 + [1] * 20)
    found = info.information(np.arange(39.0), np.arange(39.0), date)
    assert found.date.tolist() == [1]
    assert found.ic == pytest.approx([1.0])


def test_a_forecast_without_spread_has_no_coefficient() -> None:
    rng = np.random.default_rng(5)
    found = info.information(np.full(60, 0.1), rng.normal(size=60), np.repeat([0, 1], 30))
    assert np.isnan(found.ic).all()
    assert np.isnan(found.rank_ic).all()


def test_one_date_depends_on_no_other() -> None:
    prediction, label, date, _ = panel(6)
    whole = info.information(prediction, label, date)
    early = date < 15
    part = info.information(prediction[early], label[early], date[early])
    np.testing.assert_array_equal(part.rank_ic, whole.rank_ic[: len(part.date)])
    np.testing.assert_allclose(part.ic, whole.ic[: len(part.date)], rtol=1e-13)


def test_the_information_ratio() -> None:
    ic = np.array([0.1, np.nan, 0.3, -0.1])
    assert info.icir(ic) == pytest.approx(0.1 / 0.2)
    assert math.isnan(info.icir(np.array([0.1])))
    assert math.isnan(info.icir(np.array([0.1, 0.1])))


def test_nothing_gives_nothing() -> None:
    none, codes = np.array([]), np.array([], dtype=np.int64)
    assert len(info.information(none, none, codes).ic) == 0
    assert len(info.rank_turnover(none, codes, codes)) == 0


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="3 predictions, 2 labels and 3 dates"):
        info.information(np.zeros(3), np.zeros(2), np.zeros(3, dtype=np.int64))


def test_six_hundred_thousand_rows_take_a_moment() -> None:
    rng = np.random.default_rng(7)
    date, symbol = np.repeat(np.arange(1250), 480), np.tile(np.arange(480), 1250)
    prediction, label = rng.normal(size=600_000), rng.normal(size=600_000)
    begun = time.process_time()
    info.information(prediction, label, date)
    info.rank_turnover(prediction, date, symbol)
    assert time.process_time() - begun < 5.0
