"""One bar in, one prediction out: the indicators' state is carried from bar to bar instead of computed from a tail.

``warm`` takes the history, ``update`` the next bar, ``predict`` gives the prediction at the last one: what
``Predictor.predict`` gives from the same start, to 1e-9 of each feature's scale. A bar that ``predict`` would refuse is
refused by ``update``, with the same words, and leaves the state as it was.

Each bar is compared with the one before it in plain Python; what looks unusual (a hole, a jump, another step) goes,
with the tail before it, through the checks of a batch.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd

from ...errors import ModelInputError
from ...features.dates import NANOSECONDS_A_DAY
from ...features.matrix import compute
from ...features.running import Running
from .arrays import Given
from .bars import BAR_NANOSECONDS, NUMBERS, PRICES, SymbolBars, checked, known_symbol, read_bars
from .predictor import Predictor
from .scorers import Floats
from .tail import used_columns
from .times import label_units

FIELDS = ("time", *NUMBERS)
_DAYS_APART = 4
_JUMP = 2.0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Streaming:
    """A promoted model and the state of ONE symbol. Not safe for several threads at once: each symbol has its own."""

    def __init__(self, bundle: Path | Predictor, symbol: str = "") -> None:
        """``symbol`` where the model knows several. Raises ModelInputError for one that it does not know, and for a
        model that compares names within a date; otherwise as ``Predictor``."""
        self.predictor = bundle if isinstance(bundle, Predictor) else Predictor(bundle)
        manifest, scorer = self.predictor.manifest, self.predictor.scorer
        if manifest.spec.cross_section != "none":
            raise ModelInputError("the model compares names within a date: one symbol's bars are not enough for it")
        self.symbol = known_symbol(symbol, self.predictor.rules, "say which symbol is streamed")
        self._rules, self._scorer = self.predictor.rules, scorer
        used = used_columns(scorer)
        self._features = Running(used, manifest.spec.tick)
        self._places = np.array([scorer.columns.index(name) for name in used], dtype=np.intp)
        self._rows: deque[Floats] = deque(maxlen=scorer.history + 1)
        self._times: deque[int] = deque(maxlen=self.predictor.bars_needed)
        self._naive: bool | None = None
        self._before = (math.nan,) * len(NUMBERS)
        self._day = 0
        self._zone = ZoneInfo(self._rules.tz)

    @property
    def bars_needed(self) -> int:
        """How many bars there must have been before ``predict``."""
        return self.predictor.bars_needed

    @property
    def bars(self) -> int:
        """How many bars there were, the history's included."""
        return self._features.count

    def warm(self, bars: pd.DataFrame) -> None:
        """Start again from a history: raw bars as ``Predictor.predict`` takes them, of this symbol alone.

        The longer the history, the closer to what was evaluated; ``bars_needed`` are enough for 1e-9. Raises
        ModelInputError as ``Predictor.predict``, and for bars of several symbols.
        """
        read = read_bars(bars, self._rules)
        if len(read) != 1 or read[0].symbol != self.symbol:
            raise ModelInputError(f"{self.symbol}: the history holds {', '.join(item.symbol for item in read[:5])}")
        self._start(read[0], naive=pd.Timestamp(bars["time"].iloc[-1]).tzinfo is None)

    def _start(self, bars: SymbolBars, *, naive: bool) -> None:
        arrays = bars.arrays()
        self._features.warm(arrays)
        self._times.clear()
        self._times.extend(bars.time[-self.bars_needed :].tolist())
        self._naive, self._before = naive, tuple(bars.numbers[:, -1].tolist())
        self._day = int(bars.session[-1].astype(np.int64))
        self._rows.clear()
        if self._scorer.history:
            spec = self.predictor.manifest.spec
            self._rows.extend(compute({name: values[-self.bars_needed :] for name, values in arrays.items()},
                                      spec.columns, spec.tick)[-self._scorer.history - 1 :])  # fmt: skip

    def update(self, bar: Mapping[str, Any] | Sequence[Any]) -> None:
        """The next bar: a mapping, or (time, open, high, low, close, volume).

        ``time``: datetime64 (UTC, or a daily bar's bare date, as ``arrays.read_arrays`` tells them apart), or anything
        that ``predict`` takes. Raises ModelInputError for a bar that ``predict`` would refuse; the state is then as
        before.
        """
        values = [bar.get(name) for name in FIELDS] if isinstance(bar, Mapping) else bar
        time, naive = self._instant(values[0])
        if self._naive not in (None, naive):
            raise ModelInputError(f"{self.symbol}: times with and without a zone, at {values[0]}")
        numbers = self._numbers(values[1:])
        day = self._date(time, naive=naive)
        if not self._ordinary(time, numbers, day):
            self._require(time, numbers, naive=naive)
        self._naive, self._before, self._day = naive, numbers, day
        self._times.append(time)
        self._features.push(numbers, day)
        if self._scorer.history and self.bars >= self._features.lookback:
            self._rows.append(self._row())

    def predict(self) -> float:
        """The prediction at the last bar. Raises ModelInputError while there are too few bars; never NaN."""
        if self.bars < self.bars_needed:
            of = f" of {self.symbol}" if self.symbol else ""
            raise ModelInputError(
                f"the model needs at least {self.bars_needed} bars{of}, got {self.bars}: give more history"
            )
        X = np.array(self._rows) if self._scorer.history else self._row()[None, :]
        return float(self._scorer.predict(X)[-1])

    def _row(self) -> Floats:
        row = np.zeros(len(self._scorer.columns))
        row[self._places] = self._features.row()
        return row

    def _instant(self, value: Any) -> tuple[int, bool]:
        """ns since 1970 UTC, and whether the stamp carries no zone: a datetime64 is of the kind of those before it."""
        if isinstance(value, np.datetime64) and not np.isnat(value):
            time = int(value.astype("datetime64[ns]").astype(np.int64))
            midnight = self._rules.bar == "1d" and not time % NANOSECONDS_A_DAY
            label = midnight and np.datetime_data(value.dtype)[0] in label_units(self._rules.tz)
            return time, label if self._naive is None else self._naive
        try:
            if isinstance(value, (int, float)) or pd.isna(value):
                raise TypeError("give a date, ISO 8601 text or a timestamp")
            stamp = pd.Timestamp(value).as_unit("ns")
        except (TypeError, ValueError, OverflowError) as error:
            raise ModelInputError(f"{self.symbol}: 'time' is {value!r}, no date or time: {error}") from error
        return stamp.value, stamp.tzinfo is None

    def _numbers(self, given: Sequence[Any]) -> tuple[float, ...]:
        wanted = NUMBERS if self._rules.has_volume else PRICES
        if len(given) < len(wanted):
            raise ModelInputError(
                f"{self.symbol}: a bar is {', '.join(('time', *wanted))}, got {len(given) + 1} values"
            )
        full = (*given, 0.0) if len(given) == len(PRICES) else given
        return tuple(
            value if type(value) is float else _number(value, name, self._rules.has_volume)
            for name, value in zip(NUMBERS, full, strict=True)
        )

    def _date(self, time: int, *, naive: bool) -> int:
        """As the batch dates bars: see ``bars.read_bars``."""
        daily = self._rules.bar == "1d"
        if daily and naive and not time % NANOSECONDS_A_DAY:
            return time // NANOSECONDS_A_DAY
        if daily and not naive and self._rules.tz != "UTC":
            there = (_EPOCH + timedelta(microseconds=time // 1000)).astimezone(self._zone)
            return there.date().toordinal() - _EPOCH.toordinal()
        return (time - 1) // NANOSECONDS_A_DAY

    def _ordinary(self, time: int, numbers: tuple[float, ...], day: int) -> bool:
        """Whether nothing about the bar could be refused; a bar that is not ordinary may still be a good one."""
        if not self._times:
            return False
        opened, high, low, close, volume = numbers
        step, size, before = time - self._times[-1], BAR_NANOSECONDS[self._rules.bar], self._before[3]
        daily = self._rules.bar == "1d"
        regular = size <= step <= _DAYS_APART * size and day > self._day if daily else step == size
        sound = 0.0 < low <= opened <= high < math.inf and low <= close <= high and 0.0 <= volume < math.inf
        return regular and sound and before / _JUMP < close < before * _JUMP and not self._thin(time)

    def _thin(self, time: int) -> bool:
        """Whether the tail has fewer bars than training had in such a time."""
        likeness = self._rules.likeness
        if likeness is None:
            return False
        return likeness.pace * (time - self._times[0]) > (len(self._times) + 1) * NANOSECONDS_A_DAY

    def _require(self, time: int, numbers: tuple[float, ...], *, naive: bool) -> None:
        """The batch's checks, of the tail that ends with this bar."""
        kept = len(self._times)
        tail = np.zeros((len(NUMBERS), kept + 1))
        for i, name in enumerate(NUMBERS):
            tail[i, :kept] = self._features.tail(name, kept)
        tail[:, kept] = numbers
        times = np.array([*self._times, time], dtype=np.int64)
        checked(self.symbol, Given(times.view("datetime64[ns]")), times, tail, naive=naive, rules=self._rules)


def _number(value: Any, name: str, has_volume: bool) -> float:
    if name == "volume" and value is None and not has_volume:
        return 0.0
    if isinstance(value, (str, bool)) or value is None:
        raise ModelInputError(f"'{name}' must be a number, got {value!r}")
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelInputError(f"'{name}' must be a number, got {value!r}: {error}") from error
