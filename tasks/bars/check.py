"""Judge raw bars: what is accepted, what is set aside, which symbols are quarantined, whether the source is refused.

1. Every row is placed in its session. Rows not asked for, after ``as_of`` or unfinished do not count further.
2. Symbols that are no tickers, or hold no price at all, are quarantined.
3. Row rules: in a panel a broken row is set aside; a symbol with more than 0.1 % of them is quarantined; above 1 % of
   all rows the source is refused. A source of one symbol with a broken row is refused.
4. Repeats: equal ones are used once, a later one in the same file revises the earlier, files that disagree quarantine
   the symbol.
5. Series: constant ones and those with a hole of a year are quarantined; a wrong bar size refuses the source.
6. History (``defects/table.py``): bars that show a later session's prices are set aside, then every series is held
   against itself, its neighbours and the calendar.

Quarantine acts from the session of the defect on: the symbol's bars before it stay, whatever is found out later. A
source of one symbol is refused instead, and so is one in which more than 1 % of all rows are broken or quarantined for.
Nothing is repaired and nothing is written here.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from tasks.bars.actions import CorporateAction
from tasks.bars.describe import SourceDescription
from tasks.bars.facts import never_closes, opens_warning
from tasks.bars.history_checks import SAID, judge_history
from tasks.bars.panel import Panel, build_panel, canonical
from tasks.bars.raw import RawBars
from tasks.bars.refusal import printable, refusal
from tasks.bars.rules import RowRule, row_rules
from tasks.bars.schema import validate_bars
from tasks.bars.series import (
    Repeats,
    Rows,
    constant_symbols,
    disorder_findings,
    empty_symbols,
    find_repeats,
    hostile_symbols,
    long_gaps,
    repeat_findings,
    short_histories,
    wrong_bar_size,
)
from tasks.bars.sessions import CalendarRangeError
from tasks.bars.stamps import DAY, Mask
from tasks.bars.verdict import (
    SOURCE_LIMIT,
    Verdict,
    first_session,
    left_out,
    quarantine,
    sessions_left_out,
    still_in,
    symbols,
)
from tasks.contracts import Finding, Severity

SYMBOL_LIMIT = 0.001
log = logging.getLogger("nocturne.bars")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckedBars:
    """Accepted bars and everything that was found on the way.

    ``frame``: canonical bars. ``adjusted``: symbol, time, session, adj_close and factor (adj_close / close) for the
    same rows, NaN where the source has none; None if it has no adjusted close. ``superseded``: canonical bars that a
    later row of the same file replaced, oldest first. ``quarantined_from``: symbol -> first session (ISO date) whose
    bars are left out; symbols that the source lacks altogether are quarantined without one.
    """

    frame: pd.DataFrame
    findings: tuple[Finding, ...]
    quarantined: tuple[str, ...]
    warnings: tuple[str, ...]
    quarantined_from: dict[str, str] = field(default_factory=dict)
    adjusted: pd.DataFrame | None = None
    superseded: pd.DataFrame | None = None


def check_bars(
    raw: RawBars, description: SourceDescription, now: pd.Timestamp, actions: Sequence[CorporateAction] = ()
) -> CheckedBars:
    """The bars that may be used, as quoted. ``now`` is aware; bars that close later are not finished.

    ``actions``: known splits explain what would look like an error; they count unless the description's ``adjust`` is
    ``none``.

    Raises BarsRefusedError (all findings attached, five shown) if the source is refused, ConfigurationError for an
    unknown calendar.
    """
    try:
        panel = build_panel(raw, description, now)
    except CalendarRangeError as error:
        finding = Finding(rule="calendar-range", severity="refused", detail=printable(str(error), 200))
        raise refusal(description.source, "the calendar does not cover it.", [finding]) from error
    if description.adjust != "none":
        panel = replace(panel, actions=tuple(actions))
    verdict = _judge(panel)
    if verdict.refused:
        raise refusal(description.source, verdict.refused, verdict.findings)
    return _accepted(panel, verdict)


def _judge(panel: Panel) -> Verdict:
    verdict = Verdict(findings=list(panel.raw.findings))
    _judge_symbols(panel, verdict)
    _note_time_cuts(panel, verdict)
    broken = _judge_rows(panel, verdict)
    repeats = find_repeats(panel, panel.live & ~broken & ~left_out(panel, verdict))
    _judge_repeats(panel, repeats, verdict)
    _judge_series(panel, still_in(panel, verdict, repeats.kept), verdict)
    kept = still_in(panel, verdict, repeats.kept)
    if not verdict.refused and len(kept):
        kept = judge_history(panel, kept, verdict)
    verdict.kept = still_in(panel, verdict, kept)
    superseded = still_in(panel, verdict, repeats.superseded)
    verdict.superseded = superseded[np.isin(panel.code[superseded], panel.code[verdict.kept])]
    verdict.findings.extend(short_histories(panel, verdict.kept))
    if not len(verdict.kept) and not verdict.refused:
        verdict.refuse("nothing-left", "no usable bar is left.", "no bar passed the checks")
    return verdict


def _judge_symbols(panel: Panel, verdict: Verdict) -> None:
    verdict.missing = [name for name in panel.description.symbols if name not in panel.raw.symbols]
    for name in verdict.missing:
        have = ", ".join(printable(symbol) for symbol in panel.raw.symbols[:5])
        detail = f"not in the source, which has {len(panel.raw.symbols):,} symbols: {have}"
        verdict.findings.append(
            Finding(rule="symbol-missing", severity="quarantined", symbol=printable(name, 64), detail=detail)
        )
    _judge_silent(panel, verdict)
    for code in sorted(hostile_symbols(panel)):
        quarantine(panel, verdict, code, "hostile-name", "not a ticker: its rows are not used")
    if symbols(panel) == 1:
        return  # Its rows will be refused one by one, which says more.
    for code in sorted(empty_symbols(panel) - set(verdict.quarantined)):
        quarantine(panel, verdict, code, "all-missing", "no row has all four prices")


def _judge_silent(panel: Panel, verdict: Verdict) -> None:
    """Symbols that a vendor had nothing for: their stored bars stay, and the night says that nothing follows them."""
    for name, why in panel.raw.silent.items():
        if name in panel.raw.symbols:
            code = panel.raw.symbols.index(name)
            last = panel.placed.session[(panel.code == code) & ~np.isnat(panel.placed.session)].max()
            quarantine(panel, verdict, code, "vendor-silent", why, since=last + DAY)
        elif name not in verdict.missing:
            verdict.missing.append(name)
            verdict.findings.append(
                Finding(rule="symbol-missing", severity="quarantined", symbol=printable(name, 64), detail=why)
            )


def _note_time_cuts(panel: Panel, verdict: Verdict) -> None:
    verdict.findings.extend(disorder_findings(panel))
    verdict.findings.extend(
        panel.finding(at, "unfinished", "info", "the bar closes later than now; dropped")
        for at in np.flatnonzero(panel.unfinished).tolist()
    )
    if panel.later.any():
        detail = f"{int(panel.later.sum()):,} rows close after {panel.description.as_of}; not used"
        verdict.findings.append(Finding(rule="as-of", severity="info", detail=detail))


def _judge_rows(panel: Panel, verdict: Verdict) -> Mask:
    out = left_out(panel, verdict)
    counted = panel.live & ~out
    rules = [RowRule(rule.name, rule.broken & counted, rule.words) for rule in row_rules(panel)]
    broken: Mask = np.logical_or.reduce([rule.broken for rule in rules])
    bad, total = int(broken.sum()) + len(panel.raw.ragged), int(counted.sum()) + len(panel.raw.ragged)
    alone = symbols(panel) == 1
    refused = bool(bad) and (alone or bad > SOURCE_LIMIT * total)
    if refused:
        limit = "in a source of one symbol" if alone else f"of {total:,} ({bad / total:.2%}; 1 % is the limit)"
        verdict.refused = verdict.refused or f"{bad:,} broken {'row' if bad == 1 else 'rows'} {limit}."
    severity: Severity = "refused" if refused else "set_aside"
    verdict.findings.extend(
        Finding(rule=f.rule, severity=severity, row=f.row, detail=f.detail) for f in panel.raw.ragged
    )
    for rule in rules:
        verdict.findings.extend(
            panel.finding(at, rule.name, severity, rule.words(at)) for at in np.flatnonzero(rule.broken).tolist()
        )
    if not refused:
        _judge_shares(panel, verdict, broken, counted, "broken-rows")
    return broken


def _judge_shares(panel: Panel, verdict: Verdict, bad: Mask, counted: Mask, rule: str) -> None:
    size = len(panel.raw.symbols)
    named = counted & (panel.code >= 0)
    broken = np.bincount(panel.code[bad & named], minlength=size)
    total = np.bincount(panel.code[named], minlength=size)
    for code in np.flatnonzero(broken > SYMBOL_LIMIT * total).tolist():
        share = f"{broken[code]:,} of {total[code]:,} rows ({broken[code] / total[code]:.2%}; 0.1 % is the limit)"
        quarantine(
            panel, verdict, code, rule, share, since=first_session(panel, np.flatnonzero(bad & (panel.code == code)))
        )


def _judge_repeats(panel: Panel, repeats: Repeats, verdict: Verdict) -> None:
    alone = symbols(panel) == 1
    verdict.findings.extend(repeat_findings(panel, repeats, "refused" if alone else "set_aside"))
    if len(repeats.revised) > SOURCE_LIMIT * panel.live.sum():
        count = f"{len(repeats.revised):,} rows contradict an earlier one of the same symbol and time"
        verdict.refuse("conflicting-duplicate", f"{count} (1 % is the limit).", count)
    for code in np.unique(panel.code[repeats.disagreeing]).tolist():
        rows = repeats.disagreeing[panel.code[repeats.disagreeing] == code]
        count = f"{len(rows):,} bars differ between its files"
        quarantine(panel, verdict, code, "files-disagree", count, since=first_session(panel, rows))


def _judge_series(panel: Panel, kept: Rows, verdict: Verdict) -> None:
    for code, detail in sorted(constant_symbols(panel, kept).items()):
        quarantine(panel, verdict, code, "constant", detail)
    for code, (at, detail) in sorted(long_gaps(panel, kept).items()):
        quarantine(panel, verdict, code, "long-gap", detail, since=panel.placed.session[at])
    size = wrong_bar_size(panel, kept)
    if size:
        verdict.refuse("bar-size", f"{size}.", size)


def _accepted(panel: Panel, verdict: Verdict) -> CheckedBars:
    frame = validate_bars(canonical(panel, verdict.kept), panel.description.negative_prices)
    names = [printable(panel.raw.symbols[code], 64) for code in verdict.quarantined]
    quarantined = tuple(sorted({*names, *(printable(name, 64) for name in verdict.missing)}))
    continuous = never_closes(panel.description.calendar)
    warnings = _warnings(frame, verdict.findings, quarantined, panel.raw.has_volume, continuous)
    for warning in warnings:
        log.warning("%s: %s", panel.description.source, warning)
    return CheckedBars(
        frame=frame,
        findings=tuple(verdict.findings),
        quarantined=quarantined,
        warnings=warnings,
        quarantined_from=sessions_left_out(panel, verdict),
        adjusted=_adjusted(panel, verdict.kept, frame),
        superseded=canonical(panel, verdict.superseded) if len(verdict.superseded) else None,
    )


def _adjusted(panel: Panel, kept: Rows, frame: pd.DataFrame) -> pd.DataFrame | None:
    if not panel.raw.has_adjusted:
        return None
    adjusted = panel.values("adj_close")[kept]
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = adjusted / frame["close"].to_numpy()
    return frame[["symbol", "time", "session"]].assign(adj_close=adjusted, factor=factor)


def _warnings(
    frame: pd.DataFrame, findings: list[Finding], quarantined: tuple[str, ...], has_volume: bool, continuous: bool
) -> tuple[str, ...]:
    counts = Counter(f.rule for f in findings if f.severity == "set_aside")
    revised = sum(f.rule == "conflicting-duplicate" for f in findings)
    short = sum(f.rule == "short-history" for f in findings)
    told = [
        "rows set aside: " + ", ".join(f"{rule} {count:,}" for rule, count in sorted(counts.items())) if counts else "",
        f"quarantined: {', '.join(quarantined)}" if quarantined else "",
        f"{revised:,} rows contradict an earlier row of the same file; the later one is used" if revised else "",
        f"symbols with fewer bars than the longest feature looks back over: {short:,}" if short else "",
        "" if has_volume else "the source has no volume",
        _noted(findings),
        opens_warning(frame, continuous),
    ]
    return tuple(text for text in told if text)


def _noted(findings: list[Finding]) -> str:
    """What was seen in the history and not acted on, by rule."""
    counts = Counter(f.rule for f in findings if f.severity == "warning" and f.rule in SAID)
    return "seen and kept: " + ", ".join(f"{rule} {count:,}" for rule, count in counts.items()) if counts else ""
