"""Tests of forecasts that are reported beside the gate's own and never decide: Clark-West, Harvey-Leybourne-Newbold,
Mincer-Zarnowitz.

1. Clark and West (2007, J. Econometrics 138): of two nested models the larger has more noise to pay for even where it
   is no worse; with f_t = e1² - (e2² - (yhat1 - yhat2)²) (their equation 3.1) that noise is taken off. One-sided
   against the standard normal, Bartlett long-run variance.
2. Harvey, Leybourne and Newbold (1997, Int. J. Forecasting 13, equation 9): the Diebold-Mariano statistic with h - 1
   unweighted autocovariances, times sqrt((n + 1 - 2h + h(h-1)/n) / n), against Student's t with n - 1 degrees.
3. Mincer and Zarnowitz (1969): y = a + b yhat + e; Wald test of (a, b) = (0, 1), χ²(2), covariance robust to
   heteroscedasticity and autocorrelation (Newey and West 1987), in a panel summed within dates first (Driscoll and
   Kraay 1998, Rev. Econ. Stat. 80).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from tasks.statistics.diebold_mariano import DEGENERATE, long_run_variance, newey_west_lag

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastTest:
    """The statistic and its one-sided p-value (small: the challenger is better), and on how many dates."""

    statistic: float
    p_value: float
    dates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class MincerZarnowitz:
    """Intercept and slope of the label on the forecast, and the p-value of (0, 1): small means biased forecasts."""

    intercept: float
    slope: float
    p_value: float


def adjusted_difference(label: FloatArray, rival: FloatArray, challenger: FloatArray) -> FloatArray:
    """Clark and West's f by row: rival's squared error less the challenger's, the latter freed of its noise.

    Three arrays (n,): the label and the two predictions in its unit; the rival is the smaller model. NaN stays NaN.
    Average it by date before ``clark_west``.
    """
    adjusted = (label - rival) ** 2 - (label - challenger) ** 2 + (rival - challenger) ** 2
    return np.asarray(adjusted, dtype=np.float64)


def clark_west(adjusted: FloatArray, overlap: int) -> ForecastTest:
    """Test that the mean of the adjusted differences is above zero.

    adjusted: float64 (n,), one a date in time order, without NaN; overlap as for ``diebold_mariano``. Fewer than two
    dates, or no spread, are no evidence: statistic 0 and p-value 1.
    """
    n = len(adjusted)
    variance = long_run_variance(adjusted, newey_west_lag(n, overlap)) if n > 1 else 0.0
    statistic = _studentised(adjusted, variance)
    p = 1.0 if statistic == 0.0 else float(special.ndtr(-statistic))
    return ForecastTest(statistic=statistic, p_value=p, dates=n)


def harvey_leybourne_newbold(difference: FloatArray, overlap: int) -> ForecastTest:
    """The Diebold-Mariano test with its small-sample correction, for a horizon of h = overlap + 1 dates.

    difference: float64 (n,), rival's less challenger's loss by date in time order, without NaN. The unweighted variance
    can come out negative: Bartlett's weights are taken then, which cannot. No evidence (fewer than two dates, no
    spread, a horizon as long as the sample): statistic 0 and p-value 1.
    """
    n, h = len(difference), overlap + 1
    correction = n + 1 - 2 * h + h * (h - 1) / n if n else 0.0
    if n < 2 or h >= n or correction <= 0:
        return ForecastTest(statistic=0.0, p_value=1.0, dates=n)
    variance = _unweighted_variance(difference, overlap)
    if variance <= 0:
        variance = long_run_variance(difference, overlap)
    statistic = _studentised(difference, variance) * math.sqrt(correction / n)
    p = 1.0 if statistic == 0.0 else float(special.stdtr(n - 1, -statistic))
    return ForecastTest(statistic=statistic, p_value=p, dates=n)


def mincer_zarnowitz(
    label: FloatArray, prediction: FloatArray, overlap: int, date: IntArray | None = None
) -> MincerZarnowitz:
    """Regress the label on the forecast and test intercept 0 with slope 1.

    label, prediction: float64 (n,), without NaN. date: int (n,), a code that grows with time, rows in any order; None
    where every row is a date of its own, in time order. NaN throughout where the forecasts have no spread, or on
    fewer than three dates.
    """
    design = np.column_stack([np.ones(len(label)), prediction])
    if len(label) < 3 or np.ptp(prediction) <= 1e-12 * np.abs(prediction).max():
        return MincerZarnowitz(intercept=math.nan, slope=math.nan, p_value=math.nan)
    bread = np.linalg.inv(design.T @ design)
    estimate = bread @ (design.T @ label)
    residual = label - design @ estimate
    if np.abs(residual).max() <= 1e-12 * np.abs(label).max():
        return _exact(estimate)
    scores = _by_date(design * residual[:, None], date)
    if len(scores) < 3:
        return MincerZarnowitz(intercept=math.nan, slope=math.nan, p_value=math.nan)
    covariance = bread @ _bartlett(scores, newey_west_lag(len(scores), overlap)) @ bread
    return MincerZarnowitz(
        intercept=float(estimate[0]), slope=float(estimate[1]), p_value=_wald(estimate - [0.0, 1.0], covariance)
    )


def _studentised(values: FloatArray, variance: float) -> float:
    mean = float(values.mean()) if len(values) else 0.0
    if variance <= DEGENERATE * max(mean**2, np.finfo(float).tiny):
        return 0.0
    return mean / math.sqrt(variance / len(values))


def _unweighted_variance(difference: FloatArray, lags: int) -> float:
    centred = difference - difference.mean()
    total = float(centred @ centred) + 2.0 * sum(float(centred[j:] @ centred[:-j]) for j in range(1, lags + 1))
    return total / len(difference)


def _by_date(scores: FloatArray, date: IntArray | None) -> FloatArray:
    if date is None:
        return scores
    place = np.unique(date, return_inverse=True)[1]
    return np.column_stack([np.bincount(place, weights=column) for column in scores.T])


def _bartlett(scores: FloatArray, lag: int) -> FloatArray:
    total = scores.T @ scores
    for j in range(1, lag + 1):
        cross = scores[j:].T @ scores[:-j]
        total = total + (1.0 - j / (lag + 1.0)) * (cross + cross.T)
    return np.asarray(total)


def _wald(deviation: FloatArray, covariance: FloatArray) -> float:
    """χ²(2) tail of d' V⁻¹ d; NaN where the covariance is singular."""
    if np.linalg.matrix_rank(covariance, hermitian=True) < 2:
        return math.nan
    return float(np.exp(-0.5 * max(float(deviation @ np.linalg.solve(covariance, deviation)), 0.0)))


def _exact(estimate: FloatArray) -> MincerZarnowitz:
    """The forecasts are the label up to a straight line: there is nothing left to doubt the coefficients by."""
    intercept, slope = (float(value) for value in estimate)
    p = 1.0 if max(abs(intercept), abs(slope - 1.0)) < 1e-9 else 0.0
    return MincerZarnowitz(intercept=intercept, slope=slope, p_value=p)
