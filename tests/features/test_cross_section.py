"""Ranks and z-scores within the date: against SciPy, from that date alone, and the same whatever the rows' order."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.stats import rankdata

from tasks.contracts import CrossSection, FeatureSpec
from tasks.features import catalogue, cross_section, matrix, parallel
from tasks.features.cross_section import LEAST_NAMES, ranks, section_keys, standardise, zscores
from tasks.features.series import Array
from tests.features.market import TICK, made_bars
from tests.features.test_matrix import frame_of

COLUMNS = ("har_22", "rsi_14", "cdl_doji", "weekday", "days_since_previous", "obv_10")
HOWS: list[CrossSection] = ["rank", "zscore"]

values = st.one_of(st.just(np.nan), st.sampled_from([-1.0, 0.0, 1.0, 100.0]), st.floats(-1e6, 1e6))
grids = arrays.arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=values)


def one_row(row: Array, how: CrossSection) -> Array:
    """The definition for one date's known values."""
    if how == "rank":
        digits = 2.0 ** np.floor(np.log2(np.abs(row).max())) if np.abs(row).max() > 0 else 1.0
        rounded = np.rint(row / digits * 2.0**29)
        place: Array = np.asarray(rankdata(rounded), dtype=np.float64) - 1
        return place / max(len(row) - 1, 1) - 0.5
    if np.std(row) <= 1e-12 * np.abs(row).max():
        return np.zeros(len(row))
    return np.asarray(np.clip((row - np.mean(row)) / np.std(row), -5, 5))


@settings(deadline=None, max_examples=60)
@given(grids, st.sampled_from(HOWS))
def test_each_date_is_the_definition(grid: Array, how: CrossSection) -> None:
    found = ranks(grid) if how == "rank" else zscores(grid)
    for row, said in zip(grid, found, strict=True):
        known = ~np.isnan(row)
        assert np.isnan(said[~known]).all()
        if known.any():
            np.testing.assert_allclose(said[known], one_row(row[known], how), atol=1e-7)


@settings(deadline=None, max_examples=40)
@given(st.integers(20, 60), st.integers(0, 10_000))
def test_ranks_span_a_half_on_either_side_and_have_mean_zero(names: int, seed: int) -> None:
    row = np.random.default_rng(seed).normal(size=(1, names)).round(1)
    found = ranks(row)
    assert found.mean() == pytest.approx(0, abs=1e-12)
    assert -0.5 <= found.min() <= found.max() <= 0.5
    assert ranks(np.exp(row)).tolist() == found.tolist()
    np.testing.assert_allclose(ranks(-row), -found, atol=1e-15)
    distinct = ranks(np.random.default_rng(seed).permutation(names).astype(float)[None])
    np.testing.assert_allclose(np.sort(distinct)[0], np.linspace(-0.5, 0.5, names))


def test_ties_share_their_mean_rank() -> None:
    row = np.array([[5.0, 1.0, 1.0, 1.0, 7.0]])
    assert ranks(row).tolist() == [[0.25, -0.25, -0.25, -0.25, 0.5]]


def test_the_rounding_of_sums_decides_no_rank() -> None:
    bound = np.array([[100.0, 100.0 - 1e-13, np.nextafter(100.0, 200.0), 50.0, 0.0, 1e-14]])
    assert ranks(bound).tolist() == ranks(np.rint(bound)).tolist()
    tiny = np.array([[0.0, 1e-310, 2e-310]])
    assert np.isfinite(ranks(tiny)).all()


@pytest.mark.parametrize("spread", [0.0, 1e-16])
def test_a_date_without_spread_has_z_scores_of_zero(spread: float) -> None:
    assert zscores(1.0 + spread * np.arange(30.0)[None]).tolist() == [[0.0] * 30]


def test_z_scores_are_clipped() -> None:
    row = np.zeros((1, 100))
    row[0, 0], row[0, 1] = 1e6, -1.0
    assert zscores(row).max() == 5.0
    assert zscores(-row).min() == -5.0


