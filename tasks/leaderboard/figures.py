"""Figures as ratios of sums over dates, so that their bounds can be drawn by resampling dates.

A figure is a table of sums by date and a function of the totals that does not change when all totals are scaled: R² is
one less Σ(y - f)² over Σy². Resampling dates then costs no copied rows, however many names a date holds. Used by the
alarms and canaries; the leaderboard's own metrics are in ``metrics.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.leaderboard.metrics import CROSS_SECTION
from tasks.statistics.bootstrap import lower_bound
from tasks.statistics.overlap import label_overlap

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Name = Literal["r2", "ic", "hit_rate", "skill", "sharpe"]

LEVEL = 0.99
SEED = 20_260
"""Of the resampling: the same night gives the same bounds whenever it is looked at."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """``sums``: float64 (dates, k); ``value`` maps totals (…, k) to figures (…), NaN where one is not defined."""

    name: Name
    sums: FloatArray
    value: Callable[[FloatArray], FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """A candidate's figure, its lower 99 % bound, and on how many dates it rests."""

    candidate: str
    figure: Name
    value: float
    lower: float
    dates: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Dated:
    """Rows in dates: label (n,), the date and the symbol of each row as codes 0, 1, …

    overlap: how many later dates' labels share a bar with a date's label.
    """

    label: FloatArray
    code: IntArray
    symbol: IntArray
    dates: int
    overlap: int

    @classmethod
    def of(cls, frame: pd.DataFrame, horizon: int) -> Dated:
        """From rows with ``symbol, session, label`` (n, without NaN) whose labels look ``horizon`` bars ahead."""
        distinct, code = np.unique(frame["session"].to_numpy(dtype="datetime64[ns]"), return_inverse=True)
        return cls(
            label=frame["label"].to_numpy(np.float64),
            code=code.astype(np.int64),
            symbol=pd.factorize(frame["symbol"])[0].astype(np.int64),
            dates=len(distinct),
            overlap=label_overlap(frame, horizon) if len(distinct) else 0,
        )

    def sums(self, *columns: FloatArray) -> FloatArray:
        """Totals by date of columns (n,): float64 (dates, columns)."""
        return np.column_stack([np.bincount(self.code, weights=each, minlength=self.dates) for each in columns])

    @property
    def ones(self) -> FloatArray:
        """One a row, to be counted."""
        return np.ones(len(self.label))

    @property
    def is_wide(self) -> bool:
        """Whether the median date holds a cross-section of names."""
        return bool(np.median(np.bincount(self.code, minlength=self.dates)) >= CROSS_SECTION)


def bound(candidate: str, figure: Figure, overlap: int) -> Bound:
    """The figure and its lower 99 % bound by a stationary bootstrap over dates; NaN on fewer than 20.

    overlap: how many later dates' labels share a bar with a date's label.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        lower = lower_bound(figure.sums, figure.value, level=LEVEL, seed=SEED, overlap=overlap)
        value = float(figure.value(figure.sums.sum(axis=0)))
    return Bound(candidate=candidate, figure=figure.name, value=value, lower=lower, dates=len(figure.sums))


def r2_zero(rows: Dated, prediction: FloatArray) -> Figure:
    """1 - Σ(y - f)² / Σy²."""
    return _one_less("r2", rows.sums((rows.label - prediction) ** 2, rows.label**2))


def r2_of_means(rows: Dated, prediction: FloatArray) -> Figure:
    """1 - Σ(y - f)² / Σ(y - the symbol's own mean)²."""
    counts = np.bincount(rows.symbol)
    means = np.bincount(rows.symbol, weights=rows.label) / counts
    return _one_less("r2", rows.sums((rows.label - prediction) ** 2, (rows.label - means[rows.symbol]) ** 2))


def r2_of_share(rows: Dated, prediction: FloatArray) -> Figure:
    """1 - Σ(y - p)² / Σ(y - ȳ)², y in {0, 1}, ȳ the mean of the rows that are drawn."""

    def value(totals: FloatArray) -> FloatArray:
        ups, n = totals[..., 1], totals[..., 2]
        return np.asarray(1.0 - totals[..., 0] / (ups * (1.0 - ups / n)))

    up = (rows.label > 0).astype(float)
    return Figure(name="r2", sums=rows.sums((up - prediction) ** 2, up, rows.ones), value=value)


def skill(rows: Dated, losses: FloatArray, reference: FloatArray) -> Figure:
    """1 - Σ loss / Σ the reference's loss, of rows (n,)."""
    return _one_less("skill", rows.sums(losses, reference))


def hit_excess(rows: Dated, calls_up: npt.NDArray[np.bool_]) -> Figure:
    """Share of sides called less the share of the commoner side among the rows that are drawn."""

    def value(totals: FloatArray) -> FloatArray:
        hits, up = totals[..., 0] / totals[..., 2], totals[..., 1] / totals[..., 2]
        return np.asarray(hits - np.maximum(up, 1.0 - up))

    up = rows.label > 0
    return Figure(
        name="hit_rate", sums=rows.sums((up == calls_up).astype(float), up.astype(float), rows.ones), value=value
    )


def correlation(rows: Dated, prediction: FloatArray) -> Figure:
    """Rank correlation: the mean over dates of at least 20 names, else over all rows in time (ranks taken once)."""
    by = rows.code if rows.is_wide else np.zeros(len(rows.code), dtype=np.int64)
    y, f = (_standardised_ranks(values, by) for values in (rows.label, prediction))
    size = np.bincount(by)[by]
    if not rows.is_wide:
        return Figure(name="ic", sums=rows.sums(y * f, rows.ones), value=_mean)
    counted = (size >= CROSS_SECTION).astype(float) / size
    return Figure(name="ic", sums=rows.sums(y * f * counted, counted), value=_mean)


def sharpe(returns: FloatArray, periods: float) -> Figure:
    """Mean over standard deviation of returns over cash (n,), one a date, times the root of the periods a year."""

    def value(totals: FloatArray) -> FloatArray:
        mean = totals[..., 0] / totals[..., 2]
        spread = np.sqrt(np.maximum(totals[..., 1] / totals[..., 2] - mean**2, 0.0))
        return np.asarray(np.where(spread > 1e-12, mean / spread, 0.0) * np.sqrt(periods))

    return Figure(name="sharpe", sums=np.column_stack([returns, returns**2, np.ones(len(returns))]), value=value)


def squared(label: FloatArray, prediction: FloatArray) -> FloatArray:
    """(y - f)² of each row."""
    return np.asarray((label - prediction) ** 2)


def _one_less(name: Name, sums: FloatArray) -> Figure:
    return Figure(name=name, sums=sums, value=lambda totals: np.asarray(1.0 - totals[..., 0] / totals[..., 1]))


def _mean(totals: FloatArray) -> FloatArray:
    return np.asarray(totals[..., 0] / totals[..., 1])


def _standardised_ranks(values: FloatArray, by: IntArray) -> FloatArray:
    """Ranks within groups, of mean 0 and variance 1; 0 throughout a group without any spread."""
    ranks = pd.Series(values).groupby(by).rank().to_numpy(np.float64)
    size = np.bincount(by)
    centred = ranks - (np.bincount(by, weights=ranks) / np.maximum(size, 1))[by]
    spread = np.sqrt(np.bincount(by, weights=centred**2) / np.maximum(size, 1))[by]
    return np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 0)
