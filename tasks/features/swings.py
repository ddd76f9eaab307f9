"""Confirmed swings, and what is read off them: Fibonacci retracement, support and resistance.

A swing high is a bar whose high tops the ``side`` bars before and after it (TA-Lib's FRACTAL). It counts from the
bar that confirms it, ``side`` bars later, and never before. It is forgotten ``memory`` bars after its confirmation, so
that no value depends on where history starts; where no swing is remembered, the highest high or lowest low of the
memory stands in.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from .feature import Feature
from .series import Array, Series, alone, by_range, choose, larger, per_price, sign, smaller

BARS = ("high", "low", "close")
FIBONACCI = (0.0, 0.236, 0.382, 0.5, 0.618, 0.786, 1.0)
LEVELS = np.array(FIBONACCI)
BETWEEN = (LEVELS[1:] + LEVELS[:-1]) / 2.0
STEPS: list[float] = BETWEEN.tolist()
CLIP = 3.0
"""A retracement beyond three legs says no more than three."""
RECENT = 3
"""How many of the latest swing highs and of the swing lows can be support or resistance."""


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """How large swings are (bars on each side) and how long they are remembered (bars since confirmation).

    Each is one of a kind, and a key by its identity.
    """

    side: int
    memory: int

    @property
    def lookback(self) -> int:
        """The memory, and the bars that the oldest remembered swing is made of."""
        return self.memory + 2 * self.side


SCALES = (Scale(side=3, memory=66), Scale(side=10, memory=252))


def recent_swing(s: Series, scale: Scale, high: bool, nth: int = 0) -> tuple[Array, Array]:
    """The level of the ``nth`` last confirmed swing at each bar, and the bars since its confirmation.

    Where none is remembered: the highest high (lowest low) of the memory, and an age of ``memory``.
    """
    find = _last_swing if s.scalar else _recent_swing
    return s.once(("swing", scale, high, nth), lambda: find(s, scale, high, nth))


def _last_swing(s: Series, scale: Scale, high: bool, nth: int) -> tuple[Array, Array]:
    """As ``_recent_swing``, of the last bar alone."""
    ages = s.once(("ages", scale, high), lambda: _swing_ages(s, scale, high))
    if nth < len(ages) and ages[nth] < scale.memory:
        return s.lagged("high" if high else "low", ages[nth] + scale.side), float(ages[nth])  # type: ignore[return-value]
    return _edge(s, scale, high), float(scale.memory)  # type: ignore[return-value]


def _swing_ages(s: Series, scale: Scale, high: bool) -> list[int]:
    """How many bars ago the confirmed swings of the memory were confirmed, latest first."""
    found: list[int] = _signal(s, scale, high)[::-1].nonzero()[0].tolist()
    return found


def _recent_swing(s: Series, scale: Scale, high: bool, nth: int) -> tuple[Array, Array]:
    confirmed, latest, edge = s.once(("confirmed", scale, high), lambda: _confirmed(s, scale, high))
    at = confirmed[np.maximum(latest - nth, 0)]
    age = np.arange(len(s)) - at
    remembered = (latest >= nth) & (age < scale.memory)
    prices = s["high"] if high else s["low"]
    level = np.where(remembered, prices[np.maximum(at - scale.side, 0)], edge)
    return level, np.where(remembered, age, scale.memory).astype(np.float64)


def _confirmed(s: Series, scale: Scale, high: bool) -> tuple[Index, Index, Array]:
    """The bars that confirm a swing (or bar 0), which of them is the latest at each bar, the memory's extreme."""
    signal = _signal(s, scale, high) != 0.0
    confirmed = np.flatnonzero(signal)
    found = confirmed if len(confirmed) else np.zeros(1, dtype=np.intp)
    return found, np.cumsum(signal) - 1, _edge(s, scale, high)


def _signal(s: Series, scale: Scale, high: bool) -> Array:
    """Not 0 where a bar confirms a swing."""
    output = 0 if high else 1
    return s.ta_tail("FRACTAL", "high", "low", leftbars=scale.side, rightbars=scale.side, output=output)


def _edge(s: Series, scale: Scale, high: bool) -> Array:
    """The highest high or lowest low of the memory."""
    return s.ta("MAX", "high", timeperiod=scale.memory) if high else s.ta("MIN", "low", timeperiod=scale.memory)


Index = npt.NDArray[np.intp]
Reading = Callable[[Series, Scale], Array]


@dataclass(frozen=True, slots=True)
class Leg:
    """The move between the last swing low and the last swing high; ``rising`` where the high came later."""

    low: Array
    high: Array
    rising: Array


