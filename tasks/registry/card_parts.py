"""The markdown of a model card: sections, tables, figures, foreign text that cannot break out of its place. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

LONGEST = 120
_SPECIAL = re.compile(r"([\\`*_\[\]<>|#])")


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the card. ``weight``: what goes first where the page is too long is what weighs least."""

    title: str
    text: str
    weight: int = 9

    def __str__(self) -> str:
        """With its heading; empty if there is nothing to say."""
        return f"## {self.title}\n\n{self.text}" if self.text else ""


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table of GitHub's flavour; empty without rows."""
    lines = [_line(row) for row in rows]
    return "\n".join([_line(head), "|" + "---|" * len(head), *lines]) if lines else ""


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def bullets(items: Iterable[str]) -> str:
    """A list; empty items are left out."""
    return "\n".join(f"- {item}" for item in items if item)


def figure(value: float, form: str = ".4g") -> str:
    """A number, or nothing where there is none."""
    return format(value, form) if math.isfinite(value) else ""


def chance(p: float) -> str:
    """A p-value to three digits, or that it is tiny, or nothing where there is none."""
    return "<0.0001" if p < 1e-4 else figure(p, ".3g")


def between(low: float, high: float, form: str = ".4g") -> str:
    """An interval, or nothing where an end does not exist."""
    return f"{low:{form}} to {high:{form}}" if math.isfinite(low) and math.isfinite(high) else ""


def plain(text: object, longest: int = LONGEST) -> str:
    """Foreign text (a symbol, a file's name, a person's) on one line, without any meaning to markdown or HTML."""
    one = " ".join(str(text).split())
    short = one if len(one) <= longest else f"{one[: longest - 1]}…"
    return _SPECIAL.sub(r"\\\1", short)


def some(names: Sequence[str], most: int = 5) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(plain(name, 40) for name in names[:most]) + more


def day(moment: str) -> str:
    """The date of an ISO time."""
    return moment[:10]
