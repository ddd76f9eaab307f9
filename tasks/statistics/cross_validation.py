"""Combinatorial purged cross-validation (López de Prado 2018, chapter 12): many histories instead of one.

```
6 groups, 2 of them tested at a time: 15 splits, each group tested 5 times, so 5 paths through the whole history
split 1   |test |test |.train|train|train|train|     . purged: labels that reach into a test group, or begin while a
split 2   |test |.train.|test |.train|train|train|     test group's labels are open; then the embargo
```

A diagnostic for engines that are cheap to fit: it trains on what comes after, so no promotion rests on it.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Fit = Callable[[IntArray], Callable[[IntArray], FloatArray]]
"""From training rows to a predictor of rows."""


@dataclass(frozen=True, slots=True)
class Split:
    """Training rows (ascending), and the rows of each tested group; ``groups`` names those groups."""

    train: IntArray
    tests: tuple[IntArray, ...]
    groups: tuple[int, ...]


def splits(label_end: IntArray, *, groups: int = 10, tested: int = 2, embargo: int = 0) -> tuple[Split, ...]:
    """All choices of ``tested`` of the ``groups`` consecutive groups of rows, in lexical order.

    label_end: int (n,), row i's label is open from row i to row label_end[i] (inclusive, may lie past the last row);
    rows in time order. Groups hold n // groups rows, the last one the rest. A training row is dropped if its label
    reaches into a tested group, if it begins while a tested group's label is open, or within ``embargo`` rows after
    that.

    Raises ValueError where tested is not between 1 and groups - 1, rows are fewer than groups, or a label ends before
    it begins.
    """
    n = len(label_end)
    if not 1 <= tested < groups or n < groups or embargo < 0:
        raise ValueError(f"cannot test {tested} of {groups} groups of {n} rows with an embargo of {embargo}")
    if (label_end < np.arange(n)).any():
        row = int(np.flatnonzero(label_end < np.arange(n))[0])
        raise ValueError(f"the label of row {row} ends before it begins, at {label_end[row]}")
    edges = np.array([*(np.arange(groups) * (n // groups)), n])
    return tuple(_split(label_end, edges, chosen, embargo) for chosen in itertools.combinations(range(groups), tested))


def paths(groups: int, tested: int) -> IntArray:
    """Which split predicts each group on each path, int64 (paths, groups): a path takes every group once.

    There are C(groups - 1, tested - 1) paths; path p takes the p-th split that tests the group (section 12.4).
    """
    chosen = list(itertools.combinations(range(groups), tested))
    by_group = [[place for place, members in enumerate(chosen) if group in members] for group in range(groups)]
    return np.array(by_group, dtype=np.int64).T


def path_predictions(fit: Fit, label_end: IntArray, *, groups: int, tested: int, embargo: int = 0) -> FloatArray:
    """Out-of-sample predictions of every row on every path, float64 (paths, n); arguments as for ``splits``."""
    drawn = splits(label_end, groups=groups, tested=tested, embargo=embargo)
    predictors = [fit(split.train) for split in drawn]
    route = paths(groups, tested)
    found = np.full((len(route), len(label_end)), math.nan)
    for place, (split, predict) in enumerate(zip(drawn, predictors, strict=True)):
        for group, rows in zip(split.groups, split.tests, strict=True):
            found[np.flatnonzero(route[:, group] == place)[0], rows] = predict(rows)
    return found


def ridge(features: FloatArray, label: FloatArray, penalty: float) -> Fit:
    """A fit for ``path_predictions``: ridge regression on standardised features in closed form, intercept free.

    features: float64 (n, k) and label (n,), without NaN; penalty: per training row, in units of the features'
    variance, so that 0 is least squares. A feature without spread in training has no effect.
    """

    def fit(train: IntArray) -> Callable[[IntArray], FloatArray]:
        x, y = features[train], label[train]
        centre, scale = x.mean(axis=0), x.std(axis=0)
        scale = np.where(scale > 1e-12 * np.maximum(np.abs(centre), np.finfo(float).tiny), scale, np.inf)
        z = (x - centre) / scale
        gram = z.T @ z / len(z) + penalty * np.eye(z.shape[1])
        weight = np.linalg.lstsq(gram, z.T @ (y - y.mean()) / len(z), rcond=None)[0]
        return lambda rows: np.asarray(y.mean() + (features[rows] - centre) / scale @ weight)

    return fit


def _split(label_end: IntArray, edges: IntArray, chosen: tuple[int, ...], embargo: int) -> Split:
    rows = np.arange(len(label_end))
    tests = tuple(rows[edges[group] : edges[group + 1]] for group in chosen)
    keep = np.ones(len(rows), dtype=bool)
    for test in tests:
        first, last, open_until = test[0], test[-1], label_end[test].max()
        keep[(rows < first) & (label_end >= first)] = False
        keep[(rows >= first) & (rows <= max(open_until, last) + embargo)] = False
    for test in tests:
        keep[test] = False
    return Split(rows[keep], tests, chosen)