def last_leg(s: Series, scale: Scale) -> Leg:
    """The last leg: its ends and its sign (0 where both ends were confirmed by the same bar)."""
    return s.once(("leg", scale), lambda: _last_leg(s, scale))


def _last_leg(s: Series, scale: Scale) -> Leg:
    high, high_age = recent_swing(s, scale, high=True)
    low, low_age = recent_swing(s, scale, high=False)
    return Leg(low, high, sign(low_age - high_age))


def retracement(s: Series, scale: Scale) -> Array:
    """How much of the last leg was given back: 0 at its end, 1 at its start, clipped to -3..3; 0 without a leg."""
    leg = last_leg(s, scale)
    given_back = choose(leg.rising < 0.0, s["close"] - leg.low, leg.high - s["close"])
    return larger(smaller(per_price(given_back, leg.high - leg.low, s["close"]), CLIP), -CLIP)


def fibonacci_distance(s: Series, scale: Scale) -> Array:
    """From the nearest Fibonacci level of the last leg to the close, in average ranges; 0 without a leg."""
    leg = last_leg(s, scale)
    span = leg.high - leg.low
    place = per_price(s["close"] - leg.low, span, s["close"])
    nearest = _nearest_level(place)
    return choose(span > 0.0, by_range(s, (place - nearest) * span), 0.0)


def _nearest_level(place: Array) -> Array:
    if alone(place):
        return FIBONACCI[bisect_left(STEPS, place)]  # type: ignore[return-value]
    return np.asarray(LEVELS[np.searchsorted(BETWEEN, place)])


def _levels(s: Series, scale: Scale) -> list[Array]:
    levels = (recent_swing(s, scale, high, nth)[0] for high in (True, False) for nth in range(RECENT))
    return s.once(("levels", scale), lambda: list(levels))


def support(s: Series, scale: Scale) -> Array:
    """From the nearest remembered swing at or below the close up to it, in average ranges, at least 0."""
    close, level = s["close"], s.ta("MIN", "low", timeperiod=scale.memory)
    for swing in _levels(s, scale):
        level = larger(level, choose(swing <= close, swing, level))
    return by_range(s, close - level)


def resistance(s: Series, scale: Scale) -> Array:
    """From the close up to the nearest remembered swing above it, in average ranges, at least 0."""
    close, level = s["close"], s.ta("MAX", "high", timeperiod=scale.memory)
    for swing in _levels(s, scale):
        level = smaller(level, choose(swing > close, swing, level))
    return by_range(s, level - close)


def direction(s: Series, scale: Scale) -> Array:
    """1 where the last leg rose, -1 where it fell, 0 where one bar confirmed both its ends."""
    return last_leg(s, scale).rising


def high_age(s: Series, scale: Scale) -> Array:
    """Bars since the last swing high was confirmed, as a share of the memory."""
    return recent_swing(s, scale, high=True)[1] / scale.memory


def low_age(s: Series, scale: Scale) -> Array:
    """Bars since the last swing low was confirmed, as a share of the memory."""
    return recent_swing(s, scale, high=False)[1] / scale.memory


def _entry(name: str, scale: Scale, compute: Reading, unit: str, description: str) -> Feature:
    return Feature(
        name=f"{name}_{scale.side}",
        compute=lambda s: compute(s, scale),
        lookback=scale.lookback,
        inputs=("high", "low") if unit in ("sign", "share of memory") else BARS,
        unit=unit,
        description=description,
        formula="from swings confirmed by FRACTAL; see the module",
        functions=("FRACTAL", "MAX", "MIN"),
        parameters={"side": scale.side, "memory": scale.memory},
    )


READINGS: tuple[tuple[str, Reading, str, str], ...] = (
    ("fib_retracement", retracement, "share of the leg", "Share of the last confirmed leg that was given back."),
    ("fib_distance", fibonacci_distance, "average ranges", "Close from the nearest Fibonacci level."),
    ("swing_direction", direction, "sign", "1 where the last leg rose, -1 fell."),
    ("support", support, "average ranges", "Close above the nearest confirmed swing at or below it."),
    ("resistance", resistance, "average ranges", "Nearest confirmed swing above the close."),
    ("swing_high_age", high_age, "share of memory", "Age of the last swing high."),
    ("swing_low_age", low_age, "share of memory", "Age of the last swing low."),
)

FEATURES: tuple[Feature, ...] = tuple(
    _entry(name, scale, compute, unit, description) for scale in SCALES for name, compute, unit, description in READINGS
)
