"""A panel's columns on one scale within each date, from that date alone: ranks or z-scores across symbols.

Where it is known who belonged when, members alone are compared: a name that joins later, because it did well, must not
stand in the ranks of the dates before.

Two names' trends can be compared on one date; one name's trend of 2009 and another's of 2017 cannot. Columns that the
catalogue makes from the date alone are the same for all names and stay as they are.

Travels inside promoted models: relative imports, standard library and NumPy only.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..contracts import CrossSection, FeatureSpec
from ..membership import BoolArray, belongs
from .catalogue import feature
from .dates import bar_dates
from .series import Array

if TYPE_CHECKING:
    import pandas as pd

IntArray = npt.NDArray[np.int64]

LEAST_NAMES = 20
"""Fewer names have no cross-section: the value becomes NaN."""
LIMIT = 5.0
"""z-scores are clipped here: one broken bar must not set the scale of a date's other names and dwarf them too."""
SPREADLESS = 1e-12
"""A standard deviation below this share of the largest value is rounding."""
DIGITS = 30
"""Binary digits of a date's largest value that ranks look at: 1e-9, what a lookback promises."""
BLOCK = 2**16
"""Values arranged together: few enough to stay in the cache."""


def section_keys(frame: pd.DataFrame, bar: str) -> IntArray:
    """Which rows of canonical bars share a date, int64 (rows,): daily bars their session, shorter ones their close."""
    if bar == "1d":
        return bar_dates(frame, bar).astype(np.int64)
    return frame["time"].to_numpy(dtype="datetime64[ns]").view(np.int64)


def members(frame: pd.DataFrame, spec: FeatureSpec) -> BoolArray | None:
    """Which rows of canonical bars are compared, bool (rows,): those in a spell of the spec's. None: all are."""
    if not spec.spells:
        return None
    return belongs(frame["symbol"].to_numpy(object), bar_dates(frame, spec.bar), spec.spells)


def standardise(
    values: Array,
    columns: Sequence[str],
    keys: IntArray,
    how: CrossSection,
    workers: int = 1,
    *,
    member: BoolArray | None = None,
) -> None:
    """Replace the columns, in place, by their ranks or z-scores among the members' rows of the same key.

    values: float64 (rows, columns), best column-major; keys: int64 (rows,); member: bool (rows,), all where None: the
    other rows count for nothing and become NaN, whatever is in them. ``rank``: ties averaged, from -0.5 (lowest)
    to 0.5 (highest). ``zscore``: less the mean, over the population standard deviation, clipped at ±5; 0 where all are
    equal. NaN stays NaN and counts for nothing; a column with fewer than 20 values on a date becomes NaN there. Columns
    of the date alone are left as they are; ``none`` changes nothing.
    """
    if how == "none" or not len(values):
        return
    scale = ranks if how == "rank" else zscores
    places = [place for place, name in enumerate(columns) if not feature(name).of_date]
    apart, blocks = _blocks(keys, np.arange(len(keys)) if member is None else np.flatnonzero(member))

    def column(place: int) -> None:
        target = values[:, place]
        target[apart] = np.nan
        for block in blocks:
            block.replace(target, scale)

    with ThreadPoolExecutor(max(workers, 1)) as pool:  # NumPy sorts outside the interpreter's lock
        list(pool.map(column, places))


def ranks(grid: Array) -> Array:
    """Ranks within each row of (dates, names), ties averaged, from -0.5 to 0.5; NaN where there was NaN.

    Values that differ by less than about 1e-9 of the date's largest are ties: oscillators at their bound, for example,
    differ by the rounding of their sums, and no rank should depend on where a history starts.
    """
    dates, names = grid.shape
    grid = _rounded(grid)
    order = np.argsort(grid, axis=1)
    ordered = np.take_along_axis(grid, order, axis=1)
    new = np.ones(grid.shape, dtype=bool)
    np.not_equal(ordered[:, 1:], ordered[:, :-1], out=new[:, 1:])
    starts = np.flatnonzero(new)
    sizes = np.diff(starts, append=grid.size)
    middle = np.repeat(starts + (sizes - 1) / 2.0, sizes).reshape(dates, names)
    middle -= np.arange(0, grid.size, names)[:, None]
    middle /= np.maximum(_count(grid) - 1, 1)
    middle -= 0.5
    out = np.empty_like(grid)
    np.put_along_axis(out, order, middle, axis=1)
    out[np.isnan(grid)] = np.nan
    return out


