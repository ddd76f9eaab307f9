"""Is the matrix that tonight's models were fitted on free of the future? A few dates of it, computed again as of then.

```
bars of a symbol     ……|<-- lookback -->|a few|  cut off: must not matter
                                        [=====]  these rows of the matrix must come out the same
```

Half of the cuts lie before the longest gaps in the bars, where a fill from the far side shows; the others anywhere.

Travels inside promoted models with its package: relative imports, NumPy and pandas only.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..contracts import FeatureSpec
from .catalogue import feature, lookback
from .cross_section import members, section_keys, standardise
from .matrix import arrays, stacked, symbol_edges
from .series import Array

if TYPE_CHECKING:
    import pandas as pd

TOLERANCE = 1e-9
"""Relative to the values, or to the column's standard deviation where that is larger: what a lookback promises."""
ROWS = 6
"""Rows before each cut that are compared, in each symbol; of a cross-section, the panel's dates."""
SYMBOLS = 40
"""Where symbols do not look at each other, so many are a sample."""
EXAMPLES = 5
SAMPLE = 20_000

Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class _Wrong:
    """A column's values that differ: how many, and the worst of them."""

    count: int
    row: int
    stored: float
    again: float


def check_truncation(
    bars: pd.DataFrame, spec: FeatureSpec, matrix_frame: pd.DataFrame, cuts: int, seed: int
) -> tuple[str, ...]:
    """What in a stored matrix depends on later bars, or stands where the lookback has no value yet; empty if nothing.

    bars: canonical, sorted by (symbol, time); matrix_frame: the spec's columns, row-aligned with them; ``cuts``: how
    many dates are tried, drawn with the seed. Each finding names a column, a symbol, the bar's time and both values;
    at most five columns are named. Raises ValueError if matrix and bars have different numbers of rows.
    """
    if len(bars) != len(matrix_frame):
        raise ValueError(f"the matrix has {len(matrix_frame)} rows, the bars {len(bars)}")
    rng = np.random.default_rng(seed)
    scale = _scale(matrix_frame, spec, rng)
    wrong: dict[str, _Wrong] = _inside_lookback(bars, spec, matrix_frame)
    for symbol, time in _cuts(bars, lookback(spec.columns), cuts, rng):
        again, rows = _again(bars, spec, _before(bars, spec, symbol, time, rng))
        for place, name in enumerate(spec.columns):
            stored = matrix_frame[name].to_numpy(float)[rows]
            found = _difference(stored, again[:, place], scale[place], rows)
            if found:
                wrong[name] = _worse(wrong.get(name), found)
    return _told(bars, wrong)


