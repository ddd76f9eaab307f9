"""The rules a source can break, what to do about each, and the error that says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tasks.contracts import Finding
from tasks.errors import DataError

SHOWN = 5

REMEDIES: dict[str, str] = {
    "not-found": "Check the path; a folder needs .csv, .csv.gz or .parquet files directly in it.",
    "not-readable": "Give this user permission to read it.",
    "not-a-file": "Name a regular file, a folder or a glob; devices, pipes and sockets are never read.",
    "hostile-name": "Rename it to letters, digits and . _ - ^ = / : & only.",
    "outside-folder": "A folder or glob is read without following links out of it: name the file itself instead.",
    "empty-file": "Fetch the file again.",
    "no-rows": "Fetch the file again: it holds a header and nothing else.",
    "truncated": "The file was cut off or damaged: fetch it again.",
    "wrong-encoding": "Save the file as UTF-8.",
    "not-a-table": "The server's answer was stored instead of bars: fetch the file again.",
    "missing-column": "Add the column, or rename the one that holds it.",
    "naive-time": "Declare the zone with tz (--tz America/New_York) or write stamps with an offset.",
    "date-only": "Declare bar 1d, or give stamps with a time of day.",
    "ambiguous-date": "Write dates as YYYY-MM-DD.",
    "label-side": "Declare label start (--label start), or rename the column if it really holds the bar's end.",
    "unreadable-time": "Write stamps as ISO 8601 or as epoch numbers of one unit.",
    "mixed-time-unit": "Use one unit (seconds, milliseconds, microseconds or nanoseconds) in the whole file.",
    "clock-change": "Give stamps with an offset or in UTC: this local time happened twice or never.",
    "not-a-number": "Write plain numbers.",
    "decimal-comma": "Write decimals with a point.",
    "thousands-separator": "Write numbers without thousands separators.",
    "ragged-row": "Give every row as many cells as the header.",
    "missing-symbol": "Fill the symbol column in every row.",
    "missing-value": "Remove the row or fill it from the vendor; gaps are never filled here.",
    "infinite-value": "Remove the row or fetch it again.",
    "price-not-positive": "Remove the row, or declare negative_prices for an instrument that can go below zero.",
    "inconsistent-prices": "Fetch the row again: high must be the highest and low the lowest of the four.",
    "negative-volume": "Fetch the row again.",
    "off-session": "Check calendar, tz and label: the exchange was closed at that time.",
    "future": "Check tz and the time unit: the bar begins later than now.",
    "conflicting-duplicate": "Keep one row a symbol and time.",
    "files-disagree": "Keep one of the files, or make them agree.",
    "bar-size": "Declare the bar size that the file has.",
    "calendar-range": "Choose another calendar, or cut the data to what this one knows.",
    "constant": "Check the vendor's data for this symbol.",
    "all-missing": "Check the vendor's data for this symbol.",
    "long-gap": "A ticker that changed hands, or a hole: split the series, or fill the hole.",
    "symbol-missing": "Check the spelling against the source's symbols.",
    "broken-rows": "Mend the rows listed, or leave the symbol out.",
    "later-bar": "Fetch the rows again: they show the prices of a later session, which nobody knew then.",
    "gap": "Fill the hole from the vendor, or leave out what lies before it.",
    "same-series": "Keep one of the names.",
    "unit-error": "Fetch the rows again, or bring their prices to one unit.",
    "split": "Give split-adjusted prices, or name the split in a file of corporate actions (actions).",
    "wrong-split": "Give the ex-session, and how many shares one became (4 for 4:1).",
    "wrong-dividend": "Give the ex-session, and the cash a share as it was paid.",
    "spike": "Fetch the rows again: no neighbouring price supports them.",
    "frozen": "Remove the rows: nobody traded at these prices.",
    "vendor-silent": "Check at the vendor whether the symbol was delisted or renamed.",
    "nothing-left": "Mend what is listed; nothing usable remained.",
}


class BarsRefusedError(DataError):
    """A source that breaks a rule. ``findings`` holds all that was found; the message shows five of them."""

    def __init__(self, message: str, findings: Sequence[Finding] = ()) -> None:
        super().__init__(message)
        self.findings = tuple(findings)


def refusal(source: str, why: str, findings: Sequence[Finding]) -> BarsRefusedError:
    """The error for ``findings`` of which the refused ones are its cause: at most five shown, the rest counted."""
    causes = [f for f in findings if f.severity == "refused"]
    detailed = _varied([f for f in causes if f.row is not None] or causes)
    lines = [f"  {sentence(f)}" for f in detailed[:SHOWN]]
    if len(detailed) > SHOWN:
        lines.append(f"  … and {len(detailed) - SHOWN:,} more ({_counts(detailed)})")
    remedies = list(dict.fromkeys(REMEDIES[f.rule] for f in causes if f.rule in REMEDIES))
    return BarsRefusedError("\n".join([f"{printable(source, 200)} refused: {why}", *lines, *remedies[:3]]), findings)


def refuse_file(source: str, name: str, rule: str, detail: str, row: int | None = None) -> BarsRefusedError:
    """The error for a file that cannot be read at all."""
    finding = Finding(rule=rule, severity="refused", row=row, detail=f"{printable(name, 120)}: {detail}")
    return refusal(source, f"it breaks the rule {rule}.", [finding])


def sentence(finding: Finding) -> str:
    """One line that names row, symbol, time, rule, file and value, as far as the finding knows them."""
    row = "" if finding.row is None else f"row {finding.row:,}"
    where = ", ".join(part for part in (row, finding.symbol, finding.time) if part)
    return f"{where}: {finding.rule}: {finding.detail}" if where else f"{finding.rule}: {finding.detail}"


def printable(text: str, limit: int = 40) -> str:
    """Text from outside, safe to print: control and non-ASCII characters escaped, cut at ``limit`` characters."""
    escaped = text.encode("unicode_escape").decode("ascii")
    return escaped if len(escaped) <= limit else escaped[: limit - 1] + "…"


def _varied(findings: list[Finding]) -> list[Finding]:
    """The first of each rule, then the second of each, and so on: five examples show more than one rule."""
    seen: Counter[str] = Counter()
    ranked = []
    for at, finding in enumerate(findings):
        ranked.append((seen[finding.rule], at, finding))
        seen[finding.rule] += 1
    return [finding for _, _, finding in sorted(ranked, key=lambda item: item[:2])]


def _counts(findings: Sequence[Finding]) -> str:
    return ", ".join(f"{rule} {count:,}" for rule, count in sorted(Counter(f.rule for f in findings).items()))
