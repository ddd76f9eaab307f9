"""How far off may a mean, or a figure made of means, be when the days it is taken over depend on each other?

Stationary bootstrap (Politis and Romano 1994, JASA 89): a resample strings together blocks that start anywhere and have
geometric lengths, wrapped around the end. Block length by Politis and White (2004, Econometric Reviews 23, corrected by
Patton, Politis and White 2009), computed on what the statistic reacts to, and never below the lag that the gate's test
would take, which the labels' overlap bounds from below.

With blocks of mean length b a sample is worth about m = n / (2b) independent ones, and their spread about a mean that
was estimated from them is too small. Percentile intervals then cover too seldom (five-bar labels on 500 dates: 91 %
instead of 95). So each distance from the estimate is stretched as a t interval on m values would: by t_(m-1) over the
normal quantile, times 1/sqrt(1 - 1/m). It is 1.02 on 1,500 independent dates.

Every statistic here is a function of column means (a mean loss difference, a skill, a hit rate less the base rate, a
Sharpe ratio), so that a resample needs only sums of blocks: differences of one cumulative sum, and no copied rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from arch.bootstrap import optimal_block_length
from scipy import special

from tasks.statistics.diebold_mariano import newey_west_lag

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Statistic = Callable[[FloatArray], FloatArray]
"""From means (..., k) to figures (...): it must work on any leading shape."""

RESAMPLES = 1000
LEAST_DATES = 20
"""Below so many dates no interval is given: there is no telling how they depend on each other."""


@dataclass(frozen=True, slots=True)
class Blocks:
    """Resamples of 0…n-1 as blocks: first element (reps, m) and length (reps, m); lengths of a resample sum to n."""

    start: IntArray
    length: IntArray


def mean(means: FloatArray) -> FloatArray:
    """The mean itself: (..., 1) to (...)."""
    return np.asarray(means[..., 0])


def skill(means: FloatArray) -> FloatArray:
    """1 - loss / baseline loss, from means (..., 2) in that order; 0 where the baseline has no loss."""
    loss, baseline = means[..., 0], means[..., 1]
    return np.where(baseline > 0, 1.0 - loss / np.where(baseline > 0, baseline, 1.0), 0.0)


def interval(
    values: FloatArray,
    statistic: Statistic = mean,
    *,
    level: float = 0.95,
    seed: int = 1,
    overlap: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float]:
    """Two-sided percentile interval of a statistic of column means.

    values: float64 (n,) or (n, k), one row a date in time order: loss differences with ``mean``; the loss and the
    baseline's loss as two columns with ``skill`` (both are resampled on the same dates). overlap: how many later dates'
    labels share a bar with a date's label. NaN for both ends on fewer than 20 dates.

    Raises ValueError on a value that is not finite, or a level outside (0, 1).
    """
    tail = (1.0 - _checked_level(level)) / 2.0
    low, high = _bounds(values, statistic, (tail, 1.0 - tail), seed=seed, overlap=overlap, resamples=resamples)
    return low, high


def lower_bound(
    values: FloatArray,
    statistic: Statistic = mean,
    *,
    level: float = 0.99,
    seed: int = 1,
    overlap: int = 0,
    resamples: int = RESAMPLES,
) -> float:
    """One-sided: the statistic lies above this with probability ``level``; arguments and errors as for ``interval``."""
    (low,) = _bounds(values, statistic, (1.0 - _checked_level(level),), seed=seed, overlap=overlap, resamples=resamples)
    return low


def skill_interval(
    loss: FloatArray, baseline: FloatArray, *, level: float = 0.95, seed: int = 1, overlap: int = 0
) -> tuple[float, float]:
    """Interval of 1 - mean loss / mean baseline loss; two (n,) arrays of losses on the same dates."""
    return interval(np.column_stack([loss, baseline]), skill, level=level, seed=seed, overlap=overlap)


def block_length(series: FloatArray, overlap: int = 0) -> float:
    """Mean block length for float64 (n,) by Politis and White, at least one more than the overlap, at most n / 4.

    A series without spread has no dependence to keep: the floor alone.
    """
    floor = 1.0 + max(overlap, newey_west_lag(len(series), 0))
    if len(series) >= LEAST_DATES and np.ptp(series) > 1e-12 * np.abs(series).max():
        best = float(optimal_block_length(series)["stationary"].iloc[0])
        floor = max(best, floor) if math.isfinite(best) else floor
    return max(min(floor, len(series) / 4.0), 1.0)


def stretch(dates: int, length: float, tail: float) -> float:
    """By how much a distance from the estimate grows at a tail probability; see the module's opening."""
    worth = max(dates / (2.0 * length), 2.0)
    quantile = float(special.stdtrit(worth - 1.0, tail) / special.ndtri(tail))
    return quantile / math.sqrt(1.0 - 1.0 / worth)


