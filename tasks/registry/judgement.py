"""From a night's fits to a verdict: gather the evidence, spend a read if anything can come of it, decide.

1. the gate rows, and on them baselines and champion: ``evidence.gather``;
2. is there an obstacle already, or does a rollout have to end first (``takeover``)? Then the gate is not read for the
   challenger. Else the ledger spends a read, committed before the next step, or refuses one;
3. the challenger's tests: ``evidence.read_gate``; the champion's licence to be refreshed: once a term, by the ledger;
4. ``gate.decide``; its outcome is noted in the ledger;
5. the entry: what the decision promotes, else the challenger, which is registered either way.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import pandas as pd

from tasks.contracts import Candidate, Ref, Snapshot
from tasks.documents import digest
from tasks.errors import EngineError
from tasks.evaluation import CHAMPION, Decision, Evidence, Leaderboard
from tasks.problem import Problem
from tasks.registry import conditions
from tasks.registry import gate as gates
from tasks.registry.continuity import begun_anew
from tasks.registry.evidence import Champion, GatedFit, GateRows, distance, evidence_digest, gather, read_gate
from tasks.registry.families import Family, fingerprints, term_of
from tasks.registry.fits import Fits
from tasks.registry.gate import Policy
from tasks.registry.ledger import Asked, Ledger, Reading
from tasks.registry.records import ChampionInfo, Entry, Night
from tasks.registry.renewal import Renewal, renewed
from tasks.registry.takeover import waits
from tasks.storage import read_parquet, read_predictions

BARS = ["symbol", "session", "close"]
ROWS = ["symbol", "time", "session", "label", "label_end", "window", "scored_by", "fit_gate", "fit_all"]


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Field:
    """Everyone who is scored on the gate, and what the night's reads of it count with."""

    frame: pd.DataFrame
    gate: GateRows
    family: Family
    challenger: GatedFit
    baselines: tuple[GatedFit, ...]
    champion: Champion | None


def judge(night: Night, fits: Fits, champion: ScoredChampion | None, ledger: Ledger) -> Verdict:
    """Decide about the leaderboard's leader, and about the champion's refresh.

    Raises EngineError if the leader or a baseline has no gated fit, StorageError or IntegrityError if the ledger cannot
    be read or written: without it nothing is decided.
    """
    field = _field(night, fits, champion)
    known = _known(night, fits, field, ledger)
    policy = policy_of(night)
    reading = _reading(night, field, known, policy, ledger)
    evidence = _read(field, known, reading)
    if champion is not None:
        renewal = Renewal(night=night, fits=fits, info=champion.info, frame=field.frame, gate=field.gate)
        evidence = renewed(evidence, renewal, field.family, ledger)
    decision = gates.decide(evidence, policy)
    mark = ledger.record_decision(reading, night.problem.name, field.challenger.recipe_sha256, decision)
    title = champion.info.candidate if champion is not None and decision.outcome == "refreshed" else ""
    entry = _entry(night, fits, field, decision=decision, evidence=evidence)
    entry = dataclasses.replace(entry, title=title, read_row=reading.row, ledger=mark)
    return Verdict(decision=decision, evidence=evidence, entry=entry)


def policy_of(night: Night) -> Policy:
    """What the problem lets the gate do."""
    return Policy(alpha=night.problem.alpha, allow_partial=night.problem.allow_partial)


def family_of(problem: Problem, snapshot: Snapshot, frame: pd.DataFrame) -> Family:
    """What a read of tonight's gate counts with. frame: columns ``session, window``."""
    term = term_of(pd.Timestamp(frame.loc[frame["window"] == "gate", "session"].max()))
    return Family(
        problem=problem.name,
        predicts=problem.predicts,
        symbols=frozenset(snapshot.symbols),
        series=fingerprints(read_parquet(snapshot.bars, BARS), term),
        term=term,
    )


def why_not_comparable(champion: ChampionInfo, night: Night) -> str:
    """Why the champion's registered fit cannot be scored on tonight's gate rows, or nothing."""
    if champion.predicts and champion.predicts != night.problem.predicts:
        return f"it predicts {champion.predicts}, tonight's problem {night.problem.predicts}; give it another name"
    first = next(window.first for window in night.rows.windows if window.name == "gate")
    end = champion.gated_training_end
    if not end:
        return "its entry does not say how far its gated fit had learned"
    if pd.Timestamp(end) >= pd.Timestamp(first):
        return f"its gated fit learned from bars up to {end}, and the gate starts at {first}"
    return ""


def _baselines(board: Leaderboard) -> list[str]:
    """Tonight's baselines, best first: a champion that is a baseline's recipe is judged as the champion."""
    return [s.candidate for s in board.scores if s.engine == "baseline" and s.candidate != CHAMPION]


def _unranked(night: Night) -> list[str]:
    """Baselines that were found and fell out on the way: a challenger that they cannot meet has not beaten them all."""
    names = {c.name for result in night.results if result.engine == "baseline" for c in result.candidates}
    refused = night.leaderboard.refused
    return [f"baseline {name} is not ranked: {refused[name]}" for name in sorted(names & refused.keys())]


def _field(night: Night, fits: Fits, champion: ScoredChampion | None) -> _Field:
    frame = read_parquet(night.rows.ref, ROWS)
    board = night.leaderboard
    names = _baselines(board)
    return _Field(
        frame=frame,
        gate=GateRows.of(frame, night.rows.target),
        family=family_of(night.problem, night.snapshot, frame),
        challenger=_gated(night, fits, board.scores[0].candidate),
        baselines=tuple(_gated(night, fits, name) for name in names if name in fits.gated),
        champion=_champion(night, fits, champion),
    )


