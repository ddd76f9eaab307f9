"""The features of the last bar, carried from bar to bar: what a service that gets one bar at a time computes.

The last bars lie in rings of one length; series that are derived from them are carried along, value by value. Recursive
functions have a state (``states``, ``hilbert``); all others see their own short tail of a ring, as in ``Last``.

Travels inside promoted models: relative imports, standard library, NumPy and TA-Lib only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from .hilbert import FUNCTIONS, Hilbert
from .last import Last
from .series import BASE, Array, Input, Parameters, Series, _unwrapped
from .states import STATES

SPARE = 3
"""Rings are this many times longer than the longest lookback: they are moved so much more seldom."""
Call = tuple[Any, ...]


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
        self._states: dict[Call, Any] = {}
        self._memory.clear()
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
        for inputs, state in self._states.values():
            state.step(*[self[name] for name in inputs])

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
        return int(self._days[self._end - 1].astype(np.int64))

    @property
    def day_before(self) -> int:
        """The date of the bar before the last, in days since 1970."""
        return int(self._days[self._end - 2].astype(np.int64))

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

    def ta(self, function: str, *inputs: Input, output: int = 0, **parameters: Any) -> Any:
        """The last bar's value of one output of a TA-Lib function, from its state where it has one."""
        if function in STATES:
            call = (function, inputs, *parameters.items())
            return self._state(call, inputs, lambda: STATES[function](**parameters)).values[output]
        if function in FUNCTIONS:
            call = ("HILBERT", inputs, *parameters.items())
            return self._state(call, inputs, lambda: Hilbert(**parameters)).values[function][output]
        return super().ta(function, *inputs, output=output, **parameters)

    def _state(self, call: Call, inputs: tuple[Input, ...], new: Callable[[], Any]) -> Any:
        """The state of a call; a new one first goes through the bars that are there."""
        found = self._states.get(call)
        if found is None:
            found = self._states[call] = (inputs, new())
            columns = [self._ring(name)[: self._end].tolist() for name in inputs]
            for values in zip(*columns, strict=True):
                found[1].step(*values)
        return found[1]

    def _outputs(self, call: Call, function: str, inputs: tuple[Input, ...], parameters: Parameters) -> Any:
        bars, end = self._bars, self._end
        found = self._memory.get((call, bars))
        if found is None:
            base, tails = self._base, []
            for name in inputs:
                ring = base.get(name)
                tails.append((self._ring(name) if ring is None else ring)[end - bars : end])
            found = _unwrapped(function)(*tails, **parameters)
            if isinstance(found, np.ndarray):
                return (found,)
            self._memory[call, bars] = found
        return found

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
