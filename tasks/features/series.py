"""One symbol's bars with every shared intermediate series computed once, and the guards for divisions.

Travels inside promoted models: relative imports, standard library, NumPy and TA-Lib only.

Conventions: arrays are float64 of the bars' length, in time order. NaN stands only where a window is not yet full.
A division by nothing (no range, no volume, a constant price) gives 0, never NaN or infinity.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import talib

T = TypeVar("T")
Array = npt.NDArray[np.float64]
Derived = Callable[["Series"], Array]
Parameters = dict[str, Any]
"""Named parameters of a TA-Lib function."""

PRICES = ("open", "high", "low", "close")
BASE = (*PRICES, "volume")

NEGLIGIBLE = 1e-7
"""A range below this share of the price is no range: rounding errors would be all that is left of a quotient by it."""

CANDLE_GRID = 1e-4
"""Candles are read on prices counted in this share of a tick, see ``_on_grid``."""


class Series:
    """The bars of one symbol: ``s["close"]`` is a series by name, ``s.ta(...)`` a TA-Lib output, each computed once."""

    def __init__(self, bars: Mapping[str, Any], tick: float) -> None:
        self._arrays: dict[str, Array] = {
            name: np.ascontiguousarray(bars[name], dtype=np.float64) for name in BASE if name in bars
        }
        self._outputs: dict[tuple[Any, ...], Any] = {}
        self.session: npt.NDArray[np.datetime64] = np.asarray(bars["session"], dtype="datetime64[D]")
        self.tick = tick

    def __len__(self) -> int:
        return len(self.session)

    def __getitem__(self, name: str) -> Array:
        found = self._arrays.get(name)
        if found is None:
            found = self._arrays[name] = DERIVED[name](self)
        return found

    def ta(self, function: str, *inputs: str, output: int = 0, **parameters: float) -> Array:
        """One output of a TA-Lib function over series given by name. Integer outputs become float64."""
        key = (function, inputs, *parameters.items())
        found = self._outputs.get(key)
        if found is None:
            found = self._outputs[key] = self.call(function, inputs, parameters)
        chosen: Array = found[output] if isinstance(found, (tuple, list)) else found
        return chosen.astype(np.float64, copy=False)

    def once(self, key: tuple[Any, ...], compute: Callable[[], T]) -> T:
        """What ``compute`` gives, computed at the first request for the key."""
        if key not in self._outputs:
            self._outputs[key] = compute()
        shared: T = self._outputs[key]
        return shared

    def call(self, function: str, inputs: tuple[str, ...], parameters: Mapping[str, float]) -> Any:
        """The straight call, the only place where TA-Lib is entered."""
        return _unwrapped(function)(*[self[name] for name in inputs], **parameters)


@functools.cache
def _unwrapped(function: str) -> Callable[..., Any]:
    """TA-Lib's function without its wrapper, which looks for pandas and polars among the arguments."""
    found = getattr(talib, function)
    unwrapped: Callable[..., Any] = getattr(found, "__wrapped__", found)
    return unwrapped


def ratio(numerator: Array, denominator: Array) -> Array:
    """``numerator / denominator``, 0 where the denominator is not above 0. NaN stays NaN."""
    out = np.zeros_like(numerator)
    np.divide(numerator, denominator, out=out, where=~(denominator <= 0.0))
    return out


def per_price(numerator: Array, denominator: Array, price: Array) -> Array:
    """``numerator / denominator``, 0 where the denominator is negligible against the price. NaN stays NaN."""
    out = np.zeros_like(numerator)
    np.divide(numerator, denominator, out=out, where=~(denominator <= NEGLIGIBLE * np.abs(price)))
    return out


def log_ratio(numerator: Array, denominator: Array) -> Array:
    """``ln(numerator / denominator)``, 0 where either is not above 0 (instruments whose price can be negative)."""
    quotient = np.ones_like(numerator)
    np.divide(numerator, denominator, out=quotient, where=~((denominator <= 0.0) | (numerator <= 0.0)))
    return np.log(quotient, out=quotient)


def lagged(values: Array, bars: int) -> Array:
    """The value ``bars`` earlier; NaN where there is none."""
    out = np.full_like(values, np.nan)
    if bars < len(values):
        out[bars:] = values[: len(values) - bars]
    return out


def window_mean(values: Array, bars: int) -> Array:
    """Mean of each window by itself, for values that differ by so much that a running sum would lose the small ones."""
    out = np.full_like(values, np.nan)
    if bars <= len(values):
        out[bars - 1 :] = np.lib.stride_tricks.sliding_window_view(values, bars).mean(axis=1)
    return out


def by_range(s: Series, values: Array) -> Array:
    """A price difference in units of the average true range of 20 bars (a plain mean: its memory ends)."""
    return per_price(values, s["average_range"], s["close"])


def position(s: Series, lower: Array, upper: Array) -> Array:
    """Where the close stands in a band: 0 at the lower edge, 1 at the upper; 0 where the band has no width."""
    return per_price(s["close"] - lower, upper - lower, s["close"])


def flat_as_zero(s: Series, values: Array, bars: int) -> Array:
    """``values`` with 0 where high and low did not move at all within the last ``bars`` bars."""
    flat = s.ta("MAX", "high", timeperiod=bars) == s.ta("MIN", "low", timeperiod=bars)
    return np.where(flat, 0.0, values)


def _on_grid(name: str) -> Derived:
    """Prices as whole numbers of a ten-thousandth of a tick.

    TA-Lib compares bodies and shadows with running sums. On whole numbers these are exact, so that a tie is the same
    tie wherever history starts; on decimal fractions it would depend on rounding.
    """
    return lambda s: np.rint(s[name] / (s.tick * CANDLE_GRID))


def _typical(s: Series) -> Array:
    return (s["high"] + s["low"] + s["close"]) / 3.0


def _average_range(s: Series) -> Array:
    return s.ta("SMA", "true_range", timeperiod=20)


DERIVED: dict[str, Derived] = {
    "typical": _typical,
    "true_range": lambda s: s.ta("TRANGE", "high", "low", "close"),
    "average_range": _average_range,
    "log_return": lambda s: log_ratio(s["close"], lagged(s["close"], 1)),
    **{f"candle_{name}": _on_grid(name) for name in PRICES},
}
"""Series made from the bars by name; group modules add their own."""
