"""Five other histories: ridge on all features by combinatorial purged cross-validation, on the rows before the gate.

```
6 groups of bars in time order, 2 tested at a time: 15 fits, and 5 paths through the whole of the search and the folds
```

One walk forward is one history. This asks how much of a skill hangs on that one: is it there in each stretch, whichever
others are learned from? It trains on what came after, so it ranks nothing and gates nothing.

1. Features are standardised and clipped at eight deviations over all these rows; the label is not looked at.
2. What a least-squares fit needs of rows is their sums of products. Rows are put into cells by their group and by the
   test groups for which they are purged: a few dozen cells, summed once. Every training set is a sum of cells, exactly
   the rows that ``statistics/cross_validation.py`` trains on. So fifteen splits cost one pass over the rows.
3. Each split's penalty is the one with the least squared error where each of its training groups is left out in turn,
   purged like the rest. Probabilities are the same ridge on the label 0 or 1, kept between 0.01 and 0.99.
4. Skill on a path is 1 - loss / loss of the reference, which is fitted on the same splits: for volatility LHAR's
   columns by least squares, elsewhere the training mean (the base rate).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pandas as pd
from threadpoolctl import threadpool_limits

from tasks.contracts import Target
from tasks.leaderboard.losses import FloatArray, IntArray, by_date, date_codes
from tasks.statistics.cross_validation import paths, splits
from tasks.statistics.losses import row_losses

GROUPS, TESTED = 6, 2
PENALTIES = (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0)
CLIP = 8.0
LEAST_BARS = 60
"""Fewer bars than ten a group are no histories."""

LHAR = (
    "har_1", "har_5", "har_22",
    "return_1", "return_5", "return_22", "negative_return_1", "negative_return_5", "negative_return_22",
)  # fmt: skip
CERTAIN = 0.01
CHUNK = 16_384
FLAT = 1e-9
log = logging.getLogger("nocturne.leaderboard")


def other_histories(
    rows: pd.DataFrame,
    features: FloatArray,
    columns: Sequence[str],
    target: Target,
    *,
    embargo: int,
    penalties: Sequence[float] = PENALTIES,
) -> tuple[float, ...]:
    """Skill on each of the five paths; empty where there are too few bars, features without a value, or no LHAR.

    rows: columns ``symbol, time, session, label, label_end, fit_gate`` of ``Rows`` (n rows), of which those marked by
    ``fit_gate`` are used: all labels that end before the gate. features: float64 (n, k), aligned, named by columns;
    it is not altered. embargo: in bars. penalties: to choose from, a row, in units of the standardised features'
    variance. Symbols of one bar always fall into one group; losses are averaged by date, as on the leaderboard.
    """
    if target.name == "volatility" and not set(LHAR) <= set(columns):
        log.warning("other histories are left out: LHAR, against which they are told, lacks a column")
        return ()
    used = np.flatnonzero(rows["fit_gate"].to_numpy(bool)).astype(np.int64)
    plan = _Plan.of(rows.iloc[used], embargo)
    if plan is None:
        return ()
    table = _Table.of(features, used, rows["label"].to_numpy(np.float64)[used])
    if table is None:
        log.warning("other histories are left out: a feature has no value on a row before the gate")
        return ()
    # On two threads, matrices of this size wait for each other longer than they work: 2.2 s for 0.15 on a busy machine.
    with threadpool_limits(1, user_api="blas"):
        grams = _Grams(plan, table.grams(plan.cell, len(plan.cells)), np.asarray(penalties, dtype=np.float64))
        predicted = table.predict(_coefficients(grams, columns, target))
    return tuple(_skill(rows.iloc[used], predicted, route, target) for route in _routes(plan))


@dataclass(frozen=True, slots=True)
class _Plan:
    """Each used row's group and cell; by cell its group, and for which test groups it is purged (cells, GROUPS)."""

    group: IntArray
    cell: IntArray
    cells: IntArray
    purged: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, rows: pd.DataFrame, embargo: int) -> _Plan | None:
        """By bar: a bar's label is open until the last of its symbols' labels ends. None with too few bars."""
        time, end = (rows[name].to_numpy(dtype="datetime64[ns]") for name in ("time", "label_end"))
        bars, bar = np.unique(time, return_inverse=True)
        if len(bars) < LEAST_BARS:
            return None
        open_until = np.arange(len(bars))
        np.maximum.at(open_until, bar, np.searchsorted(bars, end))
        group, purged = np.zeros(len(bars), dtype=np.int64), np.ones((len(bars), GROUPS), dtype=bool)
        for split in splits(open_until, groups=GROUPS, tested=1, embargo=embargo):
            group[split.tests[0]] = split.groups[0]
            purged[split.train, split.groups[0]] = False
        kinds, cell = np.unique(np.column_stack([group, purged]), axis=0, return_inverse=True)
        return cls(group[bar], cell.ravel()[bar], kinds[:, 0], kinds[:, 1:].astype(bool))


