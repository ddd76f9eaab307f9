"""Sharpe ratios with their error, and what is left of them after counting the trials. Everything is per period.

1. Standard error (Lo 2002, Financial Analysts Journal 58): by the delta method on mean and variance, with the Bartlett
   long-run variance of the influence of each period, so that overlap and autocorrelation count.
2. Probabilistic Sharpe ratio (Bailey and López de Prado 2012, J. Risk 15): P(true > benchmark) = Φ((s - s*) / se); with
   independent returns se² = (1 - γ3 s + (γ4 - 1)/4 s²) / (T - 1), γ4 being 3 for a normal law.
3. Deflated Sharpe ratio (Bailey and López de Prado 2014, J. Portfolio Management 40): s* is the largest Sharpe ratio to
   be expected from N independent trials without skill, √V ((1-γ) Φ⁻¹[1 - 1/N] + γ Φ⁻¹[1 - 1/(N e)]), V their variance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import special

from tasks.statistics.diebold_mariano import long_run_variance, newey_west_lag

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class SharpeRatio:
    """Per period: mean excess return over its standard deviation (over n), the standard error, and the periods."""

    value: float
    standard_error: float
    periods: int


def sharpe_ratio(excess: FloatArray, overlap: int = 0) -> SharpeRatio:
    """The Sharpe ratio of excess returns per period, with a standard error that knows of their dependence.

    excess: float64 (n,), simple returns over cash in time order, without NaN; overlap: how many later periods share a
    bar with a period's return. NaN for value and error on fewer than three periods or without any spread.
    """
    n = len(excess)
    deviation = float(excess.std()) if n else 0.0
    if n < 3 or deviation <= 1e-12 * float(np.abs(excess).max()):
        return SharpeRatio(value=math.nan, standard_error=math.nan, periods=n)
    z = (excess - excess.mean()) / deviation
    value = float(excess.mean()) / deviation
    influence = z - 0.5 * value * (z**2 - 1.0)
    variance = long_run_variance(influence, newey_west_lag(n, overlap))
    return SharpeRatio(value=value, standard_error=math.sqrt(variance / (n - 1)), periods=n)


def probabilistic_sharpe(sharpe: SharpeRatio, benchmark: float = 0.0) -> float:
    """Probability that the true Sharpe ratio per period is above the benchmark's; NaN where the ratio is undefined."""
    if not (math.isfinite(sharpe.value) and sharpe.standard_error > 0):
        return math.nan
    return float(special.ndtr((sharpe.value - benchmark) / sharpe.standard_error))


def expected_maximum(trials: int, variance: float) -> float:
    """The largest Sharpe ratio to be expected from so many independent trials without skill; 0 for a single one.

    variance: of the trials' Sharpe ratios, per period. Raises ValueError if trials is below 1 or variance negative.
    """
    if trials < 1 or not variance >= 0:
        raise ValueError(f"trials must be at least 1 and their variance not negative, got {trials} and {variance}")
    if trials == 1:
        return 0.0
    first, second = special.ndtri(1.0 - 1.0 / trials), special.ndtri(1.0 - 1.0 / (trials * math.e))
    return float(math.sqrt(variance) * ((1.0 - np.euler_gamma) * first + np.euler_gamma * second))


def deflated_sharpe(sharpe: SharpeRatio, trials: int, trial_variance: float) -> float:
    """Probability that the true Sharpe ratio is above what the best of so many trials would show without skill.

    trials: independent ones (``trials.independent_trials``); trial_variance: of their Sharpe ratios per period, NaN if
    unknown. It is floored at 1 / (T - 1), the sampling variance of a Sharpe ratio without skill: trials that resemble
    each other do not make luck smaller. NaN where the ratio is undefined.
    """
    if sharpe.periods < 2:
        return math.nan
    floor = 1.0 / (sharpe.periods - 1)
    variance = max(trial_variance, floor) if math.isfinite(trial_variance) else floor
    return probabilistic_sharpe(sharpe, expected_maximum(trials, variance))
