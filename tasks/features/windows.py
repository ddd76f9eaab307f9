"""Moments of rolling windows, each window by itself.

A running sum keeps the rounding errors of all that passed through it; a calm window after a crash shows them, and they
depend on where history starts. Here windows of 2, 4, 8, ... values are merged: O(n log bars), and bit for bit the
same wherever history starts. NaN until a window is full; in several symbols end to end, a window across two means
nothing.

Windows are merged by the formulas of Chan, Golub and LeVeque (1983), which subtract no large squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .series import Array


@dataclass(frozen=True, slots=True)
class _Moments:
    """Of windows of ``count`` pairs: the sums, and the sums of squares and products of deviations from the mean."""

    count: int
    x: Array
    y: Array
    xx: Array
    xy: Array
    yy: Array

    def after(self, earlier: _Moments) -> _Moments:
        """The moments of these windows and the earlier ones that end where they begin."""
        x, y = _shifted(earlier.x, self.count), _shifted(earlier.y, self.count)
        dx, dy = self.x / self.count - x / earlier.count, self.y / self.count - y / earlier.count
        count = self.count + earlier.count
        weight = self.count * earlier.count / count
        xx, xy, yy = (_shifted(values, self.count) for values in (earlier.xx, earlier.xy, earlier.yy))
        return _Moments(
            count,
            self.x + x,
            self.y + y,
            self.xx + xx + weight * dx * dx,
            self.xy + xy + weight * dx * dy,
            self.yy + yy + weight * dy * dy,
        )


def window_mean(values: Array, bars: int) -> Array:
    """Mean of the last ``bars`` values."""
    total, covered = np.zeros(len(values)), 0
    power, width = values, 1
    while covered < bars:
        if bars & width:
            total, covered = total + _shifted(power, covered), covered + width
        power, width = power + _shifted(power, width), 2 * width
    return total / bars


def window_deviation(values: Array, bars: int) -> Array:
    """Population standard deviation of the last ``bars`` values."""
    return np.sqrt(_moments(values, values, bars).xx / bars)


def window_correlation(x: Array, y: Array, bars: int) -> Array:
    """Pearson's correlation of the last ``bars`` pairs; 0 where one of the two is constant."""
    moments = _moments(x, y, bars)
    scale = np.sqrt(moments.xx * moments.yy)
    out = np.zeros_like(scale)
    np.divide(moments.xy, scale, out=out, where=~(scale <= 0.0))
    return np.clip(out, -1.0, 1.0)


def _moments(x: Array, y: Array, bars: int) -> _Moments:
    nothing = np.zeros(len(x))
    total, power = None, _Moments(1, x, y, nothing, nothing, nothing)
    while total is None or total.count < bars:
        if bars & power.count:
            total = power if total is None else total.after(power)
        power = power.after(power)
    return total


def _shifted(values: Array, bars: int) -> Array:
    out = np.full_like(values, np.nan)
    out[bars:] = values[: max(len(values) - bars, 0)]
    return out
