"""What a registered version says about itself to machines: its tags. Pure text, no MLflow."""

from __future__ import annotations

import json
import math

from tasks.documents import digest
from tasks.evaluation import Evidence
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
