"""Bars made for the tests of networks: two symbols of sound candles, their channels, and a network as if trained."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.features.matrix import compute
from tasks.search.transfer.channels import CHANNELS, Bars, from_matrix

Array = npt.NDArray[np.float64]
KERAS_WARNING = "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
"""keras 3.15's variables and JAX's arrays lack NumPy 2's copy argument."""

TICK = 1e-6


def candles(bars: int, seed: int) -> dict[str, Array]:
    """Sound bars of one symbol: open, high, low, close, volume, float64 (bars,), with a volatility that wanders."""
    rng = np.random.default_rng(seed)
    sigma = 0.01 * np.exp(0.3 * np.cumsum(rng.normal(0, 0.1, bars)) / 3)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 1, bars) * sigma))
    opened = close * np.exp(rng.normal(0, 0.5, bars) * sigma)
    high = np.maximum(opened, close) * np.exp(rng.exponential(0.4, bars) * sigma)
    low = np.minimum(opened, close) * np.exp(-rng.exponential(0.4, bars) * sigma)
    return {"open": opened, "high": high, "low": low, "close": close, "volume": rng.uniform(1e5, 5e5, bars)}


def matrix_of(bars: dict[str, Array], columns: tuple[str, ...] = CHANNELS) -> Array:
    """The features room's columns, float64 (bars, columns), NaN inside their lookback."""
    session = np.datetime64("2015-01-01") + np.arange(len(bars["close"]))
    return compute({**bars, "session": session}, columns, TICK)


def two_symbols(bars: int = 300) -> tuple[Array, npt.NDArray[np.object_]]:
    """The matrix of symbols A and B, and the symbol of each row."""
    values = np.concatenate([matrix_of(candles(bars, 1)), matrix_of(candles(bars, 2))])
    return values, np.repeat(np.array(["A", "B"], dtype=object), bars)


def bars_of_two(bars: int = 300, columns: tuple[str, ...] = CHANNELS) -> Bars:
    values, symbols = two_symbols(bars)
    return from_matrix(values[:, [CHANNELS.index(name) for name in columns]], columns, symbols)


def disturbed(network: Any, seed: int = 4) -> Any:
    """As if trained: noise on every weight, heads that say something."""
    rng = np.random.default_rng(seed)
    for weight in network.trainable_weights:
        weight.assign(np.asarray(weight) + 0.05 * rng.normal(size=weight.shape))
    return network
