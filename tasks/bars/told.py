"""What the checks found, as Markdown for a person: a snapshot in five lines and its findings in a table."""

from __future__ import annotations

from typing import Any

from tasks.bars.refusal import printable
from tasks.contracts import Snapshot

SHOWN = 50


def markdown(snapshot: Snapshot, findings: list[dict[str, Any]]) -> str:
    """A page on a snapshot and what was found in its bars; at most fifty findings, and where all of them lie."""
    parts = [
        f"## {snapshot.bars.rows:,} bars of {_symbols(snapshot)}",
        f"{snapshot.first} to {snapshot.last}, {snapshot.sessions:,} sessions of {snapshot.calendar}, bars of "
        f"{snapshot.bar}. Snapshot `{snapshot.sha256[:16]}`.",
        "\n".join(f"- **{_cell(text)}**" for text in snapshot.warnings),
        _quarantine(snapshot),
        _counts(snapshot),
        _table(findings),
        f"All findings: `{snapshot.findings.path}`" if snapshot.findings and findings else "",
    ]
    return "\n\n".join(part for part in parts if part)


def _symbols(snapshot: Snapshot) -> str:
    named = ", ".join(snapshot.symbols[:5])
    return named if len(snapshot.symbols) <= 5 else f"{len(snapshot.symbols)} symbols ({named}, …)"


def _quarantine(snapshot: Snapshot) -> str:
    since = "".join(f"\n- {_cell(name)} from {day}" for name, day in snapshot.quarantined_from.items())
    return f"Left out (quarantine):\n{since}" if since else ""


def _counts(snapshot: Snapshot) -> str:
    if not snapshot.finding_counts:
        return "Nothing was found against these bars."
    rows = [f"| {_cell(rule)} | {count:,} |" for rule, count in snapshot.finding_counts.items()]
    return "\n".join(["| rule | findings |", "|---|---:|", *rows])


def _table(findings: list[dict[str, Any]]) -> str:
    if not findings:
        return ""
    head = ["| severity | rule | symbol | time | row | what |", "|---|---|---|---|---:|---|"]
    fields = ("severity", "rule", "symbol", "time", "row", "detail")
    rows = ["| " + " | ".join(_cell(found.get(field)) for field in fields) + " |" for found in findings[:SHOWN]]
    more = [f"\n… and {len(findings) - SHOWN:,} more."] if len(findings) > SHOWN else []
    return "\n".join([*head, *rows, *more])


def _cell(value: Any) -> str:
    """Text of a file in a table: one line, and nothing that Markdown or HTML would read as its own."""
    text = printable("" if value is None else str(value), 200)
    for mark in "\\|<>*_`[]":
        text = text.replace(mark, f"\\{mark}" if mark not in "<>" else {"<": "&lt;", ">": "&gt;"}[mark])
    return text
