"""May the champion be refitted through last night without a new read of the gate? Pure.

A refresh cannot be scored on rows that it was fitted on. What can be shown is that refitting this recipe does not hurt:

```
gate   |------- 63 -------|------- 63 -------|------- 63 -------| …
frozen  fitted before the gate, scored on all that the refits are scored on
refits                     fit_origin_1 scored fit_origin_2 scored …       each on what came after its origin only
```

Non-inferiority: the licence is granted if the one-sided 95 % upper bound of the refits' mean loss increase over the
frozen fit lies below 1 % of the frozen fit's mean loss. The bound has the gate's own variance and fixed-b law, so that
it is the set of increases which a Diebold-Mariano test at 5 % would not reject.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.evaluation import Licence
from tasks.registry.evidence import GateRows
from tasks.registry.power import critical_value
from tasks.statistics.diebold_mariano import long_run_variance, newey_west_lag

FloatArray = npt.NDArray[np.float64]
LIMIT = 0.01
LEVEL = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Refits:
    """The champion's recipe, fitted before the gate (``frozen``) and at each origin inside it; predictions (n,) align
    with all rows, ``scored_by`` (n,) says whose prediction counts on a row."""

    recipe_sha256: str
    frozen: FloatArray
    origins: Mapping[str, FloatArray]
    scored_by: npt.NDArray[np.object_]


def license_refresh(gate: GateRows, refits: Refits, term: str) -> Licence:
    """The licence of a recipe in a term; NaN and refused where the refits predict nothing that can be scored.

    Rows that a refit or the frozen fit cannot predict count against it: the licence is refused.
    """
    mine = gate.only(np.isin(refits.scored_by[gate.positions].astype(str), sorted(refits.origins)))
    refitted = _refitted(mine, refits)
    frozen, later = mine.losses(refits.frozen), mine.losses(refitted)
    increase, upper = loss_increase(frozen, later, gate.overlap)
    return Licence(
        recipe_sha256=refits.recipe_sha256,
        term=term,
        granted=bool(upper < LIMIT),
        increase=increase,
        upper=upper,
        limit=LIMIT,
        origins=len(refits.origins),
        dates=len(frozen),
    )


def loss_increase(frozen: pd.Series, refitted: pd.Series, overlap: int) -> tuple[float, float]:
    """Relative increase of the mean loss by refitting, and its one-sided 95 % upper bound; losses by date, same dates.

    NaN where a loss is not finite, fewer than two dates are there, or the frozen fit has no loss to compare with.
    """
    level = float(frozen.mean()) if len(frozen) else 0.0
    d = refitted.to_numpy(np.float64) - frozen.to_numpy(np.float64)
    if len(d) < 2 or not np.isfinite(d).all() or not level > 0:
        return math.nan, math.nan
    lag = newey_west_lag(len(d), overlap)
    error = math.sqrt(long_run_variance(d, lag) / len(d))
    increase = float(d.mean())
    # Without any spread there is nothing to be uncertain about, whatever the critical value.
    margin = critical_value(LEVEL, len(d), lag) * error if error > 0 else 0.0
    return increase / level, (increase + margin) / level


def _refitted(gate: GateRows, refits: Refits) -> FloatArray:
    """On each gate row the prediction of the refit that is scored there; NaN on rows of no origin."""
    joined = np.full(len(refits.frozen), np.nan)
    for name, predictions in refits.origins.items():
        rows = gate.positions[refits.scored_by[gate.positions] == name]
        joined[rows] = predictions[rows]
    return joined
