"""Clark-West, Harvey-Leybourne-Newbold and Mincer-Zarnowitz against statsmodels and published output."""

from __future__ import annotations

import math
import random

import numpy as np
import numpy.typing as npt
import pytest
import statsmodels.api as sm  # type: ignore[import-untyped]

from tasks.statistics import forecast_tests as ft
from tasks.statistics.diebold_mariano import diebold_mariano, newey_west_lag

FloatArray = npt.NDArray[np.float64]

# dm_test (J. Tsang), README: 100 numbers drawn without replacement three times under Python 2's random.seed(123);
# two-sided p-values. R's forecast::dm.test computes the same statistic.
PUBLISHED = {1: (1.3275742446369585, 0.18737195617455585), 2: (1.2112523589452902, 0.22868210381769466), 4: (0.9124498079287283, 0.36374861695187799)}  # fmt: skip  # noqa: E501


def drawn(rng: random.Random) -> FloatArray:
    """0…99 without replacement, as Python 2 drew them."""
    pool, out = list(range(100)), []
    for taken in range(100):
        place = int(rng.random() * (100 - taken))
        out.append(pool[place])
        pool[place] = pool[99 - taken]
    return np.array(out, dtype=np.float64)


@pytest.mark.parametrize("power", sorted(PUBLISHED))
def test_the_corrected_statistic_is_the_published_one(power: int) -> None:
    rng = random.Random(123)
    actual, first, second = drawn(rng), drawn(rng), drawn(rng)
    difference = np.abs(actual - first) ** power - np.abs(actual - second) ** power
    test = ft.harvey_leybourne_newbold(difference, 0)
    statistic, two_sided = PUBLISHED[power]
    assert test.statistic == pytest.approx(statistic, rel=1e-12)
    assert 2 * test.p_value == pytest.approx(two_sided, rel=1e-12)


@pytest.mark.parametrize("overlap", [1, 4, 20])
def test_the_correction_for_longer_horizons_is_equation_nine(overlap: int) -> None:
    d = np.convolve(np.random.default_rng(overlap).normal(0.1, 1, 120 + overlap), np.ones(overlap + 1), "valid")
    n, h, centred = len(d), overlap + 1, d - d.mean()
    gamma = [sum(centred[t] * centred[t - k] for t in range(k, n)) / n for k in range(h)]
    plain = d.mean() / math.sqrt((gamma[0] + 2 * sum(gamma[1:])) / n)
    expected = plain * math.sqrt((n + 1 - 2 * h + h * (h - 1) / n) / n)
    assert ft.harvey_leybourne_newbold(d, overlap).statistic == pytest.approx(expected, rel=1e-10)


def test_a_negative_variance_falls_back_on_weights_that_cannot_be() -> None:
    alternating = np.tile([1.0, -0.9], 30)
    test = ft.harvey_leybourne_newbold(alternating, 1)
    assert math.isfinite(test.statistic)
    assert 0 < test.p_value < 0.5


@pytest.mark.parametrize("values", [[], [1.0], [0.0] * 30, [0.2] * 30])
def test_differences_without_spread_are_no_evidence(values: list[float]) -> None:
    d = np.array(values)
    for test in (ft.harvey_leybourne_newbold(d, 0), ft.clark_west(d, 0)):
        assert (test.statistic, test.p_value, test.dates) == (0.0, 1.0, len(d))


def test_a_horizon_as_long_as_the_sample_is_no_evidence() -> None:
    assert ft.harvey_leybourne_newbold(np.arange(10.0), 9).p_value == 1.0


def test_clark_wests_statistic_is_the_t_of_a_regression_on_a_constant() -> None:
    """As the paper computes it (section 2): regress f on a constant and take the t statistic."""
    rng = np.random.default_rng(1)
    label, large = rng.normal(size=300), rng.normal(0, 0.2, 300)
    adjusted = ft.adjusted_difference(label, np.zeros(300), large)
    np.testing.assert_allclose(adjusted, label**2 - ((label - large) ** 2 - large**2), atol=1e-12)
    test = ft.clark_west(adjusted, 4)
    lags = {"maxlags": newey_west_lag(300, 4), "use_correction": False}
    oracle = sm.OLS(adjusted, np.ones(300)).fit(cov_type="HAC", cov_kwds=lags)
    assert test.statistic == pytest.approx(float(oracle.tvalues[0]), rel=1e-10)
    assert test.p_value == pytest.approx(float(oracle.pvalues[0]) / 2, rel=1e-8)