def _known(night: Night, fits: Fits, field: _Field, ledger: Ledger) -> Evidence:
    """The evidence before the challenger is scored."""
    ranked = _baselines(night.leaderboard)
    lost = [f"baseline {name} could not be fitted again" for name in ranked if name not in fits.gated]
    unasked = [] if fits.canary else ["the canary could not be fitted, so that nothing is known of leaks into the fit"]
    window = next((window for window in night.rows.windows if window.name == "gate"), None)
    best = next((name for name in ranked if name in fits.gated), "")
    foreseen, underpowered = conditions.foresight(night, field.challenger, best, len(field.gate.dates))
    return gather(
        field.gate,
        field.challenger,
        field.baselines,
        best,
        field.champion,
        required_dates=conditions.required_dates(night),
        effective=window.effective if window is not None else 0.0,
        required_effective=conditions.EFFECTIVE,
        partial=(*conditions.partial(night), *_unranked(night), *lost, *unasked),
        alarms=night.leaderboard.alarms,
        obstacles=conditions.data_obstacles(night),
        waivers=conditions.waivers(night),
        term=field.family.term.first,
        underpowered=underpowered,
        worth=conditions.worth(night, field.challenger.name),
        from_scratch=conditions.from_scratch(fits.gated[field.challenger.name]),
        notes=(*conditions.notes(night), *foreseen, *begun_anew(ledger, field.family.term.first)),
    )


def _reading(night: Night, field: _Field, known: Evidence, policy: Policy, ledger: Ledger) -> Reading:
    """A read of the gate, unless it could change nothing."""
    if known.alarms:
        return Reading(not_read="an alarm is raised")
    against = gates.obstacles(known, policy)
    if against:
        return Reading(not_read="; ".join(text.rstrip(".") for text in against))
    waiting = waits(ledger, night.problem, field.challenger.recipe_sha256)
    if waiting:
        return Reading(not_read=waiting)
    return ledger.spend(
        Asked(
            problem=night.problem.name,
            family=field.family,
            recipe=field.challenger.recipe_sha256,
            evidence=evidence_digest(field.gate, field.challenger, field.baselines, field.champion),
            dates=[str(day) for day in field.gate.dates.astype("datetime64[D]")],
            alpha=policy.alpha,
        )
    )


def _read(field: _Field, known: Evidence, reading: Reading) -> Evidence:
    if not reading.k:
        return dataclasses.replace(known, not_read=reading.not_read)
    return read_gate(
        known, field.gate, field.challenger, field.baselines, field.champion, read=reading.k, level=reading.level
    )


def _gated(night: Night, fits: Fits, name: str) -> GatedFit:
    fit = fits.gated.get(name)
    if fit is None:
        raise EngineError(
            f"{name} could not be fitted on the rows before the gate, so it cannot be judged: {'; '.join(fits.failed)}"
        )
    return GatedFit(
        name=name,
        engine=fit.engine,
        recipe_sha256=digest(fit.recipe),
        predictions=read_predictions(fit.predictions),
        smearing=night.leaderboard.smearing.get(name, math.nan),
    )


def _champion(night: Night, fits: Fits, scored: ScoredChampion | None) -> Champion | None:
    if scored is None:
        return None
    name = fits.named(scored.info.recipe_sha256)
    refitted = (
        _gated(night, fits, name) if name in fits.gated and scored.info.predicts == night.problem.predicts else None
    )
    own = scored.info.smearing
    return Champion(
        name=f"{scored.info.candidate} (version {scored.info.version})",
        recipe_sha256=scored.info.recipe_sha256,
        predictions=None if scored.predictions is None else read_predictions(scored.predictions),
        why=scored.why,
        smearing=own if math.isfinite(own) or refitted is None else refitted.smearing,
        refitted=refitted,
    )


def _entry(night: Night, fits: Fits, field: _Field, *, decision: Decision, evidence: Evidence) -> Entry:
    name = decision.promote or evidence.challenger
    gated, shipped = fits.gated[name], fits.shipped(name, night.problem.refit)
    one_fit = shipped.model == gated.model
    gated_end = training_end(field.frame, "fit_gate")
    return Entry(
        shipped=shipped,
        gated=gated,
        shipped_training_end=gated_end if one_fit else training_end(field.frame, "fit_all"),
        gated_training_end=gated_end,
        decision=decision,
        evidence=evidence,
        score=next((score for score in night.leaderboard.scores if score.candidate == name), None),
        gate_metrics=_gate_metrics(night, field, gated, evidence),
        distance=0.0
        if one_fit
        else distance(field.gate, *(read_predictions(fit.predictions) for fit in (shipped, gated))),
        smearing=night.leaderboard.smearing.get(name, math.nan),
        backtests=tuple(found for found in night.leaderboard.backtests if found.candidate == name),
    )


def _gate_metrics(night: Night, field: _Field, gated: Candidate, evidence: Evidence) -> tuple[tuple[str, float], ...]:
    """The gated fit's loss on the gate; nothing where the gate was not read for it."""
    if not evidence.read and gated.name not in (*evidence.gate_losses, evidence.refreshable):
        return ()
    losses = field.gate.losses(read_predictions(gated.predictions))
    return ((night.rows.target.loss, float(losses.mean())),)


def training_end(frame: pd.DataFrame, mask: str) -> str:
    """Close (ISO UTC) of the last bar that a fit had learned from, its labels included."""
    return str(frame.loc[frame[mask].astype(bool), "label_end"].max().isoformat())
