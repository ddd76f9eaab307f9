"""What became of an injected fault, on one line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

WORDS, WIDTH = 44, 180


@dataclass(frozen=True)
class Outcome:
    """A fault by its number and in words; whether it was survived; what was injected and what happened."""

    number: int
    words: str
    survived: bool
    happened: str
    seconds: float = 0.0


def shown(each: Outcome) -> str:
    """One line, at most 180 columns wide."""
    took = f" ({each.seconds:.0f} s)" if each.seconds >= 1 else ""
    verdict = "ok  " if each.survived else "LOST"
    room = WIDTH if each.survived else 10 * WIDTH
    happened = " ".join(each.happened.split())
    line = f"{each.number:2} {verdict} {each.words:<{WORDS}} {happened}"
    return (line if len(line) + len(took) <= room else line[: room - len(took) - 1] + "…") + took


def counted(outcomes: Sequence[Outcome]) -> str:
    """The last line."""
    return f"{sum(each.survived for each in outcomes)} of {len(outcomes)} survived"