def test_clark_west_takes_the_noise_of_the_larger_model_off() -> None:
    """Rolling fits of a useless regressor against zero: Diebold-Mariano hardly ever rejects, Clark-West at its size."""
    rng, adjusted_p, plain_p = np.random.default_rng(7), [], []
    for _ in range(400):
        y, x = rng.normal(size=360), rng.normal(size=360)
        xy, xx = np.cumsum(x * y), np.cumsum(x * x)
        slope = (xy[119:-1] - np.r_[0, xy[:239]]) / (xx[119:-1] - np.r_[0, xx[:239]])
        label, large = y[120:], slope * x[120:]
        adjusted_p.append(ft.clark_west(ft.adjusted_difference(label, np.zeros(240), large), 0).p_value)
        plain_p.append(diebold_mariano(label**2 - (label - large) ** 2, 0).p_value)
    assert 0.02 < np.mean(np.array(adjusted_p) < 0.1) < 0.13
    assert np.mean(np.array(plain_p) < 0.1) < 0.03


@pytest.mark.parametrize("overlap", [0, 9])
def test_mincer_zarnowitz_is_statsmodels_wald_test(overlap: int) -> None:
    rng = np.random.default_rng(overlap)
    forecast = rng.normal(size=400)
    label = 0.05 + 0.9 * forecast + np.convolve(rng.normal(size=404), np.ones(5) / 5, "valid")
    found = ft.mincer_zarnowitz(label, forecast, overlap)
    lags = {"maxlags": newey_west_lag(400, overlap), "use_correction": False}
    oracle = sm.OLS(label, sm.add_constant(forecast)).fit(cov_type="HAC", cov_kwds=lags)
    assert (found.intercept, found.slope) == pytest.approx(tuple(oracle.params), rel=1e-10)
    wald = oracle.wald_test((np.eye(2), [0.0, 1.0]), use_f=False, scalar=True)
    assert found.p_value == pytest.approx(float(wald.pvalue), rel=1e-8)


def test_a_panels_mincer_zarnowitz_is_driscoll_and_kraays() -> None:
    rng = np.random.default_rng(3)
    date = np.repeat(np.arange(150), 40)
    common = rng.normal(0, 3, 150)[date]
    forecast = rng.normal(size=6000)
    label = 0.6 + forecast + common + rng.normal(size=6000)
    found = ft.mincer_zarnowitz(label, forecast, 2, date)
    settings = {"time": date, "maxlags": newey_west_lag(150, 2), "use_correction": False, "df_correction": False}
    oracle = sm.OLS(label, sm.add_constant(forecast)).fit(cov_type="hac-groupsum", cov_kwds=settings)
    wald = oracle.wald_test((np.eye(2), [0.0, 1.0]), use_f=False, scalar=True)
    assert found.p_value == pytest.approx(float(wald.pvalue), rel=1e-8)
    order = rng.permutation(len(label))
    assert ft.mincer_zarnowitz(label[order], forecast[order], 2, date[order]).p_value == pytest.approx(found.p_value)
    assert found.p_value > 10 * ft.mincer_zarnowitz(label, forecast, 2).p_value


def test_forecasts_without_spread_have_no_slope() -> None:
    found = ft.mincer_zarnowitz(np.arange(50.0), np.full(50, 0.3), 0)
    assert all(math.isnan(value) for value in (found.intercept, found.slope, found.p_value))


def test_forecasts_that_are_the_label_are_unbiased() -> None:
    label = np.random.default_rng(1).normal(size=60)
    assert ft.mincer_zarnowitz(label, label, 0).p_value == pytest.approx(1.0)
    assert ft.mincer_zarnowitz(2 * label, label, 0).p_value == pytest.approx(0.0, abs=1e-12)
