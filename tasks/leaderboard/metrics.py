"""The metrics of each target. Every one carries its direction, unit, formula and source; none is an engine's own.

All take the same selection rows. An undefined value (the correlation of a constant, an AUC of one class) is NaN here
and left out of the leaderboard: never zero, which would read as a result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from tasks.contracts import TargetName

FloatArray = npt.NDArray[np.float64]

CLIP = 1e-6
"""Probabilities are kept this far from 0 and 1: one sure mistake costs 13.8 nats and not infinity."""

BINS = 10
CROSS_SECTION = 20
"""From so many names on a date, rank correlation is taken across the names of a date and averaged over dates."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scored:
    """What a metric looks at, all float64 (n,) without NaN: labels, predictions; each row's date as a code 0, 1, …

    ``smearing`` is Duan's factor of the candidate (NaN if it is not known); only QLIKE uses it.
    """

    label: FloatArray
    prediction: FloatArray
    date: npt.NDArray[np.int64]
    smearing: float = float("nan")


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
    return float(np.mean((rows.label - rows.prediction) ** 2))


def rmse(rows: Scored) -> float:
    """Square root of the mean of (y - f)²."""
    return float(np.sqrt(mse(rows)))


def mae(rows: Scored) -> float:
    """Mean of |y - f|."""
    return float(np.mean(np.abs(rows.label - rows.prediction)))


def r2(rows: Scored) -> float:
    """1 - Σ(y - f)² / Σ(y - mean of the scored labels)²; NaN where the labels do not vary.

    The denominator knows the mean of the rows scored, which no forecast could: it is never easier than the training
    mean's.
    """
    return _one_less(mse(rows), float(np.var(rows.label)))


def r2_zero(rows: Scored) -> float:
    """1 - Σ(y - f)² / Σy²: against a forecast of zero, not of the mean; NaN where every label is zero."""
    return _one_less(mse(rows), float(np.mean(rows.label**2)))


def qlike(rows: Scored) -> float:
    """Mean of v/w - ln(v/w) - 1 for the variance v = exp(2y) and its forecast w = smearing · exp(2f)."""
    log_ratio = 2.0 * (rows.label - rows.prediction) - np.log(rows.smearing)
    return float(np.mean(np.exp(log_ratio) - log_ratio - 1.0))


def rank_correlation(rows: Scored) -> float:
    """Spearman's correlation of label and prediction; NaN if either is constant.

    Across the names of each date and averaged where dates hold at least 20 names, else over all rows in time.
    """
    counts = np.bincount(rows.date)
    wide = np.flatnonzero(counts >= CROSS_SECTION)
    if len(wide) == 0:
        return _spearman(rows.label, rows.prediction)
    order = np.argsort(rows.date, kind="stable")
    ends = np.cumsum(counts)
    blocks = [order[ends[code] - counts[code] : ends[code]] for code in wide]
    values = np.array([_spearman(rows.label[block], rows.prediction[block]) for block in blocks])
    return float(np.mean(values[np.isfinite(values)])) if np.isfinite(values).any() else float("nan")


def hit_rate(rows: Scored) -> float:
    """Share of rows whose side was called: up (above zero) or not up. A zero forecast calls "not up"."""
    return float(np.mean((rows.label > 0) == (rows.prediction > 0)))


def accuracy(rows: Scored) -> float:
    """Share of rows whose side was called at a probability of one half."""
    return float(np.mean((rows.label > 0) == (rows.prediction > 0.5)))


def base_rate(rows: Scored) -> float:
    """Share of the commoner side: what calling it always would hit, known only afterwards."""
    up = float(np.mean(rows.label > 0))
    return max(up, 1.0 - up)


def log_loss(rows: Scored) -> float:
    """Mean of -(y ln p + (1 - y) ln(1 - p)), p kept 1e-6 away from 0 and 1."""
    p = np.clip(rows.prediction, CLIP, 1.0 - CLIP)
    return float(np.mean(-(rows.label * np.log(p) + (1.0 - rows.label) * np.log1p(-p))))


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

METRICS: dict[TargetName, tuple[Metric, ...]] = {
    "volatility": (
        _metric("mse", "minimize", "log units squared", "mean (y - f)² on the log scale", mse),
        _metric("rmse", "minimize", "log units", "√ mean (y - f)²", rmse),
        _metric("mae", "minimize", "log units", "mean |y - f|", mae),
        _metric("r2", "maximize", "1", "1 - Σ(y - f)² / Σ(y - mean of the selection labels)²", r2),
        _metric(
            "qlike",
            "minimize",
            "1",
            "mean v/w - ln(v/w) - 1, w = smearing · exp(2f) (Patton 2011, J. Econometrics 160; Duan 1983, JASA 78)",
            qlike,
        ),
    ),
    "return": (
        _metric("mse", "minimize", "log return squared", "mean (y - f)²", mse),
        _metric("rmse", "minimize", "log return", "√ mean (y - f)²", rmse),
        _metric("r2_zero", "maximize", "1", "1 - Σ(y - f)² / Σy² (Gu, Kelly and Xiu 2020, RFS 33)", r2_zero),
        _metric(
            "ic", "maximize", "1", "Spearman's rank correlation, by date where dates hold 20 names", rank_correlation
        ),
        _HIT,
        _BASE,
    ),
    "direction": (
        _metric("log_loss", "minimize", "nats", "mean -(y ln p + (1 - y) ln(1 - p)), p clipped at 1e-6", log_loss),
        _metric("brier", "minimize", "1", "mean (y - p)² (Brier 1950, Monthly Weather Review 78)", mse),
        _metric("auc", "maximize", "1", "Mann-Whitney probability, ties half", auc),
        _metric("calibration_error", "minimize", "1", "mean |gap| over ten bins of equal mass", calibration_error),
        _metric("hit_rate", "maximize", "share of rows", "share of sides called at one half", accuracy),
        _BASE,
    ),
}
"""By target, the ranking loss first: the leaderboard's order and skill are on it."""


def ranking_metric(target: TargetName) -> Metric:
    """The metric whose value ranks the candidates of a target; lower is better."""
    return METRICS[target][0]


def smearing_factor(label: FloatArray, prediction: FloatArray) -> float:
    """Duan's (1983) factor, mean exp(2(y - f)): exp(2f) times it forecasts the variance. NaN without finite rows.

    y, f: float64 (n,) on the log scale; rows where either is not finite are left out. Taken on the validation and
    blending rows: for baselines and linear models these are in the nature of training residuals, for AutoKeras they
    are residuals on rows held out of the fit. H2O's recipes are fitted again on those rows, where trees' residuals
    would understate the spread: it hands over the factor of the fit that had not seen them.
    """
    residual = label - prediction
    residual = residual[np.isfinite(residual)]
    with np.errstate(over="ignore"):  # a diverged fit: infinite, and the leaderboard leaves it out
        return float(np.mean(np.exp(2.0 * residual))) if len(residual) else float("nan")
