"""What the checks find in a source, as a document: for people at a terminal and for scripts."""

from __future__ import annotations

from collections import Counter
from textwrap import wrap
from typing import Any

import pandas as pd

from tasks.bars.actions_store import ActionStore
from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import check_reading
from tasks.bars.refusal import SHOWN, BarsRefusedError
from tasks.bars.sources.reading import read_bars
from tasks.contracts import Finding
from tasks.documents import to_json

GRAVITY = ("refused", "quarantined", "set_aside", "warning", "info")


def inspect(description: SourceDescription, now: pd.Timestamp | None = None) -> dict[str, Any]:
    """What the checks find, for people and scripts: rows, symbols, accepted, findings, quarantined.

    Bad data is reported, never raised; ``accepted`` is 0 if the source is refused. Raises ConfigurationError and
    SourceUnavailableError: those say nothing about the data.
    """
    rows = symbols = 0
    moment = pd.Timestamp.now("UTC") if now is None else now
    try:
        reading = read_bars(description, moment)
        rows, symbols = len(reading.raw.frame) + len(reading.raw.ragged), len(reading.raw.symbols)
        checked, _ = check_reading(description, reading, ActionStore(description), moment)
    except BarsRefusedError as error:
        return _report(rows, symbols, 0, error.findings, ())
    return _report(rows, symbols, len(checked.frame), checked.findings, checked.quarantined)


def _report(
    rows: int, symbols: int, accepted: int, findings: tuple[Finding, ...], quarantined: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "rows": rows,
        "symbols": symbols,
        "accepted": accepted,
        "findings": [to_json(finding) for finding in findings],
        "quarantined": list(quarantined),
    }


def lines(document: dict[str, Any], width: int = 80) -> list[str]:
    """A report of ``inspect`` for the terminal: findings by rule, the gravest first, at most five examples of each.

    No line is longer than ``width``. A file's name is left out where all findings are of one file.
    """
    by_rule: dict[str, list[dict[str, Any]]] = {}
    for finding in document["findings"]:
        by_rule.setdefault(finding["rule"], []).append(finding)
    file = _one_file(document["findings"])
    told: list[str] = []
    for rule, found in sorted(by_rule.items(), key=lambda item: min(GRAVITY.index(f["severity"]) for f in item[1])):
        counts = Counter(finding["severity"].replace("_", " ") for finding in found)
        how = ", ".join(name if len(counts) == 1 else f"{name} {count:,}" for name, count in counts.items())
        told.append(f"{rule}: {len(found):,} ({how})")
        for finding in found[:SHOWN]:
            told += wrap(_told(finding, file), width, initial_indent="  ", subsequent_indent="    ")
        if len(found) > SHOWN:
            told.append(f"  … and {len(found) - SHOWN:,} more (--json lists them all)")
    quarantined = ", ".join(document["quarantined"])
    return told + (wrap(f"quarantined: {quarantined}", width, subsequent_indent="  ") if quarantined else [])


def _told(finding: dict[str, Any], file: str) -> str:
    row = "" if finding["row"] is None else f"row {finding['row']:,}"
    place = " ".join(part for part in (finding["symbol"], finding["time"][:10], row) if part)
    detail = str(finding["detail"]).removeprefix(file)
    return f"{place}: {detail}" if place else detail


def _one_file(findings: list[dict[str, Any]]) -> str:
    """What every finding about a row begins with, if they all name the same file; else nothing."""
    names = {str(finding["detail"]).split(": ", 1)[0] for finding in findings if finding["row"] is not None}
    return f"{names.pop()}: " if len(names) == 1 else ""
