"""The last bar's features, each column from its own short tail of bars: what serves one prediction at a time.

The functions of the catalogue are written for arrays and for single numbers alike. ``Last`` answers what they ask of a
``Series`` with the last bar's number, so that arithmetic, guards and logarithms cost a Python operation each instead of
several NumPy calls; TA-Lib sees only as many bars as the column's lookback promises to need. The values are those of
the whole history within 1e-9 of the column's scale, as its lookback says; most are the same to the last bit.

Travels inside promoted models: relative imports, standard library, NumPy and TA-Lib only.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, TypeVar

import numpy as np
import numpy.typing as npt

from .catalogue import feature
from .series import Array, Indicator, Input, Series, indicator, unwrapped

T = TypeVar("T")
BUCKETS = (80, 310)
"""Lookbacks that share derived series: a longest lookback pays for its own length only."""
Step = tuple[int, Callable[[Series], Any], int]
"""Where a column goes, how it is computed, and its lookback."""


class Last(Series):
    """One symbol's last bar, asked as a ``Series`` is; every answer is one number.

    Columns are computed in the order of their lookbacks: what two of them share is settled within the shorter one.
    Not safe for several threads at once: each takes its own.
    """

    scalar: ClassVar[bool] = True

    def __init__(self, columns: Sequence[str], tick: float) -> None:
        """Raises ConfigurationError for a column that the catalogue does not have."""
        self.tick = tick
        self.columns = tuple(columns)
        self._memory: dict[Any, Any] = {}
        self._lines: dict[tuple[Indicator, int], Any] = {}
        self._buckets = _buckets(self.columns)
        self._bars = 1

    def row(self, bars: Mapping[str, npt.NDArray[Any]], out: Array | None = None) -> Array:
        """The columns of the last bar, float64 (columns,), from at least their lookback of bars (as ``compute``'s).

        What no asked column reads may be missing. NaN stands nowhere if the bars are finite. Raises KeyError for a
        missing series.
        """
        out = np.empty(len(self.columns)) if out is None else out
        self._memory.clear()
        self._lines.clear()
        for length, steps in self._buckets:
            self._open({name: values[-length:] for name, values in bars.items()})
            for place, compute, lookback in steps:
                self._bars = lookback
                out[place] = compute(self)
        return out

    def _open(self, bars: Mapping[str, npt.NDArray[Any]]) -> None:
        self._series = Series(bars, self.tick)
        self.session = self._series.session

    def __len__(self) -> int:
        return len(self._series)

    def __getitem__(self, name: Input) -> Any:
        found = self._memory.get(name)
        if found is None:
            found = self._series[name].item(-1) if isinstance(name, str) else name(self)
            self._memory[name] = found
        return found

    def value(self, asked: Indicator, output: int = 0) -> Any:
        """The last bar's value of one output of an indicator."""
        found = self._memory.get((asked, output))
        if found is None:
            found = self._memory[asked, output] = float(self._outputs(asked)[output].item(-1))
        return found

    def lagged(self, name: Input, bars: int) -> Any:
        """The value of a base or derived series ``bars`` earlier."""
        return self._series[name].item(-1 - bars)

    def pair(self, bars: int, function: str, *inputs: Input, **parameters: float) -> Any:
        """The last value of a TA-Lib function's first output, and that of ``bars`` earlier, of one line."""
        line = self._outputs(indicator(function, *inputs, **parameters))[0]
        return line.item(-1), line.item(-1 - bars)

    def tail(self, name: Input, bars: int) -> Array:
        """The last values of a base or derived series, in time order."""
        return self._series[name][-bars:]

    def ta_tail(self, function: str, *inputs: Input, output: int = 0, **parameters: float) -> Array:
        """A TA-Lib function's output over the asking column's lookback."""
        return np.asarray(self._outputs(indicator(function, *inputs, **parameters))[output])

    def _outputs(self, asked: Indicator) -> Any:
        """Every output of an indicator over the asking column's lookback."""
        key = (asked, self._bars)
        found = self._lines.get(key)
        if found is None:
            found = unwrapped(asked.function)(*self._tails(asked.inputs), **asked.parameters)
            if isinstance(found, np.ndarray):
                return (found,)
            self._lines[key] = found
        return found

    def _tails(self, inputs: tuple[Input, ...]) -> list[Array]:
        """The inputs over the asking column's lookback."""
        series, known, bars = self._series, self._series.known, -self._bars
        return [(known[name] if name in known else series[name])[bars:] for name in inputs]


def _buckets(columns: Sequence[str]) -> list[tuple[int, list[Step]]]:
    """Columns in the order of their lookbacks, in groups whose derived series have one length."""
    entries = sorted(enumerate(map(feature, columns)), key=lambda item: item[1].lookback)
    steps = [(place, entry.last or entry.compute, entry.lookback) for place, entry in entries]
    found, longest = [], steps[-1][2] if steps else 0
    for least, most in zip((0, *BUCKETS), (*BUCKETS, longest), strict=True):
        group = [step for step in steps if least < step[2] <= most]
        if group:
            found.append((group[-1][2], group))
    return found
