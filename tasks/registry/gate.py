"""The gate: a pure decision from evidence and policy. It reads no model, no file and no clock, and moves no alias.

```
alarm ------------------------------------------------------------------------> quarantined   (the champion stays)
champion?  yes: scored on the gate, another recipe, enough dates, a whole run,
                better than the champion and every baseline at alpha ---------> promoted      else kept
           no:  a candidate that is no baseline, enough dates, a whole run,
                better than every baseline at alpha --------------------------> promoted      else baseline
```

"Better" is one-sided Diebold-Mariano on losses averaged by date, against each rival at alpha without correction: all
must reject, so that the whole is an intersection-union test of size alpha (Berger 1982, Technometrics 24). A tie never
promotes.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Target
from tasks.evaluation import Decision, Evidence, GateComparison, Score
from tasks.statistics.diebold_mariano import diebold_mariano

FloatArray = npt.NDArray[np.float64]

CLIP = 1e-6
"""Probabilities are kept this far from 0 and 1, as on the leaderboard."""

ALARM_HORIZON = 5
ALARM_R2 = 0.05
ALARM_EXCESS = 0.05
"""Published daily R² of returns is below 1 %, and sides called beyond the base rate 1 to 3 points: above five per cent
or five points on one to five bars, a leak is the likelier explanation."""


def losses_by_date(
    sessions: npt.NDArray[np.datetime64], label: FloatArray, prediction: FloatArray, loss: Literal["mse", "log_loss"]
) -> pd.Series:
    """Mean loss of each date, indexed by session in time order; arrays (n,), one element a gate row.

    Squared error, or minus the log likelihood with probabilities kept 1e-6 from 0 and 1. A prediction that is
    not finite makes its date's loss NaN, which ``compare`` refuses: no date is scored on fewer names than another's.
    """
    if loss == "mse":
        losses = (label - prediction) ** 2
    else:
        p = np.clip(prediction, CLIP, 1.0 - CLIP)
        losses = -(label * np.log(p) + (1.0 - label) * np.log1p(-p))
    losses = np.where(np.isfinite(prediction), losses, np.nan)
    dates, place = np.unique(sessions, return_inverse=True)
    # Sums by hand: a grouped mean would skip a NaN and score the date on the names that are left.
    return pd.Series(np.bincount(place, weights=losses) / np.bincount(place), index=pd.DatetimeIndex(dates))


def compare(
    challenger: pd.Series,
    rival: pd.Series,
    *,
    name: str,
    role: Literal["champion", "baseline"],
    overlap: int,
) -> GateComparison:
    """Test the challenger against one rival on losses by date (from ``losses_by_date``, the same dates for both).

    overlap: how many later sessions' labels share a bar with a session's labels (``evidence.label_overlap``); it
    bounds the lag of the long-run variance from below.
    Raises ValueError if the dates differ or a loss is not finite: such evidence must not reach the decision.
    """
    if not challenger.index.equals(rival.index):
        raise ValueError(
            f"challenger and {name} are scored on different dates ({len(challenger)} and {len(rival)}): score both "
            "on the same gate rows"
        )
    mine, theirs = challenger.to_numpy(dtype=np.float64), rival.to_numpy(dtype=np.float64)
    bad = int((~np.isfinite(mine)).sum()), int((~np.isfinite(theirs)).sum())
    if any(bad):
        raise ValueError(f"losses that are not finite on the gate: challenger on {bad[0]} dates, {name} on {bad[1]}")
    test = diebold_mariano(theirs - mine, overlap)
    return GateComparison(
        rival=name,
        role=role,
        rival_loss=float(theirs.mean()) if len(theirs) else 0.0,
        challenger_loss=float(mine.mean()) if len(mine) else 0.0,
        difference=test.difference,
        statistic=test.statistic,
        p_value=test.p_value,
        dates=test.dates,
        lag=test.lag,
    )


def decide(evidence: Evidence, alpha: float, allow_partial: bool) -> Decision:
    """What becomes of the challenger; deterministic, and independent of the order of comparisons, alarms and gaps.

    alpha: significance at which each rival must be beaten. allow_partial: promote although an engine failed or symbols
    were quarantined. ``promote`` is empty unless the alias is to move.
    """
    if evidence.alarms:
        return Decision(outcome="quarantined", promote="", reasons=_alarm_reasons(evidence))
    obstacles = _obstacles(evidence, allow_partial)
    tests = tuple(_tested(item, evidence, alpha) for item in _sorted(evidence))
    if not obstacles and all(_beaten(item, evidence, alpha) for item in evidence.comparisons):
        reasons = (_grounds(evidence, alpha), *tests, *_waived(evidence))
        return Decision(outcome="promoted", promote=evidence.challenger, reasons=reasons)
    if evidence.champion:
        lead = f"The champion {evidence.champion} is kept; the challenger {evidence.challenger} does not replace it."
        return Decision(outcome="kept", promote="", reasons=(lead, *obstacles, *tests))
    if evidence.best_baseline:
        lead = f"There is no champion yet: the best baseline, {evidence.best_baseline}, becomes champion."
        if evidence.challenger_engine != "baseline":
            lead += f" The challenger {evidence.challenger} did not earn it: every rival must be beaten on the gate."
        return Decision(outcome="baseline", promote=evidence.best_baseline, reasons=(lead, *obstacles, *tests))
    lead = "There is no champion yet, and no baseline that could become one: nothing is promoted."
    return Decision(outcome="kept", promote="", reasons=(lead, *obstacles, *tests))


def plausibility_alarms(score: Score, target: Target) -> tuple[str, ...]:
    """Reasons to suspect a leak behind a score on the selection rows; empty for volatility and beyond five bars.

    Alarms where the R² against zero passes 5 %, or the sides called pass the commoner side's share by 5 points.
    """
    if target.name == "volatility" or target.horizon > ALARM_HORIZON:
        return ()
    alarms = []
    r2 = score.metrics.get("r2_zero", 0.0)
    if r2 > ALARM_R2:
        alarms.append(
            f"{score.candidate}: R² against zero of {r2:.1%} on the selection rows for {target.horizon} bars ahead; "
            f"above {ALARM_R2:.0%} a leak is likelier than a discovery"
        )
    hits, base = score.metrics.get("hit_rate", 0.0), score.metrics.get("base_rate", 1.0)
    if hits - base > ALARM_EXCESS:
        alarms.append(
            f"{score.candidate}: {hits:.1%} of sides called on the selection rows where the commoner side has "
            f"{base:.1%}; above {100 * ALARM_EXCESS:.0f} points of excess a leak is likelier than a discovery"
        )
    return tuple(alarms)


def _alarm_reasons(evidence: Evidence) -> tuple[str, ...]:
    after = f"The champion {evidence.champion} is kept." if evidence.champion else "Nothing is promoted."
    lead = f"The challenger {evidence.challenger} is quarantined: its scores are too good to be believed. {after}"
    return (lead, *sorted(evidence.alarms))


def _obstacles(evidence: Evidence, allow_partial: bool) -> tuple[str, ...]:
    """What rules a promotion out before any test is read."""
    found = []
    if evidence.champion and evidence.champion_unscored:
        found.append(f"The champion could not be scored on the gate rows: {evidence.champion_unscored}.")
    if _same_recipe(evidence):
        found.append("The challenger is the champion's own recipe: there is nothing to replace.")
    if not evidence.champion and evidence.challenger_engine == "baseline":
        found.append(f"The leader of the selection rows, {evidence.challenger}, is itself a baseline.")
    if evidence.dates < evidence.required_dates:
        found.append(f"The gate has {evidence.dates} dates; {evidence.required_dates} are required.")
    if evidence.partial and not allow_partial:
        found.append(
            f"The run is partial, and the policy does not promote from one: {'; '.join(sorted(evidence.partial))}."
        )
    return tuple(found) + _missing(evidence)


def _same_recipe(evidence: Evidence) -> bool:
    mine, theirs = evidence.challenger_recipe_sha256, evidence.champion_recipe_sha256
    return bool(evidence.champion) and bool(mine) and mine == theirs


def _missing(evidence: Evidence) -> tuple[str, ...]:
    """Tests without which nothing may be promoted: the champion, and the best baseline if it is not the challenger."""
    tested = {(item.role, item.rival) for item in evidence.comparisons}
    found = []
    if evidence.champion and not evidence.champion_unscored and not any(role == "champion" for role, _ in tested):
        found.append("There is no test against the champion.")
    is_best_baseline = evidence.challenger_engine == "baseline" and evidence.best_baseline == evidence.challenger
    if not is_best_baseline and ("baseline", evidence.best_baseline) not in tested:
        found.append(
            f"There is no test against the best baseline ({evidence.best_baseline or 'none could be fitted'})."
        )
    return tuple(found)


def _beaten(item: GateComparison, evidence: Evidence, alpha: float) -> bool:
    return item.p_value < alpha and item.difference > 0 and item.dates >= evidence.required_dates


def _grounds(evidence: Evidence, alpha: float) -> str:
    instead = f" in place of {evidence.champion}" if evidence.champion else "; there was no champion before"
    return (
        f"The challenger {evidence.challenger} is promoted{instead}: on {evidence.dates} gate dates it is better than "
        f"every rival at {alpha:.3g}."
    )


def _waived(evidence: Evidence) -> tuple[str, ...]:
    return tuple(f"Promoted from a partial run, as the policy allows: {gap}." for gap in sorted(evidence.partial))


def _sorted(evidence: Evidence) -> list[GateComparison]:
    """The champion first, then baselines, the hardest to beat first."""
    return sorted(evidence.comparisons, key=lambda item: (item.role != "champion", -item.p_value, item.rival))


def _tested(item: GateComparison, evidence: Evidence, alpha: float) -> str:
    verdict = "is better" if _beaten(item, evidence, alpha) else "is not shown to be better"
    if item.difference < 0:
        verdict = "did worse"
    return (
        f"{evidence.challenger} {verdict} than the {item.role} {item.rival}: loss {item.challenger_loss:.6g} "
        f"against {item.rival_loss:.6g}, Diebold-Mariano t {item.statistic:.2f}, one-sided p {item.p_value:.4f} "
        f"(needed: below {alpha:.3g}) on {item.dates} dates (lag {item.lag})."
    )
