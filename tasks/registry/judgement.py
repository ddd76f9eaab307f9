"""From a night's fits to a verdict: read the gate rows, gather the evidence, decide, and prepare the registry's entry.

1. the gate rows: labels and sessions of the gate window;
2. the gated fits of the leader and of every baseline; the champion's gated fit, unless it learned from gate rows;
3. ``evidence.gather`` tests, ``gate.decide`` decides: both pure;
4. the entry: what the decision promotes, else the leader, so that the challenger is registered either way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Candidate, EngineResult, Ref
from tasks.errors import EngineError
from tasks.evaluation import Decision, Evidence
from tasks.registry import gate as gates
from tasks.registry.bundle import recipe_digest
from tasks.registry.evidence import Champion, GatedFit, GateRows, distance, gather
from tasks.registry.records import ChampionInfo, Entry, Night
from tasks.storage import read_parquet

DAILY_DATES = 504
ROWS = ["symbol", "time", "session", "label", "label_end", "window", "fit_gate", "fit_all"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fits:
    """Refitted candidates by name: on everything before the gate, and on all rows; ``failed`` says what is missing."""

    gated: dict[str, Candidate]
    all_rows: dict[str, Candidate]
    failed: tuple[str, ...] = ()

    @classmethod
    def of(cls, refitted: Iterable[EngineResult]) -> Self:
        """From the engines' answers to their refit jobs."""
        results = list(refitted)
        fits = [fit for result in results for fit in result.candidates]
        return cls(
            gated={fit.name: fit for fit in fits if fit.rows == "fit_gate"},
            all_rows={fit.name: fit for fit in fits if fit.rows == "fit_all"},
            failed=tuple(text for result in results for text in (result.error, *result.notes) if text),
        )

    def shipped(self, name: str, policy: str) -> Candidate:
        """What consumers would get of a recipe. Raises EngineError if the policy's fit is missing."""
        found = (self.gated if policy == "none" else self.all_rows).get(name)
        if found is None:
            raise EngineError(f"{name} could not be fitted on all rows, so it cannot ship: {'; '.join(self.failed)}")
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The decision, what it rests on, and the entry for the registry."""

    decision: Decision
    evidence: Evidence
    entry: Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredChampion:
    """The champion and its gated fit's predictions on tonight's rows; None, and why, where it was not scored."""

    info: ChampionInfo
    predictions: Ref | None
    why: str = ""


def judge(night: Night, fits: Fits, champion: ScoredChampion | None) -> Verdict:
    """Decide about the selection rows' leader. Raises EngineError if it or a baseline has no gated fit."""
    frame = read_parquet(night.rows.ref, ROWS)
    gate = GateRows.of(frame, night.rows.target)
    board = night.leaderboard
    leader = board.scores[0]
    baselines = [score.candidate for score in board.scores if score.engine == "baseline"]
    lost = tuple(f"baseline {name} could not be fitted again" for name in baselines if name not in fits.gated)
    evidence = gather(
        gate,
        _gated(fits, leader.candidate),
        [_gated(fits, name) for name in baselines if name in fits.gated],
        next((name for name in baselines if name in fits.gated), ""),
        _champion(champion),
        required_dates=required_dates(night),
        partial=(*partial(night), *lost),
        alarms=gates.plausibility_alarms(leader, night.rows.target),
    )
    decision = gates.decide(evidence, night.problem.alpha, night.problem.allow_partial)
    return Verdict(
        decision=decision,
        evidence=evidence,
        entry=_entry(night, fits, frame, gate, decision=decision, evidence=evidence),
    )


def required_dates(night: Night) -> int:
    """Gate dates without which nothing is replaced: two years of daily bars, whatever the problem asks for."""
    return max(night.problem.gate_sessions, DAILY_DATES) if night.problem.bar == "1d" else night.problem.gate_sessions


def partial(night: Night) -> tuple[str, ...]:
    """What is missing from a night's evidence: engines that failed, symbols set apart."""
    failed = [f"engine {r.engine} failed: {r.error.splitlines()[0]}" for r in night.results if r.error]
    apart = [f"{len(night.snapshot.quarantined)} symbols quarantined"] if night.snapshot.quarantined else []
    return tuple(failed + apart)


def why_not_comparable(champion: ChampionInfo, night: Night) -> str:
    """Why the champion cannot be scored on tonight's gate rows, or nothing."""
    if champion.predicts and champion.predicts != night.problem.predicts:
        return f"it predicts {champion.predicts}, tonight's problem {night.problem.predicts}; give it another name"
    first = next(window.first for window in night.rows.windows if window.name == "gate")
    end = champion.gated_training_end
    if not end:
        return "its entry does not say how far its gated fit had learned"
    if pd.Timestamp(end) >= pd.Timestamp(first):
        return f"its gated fit learned from bars up to {end}, and the gate starts at {first}"
    return ""


def _gated(fits: Fits, name: str) -> GatedFit:
    fit = fits.gated.get(name)
    if fit is None:
        raise EngineError(
            f"{name} could not be fitted on the rows before the gate, so it cannot be judged: {'; '.join(fits.failed)}"
        )
    return GatedFit(
        name=name, engine=fit.engine, recipe_sha256=recipe_digest(fit), predictions=_values(fit.predictions)
    )


def _champion(scored: ScoredChampion | None) -> Champion | None:
    if scored is None:
        return None
    return Champion(
        name=f"{scored.info.candidate} (version {scored.info.version})",
        recipe_sha256=scored.info.recipe_sha256,
        predictions=None if scored.predictions is None else _values(scored.predictions),
        why=scored.why,
    )


def _entry(
    night: Night, fits: Fits, frame: pd.DataFrame, gate: GateRows, *, decision: Decision, evidence: Evidence
) -> Entry:
    name = decision.promote or evidence.challenger
    gated, shipped = fits.gated[name], fits.shipped(name, night.problem.refit)
    one_fit = shipped.model == gated.model
    losses = gate.losses(_values(gated.predictions))
    gated_end = _training_end(frame, "fit_gate")
    return Entry(
        shipped=shipped,
        gated=gated,
        shipped_training_end=gated_end if one_fit else _training_end(frame, "fit_all"),
        gated_training_end=gated_end,
        decision=decision,
        evidence=evidence,
        score=next(score for score in night.leaderboard.scores if score.candidate == name),
        gate_metrics=((night.rows.target.loss, float(losses.mean())),),
        distance=0.0 if one_fit else distance(gate, _values(shipped.predictions), _values(gated.predictions)),
    )


def _training_end(frame: pd.DataFrame, mask: str) -> str:
    return str(frame.loc[frame[mask].astype(bool), "label_end"].max().isoformat())


def _values(ref: Ref) -> npt.NDArray[np.float64]:
    return read_parquet(ref, ["prediction"])["prediction"].to_numpy(np.float64)
