"""Every check of the history: its name, what happens, its limit in words, and the function that looks.

``later-bar`` comes first and alone: bars that show the future are set aside before anything is measured against them.
Then the others, in order; what one of the jump checks has named is not named again by a later one of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tasks.bars.defects import copies, holes, jumps, opens, stillness, volumes
from tasks.bars.defects.defect import Defect
from tasks.bars.defects.history import History
from tasks.bars.stamps import Mask
from tasks.contracts import Severity


@dataclass(frozen=True, slots=True)
class HistoryRule:
    """A check of a whole history. ``explains``: bars it names (and the next) need no other jump check's word."""

    name: str
    severity: Severity
    limit: str
    check: Callable[[History], list[Defect]]
    explains: bool = False


@dataclass(frozen=True, slots=True)
class Named:
    """A defect with its rule's name and what is to be done about it."""

    rule: str
    severity: Severity
    defect: Defect


LOOK_AHEAD = HistoryRule(
    "later-bar", "set_aside", "the four prices of a later session, which chance explains in under 1 % of histories",
    copies.later_bars,
)  # fmt: skip
HOLES = (
    HistoryRule("gap", "warning", "any; quarantined above 21 sessions, or 5 % of a year", holes.gaps),
    HistoryRule("session-missing", "warning", "nine tenths of the symbols lack the session", holes.lost_sessions),
)
RULES = (
    HistoryRule("same-series", "quarantined", "95 % of shared bars, at least 20, are another symbol's",
                copies.same_series),
    HistoryRule("unit-error", "quarantined", "10, 100 … times the price for up to 63 bars, or 100 times for good",
                jumps.unit_errors, explains=True),
    HistoryRule("spike", "quarantined", "6 volatilities from both neighbours; wicks: 30 %", jumps.spikes,
                explains=True),
    HistoryRule("split", "quarantined", "a split's factor overnight with no more trading than usual",
                jumps.unapplied_splits, explains=True),
    HistoryRule("unexplained-jump", "warning", "15 % overnight with no more trading than usual",
                jumps.unexplained_jumps, explains=True),
    HistoryRule("frozen", "quarantined", "5 bars without range, volume and change", stillness.frozen),
    HistoryRule("no-range", "warning", "high equals low on more than 1 % of a symbol's bars", stillness.rangeless),
    HistoryRule("repeated-opens", "warning", "more than 10 % of a year's opens are the previous close",
                opens.repeated_opens),
    HistoryRule("volume-scale", "warning", "ten times the volume of the month before, from one session on",
                volumes.scale_changes),
    HistoryRule("clock-shift", "warning", "five sessions in a row begin half an hour or more off",
                holes.clock_shifts),
    HistoryRule("short-session", "warning", "less than half of a session's bars", holes.short_sessions),
)  # fmt: skip


def look(h: History, rules: tuple[HistoryRule, ...]) -> list[Named]:
    """What the rules find, in their order."""
    found: list[Named] = []
    explained: Mask = np.zeros(len(h) + 1, dtype=bool)
    for rule in rules:
        for defect in rule.check(h):
            if rule.explains and explained[defect.at]:
                continue
            found.append(Named(rule.name, defect.severity or rule.severity, defect))
            if rule.explains:
                explained[defect.at : defect.at + defect.rows + 1] = True
    return found
