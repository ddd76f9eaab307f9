"""Which limit is passed once in so many sessions although nothing changed: run lengths under the block bootstrap.

A statistic of a moving window barely moves from one session to the next: its exceedances come in clusters, and no
formula for independent draws knows how long it runs until the first. So histories are strung together from blocks of
the statistic's own past (starts anywhere, geometric lengths, wrapped around the end: Politis and Romano 1994), and the
run length is counted in them: sessions from the first to the one that passes the limit, checked every session.

The bootstrap's expectation is taken, not sampled. With blocks of mean length 1/q and d_s sessions from start s to the
next exceedance, a block lasts min(d_s + 1, its length) sessions and ends the run with probability (1 - q)^d_s; blocks
are drawn anew until one does, so by Wald's identity

    ARL = mean_s[(1 - (1 - q)^(d_s + 1)) / q] / mean_s[(1 - q)^d_s].
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


def run_length(passed: BoolArray, block: float) -> float:
    """Sessions until the first exceedance, on average over block-bootstrapped histories; infinite without any.

    passed: bool (n,), whether the statistic passes the limit on each session of its past. block: mean block length.
    """
    if not passed.any():
        return math.inf
    wait = waits(passed)
    stay = 1.0 - 1.0 / max(block, 1.0)
    lasts = (1.0 - stay ** (wait + 1.0)) / (1.0 - stay) if stay < 1.0 else wait + 1.0
    ends = stay**wait
    return float(lasts.mean() / ends.mean())


def waits(passed: BoolArray) -> FloatArray:
    """Sessions from each one to the next that passes, 0 on one that does; wrapped around the end. Needs one."""
    n = len(passed)
    places = np.flatnonzero(passed)
    following = np.append(places, places[0] + n)[np.searchsorted(places, np.arange(n))]
    return np.asarray(following - np.arange(n), dtype=np.float64)


def limit_for(statistic: FloatArray, length: float, block: float) -> float:
    """The smallest value of the past statistic that, as a limit, is passed after ``length`` sessions on average.

    statistic: float64 (n,), one value a session. A past that is too short to show so rare a thing gives its maximum,
    which it never passed. Raises ValueError on an empty past or a value that is not finite.
    """
    if not len(statistic) or not np.isfinite(statistic).all():
        raise ValueError("a limit needs a past without missing values")
    values = np.unique(statistic)
    low, high = 0, len(values) - 1
    while low < high:  # the run length never falls as the limit rises
        middle = (low + high) // 2
        if run_length(statistic > values[middle], block) >= length:
            high = middle
        else:
            low = middle + 1
    return float(values[low])


def censored_run_length(first: npt.NDArray[np.int64], sessions: int) -> float:
    """Sessions watched for each alarm: ``first`` (runs,) is the session of a run's alarm from 1 on, 0 for none.

    The mean run length's estimate for runs that end at ``sessions``; infinite where none alarmed.
    """
    alarmed = first > 0
    watched = float(np.where(alarmed, first, sessions).sum())
    return watched / int(alarmed.sum()) if alarmed.any() else math.inf
