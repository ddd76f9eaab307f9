"""What a registered version says about itself: tags for machines, markdown for people. Pure text, no MLflow."""

from __future__ import annotations

import json
import math

from tasks.evaluation import Decision, GateComparison
from tasks.registry.bundle import entry_evidence, recipe_digest
from tasks.registry.records import Entry, Night
from tasks.storage import lock_digest, sha256_json


def outcome(entry: Entry) -> str:
    """What became of this entry: the decision's outcome if it takes the alias, else that it was not promoted."""
    if entry.decision.promote == entry.gated.name:
        return entry.decision.outcome
    return "quarantined" if entry.decision.outcome == "quarantined" else "not promoted"


def version_tags(night: Night, entry: Entry, gated_uri: str) -> dict[str, str]:
    """Tags of a registered version: identity, decision, evidence, and what degraded the night."""
    evidence = entry.evidence
    tags = {
        "candidate": entry.gated.name,
        "engine": entry.gated.engine,
        "target": f"{night.rows.target.name}, {night.rows.target.horizon} ahead",
        "recipe_sha256": recipe_digest(entry.gated),
        "problem_sha256": night.problem.digest(),
        "predicts": night.problem.predicts,
        "symbols": json.dumps(night.snapshot.symbols),
        "snapshot_sha256": night.snapshot.sha256,
        "lock_sha256": lock_digest(),
        "code_version": night.code_version,
        "training_end": entry.shipped_training_end,
        "gated_training_end": entry.gated_training_end,
        "gated_uri": gated_uri,
        "refit": "none" if entry.one_fit else "through_gate",
        "outcome": outcome(entry),
        "decision": entry.decision.outcome,
        "reasons": json.dumps(entry.decision.reasons),
        "evidence_sha256": sha256_json(entry_evidence(entry)),
        "reproducible": str(entry.gated.reproducible and entry.shipped.reproducible).lower(),
        "owner": night.problem.owner,
        "degraded": json.dumps([*(evidence.partial if evidence else ()), *(evidence.alarms if evidence else ())]),
        "notes": json.dumps([*night.notes, *entry.notes, *entry.shipped.notes]),
    }
    if math.isfinite(entry.distance):
        tags["distance_from_gated_fit"] = repr(entry.distance)
    tags |= {f"gate.{name}": repr(value) for name, value in entry.gate_metrics}
    return {name: value for name, value in tags.items() if value}


def description(night: Night, entry: Entry) -> str:
    """The registry entry's page, in markdown."""
    target, snapshot = night.rows.target, night.snapshot
    parts = [
        f"# {night.problem.name}: {entry.gated.name}",
        f"Predicts {target.name} over the next {target.horizon} bar(s) of {snapshot.bar} from raw bars "
        f"({_symbols(snapshot.symbols)}, {snapshot.first[:10]} to {snapshot.last[:10]}). Engine: {entry.gated.engine}."
        + (f" Owner: {night.problem.owner}." if night.problem.owner else ""),
        _decision(entry.decision, outcome(entry)),
        _fits(entry),
        _comparisons(entry.evidence.comparisons if entry.evidence else ()),
        _list("Degraded", [*(entry.evidence.partial if entry.evidence else ()), *night.notes, *entry.notes]),
        "```python\nimport mlflow\n\n"
        f'model = mlflow.pyfunc.load_model("models:/{night.problem.name}@champion")\n'
        "model.predict(bars)  # [symbol], time, open, high, low, close, volume\n```",
    ]
    return "\n\n".join(part for part in parts if part)


def _decision(decision: Decision, result: str) -> str:
    return _list(f"Decision: {result} (the night: {decision.outcome})", list(decision.reasons))


def _fits(entry: Entry) -> str:
    if entry.one_fit:
        return f"This is the gated fit itself, fitted through {entry.gated_training_end}."
    distance = f" On the gate rows it differs from it by {entry.distance:.3g} (RMS)." * math.isfinite(entry.distance)
    return (
        f"The gated recipe, refitted through {entry.shipped_training_end}. **It was not itself gated**: the evidence "
        f"below is that of the fit through {entry.gated_training_end}.{distance}"
    )


def _comparisons(comparisons: tuple[GateComparison, ...]) -> str:
    if not comparisons:
        return ""
    head = "| rival | role | rival's loss | challenger's loss | p (one-sided) | dates |\n|---|---|---|---|---|---|"
    rows = [
        f"| {item.rival} | {item.role} | {item.rival_loss:.6g} | {item.challenger_loss:.6g} | {item.p_value:.3g} "
        f"| {item.dates} |"
        for item in comparisons
    ]
    return "\n".join(["## Gate window", "", head, *rows])


def _symbols(symbols: tuple[str, ...]) -> str:
    return ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")


def _list(title: str, items: list[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {item}" for item in items)]) if items else ""
