"""Windows and decayed averages of a series: of every bar by ``windows``, of the last bar from its own window alone.

Travels inside promoted models: relative imports, standard library and NumPy only.
"""

from __future__ import annotations

import functools
from itertools import accumulate

import numpy as np

from .series import Array, Derived, Input, Series
from .windows import window_correlation, window_deviation, window_mean

BLOCK = 128
"""Bars that ``decayed_mean`` sums at once: few enough that decay ** -BLOCK keeps all its digits."""


def mean_of(s: Series, name: Input, bars: int) -> Array:
    """Mean of the last ``bars`` values of a series."""
    if s.scalar:
        return s.once(("mean", name, bars), lambda: float(np.add.reduce(s.tail(name, bars))) / bars)  # type: ignore[arg-type, return-value]
    return s.once(("mean", name, bars), lambda: window_mean(s[name], bars))


def deviation_of(s: Series, name: Input, bars: int) -> Array:
    """Population standard deviation of the last ``bars`` values of a series."""
    if not s.scalar:
        return window_deviation(s[name], bars)
    apart = _centred(s.tail(name, bars))
    return float(np.sqrt(apart.dot(apart) / bars))  # type: ignore[return-value]


def correlation_of(s: Series, x: Derived, y: Derived, bars: int) -> Array:
    """Pearson's correlation of the last ``bars`` pairs of two series; 0 where one of the two is constant."""
    if not s.scalar:
        return window_correlation(s[x], s[y], bars)
    a, b = _centred(s.tail(x, bars)), _centred(s.tail(y, bars))
    scale = np.sqrt(a.dot(a) * b.dot(b))
    return 0.0 if scale <= 0.0 else float(min(max(a.dot(b) / scale, -1.0), 1.0))  # type: ignore[return-value]


def decayed_of(s: Series, name: Derived, decay: float, bars: int) -> Array:
    """Exponentially weighted mean of a series whose first value is missing; ``bars`` is all that it remembers."""
    if not s.scalar:
        return s.by_symbol(lambda values: decayed_mean(values, decay), s[name])
    return float(s.tail(name, bars).dot(_weights(decay, bars)))  # type: ignore[return-value]


@functools.cache
def _weights(decay: float, bars: int) -> Array:
    powers = decay ** np.arange(bars - 1, -1, -1, dtype=np.float64)
    return np.asarray(powers / powers.sum())


def _centred(values: Array) -> Array:
    """Less their mean; exactly 0 where all are equal, since the first is taken off before the mean is."""
    apart = values - values[0]
    apart -= np.add.reduce(apart) / len(apart)
    return np.asarray(apart)


def decayed_mean(values: Array, decay: float) -> Array:
    """Exponentially weighted mean of the values from the second on (the first, a return, is NaN), weights summing to 1.

    m(t) = sum of decay^k v(t - k) / sum of decay^k, over all k up to the second value; O(n). Within a block the sum is
    a cumulative sum of values that grow by 1 / decay, and from block to block one number is carried over.
    """
    out = np.full_like(values, np.nan)
    count = len(values) - 1
    if count > 0:
        powers = decay ** np.arange(BLOCK)
        blocks = np.zeros(-(-count // BLOCK) * BLOCK)
        blocks[:count] = values[1:]
        sums = np.cumsum(blocks.reshape(-1, BLOCK) / powers, axis=1) * powers
        carried = list(accumulate(sums[:-1, -1], lambda before, own: own + before * decay**BLOCK, initial=0.0))
        sums += np.array(carried)[:, None] * (decay * powers)
        out[1:] = sums.ravel()[:count] * ((1.0 - decay) / (1.0 - decay ** np.arange(1, count + 1)))
    return out
