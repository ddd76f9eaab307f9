"""What became of a planted leak, and how it is told."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 100
INDENT = " " * 4


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """A leak, planted: the defence's figure and, with the defence off, what would have gone unseen.

    ``caught``: the defence spoke, and is silent on the clean counterpart. ``shown``: without it, the leak's score is
    too good, or nothing speaks. Only both together count.
    """

    leak: str
    planted: str
    defence: str
    found: str
    without: str
    caught: bool
    shown: bool

    @property
    def counts(self) -> bool:
        """Whether the defence is worth its name here."""
        return self.caught and self.shown


def counted(outcomes: Sequence[Outcome]) -> str:
    """The last line."""
    return f"{sum(each.counts for each in outcomes)} of {len(outcomes)} caught"


def shown(number: int, each: Outcome) -> str:
    """A block for one leak, at most 100 columns wide."""
    verdict = "caught" if each.counts else ("NOT CAUGHT" if not each.caught else "CONTROL FAILED")
    head = f"{number:2}  {each.leak}"
    lines = [f"{head:<{WIDTH - len(verdict) - 1}} {verdict}"]
    for name in ("planted", "defence", "found", "without"):
        text = f"{name:<8} {getattr(each, name)}"
        lines += textwrap.wrap(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT + " " * 9)
    return "\n".join(lines)
