"""One symbol's bars from NumPy arrays: the same checks as of frames, without pandas on the way."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import ModelInputError
from ...features.dates import NANOSECONDS_A_DAY
from .bars import NUMBERS, PRICES, BarRules, SymbolBars, checked, known_symbol, require_order
from .times import label_units

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Given:
    """Times that did not come in a column of a frame, as far as messages look at one."""

    iloc: npt.NDArray[np.datetime64]

    def __len__(self) -> int:
        return len(self.iloc)


def read_arrays(bars: Arrays, rules: BarRules, symbol: str = "", tail: int | None = None) -> SymbolBars:
    """ONE symbol's bars from arrays of one length, checked as ``read_bars`` does; only the last ``tail``, if given.

    ``time`` holds datetime64 of any unit: closes in UTC, or, all at midnight, a daily model's session labels; where
    the model's calendar is that of UTC, whose days close at midnight, only datetime64[D] are labels. No
    symbol: the model's only one. Raises ModelInputError as ``bars`` says, and for arrays of several lengths.
    """
    symbol = known_symbol(symbol, rules, "say which symbol these bars are of")
    names = NUMBERS if rules.has_volume or "volume" in bars else PRICES
    rows = _length(bars, ("time", *names))
    kept = slice(rows - min(rows, tail or rows), rows)
    every = instants(bars["time"])
    require_order(symbol, every[: kept.start + 1])
    time = every[kept]
    numbers = np.zeros((len(NUMBERS), len(time)))
    for i, name in enumerate(names):
        numbers[i] = _numbers(bars[name][kept], name)
    midnights = rules.bar == "1d" and not (time % NANOSECONDS_A_DAY).any()
    labels = midnights and np.datetime_data(bars["time"].dtype)[0] in label_units(rules.tz)
    given: Any = Given(time.view("datetime64[ns]"))
    return checked(symbol, given, time, numbers, naive=labels, rules=rules)


def instants(time: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """datetime64 of any unit in ns since 1970. Raises ModelInputError for other types and for missing times."""
    if time.dtype.kind != "M" or np.isnat(time).any():
        raise ModelInputError(f"'time' must hold datetime64, none of them missing; got {time.dtype}")
    return time.astype("datetime64[ns]").view(np.int64)


def _numbers(values: npt.NDArray[Any], name: str) -> npt.NDArray[np.float64]:
    if values.dtype == np.float64 and values.ndim == 1:
        return values
    if values.ndim != 1 or values.dtype.kind not in "iufO":
        raise ModelInputError(f"'{name}' must hold numbers in one dimension, got {values.dtype}, {values.ndim}")
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelInputError(f"'{name}' must hold numbers: {error}") from error


def _length(bars: Arrays, names: tuple[str, ...]) -> int:
    missing = [name for name in names if name not in bars]
    if missing:
        raise ModelInputError(f"bars lack the arrays {missing}; the model takes {', '.join(names)}")
    lengths = {name: len(bars[name]) for name in names}
    if len(set(lengths.values())) > 1 or not lengths["time"]:
        raise ModelInputError(f"bars must be arrays of one length, at least 1, got {lengths}")
    return lengths["time"]
