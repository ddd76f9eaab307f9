"""The triple barrier (López de Prado 2018, chapter 3): profit, stop or time limit, whichever a bar touches first.

```
             entry at the next open
bar     t    | t+1     t+2     t+3   ...   t+h
             |- - - - - - - - - - - - - - - - -|  entry · exp(+profit · volatility · sqrt(h))
             |         the walk                |
             |- - - - - - - - - - - - - - - - -|  entry · exp(-stop · volatility · sqrt(h))
                                               time limit: the last close against the entry
```

Volatility is what is known at the close of bar t: the root of the exponentially weighted mean of squared log returns
(span 100, as in snippet 3.1). Inside a bar nobody knows whether the high or the low came first: where a bar reaches
both barriers the stop counts, unless its open already lies beyond the profit barrier. Where a source has no true opens
the entry is at the next close, the walk begins a bar later and still takes h bars.

A row has a label only if the whole walk lies within its symbol's history: at the end of history, walks that were
decided early would otherwise be a sample of the wild ones.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.contracts import Target
from tasks.labels.rows import BoolArray, FloatArray, IntArray, check_positive, has_ahead, log_returns

SPAN = 100
"""Bars over which past volatility is averaged: the default of López de Prado's snippet 3.1."""
LEAST_RETURNS = 22
"""With fewer returns behind it a bar has no past volatility and no label."""
log = logging.getLogger("nocturne.labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Barriers:
    """Aligned with the bars. label: 1.0 or 0.0, NaN where there is none; first, last: rows of the walk, -1 if none.

    ``last`` is the bar that touched a barrier, or the time limit's. ``ambiguous`` counts labels whose bar reached both
    barriers.
    """

    label: FloatArray
    first: IntArray
    last: IntArray
    ambiguous: int
    warnings: tuple[str, ...]


def triple_barrier(frame: pd.DataFrame, target: Target, tick: float, true_opens: bool) -> Barriers:
    """Label canonical bars: 1.0 if profit came first, or the time limit's close is above the entry; else 0.0.

    ``target.profit`` and ``target.stop`` are in units of past volatility over the horizon, which is at least one tick.
    Depends on bars up to and including t, and t+1 .. ``last``. Raises DataError for prices without a logarithm,
    ValueError for barriers that are not positive.
    """
    if not (target.profit > 0 and target.stop > 0):
        raise ValueError(f"barriers must be positive, got profit {target.profit} and stop {target.stop}")
    check_positive(frame, ["open", "high", "low", "close"] if true_opens else ["high", "low", "close"])
    width, floored = _width(frame, target.horizon, tick)
    delay = 0 if true_opens else 1
    rows = np.flatnonzero(has_ahead(frame["symbol"].to_numpy(), target.horizon + delay) & np.isfinite(width))
    walk = _Walk(frame, rows, width[rows], target, true_opens)
    label, first, last = np.full(len(frame), np.nan), np.full(len(frame), -1), np.full(len(frame), -1)
    label[rows], first[rows], last[rows] = walk.label, rows + delay + 1, walk.last
    return Barriers(
        label=label,
        first=first,
        last=last,
        ambiguous=walk.ambiguous,
        warnings=_warnings(walk, true_opens, int(floored[rows].sum())),
    )


def past_volatility(frame: pd.DataFrame) -> FloatArray:
    """Of one bar, log units: root of the exponentially weighted mean square of returns up to and including each bar.

    NaN where fewer than 22 returns lie behind.
    """
    squares = pd.Series(log_returns(frame) ** 2).groupby(frame["symbol"].to_numpy(), sort=False)
    mean = squares.ewm(span=SPAN, min_periods=LEAST_RETURNS).mean()
    return np.sqrt(mean.to_numpy(float))


def _width(frame: pd.DataFrame, horizon: int, tick: float) -> tuple[FloatArray, BoolArray]:
    """Past volatility over the horizon, and where it had to be raised to one tick: a frozen price has none."""
    volatility = past_volatility(frame) * np.sqrt(horizon)
    least = np.log1p(tick / frame["close"].to_numpy(float))
    return np.where(np.isnan(volatility), np.nan, np.maximum(volatility, least)), volatility < least


class _Walk:
    """All rows walk ahead together, one bar a step; a row that touched a barrier stops."""

    def __init__(
        self, frame: pd.DataFrame, rows: IntArray, width: FloatArray, target: Target, true_opens: bool
    ) -> None:
        self._open, self._high, self._low, close = (frame[name].to_numpy(float) for name in _PRICES)
        self._true_opens = true_opens
        start = rows if true_opens else rows + 1
        entry = self._open[rows + 1] if true_opens else close[rows + 1]
        self._upper, self._lower = entry * np.exp(target.profit * width), entry * np.exp(-target.stop * width)
        self.last = start + target.horizon
        self.label = (close[self.last] > entry).astype(float)
        self.ambiguous, self.touched = 0, 0
        self._walk(start, target.horizon)

    def _walk(self, start: IntArray, horizon: int) -> None:
        going = np.arange(len(start))
        for ahead in range(1, horizon + 1):
            going = self._step(going, start[going] + ahead)

    def _step(self, going: IntArray, bar: IntArray) -> IntArray:
        upper, lower = self._upper[going], self._lower[going]
        up, down = self._high[bar] >= upper, self._low[bar] <= lower
        # A bar that opens beyond the profit barrier was there before it fell; nothing else inside a bar has an order.
        first_up = up & (self._open[bar] >= upper) if self._true_opens else np.zeros(len(bar), dtype=bool)
        stop = (up | down) & ~(up & ~down) & ~first_up
        self.ambiguous += int((stop & up).sum())
        decided = up | down
        self.label[going[decided]] = np.where(stop[decided], 0.0, 1.0)
        self.last[going[decided]] = bar[decided]
        self.touched += int(decided.sum())
        return going[~decided]


_PRICES = ("open", "high", "low", "close")


def _warnings(walk: _Walk, true_opens: bool, floored: int) -> tuple[str, ...]:
    labels, said = len(walk.label), []
    log.info("triple barrier: %d labels, %d touched a barrier, %d profitable", labels, walk.touched, walk.label.sum())
    if not true_opens:
        said.append("no true opens: the triple barrier enters at the next close, and its horizon starts there")
    if walk.ambiguous:
        said.append(
            f"{walk.ambiguous:,} of {labels:,} triple-barrier labels ({walk.ambiguous / labels:.2%}) end in a bar that "
            "reaches both barriers: counted as stopped"
        )
    if floored:
        said.append(f"{floored:,} of {labels:,} triple-barrier labels have barriers raised to one tick's volatility")
    return tuple(said)
