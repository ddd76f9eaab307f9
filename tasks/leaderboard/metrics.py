"""The metrics of each target. Every one carries its direction, unit, formula and source; none is an engine's own.

All take the same rows. Means are taken over the rows of a date first and over dates then, as the ranking loss is
(``losses.py``): for one symbol and daily bars the plain mean. An undefined value (the correlation of a constant, an
AUC of one class, a cross-section of one symbol) is NaN here and left out of the leaderboard: never zero, which would
read as a result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from tasks.contracts import TargetName
from tasks.leaderboard.losses import FloatArray, IntArray, by_date
from tasks.statistics.information import LEAST_NAMES, Information, icir, information, rank_turnover
from tasks.statistics.losses import row_losses

BINS = 10
ROUNDING = 1e-24
"""A variance below this share of the squared mean is rounding: the values are one value."""

CROSS_SECTION = LEAST_NAMES
"""A date counts towards a figure across names only if it holds so many."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """Codes of each row (n,): its symbol, and its bar in time order. Names are compared within a bar."""

    symbol: IntArray
    bar: IntArray


@dataclass(frozen=True, kw_only=True)
class Scored:
    """What a metric looks at, all float64 (n,) without NaN: labels, predictions; each row's date as a code 0, 1, …

    ``panel``: which symbol and which bar each row is, None where there is one symbol alone. ``smearing`` is Duan's
    factor of the candidate, for all rows or by row (NaN if it is not known); only QLIKE uses it. ``effective``: how
    many labels that share no bar the rows are worth.
    """

    label: FloatArray
    prediction: FloatArray
    date: IntArray
    panel: Panel | None = None
    smearing: float | FloatArray = float("nan")
    effective: float = float("nan")

    def mean(self, values: FloatArray | npt.NDArray[np.bool_]) -> float:
        """Mean over dates of the mean over each date's rows; values (n,)."""
        return float(by_date(self.date, np.asarray(values, dtype=np.float64)).mean())

    @cached_property
    def information(self) -> Information | None:
        """Correlations within each bar of a panel, worked out once for all metrics that want them."""
        return None if self.panel is None else information(self.prediction, self.label, self.panel.bar)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """A figure on the leaderboard: how to read it, where it comes from, and how to compute it."""

    name: str
    direction: Literal["minimize", "maximize"]
    unit: str
    source: str
    compute: Callable[[Scored], float]


def mse(rows: Scored) -> float:
    """Mean of (y - f)²."""
    return rows.mean(row_losses("mse", rows.label, rows.prediction))


def rmse(rows: Scored) -> float:
    """Square root of the mean of (y - f)²."""
    return float(np.sqrt(mse(rows)))


def mae(rows: Scored) -> float:
    """Mean of |y - f|."""
    return rows.mean(np.abs(rows.label - rows.prediction))


def r2(rows: Scored) -> float:
    """1 - mean (y - f)² / mean (y - mean of the scored labels)²; NaN where the labels do not vary.

    The denominator knows the mean of the rows scored, which no forecast could: it is never easier than the training
    mean's.
    """
    centre = rows.mean(rows.label)
    spread = rows.mean((rows.label - centre) ** 2)
    return _one_less(mse(rows), spread if spread > ROUNDING * centre**2 else 0.0)


def r2_zero(rows: Scored) -> float:
    """1 - mean (y - f)² / mean y²: against a forecast of zero, not of the mean; NaN where every label is zero."""
    return _one_less(mse(rows), rows.mean(rows.label**2))


def qlike(rows: Scored) -> float:
    """Mean of v/w - ln(v/w) - 1 for the variance v = exp(2y) and its forecast w = smearing · exp(2f)."""
    log_ratio = 2.0 * (rows.label - rows.prediction) - np.log(rows.smearing)
    with np.errstate(over="ignore"):  # a diverged fit: infinite, and left out
        return rows.mean(np.exp(log_ratio) - log_ratio - 1.0)