def _cuts(bars: pd.DataFrame, warm_up: int, cuts: int, rng: np.random.Generator) -> list[tuple[int, np.datetime64]]:
    """Symbols (by their number) and the times of bars after which nothing is known; never a symbol's last bar."""
    symbols = bars["symbol"].to_numpy()
    time = bars["time"].to_numpy(dtype="datetime64[ns]")
    edges = np.array(symbol_edges(symbols))
    number = np.repeat(np.arange(len(edges) - 1), np.diff(edges))
    settled = np.arange(len(bars)) - edges[number] >= warm_up - 1
    settled[edges[1:] - 1] = False
    rows = np.flatnonzero(settled)
    if not len(rows):  # histories shorter than the longest lookback still have columns that need less
        rows = np.setdiff1d(np.arange(len(bars)), edges[1:] - 1)
    if not len(rows):
        return []
    gaps = time[rows + 1] - time[rows]
    longest = rows[np.lexsort((rng.random(len(rows)), -gaps.astype(np.int64)))][: cuts // 2]
    anywhere = rng.choice(rows, size=cuts - len(longest))
    return [(int(number[row]), time[row]) for row in (*longest, *anywhere)]


def _before(
    bars: pd.DataFrame, spec: FeatureSpec, symbol: int, time: np.datetime64, rng: np.random.Generator
) -> list[Rows]:
    """For each symbol that is looked at, the rows of its last bars up to a time."""
    stamps = bars["time"].to_numpy(dtype="datetime64[ns]")
    tail = lookback(spec.columns) + ROWS - 1
    spans = list(pairwise(symbol_edges(bars["symbol"].to_numpy())))
    if spec.cross_section == "none" and len(spans) > SYMBOLS:
        others = rng.choice(len(spans), size=SYMBOLS - 1, replace=False)
        spans = [spans[place] for place in sorted({symbol, *others.tolist()})]
    parts = []
    for start, stop in spans:
        end = start + int(np.searchsorted(stamps[start:stop], time, side="right"))
        parts.append(np.arange(max(start, end - tail), end))
    return [part for part in parts if len(part)]


def _again(bars: pd.DataFrame, spec: FeatureSpec, parts: list[Rows]) -> tuple[Array, Rows]:
    """The features of the last rows before a cut, from those bars alone; and which rows these are."""
    rows, edges = np.concatenate(parts), [0, *np.cumsum([len(part) for part in parts]).tolist()]
    known = bars.iloc[rows]
    values = stacked(arrays(known, spec.bar), edges, spec)
    keys = section_keys(known, spec.bar)
    if spec.cross_section == "none":
        last = np.concatenate([np.arange(stop - min(ROWS, stop - start), stop) for start, stop in pairwise(edges)])
    else:
        last = np.flatnonzero(keys >= np.unique(keys)[-ROWS:][0])
    values, member = np.asfortranarray(values[last]), members(known, spec)
    standardise(values, spec.columns, keys[last], spec.cross_section, member=None if member is None else member[last])
    return values, rows[last]


def _inside_lookback(bars: pd.DataFrame, spec: FeatureSpec, frame: pd.DataFrame) -> dict[str, _Wrong]:
    """Columns with values where a symbol has too few bars for one."""
    edges = np.array(symbol_edges(bars["symbol"].to_numpy()))
    place = np.arange(len(bars)) - np.repeat(edges[:-1], np.diff(edges))
    first = np.flatnonzero(place < lookback(spec.columns) - 1)
    wrong = {}
    for name in spec.columns:
        early = first[place[first] < feature(name).lookback - 1]
        stored = frame[name].to_numpy(float)[early]
        rows = early[~np.isnan(stored)]
        if len(rows):
            wrong[name] = _Wrong(len(rows), int(rows[0]), float(frame[name].iloc[rows[0]]), float("nan"))
    return wrong


def _difference(stored: Array, again: Array, scale: float, rows: Rows) -> _Wrong | None:
    size = np.maximum(np.maximum(np.abs(stored), np.abs(again)), scale)
    apart = np.abs(stored - again) / np.where(size > 0, size, 1.0)
    apart = np.where(np.isnan(stored) != np.isnan(again), np.inf, apart)
    bad = np.flatnonzero(apart > TOLERANCE)
    if not len(bad):
        return None
    worst = bad[np.argmax(apart[bad])]
    return _Wrong(len(bad), int(rows[worst]), float(stored[worst]), float(again[worst]))


def _worse(before: _Wrong | None, found: _Wrong) -> _Wrong:
    if before is None:
        return found
    return _Wrong(before.count + found.count, before.row, before.stored, before.again)


def _scale(frame: pd.DataFrame, spec: FeatureSpec, rng: np.random.Generator) -> Array:
    """Each column's standard deviation, over a sample of rows."""
    rows = np.arange(len(frame)) if len(frame) <= SAMPLE else rng.choice(len(frame), size=SAMPLE, replace=False)
    columns = (frame[name].to_numpy(float)[rows] for name in spec.columns)
    finite = (column[np.isfinite(column)] for column in columns)
    return np.array([np.std(column) if len(column) else 0.0 for column in finite])


def _told(bars: pd.DataFrame, wrong: dict[str, _Wrong]) -> tuple[str, ...]:
    said = [
        f"feature '{name}' of {bars['symbol'].iloc[one.row]} at {bars['time'].iloc[one.row].isoformat()}: the matrix "
        f"has {one.stored!r}, the bars known then give {one.again!r} ({one.count} such values)"
        for name, one in list(wrong.items())[:EXAMPLES]
    ]
    if len(wrong) > EXAMPLES:
        said.append(f"and {len(wrong) - EXAMPLES} more columns: {', '.join(list(wrong)[EXAMPLES : 4 * EXAMPLES])}")
    return tuple(said)
