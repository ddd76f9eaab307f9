"""A canary: the winner's recipe fitted on labels that were shuffled by blocks of dates.

Nothing in the features belongs to a shuffled label, so such a fit knows no more of the labels that follow it than their
mean. Where it seems to, labels have reached it by another way: through rows that it should not have seen, through a
statistic of the whole sample, through itself.

The mean is each symbol's own, over the rows that the fit learned from: whole dates are shuffled, so that a name keeps
its level, which is knowledge and no leak.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Target
from tasks.leaderboard import alarm, figures
from tasks.leaderboard.figures import Bound, Dated, FloatArray
from tasks.statistics.losses import row_losses

BoolArray = npt.NDArray[np.bool_]

LIMIT = 0.01
"""Skill over the mean that even the lower 99 % bound must not pass."""

BLOCK = 21
"""Dates that are shuffled together: within them shuffled labels depend on one another as the true ones do."""

NAME = "canary"
MEAN = "mean"


def scored_rows(
    frame: pd.DataFrame, shuffled: FloatArray, prediction: FloatArray, fit: BoolArray, scored: BoolArray
) -> pd.DataFrame:
    """The rows that follow the canary's fit, as ``canary_alarms`` and ``null_bounds`` take them.

    frame: ``symbol, session``, one row a bar (n rows); shuffled: the labels as the fit had them (n,);
    prediction: the fit's (n,); fit, scored: bool (n,), the rows it learned from and those that it is scored on. Rows
    without a label or a prediction are left out. Columns: the frame's, ``label``, ``canary``, ``mean``.
    """
    learned = fit & np.isfinite(shuffled)
    overall = float(shuffled[learned].mean()) if learned.any() else 0.0
    by_symbol = pd.Series(shuffled[learned]).groupby(frame["symbol"].to_numpy()[learned]).mean()
    mean = frame["symbol"].map(by_symbol).fillna(overall).to_numpy(np.float64)
    kept = scored & np.isfinite(shuffled) & np.isfinite(prediction)
    found = frame.loc[kept, ["symbol", "session"]].reset_index(drop=True)
    return found.assign(label=shuffled[kept], **{NAME: prediction[kept], MEAN: mean[kept]})


def canary_alarms(rows: pd.DataFrame, target: Target) -> tuple[str, ...]:
    """Words if the canary knows more than the mean; empty as long as it lives. rows: from ``scored_rows``."""
    found = skill_over_mean(rows, target)
    if not found.lower > LIMIT:
        return ()
    return (
        f"The winner's recipe, fitted on shuffled labels, has a skill of {found.value:.1%} over their mean on "
        f"{found.dates:,} later dates, at least {found.lower:.1%} (lower 99 % bound); above {LIMIT:.0%} labels reach "
        "the fit by a way that they should not",
    )


def skill_over_mean(rows: pd.DataFrame, target: Target) -> Bound:
    """The canary's skill by the target's loss, with its lower 99 % bound (NaN on fewer than 20 dates)."""
    dated = Dated.of(rows, target.horizon)
    mine, reference = (row_losses(target.loss, dated.label, rows[name].to_numpy(np.float64)) for name in (NAME, MEAN))
    overlap = max(dated.overlap, min(BLOCK, dated.dates // 5))
    return figures.bound(NAME, figures.skill(dated, mine, reference), overlap)


def null_bounds(rows: pd.DataFrame, target: Target) -> dict[figures.Name, float]:
    """What the alarm would have seen of the canary, by figure: one draw of the null distribution of its bounds."""
    found = alarm.bounds(rows, (NAME, MEAN), (MEAN,), target)
    return {each.figure: each.lower for each in found if each.candidate == NAME and np.isfinite(each.lower)}
