"""The night as one JSON document: what ``nocturne run --json`` prints and what a run's record keeps.

Plain values only; names are the contracts'. NaN and infinity, which JSON does not have, become null.
"""

from __future__ import annotations

import math
from typing import Any

from tasks.documents import digest, to_json
from tasks.evaluation import Score
from tasks.report import histories, transfers, words
from tasks.report.facts import (
    Facts,
    alerts,
    best_baseline,
    comparisons,
    gate_loss,
    hardest_p,
    is_reproducible,
    level,
    ranked,
    tear_sheet,
)


def document(facts: Facts) -> dict[str, Any]:
    """The night's document. ``partial``: a person must know that a result is missing; ``whole``: nothing at all is."""
    shown = {
        "run_id": facts.run_id,
        "problem": facts.problem.get("name", ""),
        "question": words.question(facts),
        "started": facts.started,
        "snapshot": _snapshot(facts),
        "windows": to_json(facts.rows.windows),
        "leaderboard": [_score(facts, score) for score in ranked(facts)],
        "leaderboard_sha256": facts.leaderboard.sha256,
        "ranking": {
            "rows": facts.leaderboard.rows,
            "dates": facts.leaderboard.dates,
            "folds": to_json(facts.rows.folds),
            "not_refitted": facts.leaderboard.not_refitted,
            "statistics": to_json(facts.leaderboard.statistics),
            "alarms": list(facts.leaderboard.alarms),
        },
        "transfers": {
            "said": transfers.said(facts),
            "lines": [{**to_json(row["worth"]), "gain": row["gain"].value} for row in transfers.lines(facts)],
            "groups": to_json(facts.leaderboard.carried),
        },
        "backtests": [to_json(test) for test in facts.leaderboard.backtests],
        "gate_backtests": [to_json(test) for test in facts.gate_backtests],
        "event_driven": [{**to_json(item), "said": words.event_driven(item)} for item in facts.event_driven],
        "tear_sheet": tear_sheet(facts),
        "other_histories": {"skills": list(facts.other_histories), "said": histories.said(facts)},
        "best_baseline": getattr(best_baseline(facts), "candidate", ""),
        "decision": _decision(facts),
        "gate": [{**to_json(item), "verdict": _verdict(facts, item)} for item in comparisons(facts)],
        "reading": _reading(facts),
        "engines": [_engine(result) for result in facts.engines],
        "alerts": to_json(alerts(facts)),
        "partial": any(alert.level == "bad" for alert in alerts(facts)),
        "whole": facts.whole and not (facts.evidence and facts.evidence.partial),
        "reproducible": all(is_reproducible(result) for result in facts.engines),
        "model_uri": facts.model_uri,
        "tracking_uri": facts.tracking_uri,
        "run_url": facts.run_url,
        "report": facts.report,
        "unit": words.unit(facts),
        "snippet": words.snippet(facts),
        "seconds": facts.seconds,
        "engine_seconds": facts.engine_seconds,
        "resources": to_json(facts.resources),
        "grown_mb": round(facts.grown_mb, 3),
    }
    return dict(_finite(shown))


def _snapshot(facts: Facts) -> dict[str, Any]:
    snapshot = facts.snapshot
    return {
        "sha256": snapshot.sha256,
        "rows": snapshot.bars.rows,
        "symbols": list(snapshot.symbols),
        "first": snapshot.first,
        "last": snapshot.last,
        "quarantined": list(snapshot.quarantined),
        "warnings": [*snapshot.warnings, *facts.rows.warnings],
    }


def _score(facts: Facts, score: Score) -> dict[str, Any]:
    entry: dict[str, Any] = to_json(score)
    candidate = words.searched(facts, score.candidate)
    return {
        **entry,
        "recipe_sha256": digest(candidate.recipe) if candidate else "",
        "kept_since": candidate.night if candidate else "",
        "standing": list(words.standing(facts, score)),
        "hardest_p": hardest_p(score, facts),
        "gate_loss": gate_loss(facts, score.candidate),
    }


def _decision(facts: Facts) -> dict[str, Any]:
    decision = facts.decision
    return {
        "outcome": decision.outcome,
        "headline": words.headline(facts),
        "candidate": decision.promote or (facts.evidence.challenger if facts.evidence else ""),
        "promoted": bool(decision.promote),
        "version": facts.version,
        "champion_version": facts.champion_version,
        "reasons": list(decision.reasons),
    }


def _engine(result: Any) -> dict[str, Any]:
    return {
        "engine": result.engine,
        "status": words.engine_status(result),
        "candidates": len(result.candidates),
        "error": result.error,
        "notes": list(result.notes),
    }


def _verdict(facts: Facts, item: Any) -> str:
    return words.verdict(item, level(facts))


def _reading(facts: Facts) -> dict[str, Any]:
    """Which read of the gate this was, what was scored on it, and whether the champion may be refreshed."""
    evidence = facts.evidence
    if evidence is None:
        return {}
    return {
        "challenger": evidence.challenger,
        "read": evidence.read,
        "level": evidence.level,
        "term": evidence.term,
        "dates": evidence.dates,
        "effective": evidence.effective,
        "not_read": evidence.not_read,
        "said": words.reading(evidence),
        "losses": evidence.gate_losses,
        "licence": words.licence(evidence),
        "waivers": list(evidence.waivers),
    }


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
