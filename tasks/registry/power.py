"""What a test of the gate could have found: critical values, and the least advantage that it detects. Pure."""

from __future__ import annotations

import math
from functools import lru_cache

from scipy.optimize import brentq
from scipy.stats import norm

from tasks.evaluation import GateComparison
from tasks.statistics.diebold_mariano import p_value

POWER = 0.8
LARGEST_T = 1e4


@lru_cache(maxsize=4096)
def critical_value(level: float, dates: int, lag: int) -> float:
    """The t above which a one-sided Diebold-Mariano test rejects at this level, under its fixed-b law; NaN if none.

    level: in (0, 0.5). Fewer than two dates have no law.
    """
    if dates < 2 or not 0.0 < level < 0.5 or p_value(LARGEST_T, dates, lag) >= level:
        return math.nan
    return float(brentq(lambda t: p_value(t, dates, lag) - level, 0.0, LARGEST_T, xtol=1e-9))


def standard_error(item: GateComparison) -> float:
    """The standard error of the mean difference behind a comparison, in the loss's unit; NaN where t is nil."""
    return abs(item.difference / item.statistic) if item.statistic else math.nan


def needed_difference(item: GateComparison, level: float) -> float:
    """The mean advantage over the rival that would have been significant on these dates, in the loss's unit."""
    return critical_value(level, item.dates, item.lag) * standard_error(item)


def detectable_difference(item: GateComparison, level: float) -> float:
    """The true advantage that a test at this level finds with a probability of 80 %, in the loss's unit."""
    return (critical_value(level, item.dates, item.lag) + float(norm.ppf(POWER))) * standard_error(item)