def ragged(seed: int, dates: int, most: int) -> tuple[Array, np.ndarray]:
    """Columns of a panel whose dates have different numbers of names, rows in any order."""
    rng = np.random.default_rng(seed)
    keys = np.repeat(rng.permutation(dates) * 7, rng.integers(1, most, dates))
    keys = rng.permutation(keys).astype(np.int64)
    X = np.asfortranarray(rng.normal(size=(len(keys), 3)))
    X[rng.random(X.shape) < 0.1] = np.nan
    return X, keys


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.sampled_from(HOWS), st.sampled_from([64, 2**16]), st.integers(1, 3))
def test_ragged_panels_date_by_date(seed: int, how: CrossSection, block: int, workers: int) -> None:
    X, keys = ragged(seed, dates=25, most=70)
    out = X.copy(order="F")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cross_section, "BLOCK", block)
        standardise(out, ("har_1", "weekday", "rsi_14"), keys, how, workers)
    np.testing.assert_array_equal(out[:, 1], X[:, 1])
    for key in np.unique(keys):
        for column in (0, 2):
            before, after = X[keys == key, column], out[keys == key, column]
            known = ~np.isnan(before)
            if known.sum() < LEAST_NAMES:
                assert np.isnan(after).all()
            else:
                np.testing.assert_allclose(after[known], one_row(before[known], how), atol=1e-12)
                assert np.isnan(after[~known]).all()


def test_none_changes_nothing_and_an_empty_panel_stays_empty() -> None:
    X, keys = ragged(1, 5, 30)
    out = X.copy()
    standardise(out, COLUMNS[:3], keys, "none")
    np.testing.assert_array_equal(out, X)
    standardise(out[:0], COLUMNS[:3], keys[:0], "rank")


def test_columns_of_the_date_are_told_by_the_catalogue() -> None:
    of_date = {name for name, entry in catalogue.CATALOGUE.items() if entry.of_date}
    assert {"weekday", "year_sin", "expiry_week", "days_since_previous"} <= of_date
    assert {catalogue.feature(name).inputs for name in of_date} == {("session",)}


@pytest.fixture(scope="module")
def panel() -> pd.DataFrame:
    """26 names, five of them listed later."""
    bars = {f"S{number:02d}": made_bars(number, 500) for number in range(26)}
    late = {name: {key: one[120:] for key, one in bars[name].items()} for name in list(bars)[:5]}
    return frame_of(*(bars | late).items())


@pytest.mark.parametrize("how", HOWS)
def test_the_matrix_of_a_panel_is_its_symbols_and_then_the_dates(panel: pd.DataFrame, how: CrossSection) -> None:
    spec = FeatureSpec(columns=COLUMNS, tick=TICK)
    expected = matrix.panel(panel, spec)
    standardise(expected, COLUMNS, section_keys(panel, "1d"), how)
    found = matrix.panel(panel, replace(spec, cross_section=how))
    np.testing.assert_array_equal(found, expected)
    assert (np.nanmax(np.abs(found[:, [0, 1, 2, 5]]), axis=0) <= (0.5 if how == "rank" else 5.0)).all()


def test_several_processes_give_the_same(panel: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WORTH_A_PROCESS", 4000)
    monkeypatch.setattr(matrix, "BATCH_ROWS", 1000)
    spec = FeatureSpec(columns=COLUMNS, tick=TICK, cross_section="rank")
    np.testing.assert_array_equal(parallel.panel(panel, spec, workers=2), matrix.panel(panel, spec))


@pytest.mark.parametrize("how", HOWS)
def test_other_dates_change_nothing(panel: pd.DataFrame, how: CrossSection) -> None:
    spec = FeatureSpec(columns=COLUMNS, tick=TICK, cross_section=how)
    full = matrix.panel(panel, spec)
    cut = panel["session"].unique()[300]
    known = (panel["session"] <= cut).to_numpy()
    # Sums over a block of dates may be rounded in another order than those of fewer dates.
    np.testing.assert_allclose(matrix.panel(panel[known].reset_index(drop=True), spec), full[known], atol=1e-12)


def test_intraday_bars_are_compared_at_their_close() -> None:
    time = pd.to_datetime(["2020-01-02 15:00", "2020-01-02 16:00"] * 2).tz_localize("UTC")
    session = pd.to_datetime(["2020-01-02"] * 4)
    frame = pd.DataFrame({"time": time, "session": session})
    assert section_keys(frame, "1h").tolist() == [stamp.value for stamp in time]
    assert len(set(section_keys(frame, "1d").tolist())) == 1
