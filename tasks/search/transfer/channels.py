"""What a transfer looks at: windows of bars, each step five columns of the catalogue and two masks.

One step of a window, in this order, fixed (weights and served graphs hang on it):

    return_1   har_1   medprice   bop   relative_volume_20   volume known   body known
    0          1       2          3     4                    5              6

With the range R = ln(high / low) out of har_1, high, low and open follow from the close (``medprice`` is the log of
close over mid-price, ``bop`` the body over the range), so that a window holds its bars but for the price's unit.

Where a series has no volume (foreign exchange, indices), or none is known on a bar, ``relative_volume_20`` is 0 and
its mask 0; a volume of zero is 0 with a mask of 1. So it is with ``bop`` where there are no true opens (those of many
indices repeat the previous close): no body is known, which is no body of zero. Nothing here is fitted, and no window
looks at a later bar or crosses from one symbol into another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.errors import EngineError
from tasks.search.engine import TrainingData

CHANNELS = ("return_1", "har_1", "medprice", "bop", "relative_volume_20")
MASKED = ("relative_volume_20", "bop")
"""Channels beside which a mask stands, in the masks' order, after the channels."""

STEP = len(CHANNELS) + len(MASKED)
RETURN, LOG_RANGE, MEDIAN, BODY, VOLUME, KNOWN, BODY_KNOWN = range(STEP)
MASKS = tuple((CHANNELS.index(name), len(CHANNELS) + place) for place, name in enumerate(MASKED))
"""Where a channel that may be lacking stands in a step, and where its mask."""

Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bars:
    """Bars of several symbols, one after the other, each in time order.

    values: float32 (n, 7), see the module; NaN where a channel that has no mask is not known. starts: int64, the first
    row of each symbol, ascending, the first of them 0.
    """

    values: Floats
    starts: Rows

    def first(self, rows: Rows) -> Rows:
        """For each row, the first row of its symbol."""
        return self.starts[np.searchsorted(self.starts, rows, side="right") - 1]


def bars_of(data: TrainingData) -> Bars:
    """The channels among an engine's feature columns. Raises EngineError as ``from_matrix``."""
    return from_matrix(data.X, data.columns, data.symbols)


def from_matrix(values: npt.NDArray[np.floating], columns: Sequence[str], symbols: npt.NDArray[np.object_]) -> Bars:
    """Columns of a feature matrix as channels: values (n, columns), symbols (n,) in runs, one a symbol.

    A column with a mask may be missing, or NaN on some rows. Raises EngineError for another column that is missing,
    and for a symbol whose rows lie apart.
    """
    missing = [name for name in CHANNELS if name not in columns and name not in MASKED]
    if missing:
        raise EngineError(
            f"the feature matrix lacks {', '.join(missing)}: a transfer looks at {', '.join(CHANNELS)}, of which only "
            f"{', '.join(MASKED)} may be missing"
        )
    found = list(columns)
    steps = np.zeros((len(values), STEP), dtype=np.float32)
    for place, name in enumerate(CHANNELS):
        if name in found:
            steps[:, place] = values[:, found.index(name)]
        elif name in MASKED:
            steps[:, place] = np.nan
    for channel, mask in MASKS:
        known = np.isfinite(steps[:, channel])
        steps[:, channel] = np.where(known, steps[:, channel], 0.0)
        steps[:, mask] = known
    return Bars(values=steps, starts=_starts(symbols))


def _starts(symbols: npt.NDArray[np.object_]) -> Rows:
    if not len(symbols):
        return np.zeros(0, dtype=np.int64)
    starts = np.append(0, np.flatnonzero(symbols[1:] != symbols[:-1]) + 1).astype(np.int64)
    names, counts = np.unique(symbols[starts].astype(str), return_counts=True)
    if len(names) < len(starts):
        raise EngineError(f"the rows of {names[counts > 1][0]} lie apart: sort by symbol and time")
    return starts


def usable(bars: Bars, length: int) -> npt.NDArray[np.bool_]:
    """Rows that end a complete window of ``length`` bars, bool (n,).

    Complete: inside one symbol, every channel finite, what has a mask known on all of its bars or on none.
    """
    values = bars.values
    sound = np.isfinite(values).all(axis=1)
    fresh = np.zeros(len(values), dtype=np.bool_)
    fresh[bars.starts] = True
    masks = values[:, len(CHANNELS) :]
    fresh[1:] |= (masks[1:] != masks[:-1]).any(axis=1)
    # The first row that a window which ends at each row may begin at.
    rows = np.arange(len(values))
    begun = np.maximum.accumulate(np.where(~sound, rows + 1, np.where(fresh, rows, 0)))
    return np.asarray(sound & (rows - begun + 1 >= length), dtype=np.bool_)


def windows(bars: Bars, ends: Rows, length: int) -> Floats:
    """The bars that end at each row of ``ends`` (m,), float32 (m, length, 7), the last bar last; NaN is kept.

    Raises EngineError for a row with fewer bars of its symbol before it.
    """
    _require_inside(bars, ends, length)
    if not len(ends):
        return np.empty((0, length, STEP), dtype=np.float32)
    view = np.lib.stride_tricks.sliding_window_view(bars.values, length, axis=0)
    return np.ascontiguousarray(view[ends - length + 1].transpose(0, 2, 1))


def levels(bars: Bars, ends: Rows, length: int) -> npt.NDArray[np.float64]:
    """The mean of ``har_1`` over each window, float64 (m,): the log of a bar's typical volatility."""
    _require_inside(bars, ends, length)
    if not len(ends):
        return np.empty(0)
    view = np.lib.stride_tricks.sliding_window_view(bars.values[:, LOG_RANGE].astype(np.float64), length)
    return np.asarray(view[ends - length + 1].mean(axis=1), dtype=np.float64)


def _require_inside(bars: Bars, ends: Rows, length: int) -> None:
    short = ends - bars.first(ends) + 1 < length
    if short.any():
        row = int(ends[short][0])
        raise EngineError(
            f"{int(short.sum())} windows would reach into another symbol (first: row {row}, with "
            f"{row - int(bars.first(ends[short])[0]) + 1} bars of its symbol, {length} wanted): see usable()"
        )