def draw(dates: int, length: float, resamples: int, seed: int) -> Blocks:
    """Blocks with geometric lengths of the given mean; the last one of each resample is cut to end at ``dates``."""
    rng = np.random.default_rng(seed)
    expected = dates / length
    columns = min(dates, math.ceil(expected + 6.0 * math.sqrt(expected) + 6.0))
    lengths = _geometric(rng, length, (resamples, columns))
    while int(lengths.sum(axis=1).min()) < dates:
        lengths = np.concatenate([lengths, _geometric(rng, length, (resamples, columns))], axis=1)
    ends = np.minimum(np.cumsum(lengths, axis=1), dates)
    used = int((ends < dates).sum(axis=1).max()) + 1
    return Blocks(
        start=rng.integers(0, dates, size=(resamples, used)),
        length=np.diff(ends[:, :used], axis=1, prepend=0),
    )


def resampled_means(values: FloatArray, blocks: Blocks) -> FloatArray:
    """Column means of every resample: float64 (n, k) to (reps, k)."""
    n, k = values.shape
    centre = values.mean(axis=0)
    # Centred first: differences of a cumulative sum lose digits where the sum is large.
    wrapped = np.concatenate([values - centre, values - centre])
    total = np.concatenate([np.zeros((1, k)), np.cumsum(wrapped, axis=0)])
    ends = blocks.start + blocks.length
    sums = np.stack([(column[ends] - column[blocks.start]).sum(axis=1) for column in total.T], axis=1)
    return np.asarray(centre + sums / n)


def influence(values: FloatArray, statistic: Statistic) -> FloatArray:
    """How the statistic reacts to each date, to first order: (n, k) to (n,), gradient by central differences."""
    centre, spread = values.mean(axis=0), values.std(axis=0)
    step = 1e-4 * np.where(spread > 0, spread, 1.0)
    shift = np.diag(step)
    gradient = (statistic(centre + shift) - statistic(centre - shift)) / (2.0 * step)
    return np.asarray((values - centre) @ gradient)


def _bounds(
    values: FloatArray, statistic: Statistic, at: tuple[float, ...], *, seed: int, overlap: int, resamples: int
) -> tuple[float, ...]:
    rows = _checked(values)
    if len(rows) < LEAST_DATES:
        return tuple(math.nan for _ in at)
    length = block_length(influence(rows, statistic), overlap)
    drawn = statistic(resampled_means(rows, draw(len(rows), length, resamples, seed)))
    centre = float(statistic(rows.mean(axis=0)))
    return tuple(centre + stretch(len(rows), length, q) * (float(np.quantile(drawn, q)) - centre) for q in at)


def _geometric(rng: np.random.Generator, length: float, shape: tuple[int, int]) -> IntArray:
    if length <= 1.0:
        return np.ones(shape, dtype=np.int64)
    return np.asarray(1 + np.floor(rng.standard_exponential(shape) / -math.log1p(-1.0 / length)), dtype=np.int64)


def _checked(values: FloatArray) -> FloatArray:
    rows = np.asarray(values, dtype=np.float64)
    rows = rows[:, None] if rows.ndim == 1 else rows
    bad = np.flatnonzero(~np.isfinite(rows).all(axis=1))
    if len(bad):
        raise ValueError(f"{len(bad)} of {len(rows)} dates hold a value that is not finite, first row {bad[0]}")
    return rows


def _checked_level(level: float) -> float:
    if not 0.0 < level < 1.0:
        raise ValueError(f"level must lie between 0 and 1, got {level}")
    return level
