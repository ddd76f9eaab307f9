"""What a registered version says about itself: tags for machines, markdown for people. Pure text, no MLflow."""

from __future__ import annotations

import json
import math

from tasks.documents import digest
from tasks.evaluation import Backtest, Decision, Evidence, GateComparison
from tasks.registry import reasons
from tasks.registry.bundle import entry_evidence
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
        "candidate": entry.name,
        "engine": entry.gated.engine,
        "target": f"{night.rows.target.name}, {night.rows.target.horizon} ahead",
        "recipe_sha256": digest(entry.gated.recipe),
        "problem_sha256": night.problem.digest(),
        "predicts": night.problem.predicts,
        "symbols": json.dumps(night.snapshot.symbols),
        "snapshot_sha256": night.snapshot.sha256,
        "survivorship_biased": "true" if night.snapshot.survivors_only else "",
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
        **(_gate_tags(evidence) if evidence else {}),
        **_ledger_tags(entry),
    }
    if math.isfinite(entry.smearing):
        tags["smearing"] = repr(entry.smearing)
    if math.isfinite(entry.distance):
        tags["distance_from_gated_fit"] = repr(entry.distance)
    tags |= {f"gate.{name}": repr(value) for name, value in entry.gate_metrics}
    return {name: value for name, value in tags.items() if value}


def _ledger_tags(entry: Entry) -> dict[str, str]:
    """What the night left in the ledger: a registry that knows of it tells a ledger that was lost."""
    mark = entry.ledger
    return {
        "ledger_row": "" if mark is None else str(mark.row),
        "ledger_sha256": "" if mark is None else mark.sha256,
        "ledger_read": str(entry.read_row) if entry.read_row else "",
    }


def _gate_tags(evidence: Evidence) -> dict[str, str]:
    """Which read of the gate the decision rests on, what was waived, and the licence to refresh."""
    licence = evidence.licence
    return {
        "gate_term": evidence.term,
        "gate_read": str(evidence.read),
        "gate_level": repr(evidence.level) if evidence.read else "",
        "gate_not_read": evidence.not_read[:4000],
        "gate_effective": f"{evidence.effective:.1f}" if evidence.effective else "",
        "licence": "" if licence is None else ("granted" if licence.granted else "refused"),
        "licence_upper": "" if licence is None or math.isnan(licence.upper) else repr(licence.upper),
        "alarms": json.dumps(evidence.alarms) if evidence.alarms else "",
        "waivers": json.dumps(evidence.waivers) if evidence.waivers else "",
    }


def description(night: Night, entry: Entry) -> str:
    """The registry entry's page, in markdown."""
    target, snapshot = night.rows.target, night.snapshot
    parts = [
        f"# {night.problem.name}: {entry.name}",
        f"Predicts {target.name} over the next {target.horizon} bar(s) of {snapshot.bar} from raw bars "
        f"({_symbols(snapshot.symbols)}, {snapshot.first[:10]} to {snapshot.last[:10]}). Engine: {entry.gated.engine}."
        + (f" Owner: {night.problem.owner}." if night.problem.owner else ""),
        _decision(entry.decision, outcome(entry)),
        _fits(entry),
        *(_evidence(entry.evidence) if entry.evidence else ()),
        _backtests(entry.backtests),
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


def _evidence(evidence: Evidence) -> tuple[str, ...]:
    licence = "" if evidence.licence is None else f"## Refresh\n\n{reasons.licence(evidence.licence)}"
    return (
        _comparisons(evidence),
        licence,
        _list("Alarms", list(evidence.alarms)),
        _list("Waived", list(evidence.waivers)),
    )


def _comparisons(evidence: Evidence) -> str:
    if not evidence.comparisons:
        return ""
    lead = f"Read {evidence.read} of the gate in the term from {evidence.term}, each test at {evidence.level:.3g}."
    head = (
        "| rival | role | rival's loss | challenger's loss | p (one-sided) | dates | Clark-West p | HLN p | QLIKE p |"
        "\n|---|---|---|---|---|---|---|---|---|"
    )
    return "\n".join(["## Gate window", "", lead, "", head, *map(_comparison, evidence.comparisons)])


def _comparison(item: GateComparison) -> str:
    figures = [item.p_value, item.clark_west_p, item.hln_p, item.qlike_worse_p]
    p, clark_west, hln, qlike = (_shown(value, ".3g") for value in figures)
    return (
        f"| {item.rival} | {item.role} | {item.rival_loss:.6g} | {item.challenger_loss:.6g} | {p} | {item.dates} "
        f"| {clark_west} | {hln} | {qlike} |"
    )


def _backtests(found: tuple[Backtest, ...]) -> str:
    if not found:
        return ""
    head = (
        "| rows | rule | annual return over cash | Sharpe | deflated Sharpe | maximum drawdown | turnover |"
        "\n|---|---|---|---|---|---|---|"
    )
    rows = [
        f"| {item.rows} | {item.rule} | {_shown(item.excess_return, '.2%')} | {_shown(item.sharpe, '.2f')} "
        f"| {_shown(item.deflated_sharpe, '.2f')} | {_shown(item.max_drawdown, '.1%')} "
        f"| {_shown(item.turnover, '.1f')} |" + f" Illustrative: {item.illustrative}" * bool(item.illustrative)
        for item in found
    ]
    return "\n".join(["## After costs", "", head, *rows])


def _shown(value: float, form: str) -> str:
    """A figure, or nothing where there is none."""
    return "" if math.isnan(value) else format(value, form)


def _symbols(symbols: tuple[str, ...]) -> str:
    return ", ".join(symbols[:5]) + (f" and {len(symbols) - 5} more" if len(symbols) > 5 else "")


def _list(title: str, items: list[str]) -> str:
    return "\n".join([f"## {title}", "", *(f"- {item}" for item in items)]) if items else ""
