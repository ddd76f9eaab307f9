"""The report for Prefect's UI, which renders Markdown with HTML in it: text from outside is escaped for both."""

from __future__ import annotations

import html
import re

from tasks.drift import words
from tasks.drift.values import ColumnDrift, DriftReport

MOST_ROWS = 10
_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+.!|~-])")


def escaped(text: object, longest: int = 300) -> str:
    """Text that Markdown and HTML show as it is, on one line."""
    return html.escape(_SPECIAL.sub(r"\\\1", words.clean(text, longest)), quote=True)


def artifact(report: DriftReport) -> str:
    """Headline, sentences, the columns nearest to their limits, and what could not be watched."""
    parts = [
        f"## {escaped(words.HEADLINES[report.state])}",
        f"{escaped(report.name)} version {escaped(report.version)} ({escaped(report.candidate)}), "
        f"{report.sessions} sessions in service through {escaped(report.last)}",
        "\n".join(f"- {escaped(line, 600)}" for line in report.said),
    ]
    if report.columns:
        head = "| column | PSI | limit | KS | limit | of its limit |\n" + "|---" * 6 + "|"
        parts.append(head + "\n" + "\n".join(_row(each) for each in report.columns[:MOST_ROWS]))
    if report.notes:
        parts.append("\n".join(f"- {escaped(note, 600)}" for note in report.notes))
    return "\n\n".join(parts)


def _row(each: ColumnDrift) -> str:
    name = f"**{escaped(each.column)}**" if each.exceeds else escaped(each.column)
    figures = (each.psi, each.psi_limit, each.ks, each.ks_limit)
    return f"| {name} | " + " | ".join(words.figure(value) for value in figures) + f" | {words.share(each.ratio)} |"