@dataclass(frozen=True, slots=True)
class _Table:
    """Standardised rows, made a chunk at a time: a panel's matrix is not held twice."""

    features: FloatArray
    used: IntArray
    label: FloatArray
    centre: FloatArray
    scale: FloatArray

    @classmethod
    def of(cls, features: FloatArray, used: IntArray, label: FloatArray) -> _Table | None:
        """None if a value is missing."""
        chunks = [used[start : start + CHUNK] for start in range(0, len(used), CHUNK)]
        centre = sum(features[rows].sum(axis=0) for rows in chunks) / len(used)
        variance = sum(((features[rows] - centre) ** 2).sum(axis=0) for rows in chunks) / len(used)
        if not (np.isfinite(variance).all() and np.isfinite(label).all()):
            return None
        spread = np.sqrt(variance)
        varies = spread > 1e-12 * np.maximum(np.abs(centre), np.finfo(float).tiny)
        return cls(features, used, label, centre, np.where(varies, spread, np.inf))

    def chunks(self) -> Iterator[tuple[slice, FloatArray]]:
        """Places among the used rows, and (1, standardised features, label) of each, float64 (m, k + 2)."""
        for start in range(0, len(self.used), CHUNK):
            place = slice(start, min(start + CHUNK, len(self.used)))
            found = np.empty((place.stop - start, len(self.centre) + 2))
            found[:, 0], found[:, -1] = 1.0, self.label[place]
            z = np.subtract(self.features[self.used[place]], self.centre, out=found[:, 1:-1])
            z /= self.scale
            np.clip(z, -CLIP, CLIP, out=z)
            yield place, found

    def grams(self, cell: IntArray, cells: int) -> FloatArray:
        """Sums of products of (1, features, label) over each cell's rows, float64 (cells, k + 2, k + 2)."""
        sums = np.zeros((cells, len(self.centre) + 2, len(self.centre) + 2))
        for place, values in self.chunks():
            of = cell[place]
            for each in np.unique(of):
                mine = values[of == each]
                sums[each] += mine.T @ mine
        return sums

    def predict(self, coefficients: FloatArray) -> FloatArray:
        """coefficients (k + 1, m), the intercept first, to predictions (rows, m)."""
        return np.concatenate([values[:, :-1] @ coefficients for _, values in self.chunks()])


@dataclass(slots=True)
class _Grams:
    """Fits on any training set of a plan, whose sums are sums of cells; what was fitted once is kept."""

    plan: _Plan
    sums: FloatArray
    penalties: FloatArray
    known: dict[tuple[int, ...], FloatArray] = field(default_factory=dict)

    def chosen(self, held: tuple[int, ...]) -> FloatArray:
        """Intercept and slopes (k + 1,) at the penalty with the least squared error over the training groups.

        Each of them is left out in turn, and the fit on the others is purged for it as for the held groups.
        """
        errors = np.zeros(len(self.penalties))
        for group in (g for g in range(GROUPS) if g not in held):
            fitted = self.ridges(tuple(sorted((*held, group))))
            signed = np.vstack([fitted, np.full(len(errors), -1.0)])
            errors += (signed * (self._test(group, held) @ signed)).sum(axis=0)
        return self.ridges(held)[:, int(np.argmin(errors))]

    def ridges(self, held: tuple[int, ...]) -> FloatArray:
        """Intercept and slopes at every penalty (k + 1, penalties), fitted on what is left beside the held groups."""
        if held not in self.known:
            self.known[held] = self.normal(held).ridges(self.penalties)
        return self.known[held]

    def normal(self, held: tuple[int, ...]) -> _Normal:
        """Of every row outside the held groups that is purged for none of them."""
        outside = ~np.isin(self.plan.cells, held) & ~self.plan.purged[:, held].any(axis=1)
        return _Normal(self.sums[outside].sum(axis=0))

    def _test(self, group: int, held: tuple[int, ...]) -> FloatArray:
        """Sums over a group's rows that are purged for none of the held groups."""
        mine = (self.plan.cells == group) & ~self.plan.purged[:, held].any(axis=1)
        return np.asarray(self.sums[mine].sum(axis=0), dtype=np.float64)


