"""The Diebold-Mariano test against statsmodels, Student's t, published fixed-b critical values, and simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import statsmodels.api as sm  # type: ignore[import-untyped]
from scipy import stats

from tasks.statistics.diebold_mariano import (
    FloatArray,
    diebold_mariano,
    long_run_variance,
    newey_west_lag,
    p_value,
)

KIEFER_VOGELSANG = {
    0.10: (1.2816, 1.3040, 0.5135, -0.3386),
    0.05: (1.6449, 2.1859, 0.3142, -0.3427),
    0.025: (1.9600, 2.9694, 0.4160, -0.5324),
    0.01: (2.3263, 4.1618, 0.5368, -0.9060),
}
"""Bartlett kernel: cv(b) = a0 + a1 b + a2 b² + a3 b³ (Kiefer and Vogelsang 2005, table 1)."""


def autoregressive(n: int, rho: float, seed: int) -> FloatArray:
    shocks = np.random.default_rng(seed).normal(size=n)
    out = np.empty(n)
    out[0] = shocks[0] / math.sqrt(1 - rho**2)
    for t in range(1, n):
        out[t] = rho * out[t - 1] + shocks[t]
    return out


@pytest.mark.parametrize(("n", "overlap"), [(60, 0), (504, 0), (504, 21), (700, 4)])
def test_the_statistic_is_the_newey_west_t_of_statsmodels(n: int, overlap: int) -> None:
    d = autoregressive(n, 0.4, n) + 0.05
    test = diebold_mariano(d, overlap)
    oracle = sm.OLS(d, np.ones(n)).fit(cov_type="HAC", cov_kwds={"maxlags": test.lag, "use_correction": False})
    assert test.statistic == pytest.approx(float(oracle.tvalues[0]), rel=1e-10)
    assert test.difference == pytest.approx(float(d.mean()), rel=1e-12)


def test_the_long_run_variance_is_the_double_sum_by_definition() -> None:
    d, lag = autoregressive(40, 0.5, 1), 6
    mean, total = sum(d) / 40, 0.0
    for i in range(40):
        for j in range(40):
            weight = 1 - abs(i - j) / (lag + 1)
            if weight > 0:
                total += weight * (d[i] - mean) * (d[j] - mean) / 40
    assert long_run_variance(d, lag) == pytest.approx(total, rel=1e-12)


@pytest.mark.parametrize(
    ("n", "overlap", "lag"), [(504, 0, 5), (504, 1, 5), (504, 21, 84), (100, 0, 4), (756, 0, 6), (3, 21, 2), (0, 0, 0)]
)
def test_the_lag_is_the_rule_and_never_reaches_the_sample(n: int, overlap: int, lag: int) -> None:
    assert newey_west_lag(n, overlap) == lag


@pytest.mark.parametrize("n", [5, 30, 504])
@pytest.mark.parametrize("statistic", [-1.0, 0.0, 0.7, 1.65, 3.0])
def test_without_lags_the_p_value_is_students(n: int, statistic: float) -> None:
    # The variance here is over n, Student's over n - 1.
    exact = stats.t.sf(statistic * math.sqrt((n - 1) / n), n - 1)
    assert p_value(statistic, n, 0) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("level", sorted(KIEFER_VOGELSANG))
@pytest.mark.parametrize("b", [0.02, 0.1, 0.3, 0.5, 1.0])
def test_the_p_value_at_published_critical_values_is_their_level(level: float, b: float) -> None:
    critical = sum(a * b**power for power, a in enumerate(KIEFER_VOGELSANG[level]))
    # The published cubics are fitted to 50,000 simulated paths: they hold to a few per cent of the level.
    assert p_value(critical, 1000, round(1000 * b) - 1) == pytest.approx(level, rel=0.06)


def test_more_than_a_thousand_dates_follow_the_same_law() -> None:
    assert p_value(1.7, 1001, 6) == pytest.approx(p_value(1.7, 1000, 6), abs=1e-4)
    assert p_value(1.7, 4000, 9) == pytest.approx(p_value(1.7, 1000, 1.5), abs=1e-4)  # type: ignore[arg-type]


def test_the_p_value_falls_with_the_statistic_and_grows_with_the_lag() -> None:
    grid = [p_value(s, 504, 5) for s in np.linspace(-6, 6, 61)]
    assert all(a > b for a, b in itertools.pairwise(grid))
    assert p_value(0.0, 504, 5) == pytest.approx(0.5, abs=1e-9)
    by_lag = [p_value(2.0, 504, lag) for lag in (0, 5, 21, 60, 252)]
    assert all(a < b for a, b in itertools.pairwise(by_lag))
    assert p_value(2.0, 504, 5) > stats.norm.sf(2.0)


@pytest.mark.parametrize(("n", "overlap"), [(60, 0), (120, 9)])
def test_equal_forecasts_are_rejected_as_often_as_alpha_says(n: int, overlap: int) -> None:
    rng = np.random.default_rng(20)
    p = np.array([diebold_mariano(rng.normal(size=n), overlap).p_value for _ in range(4000)])
    # Exact for Gaussian losses: binomial noise (standard error 0.0034) is all there is.
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.011)
    assert np.mean(p < 0.5) == pytest.approx(0.5, abs=0.025)


def test_skewed_losses_keep_the_size() -> None:
    """Differences of squared errors of two equally good forecasts."""
    rng = np.random.default_rng(21)
    errors = rng.normal(size=(2000, 2, 504))
    p = np.array([diebold_mariano(a**2 - b**2, 0).p_value for a, b in errors])
    assert np.mean(p < 0.05) == pytest.approx(0.05, abs=0.016)


@pytest.mark.parametrize("horizon", [5, 22])
def test_overlapping_labels_do_not_fool_the_test_as_they_fool_students(horizon: int) -> None:
    """Labels over several bars make losses a moving sum; a lag that ends with it rejects twice as often as it says."""
    rng = np.random.default_rng(22)
    total = np.cumsum(rng.normal(size=(3000, 505 + horizon)), axis=1)
    moving = total[:, horizon:-1] - total[:, : -horizon - 1]
    ours = np.array([diebold_mariano(d, horizon - 1).p_value for d in moving])
    assert np.mean(ours < 0.05) < 0.075
    assert np.mean(ours < 0.025) < 0.042
    ends_with_it = [p_value(_t(d, horizon - 1), 504, horizon - 1) for d in moving]
    assert np.mean(np.array(ends_with_it) < 0.025) > 0.045
    naive = np.mean(stats.ttest_1samp(moving, 0, axis=1, alternative="greater").pvalue < 0.05)
    assert naive > 0.2


def _t(d: FloatArray, lag: int) -> float:
    return float(d.mean() / math.sqrt(long_run_variance(d, lag) / len(d)))


def test_a_real_advantage_is_found() -> None:
    rng = np.random.default_rng(23)
    p = [diebold_mariano(rng.normal(0.2, 1, 504), 0).p_value for _ in range(200)]
    assert np.mean(np.array(p) < 0.05) > 0.98


@pytest.mark.parametrize("d", [[], [0.3], [0.0] * 50, [0.1] * 50, [1e-3 + 1e-19] * 504])
def test_differences_without_spread_are_no_evidence(d: list[float]) -> None:
    test = diebold_mariano(np.array(d), 0)
    assert (test.statistic, test.p_value) == (0.0, 1.0)
