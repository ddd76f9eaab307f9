"""Whether bars look like those that the model learned from: prices on the same scale, no hole between them.

Scale. The close nearest in time to the end of training is compared with the last close that training saw; thirtyfold
or more is another scale (pence for pounds, cents for dollars, a vendor's ten-thousandths), and so is such a step from
one bar to the next. Thirty lies between what is real and what is not: on every real series tried, no close moved more
than threefold in a bar, no symbol more than fifteenfold in five years, and the largest usual splits are 1:20; while a
unit error is a hundredfold, so that it is told as long as the price itself moved less than threefold since training.
Later than five years after (or before) training nothing can be said, and nothing is.

Holes. A model knows its exchange's name, not its calendar, but how many bars a year its training had. A tail that lacks
more than ten days' worth of them, and more than a tenth of its own, has a hole. A single missing session is not seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import numpy as np
import numpy.typing as npt

from ...errors import ModelInputError
from .statistics import TrainingStatistics

LIMIT = 30.0
"""From this factor on, prices are on another scale."""
TELLING = 5.0
"""Years from the end of training, either way, within which that can be told."""
MISSING_DAYS, MISSING_SHARE = 10.0, 0.1
_DAY = 86_400 * 10**9
_YEAR_DAYS = 365.25

Times = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Likeness:
    """``last``: by symbol, ns UTC of its last training bar and that bar's close; ``ranges``: lowest and highest.

    pace: bars a day, 0.0 where it is not known.
    """

    last: dict[str, tuple[int, float]]
    ranges: dict[str, tuple[float, float]]
    pace: float

    def check(self, symbol: str, time: Times, close: Floats) -> None:
        """time: ns UTC (n,), ascending; close: (n,), finite; n at least 1.

        Raises ModelInputError for prices on another scale, and for a hole. Symbols without training closes, and prices
        that are not positive, have no scale to compare.
        """
        self._require_sessions(symbol, time)
        if close.min() > 0.0:
            _require_steps(symbol, time, close)
            if symbol in self.last:
                self._require_scale(symbol, time, close)

    def _require_sessions(self, symbol: str, time: Times) -> None:
        span = float(time[-1] - time[0]) / _DAY
        missing = self.pace * span - (len(time) - 1)
        if missing > MISSING_DAYS * self.pace and missing > MISSING_SHARE * len(time):
            widest = int(np.argmax(np.diff(time)))
            raise ModelInputError(
                f"{_of(symbol)}about {missing:.0f} bars are missing between {_day(time[0])} and {_day(time[-1])}: as "
                f"long a stretch of training had about {self.pace * span:.0f}; the widest hole follows "
                f"{_day(time[widest])}: give every bar"
            )

    def _require_scale(self, symbol: str, time: Times, close: Floats) -> None:
        ended, last = self.last[symbol]
        nearest = _nearest(time, ended)
        factor = float(close[nearest]) / last
        if abs(time[nearest] - ended) > TELLING * _YEAR_DAYS * _DAY or 1.0 / LIMIT < factor < LIMIT:
            return
        low, high = self.ranges[symbol]
        raise ModelInputError(
            f"{_of(symbol)}prices are on another scale than in training: the close of {_day(time[nearest])} is "
            f"{close[nearest]:g}, {_times(factor)} the {last:g} of {_day(ended)}, where training ended (closes there "
            f"were {low:g} to {high:g}): give prices in that unit"
        )


def likeness_of(statistics: TrainingStatistics) -> Likeness:
    """What later bars are compared with. Raises ValueError for a time that is no ISO time."""
    ends = {symbol: statistics.until.get(symbol, statistics.last_bar) for symbol in statistics.closes}
    return Likeness(
        last={
            symbol: (_nanoseconds(ends[symbol]), last) for symbol, (_, _, last) in statistics.closes.items() if last > 0
        },
        ranges={symbol: (low, high) for symbol, (low, high, _) in statistics.closes.items()},
        pace=statistics.bars_a_year / _YEAR_DAYS,
    )


def _require_steps(symbol: str, time: Times, close: Floats) -> None:
    steps = close[1:] / close[:-1]
    if len(steps) and (steps.max() >= LIMIT or steps.min() <= 1.0 / LIMIT):
        row = int(np.flatnonzero((steps >= LIMIT) | (steps <= 1.0 / LIMIT))[0])
        raise ModelInputError(
            f"{_of(symbol)}prices change their scale: the close of {_day(time[row + 1])} is {close[row + 1]:g}, "
            f"{_times(float(steps[row]))} the {close[row]:g} of {_day(time[row])}: a unit error, or a split that was "
            "not applied to earlier bars"
        )


def _nearest(time: Times, at: int) -> int:
    after = int(np.searchsorted(time, at))
    if after == len(time):
        return after - 1
    return after - 1 if after and at - time[after - 1] < time[after] - at else after


def _nanoseconds(stamp: str) -> int:
    return int(np.datetime64(datetime.fromisoformat(stamp).replace(tzinfo=None), "ns").astype(np.int64))


def _day(time: int | np.int64) -> str:
    return str(np.datetime64(int(time), "ns").astype("datetime64[D]"))


def _times(factor: float) -> str:
    return f"{factor:.3g} times" if factor >= 1.0 else f"1/{1.0 / factor:.3g} of"


def _of(symbol: str) -> str:
    return f"{symbol}: " if symbol else ""
