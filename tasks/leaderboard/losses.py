"""The ranking loss of a date and of a candidate. Dates weigh the same, whatever their number of names.

A panel's names on one date share the day's surprise and are not independent evidence, and a date on which more names
traded is no more of a date. So losses are averaged over the names (or the bars) of a date first and over dates then,
as the gate does: the leaderboard and the gate rank by the same figure. For one symbol and daily bars that is the plain
mean over rows.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from tasks.contracts import Target

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

LARGEST = 300.0
"""No log volatility, log return or probability is near it, and the square of its exponential still is a float."""

DIGITS = 12
"""Beyond twelve digits sums differ by the order of their terms: no basis for a rank or a digest."""


def by_date(date: IntArray, values: FloatArray) -> FloatArray:
    """Mean over the rows of each date, float64 (dates,); date: codes 0, 1, … (n,) without gaps; values (n,)."""
    return np.asarray(np.bincount(date, weights=values) / np.bincount(date), dtype=np.float64)


def date_codes(sessions: npt.NDArray[np.datetime64]) -> IntArray:
    """Sessions (n,) as codes 0, 1, … in time order."""
    return np.unique(sessions, return_inverse=True)[1].astype(np.int64)


def rounded(value: float) -> float:
    """The value at twelve digits: what is compared where a tie must be a tie."""
    return float(f"{value:.{DIGITS}g}")


def fault(scored: FloatArray, target: Target, where: str) -> str:
    """Why predictions (n,) on the rows that score must not be ranked, or nothing.

    Not finite, no probability where one is asked for, or beyond any scale: a fit that has diverged.
    """
    bad, what = ~np.isfinite(scored), "are not finite"
    if target.kind == "classification" and not bad.any():
        bad, what = (scored < 0) | (scored > 1), "are no probabilities"
    if bad.any():
        return f"{int(bad.sum()):,} of {len(scored):,} predictions {where} {what}"
    largest = float(np.abs(scored).max(initial=0.0))
    return f"a prediction {where} is {largest:.3g} in size: the fit has diverged" if largest > LARGEST else ""
