"""The picture of the transfers: what each gained or lost beside the same without pre-training, with its interval.

Only numbers and fixed words are drawn here; the numbers at the left are those of the table beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tasks.report.svg import Picture, colour, picture
from tasks.report.words import signed

COLOURS = {"helps": "good", "no difference": "soft", "hurts": "bad", "not known": "rival"}
MARKS = {"helps": "o", "no difference": "D", "hurts": "s", "not known": "x"}
ROW = 30
BESIDE = 1.3
"""The axis reaches so many times as far as the furthest gain; an interval that reaches further ends in an arrow."""

Line = tuple[float, tuple[float, float], str]
"""Gain, its interval, verdict."""


def worths(lines: Sequence[Line]) -> Picture:
    """One row a transfer, the first at the top: right of zero the transfer helped."""
    reach = _reach(lines)

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        for place, (gain, (low, high), verdict) in enumerate(lines):
            tint = colour(COLOURS[verdict])
            if math.isfinite(low) and math.isfinite(high):
                axes.hlines(place, max(low, -reach), min(high, reach), color=tint, linewidth=2.0)
                cut = [(edge, mark) for edge, mark in ((low, "<"), (high, ">")) if abs(edge) > reach]
                for edge, mark in cut:
                    axes.plot(np.sign(edge) * reach, place, marker=mark, color=tint, markersize=6)
            if math.isfinite(gain):
                axes.plot(gain, place, marker=MARKS[verdict], color=tint, markersize=8)
        axes.axvline(0, color=colour("ink"), linewidth=0.9)
        axes.set_xlim(-1.05 * reach, 1.05 * reach)
        axes.set_ylim(len(lines) - 0.4, -0.6)
        axes.set_yticks(range(len(lines)), [str(number) for number in range(1, len(lines) + 1)])
        axes.xaxis.set_major_locator(MaxNLocator(4 if narrow else 8))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(f"{100 * value:.3g} %")))
        axes.grid(axis="y", visible=False)

    height = 70 + ROW * len(lines)
    return picture("transfers", paint, height, height)


def _reach(lines: Sequence[Line]) -> float:
    gains = [abs(gain) for gain, _, _ in lines if math.isfinite(gain)]
    edges = [abs(edge) for _, bounds, _ in lines for edge in bounds if math.isfinite(edge)]
    furthest = max(gains, default=0.0)
    return float(max(min(max(edges, default=0.0), max(BESIDE * furthest, 0.2)), BESIDE * furthest, 0.01))
