"""Prediction intervals from past errors, and whether they held: split conformal, adaptive over time, coverage.

Scores are |y - f| / s with a scale s that is known when the prediction is made; an interval is f ± s·Q. Split conformal
(Vovk, Gammerman and Shafer 2005; Lei et al. 2018, JASA 113) takes Q as the ceil((n + 1)·coverage)-th smallest of n
calibration scores: exact for exchangeable data. Bars are not exchangeable, so ACI (Gibbs and Candès 2021, NeurIPS)
moves the level by what happened: alpha(t+1) = alpha(t) + gamma·(alpha - err(t)), err the share of date t that fell out.

Outcomes arrive late: the label of date t is known at its end. With d dates pending at most, whatever the data do,

    |mean err - alpha| <= (max(alpha, 1 - alpha) + gamma·(d + 1)) / (gamma·T)

(their proposition 4.1 at d = 0; alpha(t) leaves [0, 1] by gamma·(d + 1) at most, since up to d errors made before it
left are still to come in). At a level of 0 or less the interval is the whole line, at 1 or more it is empty.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.statistics import bootstrap

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapted:
    """By date, (T,): ``alpha``, the level asked of it; ``radius`` in units of the scale (inf, or -inf for an empty
    interval); ``missed``, the share of the date's rows outside."""

    alpha: FloatArray
    radius: FloatArray
    missed: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Coverage:
    """Share of rows inside their intervals, averaged by date first; ``low`` and ``high`` its 95 % block-bootstrap
    interval (NaN on fewer than 20 dates); the worst and best stretch of ``window`` dates; rows and dates."""

    share: float
    low: float
    high: float
    worst: float
    best: float
    window: int
    rows: int
    dates: int


def radius(scores: FloatArray, coverage: float) -> float:
    """The ceil((n + 1)·coverage)-th smallest of float64 (n,); inf where there are too few, -inf at coverage <= 0.

    Raises ValueError for scores that are negative or not finite.
    """
    found = np.asarray(scores, dtype=np.float64)
    if not (np.isfinite(found).all() and (found >= 0).all()):
        raise ValueError("scores must be finite and not negative")
    return _kth(np.sort(found), coverage)


def adapt(
    calibration: FloatArray,
    scores: FloatArray,
    date: IntArray,
    known: IntArray,
    *,
    coverage: float,
    gamma: float,
) -> Adapted:
    """ACI along T dates: each date's level is set by what was known then; the calibration scores stay as they are.

    calibration: scores (n,) from before. scores: (m,) of the dates' rows, with ``date`` (m,) in 0…T-1, ascending, each
    date at least once. known: (T,), how many leading dates' outcomes are known when date t is predicted (at most t).
    Raises ValueError for dates that are not 0…T-1 in order, or outcomes known before they happened.
    """
    dates = len(known)
    if not (np.array_equal(np.unique(date), np.arange(dates)) and (np.diff(date) >= 0).all()):
        raise ValueError(f"date must hold 0 to {dates - 1} in ascending order")
    if (known > np.arange(dates)).any() or (np.diff(known) < 0).any():
        raise ValueError("known must not decrease, nor count a date's own outcome or a later one")
    ascending, edges = np.sort(calibration), np.searchsorted(date, np.arange(dates + 1))
    alphas, radii, missed = np.empty(dates), np.empty(dates), np.empty(dates)
    alpha, told = 1.0 - coverage, 0
    for t in range(dates):
        for late in range(told, int(known[t])):
            alpha += gamma * (1.0 - coverage - missed[late])
        told = int(known[t])
        alphas[t], radii[t] = alpha, _kth(ascending, 1.0 - alpha)
        missed[t] = float(np.mean(scores[edges[t] : edges[t + 1]] > radii[t]))
    return Adapted(alpha=alphas, radius=radii, missed=missed)


def covered(inside: npt.NDArray[np.bool_], date: IntArray, *, overlap: int = 0, window: int = 63) -> Coverage:
    """Coverage of rows (m,) on dates (m,): 0…T-1, each at least once. overlap: later dates whose labels share a bar.

    Raises ValueError without rows.
    """
    if not len(inside):
        raise ValueError("no rows: there is no coverage to speak of")
    by_date = np.bincount(date, inside) / np.bincount(date)
    low, high = bootstrap.interval(by_date, overlap=overlap)
    size = min(window, len(by_date))
    rolling = np.convolve(by_date, np.full(size, 1.0 / size), mode="valid")
    return Coverage(
        share=float(by_date.mean()),
        low=low,
        high=high,
        worst=float(rolling.min()),
        best=float(rolling.max()),
        window=size,
        rows=len(inside),
        dates=len(by_date),
    )


def _kth(ascending: FloatArray, coverage: float) -> float:
    if coverage <= 0.0:
        return -math.inf
    rank = rank_of(len(ascending), coverage)
    return math.inf if rank > len(ascending) else float(ascending[rank - 1])


def rank_of(scores: int, coverage: float) -> int:
    """Which of ``scores`` calibration scores, counted from 1 upwards, is the radius at this coverage in (0, ∞)."""
    # (n + 1)·0.9 may come out a rounding above a whole number.
    return max(math.ceil(round((scores + 1) * coverage, 9)), 1)
