"""Features and predictions against the training reference: a curve of one number, and the limit it is held against.

1. For every column PSI and KS of each window of sessions, inside training against the rest of training, later against
   all of it (``statistics.drift``).
2. Each in units of what is rare for the column, the 0.99 quantile over its training windows.
3. The maximum over columns and both measures: one number a session.
4. Its limit: the value that the training windows' own maximum passes only once in so many sessions.

Training windows are compared with the rest and not with what came before them: a live window, too, meets a reference
of the whole training length, while against the past alone a third of the windows would meet a short one, or none.
What remains: live windows come after all of the reference, and training windows amid it. The run lengths of the
benchmark, on histories where the live part follows the training part, hold that.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.statistics.drift import distances, scaled
from tasks.statistics.drift_limits import limit_for, run_length

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LEAST_LIMIT = 1.0
"""In a column's own units: what is rare for each of them is not yet too much."""

BLOCKS = 4
"""Blocks of the bootstrap are so many windows long on average: a window lies mostly within one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """All columns' distances. ``now``, ``limits``: float64 (columns, 2), the last window's PSI and KS and their limits.

    ``ratio``: float64 (live sessions,), the maximum over its limit; ``past`` the same for training windows; ``worst``:
    the column of each live session's maximum. ``supported``: whether training was long enough to show the run length.
    """

    columns: tuple[str, ...]
    now: FloatArray
    limits: FloatArray
    ratio: FloatArray
    past: FloatArray
    worst: IntArray
    supported: bool


def distribution(
    columns: Iterable[tuple[str, FloatArray]], session: IntArray, training: int, window: int, length: float
) -> Distribution:
    """Distances and limits of named columns, each float64 (rows,), NaN inside a lookback alone.

    session: int (rows,), 0, 1, … in time order; the first ``training`` are the reference. length: sessions until the
    limit is passed without drift. Raises ValueError where training is shorter than two windows.
    """
    names, now, scales = [], [], []
    inside: FloatArray | None = None
    after: list[FloatArray] = []
    for name, values in columns:
        past, later = distances(values, session, training, window)
        scale, before, live = scaled(past, later)
        highest = np.fmax.reduce(before, axis=1)
        inside = highest if inside is None else np.fmax(inside, highest)
        after.append(np.fmax.reduce(live, axis=1))
        now.append((later.psi[-1], later.ks[-1]) if len(later.psi) else (math.nan, math.nan))
        names.append(name)
        scales.append(scale)
    if inside is None:
        raise ValueError("no column to watch")
    inside = inside[np.isfinite(inside)]
    block = float(BLOCKS * window)
    limit = max(limit_for(inside, length, block), LEAST_LIMIT)
    live_columns = np.stack(after, axis=1)
    return Distribution(
        columns=tuple(names),
        now=np.array(now),
        limits=limit * np.array(scales),
        ratio=live_columns.max(axis=1, initial=-math.inf) / limit,
        past=inside / limit,
        worst=live_columns.argmax(axis=1),
        supported=math.isfinite(run_length(inside > limit, block)),
    )
