"""What a night leaves to be told, as one frozen value: contracts and names, no frames.

``Facts`` survives JSON (``tasks.contracts.to_json`` and ``from_json``), so that the page, the terminal and the
artifacts tell the same story, and the terminal can tell it again from a file without running anything.
"""

from __future__ import annotations

from collections.abc import Container, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from tasks.contracts import Candidate, EngineResult, Ref, Rows, Snapshot
from tasks.evaluation import (
    CHAMPION,
    Backtest,
    Decision,
    Evidence,
    GateComparison,
    Leaderboard,
    Score,
    TransferWorth,
    ZiplineCheck,
)
from tasks.report.usage import StageUse


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """A candidate worth drawing: walked predictions are the leaderboard's, the gated fit's are in ``gate``.

    That file aligns with the snapshot's rows and has a column ``prediction``.
    """

    candidate: str
    role: Literal["leader", "baseline"]
    gate: Ref | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """One night: what was asked, on which bars, who competed, what was decided, and what it cost.

    ``problem`` is ``Problem.model_dump(mode="json")``. ``importance`` belongs to ``importance_of``. ``version`` is the
    registered version that this night made, ``champion_version`` and ``challenger_version`` those that hold the
    aliases after it; empty if none. ``run_url`` is a page of the tracking server, if it has any. ``tear_sheet`` is
    the page of the backtest and ``event_driven`` what Zipline said of it; ``gate_backtests`` are those on the gate
    window. ``other_histories`` are the skills of ridge on the paths of combinatorial purged cross-validation, which
    chose nothing. ``bars_needed`` is how many bars the champion takes for one prediction. ``whole`` says that every
    engine answered everything it was asked, refits included. ``seconds`` is wall time by stage, ``resources`` what each
    took of the machine (those that had ended when this was told), ``grown_mb`` by how much the state folder grew.
    """

    run_id: str
    problem: dict[str, Any]
    started: str
    snapshot: Snapshot
    rows: Rows
    leaderboard: Leaderboard
    decision: Decision
    evidence: Evidence | None = None
    engines: tuple[EngineResult, ...] = ()
    forecasts: tuple[Forecast, ...] = ()
    importance_of: str = ""
    importance: tuple[tuple[str, float], ...] = ()
    version: str = ""
    champion_version: str = ""
    challenger_version: str = ""
    model_uri: str = ""
    tracking_uri: str = ""
    run_url: str = ""
    report: str = ""
    tear_sheet: Ref | None = None
    event_driven: tuple[ZiplineCheck, ...] = ()
    gate_backtests: tuple[Backtest, ...] = ()
    other_histories: tuple[float, ...] = ()
    bars_needed: int = 0
    whole: bool = True
    seconds: dict[str, float] = field(default_factory=dict)
    engine_seconds: dict[str, float] = field(default_factory=dict)
    resources: dict[str, StageUse] = field(default_factory=dict)
    grown_mb: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Alert:
    """What a reader must not miss. ``bad``: a result is missing; ``warn``: a result is weaker than it looks."""

    level: Literal["bad", "warn"]
    title: str
    detail: str


def forecasts(board: Leaderboard, gated: Mapping[str, Candidate], scored: Container[str]) -> tuple[Forecast, ...]:
    """What the report draws: the leader and the best baseline, with their gated fits where those were scored.

    scored: who was scored on the gate. A picture of a fit that was not would be a read that nobody counts.
    """
    baselines = [entry.candidate for entry in board.scores if is_baseline(entry)]
    roles: dict[str, Literal["leader", "baseline"]] = {board.scores[0].candidate: "leader"}
    roles.setdefault(baselines[0], "baseline")
    return tuple(
        Forecast(candidate=name, role=role, gate=gated[name].predictions if name in gated and name in scored else None)
        for name, role in roles.items()
    )


def ranked(facts: Facts) -> tuple[Score, ...]:
    """The leaderboard's scores in the order of their ranks."""
    return tuple(sorted(facts.leaderboard.scores, key=lambda score: (score.rank, score.candidate)))


def best_baseline(facts: Facts) -> Score | None:
    """The baseline that skill is measured against: the one the evidence names, else the best ranked one."""
    baselines = [score for score in ranked(facts) if is_baseline(score)]
    named = facts.evidence.best_baseline if facts.evidence else ""
    return next((score for score in baselines if score.candidate == named), baselines[0] if baselines else None)


def chosen(facts: Facts) -> Score | None:
    """The candidate that was sent to the gate: the evidence's challenger, else the first of the leaderboard."""
    scores = ranked(facts)
    named = facts.evidence.challenger if facts.evidence else ""
    return next((score for score in scores if score.candidate == named), scores[0] if scores else None)


def comparisons(facts: Facts) -> tuple[GateComparison, ...]:
    """The gate's comparisons, champion first, then baselines by their loss."""
    found = facts.evidence.comparisons if facts.evidence else ()
    return tuple(sorted(found, key=lambda item: (item.role != "champion", item.rival_loss, item.rival)))


def hardest_rival(facts: Facts) -> GateComparison | None:
    """The rival that the challenger was least clearly better than on the gate window."""
    return max(comparisons(facts), key=lambda item: item.p_value, default=None)


def is_baseline(score: Score) -> bool:
    """Whether a candidate is one of tonight's baselines: the champion's recipe, walked again, is the champion's."""
    return score.engine == "baseline" and score.candidate != CHAMPION


