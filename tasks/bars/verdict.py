"""What the checks have decided so far: findings, what is left out from when on, whether the source is refused."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from tasks.bars.panel import Panel
from tasks.bars.refusal import printable
from tasks.bars.series import Rows
from tasks.bars.stamps import Mask
from tasks.contracts import Finding, Severity

NEVER = np.datetime64("0001-01-01", "D")
SOURCE_LIMIT = 0.01


@dataclass(slots=True)
class Verdict:
    """``quarantined``: symbol code -> first session left out. ``refused``: why the source is, or empty."""

    findings: list[Finding] = field(default_factory=list)
    quarantined: dict[int, np.datetime64] = field(default_factory=dict)
    missing: list[str] = field(default_factory=list)
    refused: str = ""
    kept: Rows = field(default_factory=lambda: np.array([], dtype=np.int64))
    superseded: Rows = field(default_factory=lambda: np.array([], dtype=np.int64))

    def refuse(self, rule: str, why: str, detail: str) -> None:
        """Refuse the source; the first reason stays."""
        self.refused = self.refused or why
        self.findings.append(Finding(rule=rule, severity="refused", detail=detail))


def left_out(panel: Panel, verdict: Verdict) -> Mask:
    """Rows of quarantined symbols, from the session of the defect on."""
    since = np.full(len(panel.raw.symbols) + 1, np.datetime64("9999-12-31", "D"))
    for code, session in verdict.quarantined.items():
        since[code] = session
    day = np.where(np.isnat(panel.placed.session), panel.stamps, panel.placed.session).astype("datetime64[D]")
    late: Mask = np.isnat(day) | (day >= since[panel.code])
    return late & np.isin(panel.code, list(verdict.quarantined))


def still_in(panel: Panel, verdict: Verdict, rows: Rows) -> Rows:
    """Of some rows, those that no quarantine leaves out."""
    return rows[~left_out(panel, verdict)[rows]]


def quarantine(
    panel: Panel, verdict: Verdict, code: int, rule: str, detail: str, *, since: np.datetime64 = NEVER
) -> None:
    """Leave a symbol out from a session on (by default, altogether); before it, nothing changes."""
    symbol = printable(panel.raw.symbols[code], 64)
    leave_out(verdict, code, since)
    alone = symbols(panel) == 1
    severity: Severity = "refused" if alone else "quarantined"
    verdict.findings.append(Finding(rule=rule, severity=severity, symbol=symbol, detail=detail))
    if alone:
        verdict.refused = verdict.refused or f"its only symbol breaks the rule {rule}."


def leave_out(verdict: Verdict, code: int, since: np.datetime64) -> None:
    """Quarantine a symbol from a session on, or from an earlier one that was decided already."""
    day = since.astype("datetime64[D]")
    known = verdict.quarantined.get(code)
    verdict.quarantined[code] = day if known is None or day < known else known


def symbols(panel: Panel) -> int:
    """How many symbols the source holds, of those asked for."""
    return len(np.unique(panel.code[panel.live & (panel.code >= 0)]))


def first_session(panel: Panel, rows: Rows) -> np.datetime64:
    """The earliest day of some rows; before all time if none of them has one."""
    days = np.where(np.isnat(panel.placed.session[rows]), panel.stamps[rows], panel.placed.session[rows])
    days = days[~np.isnat(days)]
    return days.min() if len(days) else NEVER


def sessions_left_out(panel: Panel, verdict: Verdict) -> dict[str, str]:
    """Symbol -> first session left out. A symbol without a usable bar is left out from its first stamp on."""
    found = {}
    for code, since in sorted(verdict.quarantined.items()):
        first = first_session(panel, np.flatnonzero(panel.code == code)).astype("datetime64[D]")
        found[printable(panel.raw.symbols[code], 64)] = str(max(since, first)) if first > NEVER else ""
    return {symbol: since for symbol, since in found.items() if since}
