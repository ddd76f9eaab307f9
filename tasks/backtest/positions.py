"""Predictions to target weights, each from what was known at that bar's close and nothing later.

An *edge* is what a prediction says beyond knowing nothing. For returns it is the prediction itself: its nil is nil.
For ``direction`` and ``triple_barrier`` a prediction is a probability, and its edge what it exceeds the base rate by,
the share of ones among all labels that had ended by that bar. Not one half: markets drift, so a model that only knew
the base rate would be long nearly always and would be paid for the drift; with the base rate taken off, what a
candidate earns is what it knows besides. (Buy-and-hold stands beside it for those who want the drift.)

Rules, each with gross exposure of at most one, ``volatility_target`` of at most ``LEVERAGE``; n is the number of names
that have a prediction on the bar, and a name without one is not held:

| rule | weight of a name |
|---|---|
| sign | ±1/n |
| proportional | edge / root mean square of all edges so far, cut at ±1, over n |
| decile | +1/2 shared by the highest tenth of the bar's edges, -1/2 by the lowest; none below 20 names |
| volatility_target | ±(target volatility / past volatility, at most ``LEVERAGE``) / n |

A horizon of h bars makes h overlapping sleeves (Jegadeesh and Titman 1993, Journal of Finance 48): each bar's signal
gets 1/h of capital and is held for h bars, so that a bar's weights are the mean of the last h signals. Sleeves are
rebalanced into each other every bar, and a bar without signals counts as one that holds nothing.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from tasks.backtest.market import FloatArray

Rule = Literal["sign", "proportional", "decile", "volatility_target"]

TARGET_VOLATILITY = 0.10
"""A year, of each name on its own."""

LEVERAGE = 2.0
NAMES = 20
"""A date with fewer names is not cut into tenths."""

Times = npt.NDArray[np.datetime64]


def base_rate(times: Times, label: FloatArray, label_end: Times) -> FloatArray:
    """Mean of the labels that had ended by each of ``times``, (bars,); NaN before the first one had.

    ``label`` and ``label_end`` are rows of any symbols in any order; rows without a label are NaN or NaT.
    """
    known = np.isfinite(label) & ~np.isnat(label_end)
    order = np.argsort(label_end[known], kind="stable")
    ends, total = label_end[known][order], np.cumsum(label[known][order])
    count = np.searchsorted(ends, times, side="right")
    means = np.full(len(times), np.nan)
    some = count > 0
    means[some] = total[count[some] - 1] / count[some]
    return means


def signals(edge: FloatArray, rule: Rule, volatility: FloatArray | None = None) -> FloatArray:
    """The weights that one bar's edges ask for, (bars, symbols); NaN edges hold nothing.

    ``volatility`` (volatility_target only): a year's, known at the bar's close; a name without one holds nothing.
    """
    known = np.isfinite(edge)
    names = np.maximum(known.sum(axis=1, keepdims=True), 1)
    clean = np.where(known, edge, 0.0)
    if rule == "decile":
        return _deciles(edge)
    if rule == "proportional":
        return np.asarray(np.clip(_over(clean, _spread(clean, known)), -1.0, 1.0) / names)
    if rule == "volatility_target":
        if volatility is None:
            raise ValueError("volatility_target needs the past volatility")
        size = np.minimum(np.nan_to_num(_over(np.full(edge.shape, TARGET_VOLATILITY), volatility)), LEVERAGE)
        return np.asarray(np.sign(clean) * size / names)
    return np.asarray(np.sign(clean) / names)


def sleeves(signal: FloatArray, horizon: int) -> FloatArray:
    """The mean of the last ``horizon`` rows of signals, rows before the first counted as nil, (bars, symbols)."""
    total = np.zeros(signal.shape)
    for back in range(min(horizon, len(signal))):
        total[back:] += signal[: len(signal) - back]
    return np.asarray(total / horizon)


def _spread(clean: FloatArray, known: npt.NDArray[np.bool_]) -> FloatArray:
    """Root mean square of every edge up to and including each bar, (bars, 1)."""
    total, count = np.cumsum((clean**2).sum(axis=1)), np.cumsum(known.sum(axis=1))
    return np.asarray(np.sqrt(total / np.maximum(count, 1)))[:, None]


def _deciles(edge: FloatArray) -> FloatArray:
    known = np.isfinite(edge)
    count = known.sum(axis=1)
    leg = np.maximum(count // 10, 1)
    ordered = np.sort(edge, axis=1)  # NaN come last
    row = np.arange(len(edge))
    low = ordered[row, np.minimum(leg, edge.shape[1]) - 1][:, None]
    high = ordered[row, np.maximum(count - leg, 0)][:, None]
    # Names that tie with the last one in are in as well; where both legs would meet, the bar says nothing.
    able = (count >= NAMES)[:, None] & (high > low)
    top, bottom = able & (edge >= high), able & (edge <= low)
    return 0.5 * (_share(top) - _share(bottom))


def _share(chosen: npt.NDArray[np.bool_]) -> FloatArray:
    return np.asarray(chosen / np.maximum(chosen.sum(axis=1, keepdims=True), 1))


def _over(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """Quotients, nil where the denominator is nil or not known."""
    wide = np.broadcast_to(denominator, numerator.shape)
    return np.divide(numerator, wide, out=np.zeros(numerator.shape), where=wide > 0)
