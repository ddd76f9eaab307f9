"""Does a forecast order a panel's names on each date? Information coefficients, decile spread, turnover of ranks.

Everything is computed from one date alone; dates with fewer than 20 names are skipped. Ties take their middle rank
(Spearman). Vectorised over all dates: sorted once, then sums by date.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
LEAST_NAMES = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Information:
    """By date that has enough names, in time order, (d,) each: its code, names, and figures.

    ``ic`` is Pearson's, ``rank_ic`` Spearman's correlation of forecast and label; NaN where either has no spread.
    ``decile_spread`` is the mean label of the tenth of names with the highest forecasts less that of the lowest.
    """

    date: IntArray
    names: IntArray
    ic: FloatArray
    rank_ic: FloatArray
    decile_spread: FloatArray


def information(prediction: FloatArray, label: FloatArray, date: IntArray) -> Information:
    """Information coefficients by date.

    prediction, label: float64 (n,), any order; rows where either is not finite are left out. date: int (n,), a code
    that grows with time. Raises ValueError where lengths differ.
    """
    if not len(prediction) == len(label) == len(date):
        raise ValueError(f"{len(prediction)} predictions, {len(label)} labels and {len(date)} dates: one a row")
    known = np.isfinite(prediction) & np.isfinite(label)
    codes, place, count = np.unique(date[known], return_inverse=True, return_counts=True)
    enough = count >= LEAST_NAMES
    keep = enough[place]
    group = (np.cumsum(enough) - 1)[place[keep]]
    x, y = prediction[known][keep], label[known][keep]
    ranks = rank_by_date(x, group), rank_by_date(y, group)
    names = count[enough]
    return Information(
        date=codes[enough].astype(np.int64),
        names=names.astype(np.int64),
        ic=_correlation(x, y, group, names),
        rank_ic=_correlation(*ranks, group, names),
        decile_spread=_spread(ranks[0], y, group, names),
    )


def icir(ic: FloatArray) -> float:
    """Mean of the daily information coefficients over their standard deviation (over n - 1); NaN if undefined.

    ic: float64 (d,); NaN dates are left out.
    """
    known = ic[np.isfinite(ic)]
    spread = float(known.std(ddof=1)) if len(known) > 1 else 0.0
    return float(known.mean()) / spread if spread > 0 else math.nan


def rank_turnover(prediction: FloatArray, date: IntArray, symbol: IntArray) -> FloatArray:
    """How much the order of names changes from one date to the next, float64 (d - 1,): 1 less the rank correlation.

    prediction: float64 (n,); date, symbol: int (n,) codes, at most one row for both. Over names that both dates have;
    NaN where they are fewer than 20 or have no spread. 0: the same order; 1: unrelated; 2: turned around. Dates are
    those that occur, also if no prediction on them is finite.
    """
    codes, place = np.unique(date, return_inverse=True)
    known = np.isfinite(prediction)
    order = np.lexsort((place, symbol))
    order = order[known[order]]
    earlier, later = order[:-1], order[1:]
    follows = (symbol[earlier] == symbol[later]) & (place[later] == place[earlier] + 1)
    earlier, later = earlier[follows], later[follows]
    group = place[earlier]
    names = np.bincount(group, minlength=max(len(codes) - 1, 0))
    found = _correlation(rank_by_date(prediction[earlier], group), rank_by_date(prediction[later], group), group, names)
    return np.asarray(np.where(names >= LEAST_NAMES, 1.0 - found, math.nan))


def rank_by_date(values: FloatArray, group: IntArray) -> FloatArray:
    """Rank from 1 within each group, ties taking their middle, float64 (n,); values without NaN."""
    if len(values) == 0:
        return np.zeros(0)
    order = np.lexsort((values, group))
    sorted_group, sorted_values = group[order], values[order]
    new_group = np.diff(sorted_group, prepend=sorted_group[0] - 1) != 0
    new_value = new_group | np.concatenate([[True], sorted_values[1:] != sorted_values[:-1]])
    at = np.arange(len(values))
    begins = np.flatnonzero(new_value)
    ends = np.append(begins[1:], len(values))
    group_start = np.maximum.accumulate(np.where(new_group, at, 0))
    middle = np.repeat(0.5 * (begins + ends - 1), ends - begins)
    ranks = np.empty(len(values))
    ranks[order] = middle - group_start + 1.0
    return ranks


def _correlation(x: FloatArray, y: FloatArray, group: IntArray, names: IntArray) -> FloatArray:
    """Pearson's correlation within each of len(names) groups; NaN where either side has no spread."""
    size = np.maximum(names, 1)
    centred = [v - (np.bincount(group, weights=v, minlength=len(names)) / size)[group] for v in (x, y)]
    xx, yy, xy = (
        np.bincount(group, weights=a * b, minlength=len(names))
        for a, b in ((centred[0], centred[0]), (centred[1], centred[1]), (centred[0], centred[1]))
    )
    largest = [np.zeros(len(names)), np.zeros(len(names))]
    for found, v in zip(largest, (x, y), strict=True):
        np.maximum.at(found, group, np.abs(v))
    flat = (xx <= size * (1e-12 * largest[0]) ** 2) | (yy <= size * (1e-12 * largest[1]) ** 2)
    scale = np.sqrt(np.where(flat, 1.0, xx * yy))
    return np.asarray(np.where(flat, math.nan, np.clip(xy / scale, -1.0, 1.0)))


def _spread(rank: FloatArray, label: FloatArray, group: IntArray, names: IntArray) -> FloatArray:
    """Mean label of the highest tenth of ranks less that of the lowest; ties at the edge are in both or neither."""
    tenth = np.floor(names / 10.0)
    low, high = rank <= tenth[group], rank > (names - tenth)[group]
    means = []
    for side in (high, low):
        count = np.bincount(group[side], minlength=len(names))
        total = np.bincount(group[side], weights=label[side], minlength=len(names))
        means.append(np.where(count > 0, total / np.maximum(count, 1), math.nan))
    return np.asarray(means[0] - means[1])
