"""One symbol's bars with every shared intermediate series computed once, and the guards for divisions.

Travels inside promoted models: relative imports, standard library, NumPy and TA-Lib only.

Conventions: arrays are float64 of the bars' length, in time order. NaN stands only where a window is not yet full.
A division by nothing (no range, no volume, a constant price) gives 0, never NaN or infinity.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt
import talib

T = TypeVar("T")
Array = npt.NDArray[np.float64]
Derived = Callable[["Series"], Array]
Input = str | Derived
"""A base series by its name, or a series derived from them."""
Parameters = dict[str, Any]
"""Named parameters of a TA-Lib function."""

PRICES = ("open", "high", "low", "close")
BASE = (*PRICES, "volume")


@dataclass(frozen=True, slots=True, eq=False)
class Indicator:
    """A TA-Lib function, its inputs and parameters: one of a kind (see ``indicator``), and a key by its identity."""

    function: str
    inputs: tuple[Input, ...]
    parameters: Parameters


@functools.cache
def indicator(function: str, *inputs: Input, **parameters: float) -> Indicator:
    """The indicator of that description: always the same one, so that columns which share it look up one value."""
    return Indicator(function, inputs, parameters)


NEGLIGIBLE = 1e-7
"""A range below this share of the price is no range: rounding errors would be all that is left of a quotient by it."""


class Series:
    """The bars of one symbol, or of several end to end.

    ``s["close"]`` is a base series, ``s[log_return]`` one derived by a function, ``s.ta(...)`` a TA-Lib output; each is
    computed once. Several symbols at a time cost NumPy's calls once; TA-Lib is called for each symbol by itself, and
    ``lagged`` never reaches into another one. Rows before a column's lookback may hold anything. ``scalar``: whether
    answers are single numbers, see ``Last``. ``known``: the series that there are so far.
    """

    scalar: ClassVar[bool] = False

    def __init__(self, bars: Mapping[str, Any], tick: float, edges: Sequence[int] = ()) -> None:
        """``bars`` maps names to arrays of one length; ``edges`` are the symbols' first rows, and that length."""
        self.known: dict[Input, Array] = {
            name: np.ascontiguousarray(bars[name], dtype=np.float64) for name in BASE if name in bars
        }
        self.session: npt.NDArray[np.datetime64] = np.asarray(bars["session"], dtype="datetime64[D]")
        self.tick = tick
        self._symbols = [slice(*pair) for pair in pairwise(edges)] or [slice(0, len(self.session))]
        self._memory: dict[Any, Any] = {}

    def __len__(self) -> int:
        return len(self.session)

    def __getitem__(self, name: Input) -> Array:
        found = self.known.get(name)
        if found is None:
            if isinstance(name, str):
                raise KeyError(f"the bars have no {name}, which a feature reads")
            found = self.known[name] = name(self)
        return found

    def ta(self, function: str, *inputs: Input, output: int = 0, **parameters: float) -> Array:
        """One output of a TA-Lib function over base or derived series. Integer outputs become float64."""
        return self.value(indicator(function, *inputs, **parameters), output)

    def value(self, asked: Indicator, output: int = 0) -> Array:
        """One output of an indicator, as ``ta``: for who asks often and keeps what ``indicator`` gave."""
        found: Array | None = self._memory.get((asked, output))
        if found is None:
            outputs = self._memory.get(asked)
            if outputs is None:
                outputs = self._memory[asked] = self.call(asked)
            found = self._memory[asked, output] = _joined(outputs, output)
        return found

    def call(self, asked: Indicator) -> list[Any]:
        """The straight calls, one a symbol: the only place where TA-Lib is entered."""
        straight, parts = unwrapped(asked.function), [self._parts(name) for name in asked.inputs]
        return [straight(*arguments, **asked.parameters) for arguments in zip(*parts, strict=True)]

    def lagged(self, name: Input, bars: int) -> Array:
        """A base or derived series ``bars`` earlier; NaN where the symbol has none."""
        return self._lagged(self[name], bars)

    def pair(self, bars: int, function: str, *inputs: Input, **parameters: Any) -> tuple[Array, Array]:
        """A TA-Lib function's first output, and the same ``bars`` earlier: of one line, wherever it started."""
        line = self.ta(function, *inputs, **parameters)
        return line, self._lagged(line, bars)

    def tail(self, name: Input, bars: int) -> Array:
        """The last values of a base or derived series, in time order."""
        return self[name][-bars:]

    def ta_tail(self, function: str, *inputs: Input, output: int = 0, **parameters: float) -> Array:
        """The last values of a TA-Lib function's output: at least as many as the lookback of who asks."""
        return self.ta(function, *inputs, output=output, **parameters)

    @property
    def last_day(self) -> int:
        """The last bar's date, in days since 1970."""
        return self.session.view(np.int64).item(-1)

    @property
    def day_before(self) -> int:
        """The date of the bar before the last, in days since 1970."""
        return self.session.view(np.int64).item(-2)

    def _lagged(self, values: Array, bars: int) -> Array:
        out = np.empty_like(values)
        out[bars:] = values[: max(len(values) - bars, 0)]
        for rows in self._symbols:
            out[rows.start : min(rows.start + bars, rows.stop)] = np.nan
        return out

    def by_symbol(self, compute: Callable[[Array], Array], values: Array) -> Array:
        """What ``compute`` makes of each symbol's values by themselves, end to end."""
        return np.concatenate([compute(values[rows]) for rows in self._symbols])

    def once(self, key: tuple[Any, ...], compute: Callable[[], T]) -> T:
        """What ``compute`` gives, computed at the first request for the key."""
        if key not in self._memory:
            self._memory[key] = compute()
        shared: T = self._memory[key]
        return shared

    def _parts(self, name: Input) -> list[Array]:
        key = ("parts", name)
        found: list[Array] | None = self._memory.get(key)
        if found is None:
            values = self[name]
            found = self._memory[key] = [values[rows] for rows in self._symbols]
        return found


