"""Some rows and columns of the features, read block by block.

On a panel the matrix is the largest array of a search. What goes over rows in blocks needs no second one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from tasks.search.engine import TrainingData

BLOCK = 16_384
"""Rows that are looked at together: some 40 MB of a full catalogue, in each of a few arrays."""

Floats = npt.NDArray[np.float64]
Places = npt.NDArray[np.int64]


class Part(NamedTuple):
    """``matrix`` float64 (all rows, all columns) at these rows and columns (indices), in their order."""

    matrix: Floats
    rows: Places
    columns: Places

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the part."""
        return len(self.rows), len(self.columns)

    def blocks(self) -> Iterator[tuple[slice, Floats]]:
        """New arrays (at most BLOCK, columns), each with its place among the part's rows."""
        every = np.array_equal(self.columns, np.arange(self.matrix.shape[1]))
        for start in range(0, len(self.rows), BLOCK):
            rows = self.rows[start : start + BLOCK]
            yield (
                slice(start, start + len(rows)),
                self.matrix[rows] if every else self.matrix[np.ix_(rows, self.columns)],
            )


def whole(matrix: Floats) -> Part:
    """All of a matrix."""
    return Part(matrix, np.arange(len(matrix)), np.arange(matrix.shape[1]))


def part(data: TrainingData, rows: Places, columns: Sequence[str]) -> Part:
    """The features of these rows and columns. Raises EngineError for unknown columns."""
    data.take(rows[:0], columns)  # refuses what is not there, in words
    return Part(data.X, rows, np.array([data.columns.index(name) for name in columns], dtype=np.int64))
