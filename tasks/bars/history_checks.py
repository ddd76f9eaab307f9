"""Hold the accepted bars against their own history, and act on what that shows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tasks.bars.actions import CorporateAction
from tasks.bars.adjusted import adjusted
from tasks.bars.defects.history import History, history
from tasks.bars.defects.table import HOLES, LOOK_AHEAD, RULES, Named, look
from tasks.bars.panel import Panel, canonical, iso
from tasks.bars.series import Rows
from tasks.bars.verdict import SOURCE_LIMIT, Verdict, leave_out, symbols
from tasks.contracts import Finding, Severity

SAID = {rule.name for rule in (*HOLES, *RULES)} - {"repeated-opens"}
"""Rules whose warnings the summary counts; opens have a sentence of their own."""


def judge_history(panel: Panel, kept: Rows, verdict: Verdict) -> Rows:
    """The rows that remain once those that show the future are set aside; quarantines what the rest shows."""
    whole = _history(panel, kept, ())
    early = look(whole, (LOOK_AHEAD,))
    found = early + look(whole, HOLES)
    gone = np.isin(np.arange(len(kept)), [named.defect.at for named in early])
    rest = kept[~gone]
    later = look(_history(panel, rest, panel.actions), RULES) if len(rest) else []
    _act(panel, verdict, [(int(kept[n.defect.at]), n) for n in found] + [(int(rest[n.defect.at]), n) for n in later])
    return rest


def _history(panel: Panel, rows: Rows, actions: Sequence[CorporateAction]) -> History:
    """As quoted, where bars are held against equal ones; with known splits applied, where prices must not jump."""
    frame = adjusted(canonical(panel, rows), actions)
    return history(frame, panel.sessions, panel.description, panel.raw.has_volume)


def _finding(panel: Panel, at: int, named: Named, severity: Severity) -> Finding:
    if named.defect.shared:
        return Finding(rule=named.rule, severity=severity, time=iso(panel.stamps[at]), detail=named.defect.detail)
    return panel.finding(at, named.rule, severity, named.defect.detail)


def _act(panel: Panel, verdict: Verdict, found: list[tuple[int, Named]]) -> None:
    acted = [(at, named) for at, named in found if named.severity in ("set_aside", "quarantined")]
    bad, total = sum(named.defect.rows for _, named in acted), int(panel.live.sum())
    alone = symbols(panel) == 1
    refused = bool(acted) and (alone or bad > SOURCE_LIMIT * total)
    if refused and alone:
        verdict.refused = f"its only symbol breaks the rule {acted[0][1].rule}."
    elif refused:
        verdict.refused = f"{bad:,} wrong rows of {total:,} ({bad / total:.2%}; 1 % is the limit)."
    for at, named in found:
        severity: Severity = "refused" if refused and named.severity in ("set_aside", "quarantined") else named.severity
        verdict.findings.append(_finding(panel, at, named, severity))
        if named.severity == "quarantined":
            leave_out(verdict, int(panel.code[at]), panel.placed.session[at])
