"""From bars to the feature matrix: one symbol at a time, only what the asked columns need.

Travels inside promoted models: relative imports, standard library and NumPy only. What is computed here for training
is what a promoted model computes for serving, from a tail of bars, with the same code.

What this does not do: fit anything. No column knows a statistic of other rows than its own lookback and, where the
spec asks for a cross-section, of the other symbols' rows of its date.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..contracts import FeatureSpec
from .catalogue import feature, lookback
from .cross_section import members, section_keys, standardise
from .dates import bar_dates
from .series import BASE, Array, Series

if TYPE_CHECKING:  # frames are only read; who passes one has imported pandas
    import pandas as pd

__all__ = ["arrays", "batches", "compute", "fill_batch", "lookback", "panel", "stacked", "symbol_edges"]

Bars = Mapping[str, npt.NDArray[Any]]
BATCH_ROWS = 12_000
"""Rows computed together: enough that NumPy's calls cost little, few enough that a series stays in the cache."""


def compute(bars: Bars, columns: Sequence[str], tick: float) -> Array:
    """The columns for the bars of ONE symbol in time order: float64 (n, len(columns)).

    ``bars`` maps open, high, low, close, volume (float64, length n) and session (datetime64[D], the date of
    ``dates.bar_dates``); what no asked column reads may be missing. NaN stands in a column's first ``lookback - 1``
    rows and nowhere else.
    Raises ConfigurationError for an unknown column, KeyError for a missing series.
    """
    rows = len(bars["session"])
    out = np.empty((len(columns), rows), dtype=np.float64).T
    fill(out, Series(bars, tick), columns, (0, rows))
    return out


def panel(frame: pd.DataFrame, spec: FeatureSpec) -> Array:
    """The spec's columns for canonical bars of many symbols: float64 (rows, columns), aligned with the rows.

    ``frame`` has symbol, time, session, open, high, low, close, volume and is sorted by (symbol, time); one symbol's
    rows are consecutive. Where the spec has spells, rows outside them are NaN in every column that compares. The result
    is column-major, so that a column is contiguous. One thread, one process; ``parallel.panel`` gives the same from
    several.
    """
    out = stacked(arrays(frame, spec.bar), symbol_edges(frame["symbol"].to_numpy()), spec)
    keys = section_keys(frame, spec.bar)
    standardise(out, spec.columns, keys, spec.cross_section, member=members(frame, spec))
    return out


def stacked(bars: Bars, edges: Sequence[int], spec: FeatureSpec) -> Array:
    """The spec's columns for symbols whose bars lie one after the other, before any cross-section.

    bars: as for ``compute``, of all symbols; edges: the first row of each symbol, and the number of rows. Returns
    float64 (rows, columns), column-major.
    """
    out = np.empty((len(spec.columns), edges[-1]), dtype=np.float64).T
    for batch in batches(edges):
        fill_batch(out[batch[0] : batch[-1]], bars, batch, spec)
    return out


def symbol_edges(symbols: npt.NDArray[Any]) -> list[int]:
    """The first row of each symbol, and the number of rows."""
    if len(symbols) == 0:
        return [0]
    return [0, *(np.flatnonzero(symbols[1:] != symbols[:-1]) + 1).tolist(), len(symbols)]


def batches(edges: Sequence[int]) -> Iterator[list[int]]:
    """Symbols that are computed together: the edges of so many that they reach BATCH_ROWS."""
    first = 0
    for last in range(1, len(edges)):
        if edges[last] - edges[first] >= BATCH_ROWS or last == len(edges) - 1:
            yield list(edges[first : last + 1])
            first = last


def fill_batch(out: Array, bars: Bars, edges: Sequence[int], spec: FeatureSpec) -> None:
    """Write a batch's rows of the panel into ``out``, float64 (rows of the batch, columns)."""
    rows = slice(edges[0], edges[-1])
    inner = [edge - edges[0] for edge in edges]
    series = Series({name: values[rows] for name, values in bars.items()}, spec.tick, inner)
    fill(out, series, spec.columns, inner)


def arrays(frame: pd.DataFrame, bar: str = "1d") -> dict[str, npt.NDArray[Any]]:
    """The series that features read, from canonical bars of a size; ``session`` is the date of ``dates.bar_dates``."""
    found: dict[str, npt.NDArray[Any]] = {
        name: frame[name].to_numpy(dtype=np.float64) for name in BASE if name in frame.columns
    }
    found["session"] = bar_dates(frame, bar)
    return found


def fill(out: Array, series: Series, columns: Sequence[str], edges: Sequence[int]) -> None:
    """Write the columns of the series into ``out``, float64 (n, len(columns)), NaN in each symbol's lookback."""
    for index, name in enumerate(columns):
        entry = feature(name)
        if len(series):
            out[:, index] = entry.compute(series)
            for first, last in pairwise(edges):
                out[first : min(first + entry.lookback - 1, last), index] = np.nan
