"""How many labels that share no bar are overlapping labels worth? The sum of their uniqueness (López de Prado 2018,
chapter 4).

Concurrency c_t: how many labels use bar t (snippet 4.1). Average uniqueness of a label: the mean of 1 / c_t over its
bars (snippet 4.2), in (0, 1]. Labels of different symbols share no bar. Both are differences of a cumulative sum: O(n).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


def concurrency(first: IntArray, last: IntArray, bars: int) -> IntArray:
    """How many labels use each of ``bars`` bars, int64 (bars,).

    first, last: int (n,), the positions of the first and the last bar that a label uses, both included: for a label
    that is known at the close of bar i and looks h bars ahead, i + 1 and i + h. Raises ValueError where last < first
    or a position lies outside the bars.
    """
    _check(first, last, bars)
    steps = np.bincount(first, minlength=bars + 1) - np.bincount(last + 1, minlength=bars + 1)
    return np.asarray(np.cumsum(steps)[:bars], dtype=np.int64)


def average_uniqueness(first: IntArray, last: IntArray, symbol: IntArray | None = None) -> FloatArray:
    """Average uniqueness of each label, float64 (n,) in (0, 1]; rows in any order.

    first, last: as for ``concurrency``, counted within the label's own symbol. symbol: int (n,), which symbol a label
    is of; None for one. Raises ValueError where last < first or first is negative.
    """
    if len(first) == 0:
        return np.zeros(0)
    begin, end = first.astype(np.int64), last.astype(np.int64)
    _check(begin, end, int(end.max()) + 1)
    if symbol is not None:
        offset = _offsets(end, symbol)
        begin, end = begin + offset, end + offset
    shared = concurrency(begin, end, int(end.max()) + 1)
    inverse = 1.0 / np.maximum(shared, 1)
    total = np.concatenate([[0.0], np.cumsum(inverse)])
    mean = (total[end + 1] - total[begin]) / (end - begin + 1)
    return np.asarray(np.clip(mean, np.finfo(float).tiny, 1.0))


def _offsets(end: IntArray, symbol: IntArray) -> IntArray:
    """What to add to a label's bars so that no two symbols' bars have the same number."""
    place = np.unique(symbol, return_inverse=True)[1]
    length = np.zeros(int(place.max()) + 1, dtype=np.int64)
    np.maximum.at(length, place, end + 1)
    return np.asarray((np.cumsum(length) - length)[place])


def _check(first: IntArray, last: IntArray, bars: int) -> None:
    wrong = np.flatnonzero((last < first) | (first < 0) | (last >= bars))
    if len(wrong):
        row = wrong[0]
        raise ValueError(
            f"{len(wrong)} labels whose bars are no stretch of 0 to {bars - 1}, first row {row}: "
            f"from {first[row]} to {last[row]}"
        )