def time_correlation(rows: Scored) -> float:
    """Spearman's correlation of label and prediction over all rows in time; NaN if either is constant, and for panels.

    Over the names of a panel it would mix what is known across names with what is known about the date.
    """
    return _spearman(rows.label, rows.prediction) if rows.panel is None else float("nan")


def hit_rate(rows: Scored) -> float:
    """Share of rows whose side was called: up (above zero) or not up. A zero forecast calls "not up"."""
    return rows.mean((rows.label > 0) == (rows.prediction > 0))


def accuracy(rows: Scored) -> float:
    """Share of rows whose side was called at a probability of one half."""
    return rows.mean((rows.label > 0) == (rows.prediction > 0.5))


def base_rate(rows: Scored) -> float:
    """Share of the commoner side: what calling it always would hit, known only afterwards."""
    up = rows.mean(rows.label > 0)
    return max(up, 1.0 - up)


def log_loss(rows: Scored) -> float:
    """Mean of -(y ln p + (1 - y) ln(1 - p)), p kept 1e-6 away from 0 and 1."""
    return rows.mean(row_losses("log_loss", rows.label, rows.prediction))


def effective_sample(rows: Scored) -> float:
    """How many labels that share no bar the rows are worth: the sum of their average uniqueness, a symbol's mean."""
    return rows.effective


def auc(rows: Scored) -> float:
    """Chance that an up row is given a higher probability than a row that is not up, ties half; NaN for one class."""
    up = rows.label > 0
    n_up, n_other = int(up.sum()), int((~up).sum())
    if n_up == 0 or n_other == 0:
        return float("nan")
    ranks = rankdata(rows.prediction)
    return float((ranks[up].sum() - n_up * (n_up + 1) / 2.0) / (n_up * n_other))


def calibration_error(rows: Scored) -> float:
    """Mean over rows of |mean label - mean probability| of the row's bin; ten bins of equal mass.

    Rows are binned by rank; equal probabilities share a bin, so that a constant forecast has one.
    """
    place = (rankdata(rows.prediction, method="min") - 1.0) / len(rows.prediction)
    bins = np.floor(place * BINS).astype(int)
    gap = np.bincount(bins, weights=rows.label - rows.prediction, minlength=BINS)
    return float(np.sum(np.abs(gap)) / len(bins))


def pearson_ic(rows: Scored) -> float:
    """Pearson's correlation of forecast and label across the names of a bar, averaged over bars of 20 names or more."""
    return _mean_known(rows.information.ic) if rows.information else float("nan")


def rank_ic(rows: Scored) -> float:
    """As ``pearson_ic``, of ranks: Spearman's."""
    return _mean_known(rows.information.rank_ic) if rows.information else float("nan")


def rank_icir(rows: Scored) -> float:
    """Mean of the bars' rank correlations over their standard deviation, for one bar; overlapping labels flatter it."""
    return icir(rows.information.rank_ic) if rows.information else float("nan")


def decile_spread(rows: Scored) -> float:
    """Mean label of the tenth of names with the highest forecasts less that of the lowest, averaged over bars."""
    return _mean_known(rows.information.decile_spread) if rows.information else float("nan")


def turnover(rows: Scored) -> float:
    """1 less the rank correlation of forecasts with the next bar's, averaged: 0 the same order, 1 an unrelated one."""
    if rows.panel is None:
        return float("nan")
    return _mean_known(rank_turnover(rows.prediction, rows.panel.bar, rows.panel.symbol))


def _mean_known(values: FloatArray) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else float("nan")


def _one_less(loss: float, reference: float) -> float:
    return 1.0 - loss / reference if reference > 0 else float("nan")


def _spearman(a: FloatArray, b: FloatArray) -> float:
    x, y = rankdata(a) - (len(a) + 1) / 2.0, rankdata(b) - (len(b) + 1) / 2.0
    spread = float(np.sqrt(np.sum(x**2) * np.sum(y**2)))
    return float(np.sum(x * y)) / spread if spread > 0 else float("nan")


