"""The gate: a pure decision from evidence and policy. It reads no model, no file and no clock, and moves no alias.

```
alarm ----------------------------------------------------------------------> quarantined   (the champion stays)
nothing rules a promotion out, the gate was read, and the challenger is better
than every baseline and the champion at this read's level ------------------> promoted      (replace)
champion, its recipe refitted, licensed, on a whole run --------------------> refreshed     (refresh)
champion -------------------------------------------------------------------> kept
no champion ----------------------------------------------------------------> baseline      (the best becomes champion)
```

"Better" is one-sided Diebold-Mariano on losses averaged by date, against each rival at the read's level without further
correction: all must reject, so that the whole is an intersection-union test of that size (Berger 1982, Technometrics
24). For volatility the challenger's QLIKE must not be significantly worse. A tie never promotes. The k-th read of the
gate in a term has level alpha / (k (k + 1)): these sum to alpha, so that by Bonferroni the chance of any false
replacement in the term is at most alpha, however the reads depend on each other.

A pre-trained challenger must have stood on the walk-forward rows beside the same without pre-training, and must not
have done significantly worse there: else it is not promoted, and no read is spent on it. A pre-trained champion is held
to the same wherever it would be refreshed.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.evaluation import Decision, Evidence, GateComparison, TransferWorth
from tasks.registry import reasons
from tasks.statistics.diebold_mariano import diebold_mariano
from tasks.statistics.losses import row_losses

FloatArray = npt.NDArray[np.float64]
HURTS = 0.05
"""The level at which a transfer is shown to hurt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """What a problem lets the gate do.

    ``alpha`` is the chance of any false replacement in a term; ``allow_partial`` promotes although an engine failed or
    much of the universe is in quarantine; a QLIKE that is worse at ``qlike_level`` rules a replacement out.
    """

    alpha: float = 0.05
    allow_partial: bool = False
    qlike_level: float = 0.05


def read_level(read: int, alpha: float) -> float:
    """The significance level of the read with this number (from 1) within its term."""
    return alpha / (read * (read + 1))


def losses_by_date(
    sessions: npt.NDArray[np.datetime64], label: FloatArray, prediction: FloatArray, loss: Literal["mse", "log_loss"]
) -> pd.Series:
    """Mean loss of each date, indexed by session in time order; arrays (n,), one element a gate row.

    Squared error, or minus the log likelihood with probabilities kept 1e-6 from 0 and 1. A prediction that is
    not finite makes its date's loss NaN, which ``compare`` refuses: no date is scored on fewer names than another's.
    """
    losses = row_losses(loss, label, prediction)
    return mean_by_date(sessions, np.where(np.isfinite(prediction), losses, np.nan))


def qlike_by_date(
    sessions: npt.NDArray[np.datetime64], label: FloatArray, prediction: FloatArray, smearing: float
) -> pd.Series:
    """Mean QLIKE of each date: v/w - ln(v/w) - 1 with v = exp(2 label) and its forecast w = smearing · exp(2 f).

    Patton (2011, Journal of Econometrics 160); arrays (n,) on the log scale. NaN as in ``losses_by_date``.
    """
    log_ratio = 2.0 * (label - prediction) - np.log(smearing)
    return mean_by_date(sessions, np.exp(log_ratio) - log_ratio - 1.0)


def mean_by_date(sessions: npt.NDArray[np.datetime64], values: FloatArray) -> pd.Series:
    """The mean of values (n,) on each date; NaN where any of the date's values is."""
    dates, place = np.unique(sessions, return_inverse=True)
    # Sums by hand: a grouped mean would skip a NaN and score the date on the names that are left.
    return pd.Series(np.bincount(place, weights=values) / np.bincount(place), index=pd.DatetimeIndex(dates))


def compare(
    challenger: pd.Series,
    rival: pd.Series,
    *,
    name: str,
    role: Literal["champion", "baseline"],
    overlap: int,
) -> GateComparison:
    """Test the challenger against one rival on losses by date (from ``losses_by_date``, the same dates for both).

    overlap: how many later sessions' labels share a bar with a session's labels (``label_overlap``); it bounds the lag
    of the long-run variance from below.
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


def decide(evidence: Evidence, policy: Policy) -> Decision:
    """What becomes of the challenger and of the champion; deterministic, and independent of the order of anything.

    ``promote`` is empty unless the alias is to move.
    """
    found = _decided(evidence, policy)
    return dataclasses.replace(found, reasons=(*found.reasons, *sorted(evidence.notes)))


def _decided(evidence: Evidence, policy: Policy) -> Decision:
    if evidence.alarms:
        return Decision(outcome="quarantined", promote="", reasons=reasons.alarmed(evidence))
    level = level_of(evidence, policy)
    tests = reasons.tests(evidence, level, policy.qlike_level, lambda item: beaten(item, evidence, policy))
    found = obstacles(evidence, policy)
    against = (*found, *reasons.unread(evidence, explained=bool(found)), *_missing(evidence))
    if not against and all(beaten(item, evidence, policy) for item in evidence.comparisons):
        return Decision(
            outcome="promoted",
            promote=evidence.challenger,
            reasons=(reasons.grounds(evidence, level), *tests, *reasons.waived(evidence)),
        )
    if evidence.champion:
        return _keep_or_refresh(evidence, policy, (*against, *tests))
    if evidence.best_baseline:
        return Decision(
            outcome="baseline",
            promote=evidence.best_baseline,
            reasons=(reasons.fallback(evidence), *against, *tests),
        )
    return Decision(outcome="kept", promote="", reasons=(reasons.NOTHING, *against, *tests))


def obstacles(evidence: Evidence, policy: Policy) -> tuple[str, ...]:
    """What rules a replacement out whatever the gate's rows say: known before the gate is read for the challenger.

    Where there is any, or an alarm, the gate is not to be read: a read would be spent on nothing.
    """
    found = []
    if evidence.champion and evidence.champion_unscored:
        found.append(f"The champion could not be scored on the gate rows: {evidence.champion_unscored}.")
    if _same_recipe(evidence):
        found.append("The challenger is the champion's own recipe: there is nothing to replace.")
    if not evidence.champion and evidence.challenger_engine == "baseline":
        found.append(f"The leader, {evidence.challenger}, is itself a baseline.")
    if not evidence.best_baseline:
        found.append("There is no test against the best baseline (none could be fitted).")
    if evidence.underpowered:
        found.append(evidence.underpowered)
    return (*found, *_transferred(evidence), *_common(evidence, policy))


def level_of(evidence: Evidence, policy: Policy) -> float:
    """The level that each rival must be beaten at: this read's, by the stricter of evidence and policy; 0 unread."""
    return min(evidence.level, read_level(evidence.read, policy.alpha)) if evidence.read >= 1 else 0.0


