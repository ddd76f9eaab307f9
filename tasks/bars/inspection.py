"""What the checks find in a source, as a document: for people at a terminal and for scripts."""

from __future__ import annotations

from typing import Any

import pandas as pd

from tasks.bars.check import check_bars
from tasks.bars.describe import SourceDescription
from tasks.bars.read import read_source
from tasks.bars.refusal import BarsRefusedError
from tasks.contracts import Finding
from tasks.documents import to_json


def inspect(description: SourceDescription, now: pd.Timestamp | None = None) -> dict[str, Any]:
    """What the checks find, for people and scripts: rows, symbols, accepted, findings, quarantined.

    Bad data is reported, never raised; ``accepted`` is 0 if the source is refused. Raises ConfigurationError and
    SourceUnavailableError: those say nothing about the data.
    """
    rows = symbols = 0
    try:
        raw = read_source(description)
        rows, symbols = len(raw.frame) + len(raw.ragged), len(raw.symbols)
        checked = check_bars(raw, description, pd.Timestamp.now("UTC") if now is None else now)
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
