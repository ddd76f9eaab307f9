"""From bars to the feature matrix: one symbol at a time, only what the asked columns need.

Travels inside promoted models: relative imports, standard library and NumPy only. What is computed here for training
is what a promoted model computes for serving, from a tail of bars, with the same code.

What this does not do: fit anything. No column knows a statistic of other rows than its own lookback.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..contracts import FeatureSpec
from .catalogue import feature, lookback
from .series import BASE, Array, Series

if TYPE_CHECKING:  # frames are only read; who passes one has imported pandas
    import pandas as pd

__all__ = ["arrays", "compute", "fill", "lookback", "panel", "symbol_slices"]

Bars = Mapping[str, npt.NDArray[Any]]


def compute(bars: Bars, columns: Sequence[str], tick: float) -> Array:
    """The columns for the bars of ONE symbol in time order: float64 (n, len(columns)).

    ``bars`` maps open, high, low, close, volume (float64, length n) and session (datetime64[D]); what no asked column
    reads may be missing. NaN stands in a column's first ``lookback - 1`` rows and nowhere else.
    Raises ConfigurationError for an unknown column, KeyError for a missing series.
    """
    out = np.empty((len(columns), len(bars["session"])), dtype=np.float64).T
    fill(out, bars, columns, tick)
    return out


def panel(frame: pd.DataFrame, spec: FeatureSpec) -> Array:
    """The spec's columns for canonical bars of many symbols: float64 (rows, columns), aligned with the rows.

    ``frame`` has symbol, time, session, open, high, low, close, volume and is sorted by (symbol, time); one symbol's
    rows are consecutive. The result is column-major, so that a column is contiguous. One thread, one process: what a
    promoted model calls; ``parallel.panel`` gives the same from several.
    """
    bars = arrays(frame)
    out = np.empty((len(spec.columns), len(frame)), dtype=np.float64).T
    for rows in symbol_slices(frame["symbol"].to_numpy()):
        fill(out[rows], {name: values[rows] for name, values in bars.items()}, spec.columns, spec.tick)
    return out


def symbol_slices(symbols: npt.NDArray[Any]) -> Iterator[slice]:
    """The consecutive rows of each symbol."""
    if len(symbols) == 0:
        return
    starts = np.flatnonzero(symbols[1:] != symbols[:-1]) + 1
    for first, last in pairwise([0, *starts.tolist(), len(symbols)]):
        yield slice(first, last)


def arrays(frame: pd.DataFrame) -> dict[str, npt.NDArray[Any]]:
    """The series that features read, from canonical bars."""
    found: dict[str, npt.NDArray[Any]] = {
        name: frame[name].to_numpy(dtype=np.float64) for name in BASE if name in frame.columns
    }
    found["session"] = frame["session"].to_numpy().astype("datetime64[D]")
    return found


def fill(out: Array, bars: Bars, columns: Sequence[str], tick: float) -> None:
    """Write the columns of one symbol's bars into ``out``, float64 (n, len(columns))."""
    series = Series(bars, tick)
    for index, name in enumerate(columns):
        entry = feature(name)
        if len(series):
            out[:, index] = entry.compute(series)
            out[: entry.lookback - 1, index] = np.nan
