"""Recursive TA-Lib functions one bar at a time: each holds what the next value needs, and no history.

Averages start from the first value instead of from a plain mean of the first period. Their columns' lookbacks are as
long as such a start takes to be forgotten, so past the lookback the values are TA-Lib's within 1e-9 of the column's
scale. Sources: Wilder 1978 (RSI, ATR), Kaufman 1995 (KAMA), Ehlers 2001 (Hilbert transforms), by TA-Lib's constants.

Travels inside promoted models: relative imports and the standard library only.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Protocol

NAN = math.nan


class State(Protocol):
    """``step`` takes the bar's inputs; ``values`` are the function's outputs at that bar."""

    values: tuple[float, ...]

    def step(self, *inputs: float) -> None:
        """The next bar."""


class Averages:
    """``stages`` chained exponential averages of weight ``alpha``, and what a function makes of them."""

    def __init__(self, alpha: float, stages: int, combine: Callable[[list[float]], float]) -> None:
        self._alpha, self._combine = alpha, combine
        self._averages = [NAN] * stages
        self.values: tuple[float, ...] = (NAN,)

    def step(self, *inputs: float) -> None:
        """The next bar; leading NaN are skipped, as TA-Lib does."""
        (value,) = inputs
        averages, alpha = self._averages, self._alpha
        if math.isnan(averages[0]):  # not a number yet
            self._averages = [value] * len(averages)
        else:
            for stage, before in enumerate(averages):
                value = averages[stage] = before + alpha * (value - before)
        self.values = (self._combine(self._averages),)


class RateOfTriple:
    """TRIX: the change of a triple average, in per cent."""

    def __init__(self, timeperiod: int) -> None:
        self._triple = Averages(_weight(timeperiod), 3, lambda averages: averages[2])
        self.values: tuple[float, ...] = (NAN,)

    def step(self, *inputs: float) -> None:
        """The next bar."""
        before = self._triple.values[0]
        self._triple.step(*inputs)
        self.values = ((self._triple.values[0] / before - 1.0) * 100.0 if before else 0.0,)


class Convergence:
    """MACD, its signal and the rest."""

    def __init__(self, fastperiod: int, slowperiod: int, signalperiod: int) -> None:
        self._fast, self._slow = _ema(fastperiod), _ema(slowperiod)
        self._signal = _ema(signalperiod)
        self.values: tuple[float, ...] = (NAN, NAN, NAN)

    def step(self, *inputs: float) -> None:
        """The next bar."""
        self._fast.step(*inputs)
        self._slow.step(*inputs)
        macd = self._fast.values[0] - self._slow.values[0]
        self._signal.step(macd)
        signal = self._signal.values[0]
        self.values = (macd, signal, macd - signal)


class Strength:
    """RSI: Wilder's averages of rises and falls."""

    def __init__(self, timeperiod: int) -> None:
        self._alpha, self._before = 1.0 / timeperiod, NAN
        self._rise = self._fall = 0.0
        self.values: tuple[float, ...] = (NAN,)

    def step(self, *inputs: float) -> None:
        """The next bar."""
        change = inputs[0] - self._before
        self._before = inputs[0]
        if math.isnan(change):  # the first bar has no change
            return
        self._rise += self._alpha * (max(change, 0.0) - self._rise)
        self._fall += self._alpha * (max(-change, 0.0) - self._fall)
        total = self._rise + self._fall
        self.values = (100.0 * self._rise / total if total > 0.0 else 0.0,)


class AverageRange:
    """ATR, or NATR: the same in per cent of the close."""

    def __init__(self, timeperiod: int, *, normalised: bool) -> None:
        self._alpha, self._normalised = 1.0 / timeperiod, normalised
        self._before = self._average = NAN
        self.values: tuple[float, ...] = (NAN,)

    def step(self, *inputs: float) -> None:
        """The next bar."""
        high, low, close = inputs
        before, average = self._before, self._average
        self._before = close
        if math.isnan(before):  # the first bar has no true range
            return
        span = max(high, before) - min(low, before)
        self._average = span if math.isnan(average) else average + self._alpha * (span - average)
        self.values = (self._average / close * 100.0 if self._normalised and close else self._average,)


class Adaptive:
    """KAMA: an average whose weight is the window's efficiency."""

    SLOW, FAST = 2.0 / 31.0, 2.0 / 3.0

    def __init__(self, timeperiod: int) -> None:
        self._closes: deque[float] = deque(maxlen=timeperiod + 1)
        self._steps: deque[float] = deque(maxlen=timeperiod)
        self.values: tuple[float, ...] = (NAN,)

    def step(self, *inputs: float) -> None:
        """The next bar."""
        (close,) = inputs
        if self._closes:
            self._steps.append(abs(close - self._closes[-1]))
        self._closes.append(close)
        before = self.values[0]
        if math.isnan(before):  # the first bar
            self.values = (close,)
            return
        change, path = close - self._closes[0], sum(self._steps)
        efficiency = 1.0 if path <= change or path < 1e-14 else abs(change / path)
        weight = (efficiency * (self.FAST - self.SLOW) + self.SLOW) ** 2
        self.values = (before + weight * (close - before),)


def _weight(period: float) -> float:
    return 2.0 / (period + 1.0)


def _ema(timeperiod: int) -> Averages:
    return Averages(_weight(timeperiod), 1, lambda averages: averages[0])


def _t3(timeperiod: int, vfactor: float) -> Averages:
    v = vfactor
    c1, c2 = -(v**3), 3.0 * (v**2 + v**3)
    c3, c4 = -6.0 * v**2 - 3.0 * (v + v**3), 1.0 + 3.0 * v + v**3 + 3.0 * v**2
    return Averages(_weight(timeperiod), 6, lambda e: c1 * e[5] + c2 * e[4] + c3 * e[3] + c4 * e[2])


STATES: dict[str, Callable[..., State]] = {
    "EMA": _ema,
    "RMA": lambda timeperiod: Averages(1.0 / timeperiod, 1, lambda e: e[0]),
    "DEMA": lambda timeperiod: Averages(_weight(timeperiod), 2, lambda e: 2.0 * e[0] - e[1]),
    "TEMA": lambda timeperiod: Averages(_weight(timeperiod), 3, lambda e: 3.0 * (e[0] - e[1]) + e[2]),
    "T3": _t3,
    "TRIX": RateOfTriple,
    "MACD": Convergence,
    "RSI": Strength,
    "ATR": lambda timeperiod: AverageRange(timeperiod, normalised=False),
    "NATR": lambda timeperiod: AverageRange(timeperiod, normalised=True),
    "KAMA": Adaptive,
}
"""By TA-Lib's function, what carries it from bar to bar; called with the function's parameters."""
