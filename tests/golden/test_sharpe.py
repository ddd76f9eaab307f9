"""Sharpe ratios: the worked examples of the papers, and the error against simulation."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats
from scipy.signal import lfilter

from tasks.statistics import sharpe as sr

FloatArray = npt.NDArray[np.float64]


def standard_error(value: float, periods: int, skewness: float = 0.0, kurtosis: float = 3.0) -> float:
    """Of the Sharpe ratio of independent returns with these moments, as the papers have it."""
    return math.sqrt((1.0 - skewness * value + (kurtosis - 1.0) / 4.0 * value**2) / (periods - 1))


def summary(value: float, periods: int, skewness: float = 0.0, kurtosis: float = 3.0) -> sr.SharpeRatio:
    error = standard_error(value, periods, skewness, kurtosis)
    return sr.SharpeRatio(value=value, standard_error=error, periods=periods)


def test_the_probabilistic_sharpe_ratio_of_bailey_and_lopez_de_prado_2012() -> None:
    """Section 4: 24 months with a ratio of 0.458; skewness -2.448 and kurtosis 10.164 take 0.982 to 0.913."""
    assert sr.probabilistic_sharpe(summary(0.458, 24)) == pytest.approx(0.982, abs=5e-4)
    assert sr.probabilistic_sharpe(summary(0.458, 24, -2.448, 10.164)) == pytest.approx(0.913, abs=5e-4)


@pytest.mark.parametrize(
    ("trials", "skewness", "kurtosis", "expected"),
    [(100, -3.0, 10.0, 0.9004), (46, -3.0, 10.0, 0.9505), (88, 0.0, 3.0, 0.9505)],
)
def test_the_deflated_sharpe_ratio_of_bailey_and_lopez_de_prado_2014(
    trials: int, skewness: float, kurtosis: float, expected: float
) -> None:
    """Their numerical example: annual ratio 2.5 on 1,250 days of 250 a year, variance of the trials' 1/2 a year."""
    daily = summary(2.5 / math.sqrt(250), 1250, skewness, kurtosis)
    assert sr.deflated_sharpe(daily, trials, 0.5 / 250) == pytest.approx(expected, abs=5e-4)


def test_the_expected_maximum_of_the_example() -> None:
    assert sr.expected_maximum(100, 0.5 / 250) == pytest.approx(0.1132, abs=5e-5)


@pytest.mark.parametrize("trials", [5, 20, 100, 1000])
def test_the_expected_maximum_is_that_of_normal_draws(trials: int) -> None:
    draws = np.random.default_rng(trials).normal(size=(4000, trials)).max(axis=1)
    assert sr.expected_maximum(trials, 1.0) == pytest.approx(draws.mean(), rel=0.03)


def test_a_single_trial_is_not_deflated() -> None:
    ratio = summary(0.1, 500)
    assert sr.expected_maximum(1, 3.0) == 0.0
    assert sr.deflated_sharpe(ratio, 1, 0.5) == sr.probabilistic_sharpe(ratio)


def test_more_trials_or_a_wider_spread_of_them_leave_less() -> None:
    ratio = summary(0.15, 750)
    by_trials = [sr.deflated_sharpe(ratio, n, math.nan) for n in (1, 2, 5, 20, 100, 5000)]
    assert by_trials == sorted(by_trials, reverse=True)
    assert len(set(by_trials)) == 6
    assert sr.deflated_sharpe(ratio, 20, 0.01) < sr.deflated_sharpe(ratio, 20, 0.005)


@pytest.mark.parametrize("variance", [0.0, 1e-9, math.nan])
def test_trials_that_resemble_each_other_do_not_make_luck_smaller(variance: float) -> None:
    ratio = summary(0.15, 750)
    assert sr.deflated_sharpe(ratio, 50, variance) == sr.deflated_sharpe(ratio, 50, 1.0 / 749)


def test_the_best_of_many_without_skill_is_deflated_to_a_coin_toss() -> None:
    rng = np.random.default_rng(4)
    shares = []
    for _ in range(300):
        ratios = [sr.sharpe_ratio(path) for path in rng.normal(0, 0.01, (30, 250))]
        best = max(ratios, key=lambda ratio: ratio.value)
        shares.append(sr.deflated_sharpe(best, 30, float(np.var([ratio.value for ratio in ratios]))))
    assert np.mean(np.array(shares) > 0.95) < 0.05
    assert 0.35 < np.mean(shares) < 0.65


def test_the_ratio_and_its_moments_error() -> None:
    returns = np.random.default_rng(1).standard_t(5, size=4000) * 0.01 + 0.0006
    ratio = sr.sharpe_ratio(returns)
    assert ratio.value == pytest.approx(returns.mean() / returns.std(), rel=1e-12)
    moments = standard_error(ratio.value, 4000, stats.skew(returns), stats.kurtosis(returns, fisher=False))
    assert ratio.standard_error == pytest.approx(moments, rel=0.1)


@pytest.mark.parametrize(("name", "overlap"), [("autoregressive", 0), ("overlapping", 4)])
def test_the_error_is_that_of_repeated_samples(name: str, overlap: int) -> None:
    """Lo's point: dependence moves the error, here well above the one for independent returns."""
    rng = np.random.default_rng(2)
    draws = 0.05 + rng.normal(size=(800, 1004))
    if name == "autoregressive":
        paths = lfilter([1.0], [1.0, -0.4], draws, axis=1)[:, 4:]
    else:
        paths = np.array([np.convolve(row, np.ones(5), "valid") for row in draws])
    found = [sr.sharpe_ratio(path, overlap) for path in paths]
    spread = np.std([ratio.value for ratio in found])
    assert np.mean([ratio.standard_error for ratio in found]) == pytest.approx(spread, rel=0.15)
    assert spread > 1.3 * standard_error(float(np.mean([ratio.value for ratio in found])), 1000)


@pytest.mark.parametrize("values", [[], [0.1], [0.1, 0.2], [0.01] * 100, [0.0] * 100])
def test_without_spread_or_periods_nothing_is_defined(values: list[float]) -> None:
    ratio = sr.sharpe_ratio(np.array(values))
    assert math.isnan(ratio.value)
    assert math.isnan(sr.probabilistic_sharpe(ratio))
    assert math.isnan(sr.deflated_sharpe(ratio, 10, 0.1))


@pytest.mark.parametrize(("trials", "variance"), [(0, 1.0), (5, -0.1), (5, math.nan)])
def test_trials_that_make_no_sense_are_refused(trials: int, variance: float) -> None:
    with pytest.raises(ValueError, match="trials must be at least 1"):
        sr.expected_maximum(trials, variance)
