"""How many independent things were tried? Candidates whose predictions or returns move together are one trial.

Clusters (López de Prado 2020, Machine Learning for Asset Managers, chapter 4): distance sqrt((1 - ρ) / 2) between two
series, average linkage. His ONC picks the number of clusters by silhouette, which finds groups even among independent
series and so counts too few. Here the tree is cut at one place, ρ = 0.5: series that share less than half of their
variance count apart. The count is the number of clusters; it depends on the series alone, neither on their order nor on
a seed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

CUT = 0.5
"""Correlation at which two clusters are still one."""

LEAST_SHARED = 20
"""On fewer shared dates no correlation is believed: the two count apart."""


def independent_trials(series: FloatArray) -> int:
    """Number of clusters among series (n, k), one row a date, one column a candidate; 0 without a column.

    NaN where a candidate has no value: correlations are over shared dates, two candidates with fewer than 20 of them
    count apart. Identical columns count once, and so do all columns without spread. Raises ValueError on infinities.
    """
    return len(np.unique(clusters(series)))


def clusters(series: FloatArray) -> IntArray:
    """Cluster of each column, (k,), numbered from 0 in order of first appearance; see ``independent_trials``."""
    if np.isinf(series).any():
        raise ValueError("an infinite value among the trials' series: leave out the candidate that diverged")
    # Two NaN are never equal to np.unique; infinities are free to stand for them.
    distinct, place = np.unique(np.where(np.isnan(series), np.inf, series), axis=1, return_inverse=True)
    distinct[np.isinf(distinct)] = np.nan
    if distinct.shape[1] < 2:
        return np.zeros(series.shape[1], dtype=np.int64)
    distance = np.sqrt(np.maximum(0.5 * (1.0 - correlations(distinct)), 0.0))
    np.fill_diagonal(distance, 0.0)
    found = fcluster(linkage(squareform(distance, checks=False), "average"), _distance(CUT), "distance")
    return _renumbered(found[place.ravel()])


def correlations(series: FloatArray) -> FloatArray:
    """Correlation (k, k) of every two columns over the dates on which both have a value.

    0 where fewer than 20 are shared or one has no spread on them; 1 where neither has.
    """
    known = np.isfinite(series)
    some = known.any(axis=0)
    centre = np.where(some, np.nansum(series, axis=0) / np.maximum(known.sum(axis=0), 1), 0.0)
    filled = np.where(known, series - centre, 0.0)
    have = known.astype(np.float64)
    shared = have.T @ have
    count = np.maximum(shared, 1.0)
    total, squares = filled.T @ have, (filled**2).T @ have
    # Entry (i, j): sums of column i over the dates that it shares with j.
    product = filled.T @ filled - total * total.T / count
    spread = squares - total**2 / count
    flat = spread <= 1e-12 * np.maximum(squares, np.finfo(float).tiny)
    scale = np.sqrt(np.where(flat | flat.T, 1.0, spread * spread.T))
    found = np.where(flat | flat.T, np.where(flat & flat.T, 1.0, 0.0), np.clip(product / scale, -1.0, 1.0))
    return np.asarray(np.where(shared < LEAST_SHARED, 0.0, found))


def _distance(correlation: float) -> float:
    return float(np.sqrt(0.5 * (1.0 - correlation)))


def _renumbered(labels: IntArray) -> IntArray:
    _, first, place = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[place], dtype=np.int64)
