"""Probability of backtest overfitting by combinatorially symmetric cross-validation.

Bailey, Borwein, López de Prado and Zhu (2017, J. Computational Finance 20): cut the dates into S blocks; for each
choice of S/2 of them, take the candidate that performs best there and look at its rank ω on the other half, logit
λ = ln(ω / (1 - ω)) with ω = rank / (N + 1). The probability is the share of choices with λ <= 0: the best of one half
is no better than the median of the other. About one half where nothing is known, about zero where one is truly better.

Sums over blocks are all that is needed: 12,870 choices for S = 16 are one matrix product.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BLOCKS = 16


def backtest_overfitting(
    performance: FloatArray, *, blocks: int = BLOCKS, measure: Literal["mean", "sharpe"] = "mean"
) -> float:
    """Probability that picking the best candidate is worth nothing; NaN with fewer than two candidates.

    performance: float64 (n, k), one row a date in time order, one column a candidate, higher is better (returns, or
    losses with their sign turned). measure: the mean over the chosen dates, or mean over standard deviation (0 without
    any spread). blocks: even; consecutive, equal to a date. NaN too where there are fewer dates than two a block.

    Raises ValueError on a value that is not finite or an odd number of blocks.
    """
    if blocks < 2 or blocks % 2:
        raise ValueError(f"blocks must be even and at least 2, got {blocks}")
    if not np.isfinite(performance).all():
        bad = np.flatnonzero(~np.isfinite(performance).all(axis=0))
        raise ValueError(f"performance that is not finite in {len(bad)} candidates, first column {bad[0]}")
    if performance.shape[1] < 2 or len(performance) < 2 * blocks:
        return math.nan
    inside = _scores(performance, blocks, measure)
    outside = inside[::-1]  # the choices are in lexical order: the complement of the first is the last
    return float(np.mean(_relative_rank(outside, inside.argmax(axis=1)) <= 0.5))


def _scores(performance: FloatArray, blocks: int, measure: str) -> FloatArray:
    """Performance of each candidate (columns) on each choice of blocks (rows, lexical order)."""
    place = np.repeat(np.arange(blocks), [len(part) for part in np.array_split(performance, blocks)])
    members = (place == np.arange(blocks)[:, None]).astype(np.float64)
    choices = _choices(blocks)
    # About the overall mean, or squares would drown the spread.
    centre = performance.mean(axis=0)
    count = choices @ members.sum(axis=1, keepdims=True)
    mean = choices @ (members @ (performance - centre)) / count
    if measure == "mean":
        return np.asarray(mean + centre)
    variance = choices @ (members @ (performance - centre) ** 2) / count - mean**2
    some = variance > 1e-24 * np.maximum(centre**2, np.finfo(float).tiny)
    return np.asarray(np.where(some, (mean + centre) / np.sqrt(np.where(some, variance, 1.0)), 0.0))


def _relative_rank(scores: FloatArray, chosen: npt.NDArray[np.int64]) -> FloatArray:
    """Rank of the chosen candidate over N + 1, ties taking their middle; rows are choices."""
    mine = np.take_along_axis(scores, chosen[:, None], axis=1)
    rank = (scores < mine).sum(axis=1) + 0.5 * ((scores == mine).sum(axis=1) + 1)
    return np.asarray(rank / (scores.shape[1] + 1.0))


@lru_cache(maxsize=4)
def _choices(blocks: int) -> FloatArray:
    chosen = list(itertools.combinations(range(blocks), blocks // 2))
    matrix = np.zeros((len(chosen), blocks))
    matrix[np.arange(len(chosen))[:, None], np.array(chosen)] = 1.0
    return matrix
