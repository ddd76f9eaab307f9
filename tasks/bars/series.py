"""What is wrong with a series as a whole, or with two rows of it: repeats, contradictions, holes, wrong bar size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.bars.panel import Panel
from tasks.bars.raw import PRICES, SYMBOL
from tasks.bars.stamps import Mask
from tasks.contracts import Finding, Severity

Rows = npt.NDArray[np.int64]

LONG_GAP = 252
ENOUGH = 20
HISTORY = 756


@dataclass(frozen=True, slots=True)
class Repeats:
    """Rows of one symbol and time after the first: equal to the row before, changed in the same file, or in another.

    ``same``, ``revised`` and ``disagreeing`` are positions of the later row; ``earlier`` the one it repeats.
    ``kept`` holds the last row of every symbol and time, sorted by symbol and time; ``superseded`` the others whose
    values differ from what follows them.
    """

    kept: Rows
    same: Rows
    revised: Rows
    disagreeing: Rows
    superseded: Rows
    earlier: dict[int, int]


def find_repeats(panel: Panel, good: Mask) -> Repeats:
    """Sort the good rows by symbol and time, and find what stands there more than once."""
    rows = np.flatnonzero(good)
    order = rows[np.lexsort((rows, panel.placed.close[rows], panel.code[rows]))]
    code, close = panel.code[order], panel.placed.close[order]
    again = np.r_[False, (code[1:] == code[:-1]) & (close[1:] == close[:-1])]
    at = np.flatnonzero(again)
    earlier, later = order[at - 1], order[at]
    columns = [panel.values(name) for name in (*PRICES, "volume")]
    equal = np.logical_and.reduce(
        [(v[earlier] == v[later]) | (np.isnan(v[earlier]) & np.isnan(v[later])) for v in columns]
    )
    across = panel.file[earlier] != panel.file[later]
    last = np.r_[~again[1:], True] if len(again) else again
    return Repeats(
        kept=order[last[: len(order)]],
        same=later[equal],
        revised=later[~equal & ~across],
        disagreeing=later[~equal & across],
        superseded=earlier[~equal & ~across],
        earlier=dict(zip(later.tolist(), earlier.tolist(), strict=True)),
    )


def repeat_findings(panel: Panel, repeats: Repeats, disagreement: Severity) -> list[Finding]:
    """One finding a repeated row, with what changed; ``disagreement`` is how bad it is that two files differ."""
    found = [
        panel.finding(at, "duplicate", "info", f"the same as row {_row(panel, repeats.earlier[at])}; used once")
        for at in repeats.same.tolist()
    ]
    found += [
        panel.finding(at, "conflicting-duplicate", "warning", _changes(panel, repeats.earlier[at], at))
        for at in repeats.revised.tolist()
    ]
    return found + [
        panel.finding(at, "files-disagree", disagreement, _changes(panel, repeats.earlier[at], at))
        for at in repeats.disagreeing.tolist()
    ]


def _row(panel: Panel, at: int) -> str:
    return f"{int(panel.row[at]):,} of {panel.file_name(at)}"


def _changes(panel: Panel, earlier: int, later: int) -> str:
    pairs = {name: (panel.values(name)[earlier], panel.values(name)[later]) for name in (*PRICES, "volume")}
    changed = [f"{name} {old:.15g} became {new:.15g}" for name, (old, new) in pairs.items() if old != new]
    return f"{', '.join(changed)} (row {_row(panel, earlier)})"


def hostile_symbols(panel: Panel) -> set[int]:
    """Codes of symbols that are no tickers: paths, formulas, quotes, control characters."""
    return {at for at in _codes(panel) if not SYMBOL.fullmatch(panel.raw.symbols[at])}


def empty_symbols(panel: Panel) -> set[int]:
    """Codes of symbols without a single whole row of prices, all of them empty: text in their place is told by row."""
    whole = np.logical_and.reduce([np.isfinite(panel.values(name)) for name in PRICES])
    whole[[cell.position for cell in panel.raw.cells]] = True
    return _codes(panel) - set(np.unique(panel.code[panel.live & whole]).tolist())


def _codes(panel: Panel) -> set[int]:
    return set(np.unique(panel.code[panel.live & (panel.code >= 0)]).tolist())


def constant_symbols(panel: Panel, kept: Rows) -> dict[int, str]:
    """Codes of symbols whose price never moves over at least 20 bars -> what to say."""
    code, starts = _groups(panel, kept)
    if not len(kept):
        return {}
    top = np.maximum.reduceat(panel.values("high")[kept], starts)
    bottom = np.minimum.reduceat(panel.values("low")[kept], starts)
    lengths = np.diff(np.r_[starts, len(kept)])
    still = (top == bottom) & (lengths >= ENOUGH)
    return {
        int(code[at]): f"every price of {lengths[i]:,} bars is {bottom[i]:.15g}"
        for i, at in zip(np.flatnonzero(still), starts[still], strict=True)
    }


def long_gaps(panel: Panel, kept: Rows) -> dict[int, tuple[int, str]]:
    """Codes of symbols with more than 252 sessions without a bar: a ticker that changed hands, or a hole.

    Given are the row after the first such hole, and what to say.
    """
    code = panel.code[kept]
    position = np.searchsorted(panel.sessions.labels, panel.placed.session[kept])
    missing = np.diff(position) - 1
    holes = np.flatnonzero((code[1:] == code[:-1]) & (missing > LONG_GAP))
    day = panel.placed.session[kept].astype("datetime64[D]")
    return {
        int(code[at]): (
            int(kept[at + 1]),
            f"{missing[at]:,} sessions without a bar between {day[at]} and {day[at + 1]}",
        )
        for at in holes[::-1].tolist()
    }


def wrong_bar_size(panel: Panel, kept: Rows) -> str:
    """What to say if the bars are evidently of another size than declared; empty if they are not.

    Intraday: starts within a session less than a bar apart (more than 1 % of them), or hardly ever as near as a bar.
    Daily: hardly ever two sessions in a row.
    """
    code, session, bar = panel.code[kept], panel.placed.session[kept], panel.description.bar
    if panel.description.daily:
        position = np.searchsorted(panel.sessions.labels, session)
        steps = np.diff(position)[code[1:] == code[:-1]]
        if len(steps) >= ENOUGH and np.quantile(steps, 0.05) > 1:
            return f"bar {bar} is declared, but bars are {int(np.median(steps))} sessions apart (median)"
        return ""
    near = (code[1:] == code[:-1]) & (session[1:] == session[:-1])
    minutes = np.diff(panel.placed.start[kept])[near] / np.timedelta64(1, "m")
    due = panel.description.step.total_seconds() / 60
    if len(minutes) >= ENOUGH and (np.mean(minutes < due) > 0.01 or np.quantile(minutes, 0.05) > due):
        return f"bar {bar} is declared, but bars are {np.median(minutes):g} minutes apart (median)"
    return ""


def disorder_findings(panel: Panel) -> list[Finding]:
    """One finding a file whose rows are not in time order within their symbol; they are sorted."""
    file, rows = panel.file, np.flatnonzero(panel.live & ~np.isnat(panel.placed.close))
    order = rows[np.lexsort((rows, panel.code[rows], file[rows]))]
    same = (panel.code[order][1:] == panel.code[order][:-1]) & (file[order][1:] == file[order][:-1])
    back = np.flatnonzero(same & (panel.placed.close[order][1:] < panel.placed.close[order][:-1]))
    counts = np.bincount(file[order][back], minlength=len(panel.raw.files))
    first = {int(file[order[at]]): int(order[at + 1]) for at in back[::-1].tolist()}
    return [
        panel.finding(at, "out-of-order", "info", f"{counts[number]:,} rows come before an earlier one; sorted")
        for number, at in sorted(first.items())
    ]


def short_histories(panel: Panel, kept: Rows) -> list[Finding]:
    """Symbols with fewer bars than the longest lookback of a feature: they will hardly ever have a whole row."""
    _, starts = _groups(panel, kept)
    lengths = np.diff(np.r_[starts, len(kept)])
    return [
        Finding(
            rule="short-history",
            severity="warning",
            symbol=panel.symbol(int(kept[at])),
            detail=f"{length:,} bars; the longest feature looks back over {HISTORY}",
        )
        for at, length in zip(starts.tolist(), lengths.tolist(), strict=True)
        if length < HISTORY
    ]


def _groups(panel: Panel, kept: Rows) -> tuple[npt.NDArray[np.int32], Rows]:
    """The symbol code of each kept row, and where each symbol's rows begin."""
    code = panel.code[kept]
    return code, np.flatnonzero(np.r_[True, code[1:] != code[:-1]]) if len(kept) else np.array([], dtype=np.int64)
