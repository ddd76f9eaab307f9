"""What became of a planted leak, and the table of all of them."""

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


def table(outcomes: Sequence[Outcome]) -> str:
    """A block a leak, at most 100 columns wide; the last line counts."""
    blocks = [_block(number, each) for number, each in enumerate(outcomes, start=1)]
    caught = sum(each.counts for each in outcomes)
    return "\n".join([*blocks, "", f"{caught} of {len(outcomes)} caught"])


def _block(number: int, each: Outcome) -> str:
    verdict = "caught" if each.counts else ("NOT CAUGHT" if not each.caught else "CONTROL FAILED")
    head = f"{number:2}  {each.leak}"
    lines = [f"{head:<{WIDTH - len(verdict) - 1}} {verdict}"]
    for label, text in (
        ("planted", each.planted),
        ("defence", each.defence),
        ("found", each.found),
        ("without", each.without),
    ):
        lines += textwrap.wrap(
            f"{label:<8} {text}", WIDTH, initial_indent=INDENT, subsequent_indent=INDENT + " " * 9,
        )  # fmt: skip
    return "\n".join(lines)