def transfer_of(facts: Facts, name: str) -> TransferWorth | None:
    """What a candidate's transfer was worth; None where it transferred nothing, or where no control stood beside it."""
    return next((line for line in facts.leaderboard.transfers if line.candidate == name), None)


def hardest_p(score: Score, facts: Facts) -> float:
    """The largest p-value of a candidate against the baselines on the walk-forward rows; NaN where there is none."""
    baselines = {each.candidate for each in facts.leaderboard.scores if is_baseline(each)}
    found = [p for name, p in score.p_values.items() if name in baselines and name != score.candidate]
    return max(found, default=float("nan"))


def level(facts: Facts) -> float:
    """The significance that this night's read of the gate had, or the problem's where nothing was read."""
    if facts.evidence and facts.evidence.read:
        return facts.evidence.level
    return float(facts.problem.get("alpha", 0.05))


def tear_sheet(facts: Facts) -> str:
    """Where the page of the leader's backtest lies, beside the report; empty if there is none."""
    return facts.report.removesuffix(".html") + "-backtest.html" if facts.tear_sheet and facts.report else ""


def gate_loss(facts: Facts, name: str) -> float:
    """A candidate's mean loss on the gate, NaN where the gate was not read for it."""
    return facts.evidence.gate_losses.get(name, float("nan")) if facts.evidence else float("nan")


def has_champion(facts: Facts) -> bool:
    """Whether consumers have anything to pull after this night."""
    crowned = facts.decision.outcome in ("promoted", "refreshed", "baseline") and bool(facts.decision.promote)
    return crowned or bool(facts.evidence and facts.evidence.champion) or facts.decision.outcome == "unchanged"


def alerts(facts: Facts) -> tuple[Alert, ...]:
    """What degraded, worst first: failed engines, missing ones, partial evidence, irreproducible ones, quarantine."""
    found = [*_engine_alerts(facts), *_evidence_alerts(facts), *_transfer_alerts(facts), *_other_alerts(facts)]
    return tuple(sorted(dict.fromkeys(found), key=lambda alert: alert.level != "bad"))


def _engine_alerts(facts: Facts) -> list[Alert]:
    found = []
    for result in facts.engines:
        if result.error:
            found.append(Alert("bad", f"Engine {result.engine} failed", result.error))
        elif not result.candidates:
            found.append(Alert("bad", f"Engine {result.engine} returned no candidate", "; ".join(result.notes)))
        if not is_reproducible(result):
            detail = "; ".join(result.notes) or "the same seed may give another leaderboard"
            found.append(Alert("warn", f"Engine {result.engine} is not reproducible", detail))
    answered = {result.engine for result in facts.engines}
    missing = [engine for engine in facts.problem.get("engines", ()) if engine not in answered]
    return found + [Alert("bad", f"Engine {engine} was asked for and left no result", "") for engine in missing]


def is_reproducible(result: EngineResult) -> bool:
    """Whether the engine, and every candidate it returned, would come out the same again."""
    return result.reproducible and all(candidate.reproducible for candidate in result.candidates)


def _evidence_alerts(facts: Facts) -> list[Alert]:
    if facts.evidence is None:
        return []
    found = [Alert("bad", "Partial run", item) for item in facts.evidence.partial]
    found += [Alert("bad", "Alarm", item) for item in facts.evidence.alarms]
    if facts.evidence.champion_unscored:
        found.append(
            Alert("bad", "The champion could not be scored on the gate rows", facts.evidence.champion_unscored)
        )
    return found


def _transfer_alerts(facts: Facts) -> list[Alert]:
    """Transfers that hurt, and those of which nobody can tell."""
    found = [
        Alert(
            "warn",
            f"The transfer of {line.candidate} hurts",
            f"it did worse than the same without pre-training, {line.control}: one-sided p {line.hurts_p:.3g} on "
            f"{line.dates} dates; it is not promoted",
        )
        for line in facts.leaderboard.transfers
        if line.verdict == "hurts"
    ]
    pre_trained = {
        candidate.name
        for result in facts.engines
        for candidate in result.candidates
        if candidate.engine == "transfer" and candidate.recipe.get("backbone") != {}
    }
    unknown = {score.candidate: transfer_of(facts, score.candidate) for score in facts.leaderboard.scores}
    return found + [
        Alert(
            "warn",
            f"What the transfer of {name} was worth is not known",
            f"{line.note if line else 'the same without pre-training was not ranked beside it'}; it is not promoted",
        )
        for name, line in unknown.items()
        if name in pre_trained and (line is None or line.verdict == "not known")
    ]


def _other_alerts(facts: Facts) -> list[Alert]:
    found = [Alert("warn", "Warning", item) for item in facts.warnings]
    refused = facts.leaderboard.refused
    found += [Alert("warn", f"Candidate {name} was refused", reason) for name, reason in refused.items()]
    if facts.snapshot.quarantined:
        since = facts.snapshot.quarantined_from
        named = (f"{name} from {since[name]}" if name in since else name for name in facts.snapshot.quarantined)
        found.append(Alert("warn", "Symbols in quarantine", ", ".join(named)))
    if facts.snapshot.survivors_only:
        found.append(
            Alert(
                "warn",
                "Survivorship bias",
                "every symbol reaches the last session: those that vanished are missing, which flatters returns",
            )
        )
    return found