class _Normal:
    """The normal equations of one training set, standardised by its own means and deviations."""

    def __init__(self, gram: FloatArray) -> None:
        """gram: sums of products of (1, features, label), float64 (k + 2, k + 2)."""
        self.centre = gram[0, 1:] / gram[0, 0]
        covariance = gram[1:, 1:] / gram[0, 0] - np.outer(self.centre, self.centre)
        spread = np.sqrt(np.maximum(np.diag(covariance)[:-1], 0.0))
        self.spread = np.where(spread > FLAT, spread, np.inf)  # what does not vary has no slope
        self.correlation = covariance[:-1, :-1] / np.outer(self.spread, self.spread)
        self.with_label = covariance[:-1, -1] / self.spread

    def ridges(self, penalties: FloatArray) -> FloatArray:
        """Intercept and slopes (k + 1, penalties): what ``cross_validation.ridge`` finds on the same rows."""
        values, vectors = np.linalg.eigh(self.correlation)
        turned = (vectors.T @ self.with_label)[:, None] / (np.maximum(values, 0.0)[:, None] + penalties)
        return self._with_intercept(vectors @ turned / self.spread[:, None])

    def least_squares(self, chosen: IntArray) -> FloatArray:
        """Intercept and slopes (k + 1, 1), of which only the chosen columns' are not zero."""
        slopes = np.zeros((len(self.spread), 1))
        found = np.linalg.lstsq(self.correlation[np.ix_(chosen, chosen)], self.with_label[chosen], rcond=None)[0]
        slopes[chosen, 0] = found / self.spread[chosen]
        return self._with_intercept(slopes)

    def _with_intercept(self, slopes: FloatArray) -> FloatArray:
        return np.vstack([self.centre[-1] - self.centre[:-1] @ slopes, slopes])


def _coefficients(grams: _Grams, columns: Sequence[str], target: Target) -> FloatArray:
    """Intercept and slopes (k + 1, 2 · splits): of ridge on each split, then of the reference on each split."""
    reference = LHAR if target.name == "volatility" else ()
    chosen = np.array([place for place, name in enumerate(columns) if name in reference], dtype=np.int64)
    held = [split.groups for split in splits(np.arange(GROUPS), groups=GROUPS, tested=TESTED)]
    ridges = [grams.chosen(groups)[:, None] for groups in held]
    return np.hstack([*ridges, *(grams.normal(groups).least_squares(chosen) for groups in held)])


def _routes(plan: _Plan) -> Iterator[IntArray]:
    """By path, which split predicts each row, int64 (rows,)."""
    for path in paths(GROUPS, TESTED):
        yield path[plan.group]


def _skill(rows: pd.DataFrame, predicted: FloatArray, route: IntArray, target: Target) -> float:
    """1 - loss / reference's loss along one path; predicted (rows, 2 · splits): of ridge, then of the reference."""
    date = date_codes(rows["session"].to_numpy(dtype="datetime64[ns]"))
    label, place = rows["label"].to_numpy(np.float64), np.arange(len(rows))
    mine, reference = (
        _loss(date, label, predicted[place, route + shift], target) for shift in (0, predicted.shape[1] // 2)
    )
    return 1.0 - mine / reference if reference > 0 else 0.0


def _loss(date: IntArray, label: FloatArray, prediction: FloatArray, target: Target) -> float:
    if target.kind == "classification":
        prediction = np.clip(prediction, CERTAIN, 1.0 - CERTAIN)
    return float(by_date(date, row_losses(target.loss, label, prediction)).mean())
