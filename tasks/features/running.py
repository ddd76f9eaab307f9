"""The features of the last bar, carried from bar to bar: what a service that gets one bar at a time computes.

The last bars lie in rings of one length; series that are derived from them are carried along, value by value. What
TA-Lib computes from prices is carried by its own streams: a new bar costs each an update, and gives, bit for bit, what
the function gives for the whole history. What reads volume, differences of lines and swings see their own short tail of
a ring, as in ``Last``. When the rings are moved, the streams begin anew from the bars that are kept, so that what
rounding leaves in running sums does not grow for ever.

Travels inside promoted models: relative imports, standard library, NumPy and TA-Lib only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from talib import stream

from .last import Last
from .series import BASE, GRID, PRICES, Array, Indicator, Input, Series, log_return, true_range, typical

SPARE = 3
"""Rings are this many times longer than the longest lookback: they are moved so much more seldom."""
CARRIED = frozenset((*PRICES, *GRID, typical, true_range, log_return))
"""The series whose indicators have streams. Volume knows no bounds: running sums keep what a flood of it leaves."""


class Running(Last):
    """One symbol's state. ``warm`` takes its history, ``push`` the next bar, ``row`` the features of the last one.

    Not safe for several threads at once.
    """

    def __init__(self, columns: Sequence[str], tick: float) -> None:
        """Raises ConfigurationError for a column that the catalogue does not have."""
        super().__init__(columns, tick)
        self._steps = [step for _, steps in self._buckets for step in steps]
        self.lookback = max((step[2] for step in self._steps), default=1)
        self.count = 0
        self.warm({name: np.empty(0) for name in (*BASE, "session")})

    def warm(self, bars: Mapping[str, npt.NDArray[Any]]) -> None:
        """Start again from a history, as ``features.matrix.compute`` takes it: the rows are those of that start."""
        self.count = self._end = len(bars["session"])
        self._length = max((1 + SPARE) * self.lookback, self._end + self.lookback, 64)
        self._days = np.zeros(self._length, dtype="datetime64[D]")
        self._days[: self._end] = bars["session"]
        self._base: dict[Input, Array] = {name: np.zeros(self._length) for name in BASE}
        for name, ring in self._base.items():
            ring[: self._end] = bars.get(str(name), 0.0)
        self._derived: dict[Input, Array] = {}
        self._known: dict[Input, int] = {}
        self._memory.clear()
        self._lines.clear()
        self._forget()
        if self.count >= self.lookback:
            self.row()

    def push(self, numbers: Sequence[float], day: Any) -> None:
        """The next bar: open, high, low, close, volume, and its date (for ``session``). Not checked here."""
        if self._end == self._length:
            self._move()
        for ring, number in zip(self._base.values(), numbers, strict=True):
            ring[self._end] = number
        self._days[self._end] = day
        self._end += 1
        self.count += 1
        self._memory.clear()
        self._lines.clear()
        self._values.clear()
        for inputs in tuple(self._streams):
            self._step(inputs)

    def row(self, bars: Any = None, out: Array | None = None) -> Array:  # noqa: ARG002 - it has its own bars
        """The columns of the last bar, float64 (columns,); there must have been ``lookback`` bars."""
        out = np.empty(len(self.columns)) if out is None else out
        for place, compute, lookback in self._steps:
            self._bars = lookback
            out[place] = compute(self)
        return out

    def __len__(self) -> int:
        return min(self._end, self.count)

    @property
    def last_day(self) -> int:
        """The last bar's date, in days since 1970."""
        return self._days.view(np.int64).item(self._end - 1)

    @property
    def day_before(self) -> int:
        """The date of the bar before the last, in days since 1970."""
        return self._days.view(np.int64).item(self._end - 2)

    def __getitem__(self, name: Input) -> Any:
        found = self._memory.get(name)
        if found is None:
            found = self._base[name].item(self._end - 1) if isinstance(name, str) else name(self)
            self._memory[name] = found
        return found

    def lagged(self, name: Input, bars: int) -> Any:
        """The value of a base or derived series ``bars`` earlier."""
        return self._ring(name).item(self._end - 1 - bars)

    def tail(self, name: Input, bars: int) -> Array:
        """The last values of a base or derived series, in time order."""
        return self._ring(name)[self._end - bars : self._end]

    def value(self, asked: Indicator, output: int = 0) -> Any:
        """The last bar's value of one output of an indicator, from its stream."""
        found = self._values.get(asked)
        if found is None:
            if not CARRIED.issuperset(asked.inputs):
                return super().value(asked, output)
            self._step(asked.inputs)
            found = self._values.get(asked)
            if found is None and not self._follow(asked):
                return super().value(asked, output)
            found = self._values[asked]
        return float(found[output] if isinstance(found, tuple) else found)

    def _step(self, inputs: tuple[Input, ...]) -> None:
        """Give the last bar to the streams that read these series and have not had it."""
        bar = [self[name] for name in inputs]  # where one is derived from other streams, these have it first
        if not all(map(math.isfinite, bar)):  # an overflow, which streams refuse
            self._forget()
        values = self._values
        for asked, carried in self._streams.get(inputs, ()):
            if asked not in values:
                values[asked] = carried.update(*bar)

    def _follow(self, asked: Indicator) -> bool:
        """Open an indicator's stream on the bars that are there; it cannot be where these hold an overflow."""
        lines = [self._ring(name)[: self._end] for name in asked.inputs]
        if not all(np.isfinite(line[1:]).all() for line in lines):  # a return has no first value
            return False
        carried = getattr(stream, asked.function)(*lines, **asked.parameters)
        self._streams.setdefault(asked.inputs, []).append((asked, carried))
        self._values[asked] = carried.value
        return True

    def _forget(self) -> None:
        """Let go of the streams: they are opened anew when they are asked for."""
        self._streams: dict[tuple[Input, ...], list[tuple[Indicator, Any]]] = {}
        self._values: dict[Indicator, Any] = {}

    def _tails(self, inputs: tuple[Input, ...]) -> list[Array]:
        base, end, bars = self._base, self._end, self._bars
        return [(base[name] if name in base else self._ring(name))[end - bars : end] for name in inputs]

    def _ring(self, name: Input) -> Array:
        """The ring of a base series, or of a derived one up to the last bar."""
        if isinstance(name, str):
            return self._base[name]
        ring = self._derived.get(name)
        if ring is None or self.count - self._known[name] > 1:
            return self._refill(name)
        if self._known[name] < self.count:
            ring[self._end - 1] = self[name]
            self._known[name] = self.count
        return ring

    def _refill(self, name: Input) -> Array:
        """Derive a series for all bars that are there: asked for the first time, or not for some bars."""
        bars = {str(base): ring[: self._end] for base, ring in self._base.items()}
        ring = self._derived.setdefault(name, np.full(self._length, np.nan))
        ring[: self._end] = Series({**bars, "session": self._days[: self._end]}, self.tick)[name]
        self._known[name] = self.count
        return ring

    def _move(self) -> None:
        """Bring the bars that are still needed to the rings' beginning."""
        kept = self.lookback
        for ring in (self._days, *self._base.values(), *self._derived.values()):
            ring[:kept] = ring[self._end - kept : self._end]
        self._end = kept
        self._forget()
