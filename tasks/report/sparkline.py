"""A line as small as a word: values over time and the level that was expected, as SVG."""

from __future__ import annotations

import math

WIDTH, HEIGHT, EDGE = 132, 30, 3


def sparkline(values: tuple[float, ...], expected: float = float("nan")) -> str:
    """An SVG element of the finite values in order, and a dashed line at ``expected``; empty for fewer than two."""
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < 2:
        return ""
    level = [expected] if math.isfinite(expected) else []
    low, high = min(finite + level), max(finite + level)
    span = (high - low) or 1.0

    def y(value: float) -> float:
        return HEIGHT - EDGE - (value - low) / span * (HEIGHT - 2 * EDGE)

    step = (WIDTH - 2 * EDGE) / (len(finite) - 1)
    points = " ".join(f"{EDGE + index * step:.1f},{y(value):.1f}" for index, value in enumerate(finite))
    dashed = f'<line class="level" x1="0" x2="{WIDTH}" y1="{y(expected):.1f}" y2="{y(expected):.1f}"/>' if level else ""
    end = f'<circle cx="{WIDTH - EDGE}" cy="{y(finite[-1]):.1f}" r="2.2"/>'
    size = f'width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}"'
    return f'<svg class="spark" {size} aria-hidden="true">{dashed}<polyline points="{points}"/>{end}</svg>'
