"""What the checks find in real data sets: ``python -m tests.bars.survey [name ...]`` prints one block a data set.

``--table`` prints a line each instead: rows, symbols, rows used, symbols quarantined, findings by rule.

The data lies below ``NOCTURNE_TEST_DATA``. Every file is read as its owner published it; where a format must be
translated first (archives without a header, a date in the file's name), values and order stay as they are.
"""

from __future__ import annotations

import logging
import os
import shutil
import sys
import tempfile
import textwrap
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasks.bars.check import check_bars
from tasks.bars.describe import SourceDescription
from tasks.bars.read import read_source
from tasks.bars.refusal import BarsRefusedError
from tasks.contracts import Finding
from tests.bars.survey_sources import sources

NOW = pd.Timestamp("2026-10-01T00:00:00Z")
QUIET = {"renamed-column", "unknown-column", "no-header", "byte-order-mark", "short-history", "out-of-order"}
EXAMPLES = 3
PROJECT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Surveyed:
    """What one data set holds and what was found in it; ``accepted`` is 0 where it was refused."""

    name: str
    rows: int
    symbols: int
    accepted: int
    quarantined: dict[str, str]
    findings: tuple[Finding, ...]
    seconds: float

    def counts(self) -> dict[str, int]:
        """Findings by rule, those about the file's layout left out."""
        return dict(Counter(f.rule for f in self.findings if f.rule not in QUIET))


def survey(name: str, description: SourceDescription) -> Surveyed:
    """Read and check one source; a refusal is a result."""
    began = time.process_time()
    raw = read_source(description)
    accepted, quarantined = 0, {}
    try:
        checked = check_bars(raw, description, NOW)
        findings = checked.findings
        accepted = len(checked.frame)
        quarantined = {symbol: checked.quarantined_from.get(symbol, "") for symbol in checked.quarantined}
    except BarsRefusedError as error:
        findings = error.findings
    seconds = time.process_time() - began
    return Surveyed(name, len(raw.frame), len(raw.symbols), accepted, quarantined, findings, seconds)


def survey_all(data: Path, names: list[str]) -> Iterator[Surveyed]:
    """Every data set below a folder, or those whose names begin with one of ``names``."""
    with tempfile.TemporaryDirectory() as scratch:
        for source in sources(data, Path(scratch)):
            if not names or source.name.startswith(tuple(names)):
                yield survey(source.name, source.describe())


def lines_of(result: Surveyed, width: int) -> list[str]:
    """A block for the terminal: a headline, then a line a rule and its first examples."""
    used = f"{result.accepted:,} used" if result.accepted else "refused"
    noun = "symbol" if result.symbols == 1 else "symbols"
    lines = [f"{result.name}: {result.rows:,} rows, {result.symbols:,} {noun}, {used} ({result.seconds:.1f} s)"]
    if not result.counts():
        lines.append("  nothing")
    for rule, count in sorted(result.counts().items(), key=lambda item: -item[1]):
        found = [f for f in result.findings if f.rule == rule]
        worst = Counter(f.severity.replace("_", " ") for f in found)
        how = ", ".join(name if len(worst) == 1 else f"{name} {n:,}" for name, n in worst.items())
        lines.append(f"  {rule}: {count:,} ({how})")
        lines += [f"    {textwrap.shorten(example(f), width - 4, placeholder=' …')}" for f in _spread(found)]
    since = ", ".join(f"{symbol} {day}".strip() for symbol, day in result.quarantined.items())
    if since:
        lines += textwrap.wrap(f"quarantined from: {since}", width, initial_indent="  ", subsequent_indent="    ")
    return lines


def row_of(result: Surveyed, width: int) -> list[str]:
    """One line a data set, wrapped: rows, symbols, rows used, symbols quarantined, findings by rule."""
    counts = sorted(result.counts().items(), key=lambda item: -item[1])
    found = ", ".join(f"{rule} {count:,}" for rule, count in counts) or "nothing"
    used = f"{result.accepted:,}" if result.accepted else "refused"
    head = f"{result.name:29.29} {result.rows:>7,} {result.symbols:>3} {used:>7} {len(result.quarantined):>2} "
    return textwrap.wrap(found, width, initial_indent=head, subsequent_indent=" " * len(head))


def example(finding: Finding) -> str:
    """One finding without the file's name."""
    detail = finding.detail.split(": ", 1)[-1] if finding.row is not None else finding.detail
    return " ".join(part for part in (finding.symbol, finding.time[:10], detail) if part)


def _spread(found: list[Finding]) -> list[Finding]:
    """The first, the middle and the last."""
    if len(found) <= EXAMPLES:
        return found
    return [found[0], found[len(found) // 2], found[-1]]


def main() -> int:
    """Print the survey at the terminal's width, 80 to 120 columns."""
    logging.disable()
    data = Path(os.environ.get("NOCTURNE_TEST_DATA") or PROJECT.parent / "shared" / "data")
    if not data.is_dir():
        print(f"no market data at {data}: set NOCTURNE_TEST_DATA")
        return 2
    width = min(max(shutil.get_terminal_size((100, 24)).columns, 80), 120)
    total: Counter[str] = Counter()
    rows = 0
    names = [name for name in sys.argv[1:] if name != "--table"]
    render = row_of if len(names) < len(sys.argv[1:]) else lines_of
    for result in survey_all(data, names):
        print("\n".join(render(result, width)), flush=True)
        total.update(result.counts())
        rows += result.rows
    listed = ", ".join(f"{rule} {count:,}" for rule, count in total.most_common())
    print("\n".join(textwrap.wrap(f"{rows:,} rows in all: {listed}", width)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