def _rounded(grid: Array) -> Array:
    """In whole multiples of a power of two: values of few digits lie in the middle of what is rounded to them."""
    largest = np.fmax.reduce(np.abs(grid), axis=1, initial=np.finfo(float).tiny, keepdims=True)
    scale = np.ldexp(1.0, np.minimum(DIGITS - np.frexp(largest)[1], 1000))
    return np.asarray(np.rint(grid * scale))


def zscores(grid: Array) -> Array:
    """z-scores within each row of (dates, names), clipped at ±5; 0 without spread, NaN where there was NaN."""
    count, missing = np.maximum(_count(grid), 1), np.isnan(grid)
    known = np.where(missing, 0.0, grid)
    apart = np.where(missing, 0.0, grid - known.sum(axis=1, keepdims=True) / count)
    spread = np.sqrt((apart**2).sum(axis=1, keepdims=True) / count)
    rounding = SPREADLESS * np.abs(known).max(axis=1, keepdims=True)
    out = np.zeros_like(grid)
    np.divide(apart, spread, out=out, where=spread > rounding)
    np.clip(out, -LIMIT, LIMIT, out=out)
    out[missing] = np.nan
    return out


def _count(grid: Array) -> IntArray:
    return np.asarray(np.count_nonzero(~np.isnan(grid), axis=1)[:, None], dtype=np.int64)


@dataclass(frozen=True, slots=True)
class _Block:
    """Some dates' rows, and each row's cell in a grid of (dates, names) that is NaN where a date has fewer names."""

    rows: npt.NDArray[np.intp]
    cells: npt.NDArray[np.intp]
    shape: tuple[int, int]

    def replace(self, column: Array, scale: Callable[[Array], Array]) -> None:
        grid = np.full(self.shape, np.nan)
        grid.ravel()[self.cells] = column[self.rows]
        scaled = scale(grid)
        scaled[(_count(grid) < LEAST_NAMES)[:, 0]] = np.nan
        column[self.rows] = scaled.ravel()[self.cells]


def _blocks(keys: IntArray, inside: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], list[_Block]]:
    """Rows that are not compared (not inside, or on dates with too few names that are), and the other dates in blocks.

    Dates with about as many names lie together, so that the grids have few empty cells however ragged the panel is.
    """
    date, counts = np.unique(keys[inside], return_inverse=True, return_counts=True)[1:]
    few = int(counts[counts < LEAST_NAMES].sum())
    by_size = np.argsort(counts, kind="stable")
    place = np.empty_like(by_size)
    place[by_size] = np.arange(len(counts))
    order = inside[np.argsort(place[date], kind="stable")[few:]]
    sizes = counts[by_size][counts[by_size] >= LEAST_NAMES]
    starts = np.cumsum(sizes) - sizes
    edges = np.flatnonzero(np.diff(starts // BLOCK, prepend=-1, append=-1))
    apart = np.ones(len(keys), dtype=bool)
    apart[order] = False
    return np.flatnonzero(apart), [_block(order, starts[a:b], sizes[a:b]) for a, b in pairwise(edges)]


def _block(order: npt.NDArray[np.intp], starts: IntArray, sizes: IntArray) -> _Block:
    names = int(sizes.max())
    rows = order[starts[0] : starts[-1] + sizes[-1]]
    within = np.arange(len(rows)) - np.repeat(starts - starts[0], sizes)
    cells = np.repeat(np.arange(len(sizes)) * names, sizes) + within
    return _Block(rows=rows, cells=cells, shape=(len(sizes), names))
