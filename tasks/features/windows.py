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
    """Of windows of ``count`` values or tuples: the sums, and the sums of products of deviations from the means.

    ``products`` holds a sum for each pair of ``pairs``, which are indices into ``sums``.
    """

    count: int
    sums: tuple[Array, ...]
    pairs: tuple[tuple[int, int], ...]
    products: tuple[Array, ...]

    def after(self, earlier: _Moments) -> _Moments:
        """The moments of these windows together with the earlier ones that end where they begin."""
        sums = [_shifted(values, self.count) for values in earlier.sums]
        apart = [a / self.count - b / earlier.count for a, b in zip(self.sums, sums, strict=True)]
        count = self.count + earlier.count
        weight = self.count * earlier.count / count
        merged = [
            own + _shifted(other, self.count) + weight * (apart[i] * apart[j])
            for own, other, (i, j) in zip(self.products, earlier.products, self.pairs, strict=True)
        ]
        return _Moments(count, tuple(a + b for a, b in zip(self.sums, sums, strict=True)), self.pairs, tuple(merged))


def window_mean(values: Array, bars: int) -> Array:
    """Mean of the last ``bars`` values."""
    total, covered = np.zeros(len(values)), 0
    power, width = values, 1
    while True:
        if bars & width:
            total, covered = total + _shifted(power, covered), covered + width
        if covered == bars:
            return total / bars
        power, width = power + _shifted(power, width), 2 * width


def window_deviation(values: Array, bars: int) -> Array:
    """Population standard deviation of the last ``bars`` values."""
    (squares,) = _moments((values,), ((0, 0),), bars)
    return np.sqrt(squares / bars)


def window_correlation(x: Array, y: Array, bars: int) -> Array:
    """Pearson's correlation of the last ``bars`` pairs; 0 where one of the two is constant."""
    xx, xy, yy = _moments((x, y), ((0, 0), (0, 1), (1, 1)), bars)
    scale = np.sqrt(xx * yy)
    out = np.zeros_like(scale)
    np.divide(xy, scale, out=out, where=~(scale <= 0.0))
    return np.clip(out, -1.0, 1.0)


def _moments(values: tuple[Array, ...], pairs: tuple[tuple[int, int], ...], bars: int) -> tuple[Array, ...]:
    nothing = np.zeros(len(values[0]))
    total, power = None, _Moments(1, values, pairs, (nothing,) * len(pairs))
    while True:
        if bars & power.count:
            total = power if total is None else total.after(power)
        if total is not None and total.count == bars:
            return total.products
        power = power.after(power)


def _shifted(values: Array, bars: int) -> Array:
    out = np.empty_like(values)
    out[:bars] = np.nan
    out[bars:] = values[: max(len(values) - bars, 0)]
    return out
