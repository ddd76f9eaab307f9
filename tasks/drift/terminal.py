"""The report in a terminal of 80 columns."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from tasks.drift import words
from tasks.drift.values import DriftReport

COLUMNS, NAME = 80, 30
MOST_ROWS = 6


def lines(report: DriftReport) -> Iterator[str]:
    """Headline, sentences, the columns nearest to their limits, notes and where the page is."""
    yield f"{words.clean(report.name, 40)} version {report.version}: {words.HEADLINES[report.state]}"
    for sentence in report.said:
        yield from _wrapped(f"- {sentence}")
    if report.columns:
        yield ""
        yield f"{'column':{NAME}}{'PSI':>8}{'limit':>8}{'KS':>8}{'limit':>8}{'of limit':>10}"
        for each in report.columns[:MOST_ROWS]:
            figures = (each.psi, each.psi_limit, each.ks, each.ks_limit)
            told = "".join(f"{words.figure(value):>8}" for value in figures)
            yield f"{words.clean(each.column, NAME - 1):{NAME}}{told}{words.share(each.ratio):>10}"
        if len(report.columns) > MOST_ROWS:
            yield f"… and {len(report.columns) - MOST_ROWS} more columns, further from their limits"
    for note in report.notes:
        yield from _wrapped(f"note: {note}")
    if "page" in report.files:
        yield f"page: {report.files['page']}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(words.clean(text, 1000), COLUMNS, subsequent_indent="  ", break_on_hyphens=False)