def beaten(item: GateComparison, evidence: Evidence, policy: Policy) -> bool:
    """Whether this rival was shown to be worse. Written so that a figure that is not a number never passes."""
    return (
        item.p_value < level_of(evidence, policy)
        and item.difference > 0
        and item.dates >= evidence.required_dates
        and item.qlike_worse_p >= policy.qlike_level
    )


def _keep_or_refresh(evidence: Evidence, policy: Policy, because: tuple[str, ...]) -> Decision:
    against = _refresh_obstacles(evidence, policy)
    if against:
        return Decision(
            outcome="kept", promote="", reasons=(reasons.kept(evidence), *because, *map(reasons.not_refreshed, against))
        )
    return Decision(
        outcome="refreshed",
        promote=evidence.refreshable,
        reasons=(reasons.refreshed(evidence), *because, *reasons.waived(evidence)),
    )


def _refresh_obstacles(evidence: Evidence, policy: Policy) -> tuple[str, ...]:
    """What keeps the champion's own recipe from being shipped as refitted through last night."""
    licence = evidence.licence
    if evidence.not_refreshed or not evidence.refreshable:
        return (evidence.not_refreshed or "its recipe was not refitted through last night",)
    if licence is None:
        return ("there is no licence for it in this term",)
    if licence.recipe_sha256 != evidence.champion_recipe_sha256:
        return ("the licence of this term is for another recipe",)
    if not (licence.granted and licence.upper < licence.limit):
        return (reasons.licence(licence),)
    return _common(evidence, policy)


def _common(evidence: Evidence, policy: Policy) -> tuple[str, ...]:
    """What rules out replacing and refreshing alike."""
    found = []
    if evidence.dates < evidence.required_dates:
        found.append(f"The gate has {evidence.dates} dates; {evidence.required_dates} are required.")
    if not evidence.effective >= evidence.required_effective:
        found.append(
            f"The gate's labels are worth {evidence.effective:.1f} that share no bar; "
            f"{evidence.required_effective:.0f} are required."
        )
    if evidence.partial and not policy.allow_partial:
        found.append(
            f"The run is partial, and the policy does not promote from one: {'; '.join(sorted(evidence.partial))}."
        )
    return (*found, *sorted(evidence.obstacles))


def _transferred(evidence: Evidence) -> tuple[str, ...]:
    """What rules out a challenger that was pre-trained: it hurt, or nobody can tell. What is not known never passes."""
    if evidence.challenger_engine != "transfer" or evidence.from_scratch:
        return ()
    worth = evidence.worth
    if worth is None or worth.candidate != evidence.challenger:
        return (reasons.no_control(evidence),)
    if worth.verdict == "not known":
        return (reasons.not_known(worth),)
    return () if harmless(worth) else (reasons.transfer_hurts(worth),)


def harmless(worth: TransferWorth) -> bool:
    """Whether a transfer was not shown to hurt: by its p-value too, whatever the verdict is called."""
    return worth.verdict in ("helps", "no difference") and worth.hurts_p >= HURTS


def _same_recipe(evidence: Evidence) -> bool:
    mine, theirs = evidence.challenger_recipe_sha256, evidence.champion_recipe_sha256
    return bool(evidence.champion) and bool(mine) and mine == theirs


def _missing(evidence: Evidence) -> tuple[str, ...]:
    """Tests without which nothing may be promoted: the champion, and the best baseline if it is not the challenger."""
    if evidence.read < 1:
        return ()
    tested = {(item.role, item.rival) for item in evidence.comparisons}
    found = []
    if evidence.champion and not evidence.champion_unscored and not any(role == "champion" for role, _ in tested):
        found.append("There is no test against the champion.")
    is_best_baseline = evidence.challenger_engine == "baseline" and evidence.best_baseline == evidence.challenger
    if evidence.best_baseline and not is_best_baseline and ("baseline", evidence.best_baseline) not in tested:
        found.append(f"There is no test against the best baseline ({evidence.best_baseline}).")
    return tuple(found)
