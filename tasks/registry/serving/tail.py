"""The last bar's features as a scorer wants them, from the tail of a symbol's bars: only what the model looks at.

Columns that no tree splits on, or whose coefficient is zero, are not computed; a 0 stands for each, and predictions are
the same to the last bit.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from ...features.last import Last
from .scorers import Floats, Scorer


def used_columns(scorer: Scorer) -> tuple[str, ...]:
    """The columns that a scorer's predictions depend on, in its order."""
    used = frozenset(getattr(scorer, "used", scorer.columns))
    return tuple(name for name in scorer.columns if name in used)


class Tail:
    """From bars to the row of one prediction. Instances may be used from several threads."""

    def __init__(self, scorer: Scorer, tick: float) -> None:
        self._used, self._tick = used_columns(scorer), tick
        self._places = np.array([scorer.columns.index(name) for name in self._used], dtype=np.intp)
        self._columns = len(scorer.columns)
        self._own = threading.local()

    def row(self, bars: Mapping[str, npt.NDArray[Any]]) -> Floats:
        """The last bar's features, float64 (1, the scorer's columns), from bars as ``features.matrix.compute`` takes.

        There must be as many bars as the columns' lookback.
        """
        last: Last | None = getattr(self._own, "last", None)
        if last is None:
            last = self._own.last = Last(self._used, self._tick)
        X = np.zeros((1, self._columns))
        X[0, self._places] = last.row(bars)
        return X
