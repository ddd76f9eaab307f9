"""Duan's factor, from out-of-sample residuals only: what turns a forecast of log volatility into one of the variance.

exp(2f) forecasts the median of the variance; its mean is larger by mean exp(2(y - f)) (Duan 1983, JASA 78), and QLIKE
is biased without it. Residuals of rows that a fit learned from are too small, those of trees far too small. So a
fold's factor comes from the selection window, which the search's own fit had not seen, and from the folds before it:

```
selection (search's fit)   fold 1   fold 2   fold 3   gate
|------ residuals ------->| factor
|------ residuals --------------->| factor
                           |------ residuals ------>| factor: all folds
```
"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd

from tasks.leaderboard.joined import Joined, Walked
from tasks.leaderboard.losses import FloatArray


def fold_smearing(joined: Joined, candidate: Walked, rows: pd.DataFrame) -> FloatArray:
    """The factor of each fold row (m,): NaN in the first fold where no search's fit was scored before it.

    rows: columns ``label, window`` of all n rows.
    """
    residuals = _selection_residuals(candidate, rows)
    mine = _residuals_in_place(joined, candidate.name)
    fold = joined.frame["fold"].to_numpy()
    factors = np.full(len(fold), np.nan)
    for number in np.unique(fold):
        factors[fold == number] = _factor(np.concatenate([residuals, mine[fold < number]]))
    return factors


def gate_smearing(joined: Joined, name: str) -> float:
    """The factor that the gate uses: from all fold rows. NaN where it is not finite."""
    factor = _factor(_residuals_in_place(joined, name))
    return factor if math.isfinite(factor) else math.nan


def _selection_residuals(candidate: Walked, rows: pd.DataFrame) -> FloatArray:
    if candidate.search is None:
        return np.empty(0)
    place = np.flatnonzero(rows["window"].to_numpy() == "selection")
    residual = rows["label"].to_numpy(np.float64)[place] - candidate.search[place]
    return np.asarray(residual[np.isfinite(residual)])


def _residuals_in_place(joined: Joined, name: str) -> FloatArray:
    return np.asarray(joined.frame["label"].to_numpy(np.float64) - joined.predictions[name])


def _factor(residual: FloatArray) -> float:
    """mean exp(2 residual); NaN without rows."""
    with np.errstate(over="ignore"):  # a diverged fit: infinite, and the leaderboard leaves it out
        return float(np.mean(np.exp(2.0 * residual))) if len(residual) else math.nan