def _metric(
    name: str, direction: Literal["minimize", "maximize"], unit: str, source: str, compute: Callable[[Scored], float]
) -> Metric:
    return Metric(name=name, direction=direction, unit=unit, source=source, compute=compute)


_HIT = _metric("hit_rate", "maximize", "share of rows", "share of sides called; zero forecasts call 'not up'", hit_rate)
_BASE = _metric("base_rate", "maximize", "share of rows", "share of the commoner side, known afterwards", base_rate)

_EFFECTIVE = _metric(
    "effective_sample",
    "maximize",
    "labels",
    "sum of the labels' average uniqueness, mean over symbols (López de Prado 2018, chapter 4)",
    effective_sample,
)

_RANK_IC = _metric("rank_ic", "maximize", "1", "Spearman's across the names of a bar, mean over bars", rank_ic)
_ICIR = _metric("icir", "maximize", "1", "mean of the bars' rank correlations / their standard deviation", rank_icir)
_TURNOVER = _metric("turnover", "minimize", "1", "1 - rank correlation of forecasts with the next bar's", turnover)

_PROBABILITY: tuple[Metric, ...] = (
    _metric("log_loss", "minimize", "nats", "mean -(y ln p + (1 - y) ln(1 - p)), p clipped at 1e-6", log_loss),
    _metric("brier", "minimize", "1", "mean (y - p)² (Brier 1950, Monthly Weather Review 78)", mse),
    _metric("auc", "maximize", "1", "Mann-Whitney probability, ties half", auc),
    _metric("calibration_error", "minimize", "1", "mean |gap| over ten bins of equal mass", calibration_error),
    _metric("hit_rate", "maximize", "share of rows", "share of sides called at one half", accuracy),
    _BASE,
    _RANK_IC,
    _ICIR,
    _TURNOVER,
    _EFFECTIVE,
)

METRICS: dict[TargetName, tuple[Metric, ...]] = {
    "volatility": (
        _metric("mse", "minimize", "log units squared", "mean (y - f)² on the log scale", mse),
        _metric("rmse", "minimize", "log units", "√ mean (y - f)²", rmse),
        _metric("mae", "minimize", "log units", "mean |y - f|", mae),
        _metric("r2", "maximize", "1", "1 - mean (y - f)² / mean (y - mean of the scored labels)²", r2),
        _metric(
            "qlike",
            "minimize",
            "1",
            "mean v/w - ln(v/w) - 1, w = smearing · exp(2f) (Patton 2011, J. Econometrics 160; Duan 1983, JASA 78)",
            qlike,
        ),
        _EFFECTIVE,
    ),
    "return": (
        _metric("mse", "minimize", "log return squared", "mean (y - f)²", mse),
        _metric("rmse", "minimize", "log return", "√ mean (y - f)²", rmse),
        _metric("r2_zero", "maximize", "1", "1 - mean (y - f)² / mean y² (Gu, Kelly and Xiu 2020, RFS 33)", r2_zero),
        _metric("correlation", "maximize", "1", "Spearman's over all rows in time; one symbol only", time_correlation),
        _metric("ic", "maximize", "1", "Pearson's across the names of a bar, mean over bars", pearson_ic),
        _RANK_IC,
        _ICIR,
        _metric(
            "decile_spread", "maximize", "log return", "mean label of the top tenth less the bottom's", decile_spread
        ),
        _TURNOVER,
        _HIT,
        _BASE,
        _EFFECTIVE,
    ),
    "direction": _PROBABILITY,
    "triple_barrier": _PROBABILITY,
}
"""By target, the ranking loss first: the leaderboard's order and skill are on it."""


def ranking_metric(target: TargetName) -> Metric:
    """The metric whose value ranks the candidates of a target; lower is better."""
    return METRICS[target][0]