def _joined(outputs: list[Any], output: int) -> Array:
    """One output of every symbol's call, end to end."""
    chosen = [found[output] if isinstance(found, (tuple, list)) else found for found in outputs]
    if len(chosen) == 1:
        return np.asarray(chosen[0], dtype=np.float64)
    return np.concatenate(chosen, dtype=np.float64)


@functools.cache
def unwrapped(function: str) -> Callable[..., Any]:
    """TA-Lib's function without its wrapper, which looks for pandas and polars among the arguments."""
    found = getattr(talib, function)
    straight: Callable[..., Any] = getattr(found, "__wrapped__", found)
    return straight


def alone(values: object) -> bool:
    """Whether this is the last bar's number instead of an array, which is what the signatures speak of."""
    return isinstance(values, float)


def ratio(numerator: Array, denominator: Array) -> Array:
    """``numerator / denominator``, 0 where the denominator is not above 0. NaN stays NaN."""
    if alone(denominator):
        return 0.0 if denominator <= 0.0 else numerator / denominator  # type: ignore[return-value]
    out = np.zeros_like(numerator)
    np.divide(numerator, denominator, out=out, where=~(denominator <= 0.0))
    return out


def per_price(numerator: Array, denominator: Array, price: Array) -> Array:
    """``numerator / denominator``, 0 where the denominator is negligible against the price. NaN stays NaN."""
    if alone(denominator):
        return 0.0 if denominator <= NEGLIGIBLE * abs(price) else numerator / denominator  # type: ignore[return-value]
    out = np.zeros_like(numerator)
    np.divide(numerator, denominator, out=out, where=~(denominator <= NEGLIGIBLE * np.abs(price)))
    return out


def log_ratio(numerator: Array, denominator: Array) -> Array:
    """``ln(numerator / denominator)``, 0 where either is not above 0 (instruments whose price can be negative)."""
    if alone(denominator):
        return 0.0 if denominator <= 0.0 or numerator <= 0.0 else logarithm(numerator / denominator)  # type: ignore[return-value]
    if np.fmin.reduce(np.fmin(numerator, denominator), initial=1.0) > 0.0:  # what is not missing: nothing to guard
        return np.log(numerator / denominator)
    quotient = np.ones_like(numerator)
    np.divide(numerator, denominator, out=quotient, where=~((denominator <= 0.0) | (numerator <= 0.0)))
    return np.log(quotient, out=quotient)


def logarithm(values: Array) -> Array:
    """ln, of an array or of one number; of a number that is not above 0, NaN."""
    if alone(values):
        return math.log(values) if values > 0.0 else math.nan  # type: ignore[return-value]
    return np.log(values)


def larger(a: Array, b: Array | float) -> Array:
    """The larger of two, of arrays or of numbers; NaN stays NaN."""
    if alone(a):
        return b if a <= b or math.isnan(b) else a  # type: ignore[return-value]
    return np.maximum(a, b)


def smaller(a: Array, b: Array | float) -> Array:
    """The smaller of two, of arrays or of numbers; NaN stays NaN."""
    if alone(a):
        return b if a >= b or math.isnan(b) else a  # type: ignore[return-value]
    return np.minimum(a, b)


def sign(values: Array) -> Array:
    """1, 0 or -1, of an array or of one number."""
    if alone(values):
        return float((values > 0.0) - (values < 0.0))  # type: ignore[return-value]
    return np.sign(values)


def choose(condition: Any, a: Array, b: Array | float) -> Array:
    """``a`` where the condition holds, else ``b``; of arrays or of numbers."""
    if isinstance(condition, bool):  # the last bar's alone
        return a if condition else b  # type: ignore[return-value]
    return np.where(condition, a, b)


def by_range(s: Series, values: Array) -> Array:
    """A price difference in units of the average true range of 20 bars (a plain mean: its memory ends)."""
    return per_price(values, s[average_range], s["close"])


GRID_TICK = 1e-4


def _on_grid(name: str) -> Derived:
    """A price as a whole number of ten-thousandths of a tick.

    Where TA-Lib compares (candles, directional movement) or divides by what can be nothing (Hilbert transforms), its
    running sums of decimal fractions leave a rounding error where there is a tie or a zero, and which one depends on
    where history starts. Sums of whole numbers are exact.
    """
    return lambda s: np.rint(s[name] / (s.tick * GRID_TICK))


GRID = tuple(_on_grid(name) for name in PRICES)
"""Open, high, low and close on the grid."""
GRID_CLOSE = GRID[3]


def typical(s: Series) -> Array:
    """The mean of high, low and close."""
    return (s["high"] + s["low"] + s["close"]) / 3.0


def true_range(s: Series) -> Array:
    """The range with the gap from the previous close."""
    return s.ta("TRANGE", "high", "low", "close")


def average_range(s: Series) -> Array:
    """The mean true range of 20 bars."""
    return s.ta("SMA", true_range, timeperiod=20)


def log_return(s: Series) -> Array:
    """ln(close / previous close)."""
    return log_ratio(s["close"], s.lagged("close", 1))
