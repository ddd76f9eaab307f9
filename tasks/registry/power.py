"""What a test of the gate can find: critical values, the least advantage that it detects, and a forecast of it. Pure.

Two years of daily bars are the measure. For other bars a date's loss is a mean over the bars of the day, so that a
number of dates says little: ``foresee`` takes from the walk-forward folds how much the dates' mean difference of two
candidates spreads, and says what the gate will find, in standard deviations of a single bar's difference. Independent
bars make a day of seven worth seven days; bars that rise and fall together make it worth one, and the figure tells.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import norm

from tasks.contracts import Target
from tasks.evaluation import GateComparison
from tasks.statistics.diebold_mariano import long_run_variance, newey_west_lag, p_value
from tasks.statistics.losses import row_losses
from tasks.statistics.overlap import label_overlap

POWER = 0.8
DAILY_DATES = 504
LARGEST_T = 1e4


@dataclass(frozen=True, slots=True, kw_only=True)
class Foresight:
    """The advantage that is found with a probability of 80 % on so many gate dates.

    ``share``: of the rival's loss. ``spread``: in standard deviations of a single row's loss difference.
    """

    dates: int
    share: float
    spread: float


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
    return _detected(level, item.dates, item.lag) * standard_error(item)


def foresee(walked: pd.DataFrame | None, target: Target, dates: int, level: float) -> Foresight | None:
    """What a test at this level will find on so many gate dates, judged by the folds; None where they do not tell.

    walked: columns ``symbol, session, label, challenger, rival``, one row a bar, the last two predictions.
    """
    if walked is None or walked.empty:
        return None
    label = walked["label"].to_numpy(np.float64)
    mine, theirs = (
        row_losses(target.loss, label, walked[name].to_numpy(np.float64)) for name in ("challenger", "rival")
    )
    by_date = pd.DataFrame({"gain": theirs - mine, "rival": theirs}).groupby(walked["session"].to_numpy()).mean()
    overlap = label_overlap(walked, target.horizon)
    variance = long_run_variance(by_date["gain"].to_numpy(np.float64), newey_west_lag(len(by_date), overlap))
    needed = _detected(level, dates, newey_west_lag(dates, overlap)) * math.sqrt(variance / dates)
    of_a_row, loss = float(np.std(theirs - mine)), float(by_date["rival"].mean())
    if not (needed > 0 and of_a_row > 0 and loss > 0 and math.isfinite(needed / loss)):
        return None
    return Foresight(dates=dates, share=needed / loss, spread=needed / of_a_row)


def daily_spread(level: float) -> float:
    """What a test at this level finds on 504 independent daily bars, in standard deviations of a bar's difference."""
    return _detected(level, DAILY_DATES, newey_west_lag(DAILY_DATES, 0)) / math.sqrt(DAILY_DATES)


def _detected(level: float, dates: int, lag: int) -> float:
    """The advantage in standard errors that is found with a probability of 80 %."""
    return critical_value(level, dates, lag) + float(norm.ppf(POWER))
