"""The pictures of a rollout as inline SVG in the page's colours: numbers and dates only, nothing to escape."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tasks.rollout.assess import Assessment
from tasks.rollout.machine import LAST
from tasks.rollout.plan import ROLLBACK_LEVEL, SHARES
from tasks.rollout.words import ticks

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 1100, 62, 16, 12, 26
LEAST_DATES = 20
HALF = 36
Point = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Axes:
    """A plot's frame: data to pixels."""

    x: tuple[float, float]
    y: tuple[float, float]
    height: int

    def at(self, x: float, y: float) -> Point:
        """Pixel of a point; y grows upwards in data and downwards on the page."""
        across = (x - self.x[0]) / (self.x[1] - self.x[0])
        up = (y - self.y[0]) / (self.y[1] - self.y[0])
        return LEFT + across * (WIDTH - LEFT - RIGHT), TOP + (1 - up) * (self.height - TOP - BOTTOM)

    def line(self, points: Sequence[Point], css: str) -> str:
        """A line through data points."""
        pixels = " ".join("{:.1f},{:.1f}".format(*self.at(*point)) for point in points)
        return f'<polyline class="{css}" points="{pixels}"/>'

    def level(self, y: float, text: str, css: str = "grid") -> str:
        """A horizontal line with its label on the left."""
        (x1, pixel), (x2, _) = self.at(self.x[0], y), self.at(self.x[1], y)
        label = f'<text x="{LEFT - 8}" y="{pixel + 4:.1f}" class="end">{text}</text>' if text else ""
        return f'<line class="{css}" x1="{x1:.1f}" x2="{x2:.1f}" y1="{pixel:.1f}" y2="{pixel:.1f}"/>{label}'

    def note(self, y: float, text: str, css: str = "") -> str:
        """Words at a horizontal line's right end: just above it with a style of their own, else just below."""
        x, pixel = self.at(self.x[1], y)
        return f'<text x="{x:.1f}" y="{pixel + (-5 if css else 14):.1f}" class="end {css}">{text}</text>'


def e_values(found: Assessment) -> str:
    """Both e-values on a logarithmic scale, with the steps' thresholds and the two that end it."""
    favour = [state.log_e for state in found.states]
    against = [state.log_against for state in found.states]
    promotes, rolls_back = -math.log(found.plan.level), -math.log(ROLLBACK_LEVEL)
    low = min([-math.log(10), *favour, *(value for value in against if value > -2 * promotes)])
    axes = Axes(x=_span(found), y=(max(low, -2 * promotes), max([promotes, *favour]) * 1.12), height=360)
    parts = [axes.level(value, _power(value)) for value in ticks(*axes.y)]
    if found.plan.mode == "gradual":
        parts += [axes.level(promotes * i / LAST, "", "step") for i in range(1, LAST)]
        parts += [axes.note(promotes * i / LAST, f"{SHARES[i]:.0%}") for i in range(1, LAST)]
        parts += [axes.level(rolls_back, "", "limit bad"), axes.level(promotes, "", "limit good")]
        parts += [axes.note(promotes, f"promotes at {1 / found.plan.level:.4g}", "good")]
    parts += [axes.line(_clipped(against, axes), "curve rival"), axes.line(_clipped(favour, axes), "curve leader")]
    return _svg(found, axes, parts)


def shares(found: Assessment) -> str:
    """The share of requests over time, one height a step."""
    steps = [0, *(step.step for step in found.steps)]
    axes = Axes(x=_span(found), y=(-0.3, LAST + 0.3), height=190)
    parts = [axes.level(i, f"{share:.0%}") for i, share in enumerate(SHARES)]
    points = [
        point for i in range(1, len(steps)) for point in ((i - 1, steps[i - 1]), (i, steps[i - 1]), (i, steps[i]))
    ]
    return _svg(found, axes, [*parts, axes.line(points, "curve leader")])


def gain(found: Assessment) -> str:
    """The running sum of the differences, as they were and clipped: rising where the challenger does better."""
    bound = found.plan.bound
    plain = _running(found.differences)
    cut = _running([min(max(value, -bound), bound) for value in found.differences])
    low, high = min([*plain, *cut, 0.0]), max([*plain, *cut, 0.0])
    room = 0.08 * ((high - low) or 1.0)
    axes = Axes(x=_span(found), y=(low - room, high + room), height=240)
    stride = _nice((high - low) or 1.0)
    first, last = math.ceil(low / stride), math.floor(high / stride)
    parts = [axes.level(i * stride, f"{i * stride:.4g}") for i in range(first, last + 1)]
    parts += [axes.level(0.0, "", "zero"), axes.line(list(enumerate(cut)), "curve dashed rival")]
    return _svg(found, axes, [*parts, axes.line(list(enumerate(plain)), "curve leader")])


def _span(found: Assessment) -> tuple[float, float]:
    return 0.0, float(max(len(found.states), LEAST_DATES))


def _clipped(values: Sequence[float], axes: Axes) -> list[Point]:
    return [(0.0, 0.0), *((float(i), max(value, axes.y[0])) for i, value in enumerate(values, start=1))]


def _running(values: Sequence[float]) -> list[float]:
    found = [0.0]
    for value in values:
        found.append(found[-1] + value)
    return found


def _nice(span: float) -> float:
    """A round stride that gives three to seven ticks."""
    power = 10.0 ** math.floor(math.log10(span))
    return next(power * step for step in (0.2, 0.5, 1.0, 2.0) if span / (power * step) <= 6)


def _power(log: float) -> str:
    power = round(log / math.log(10))
    return f"{10**power:,}" if 0 <= power <= 4 else f"1e{power}" if power < -3 or power > 4 else f"{10.0**power:g}"


def _svg(found: Assessment, axes: Axes, parts: Sequence[str]) -> str:
    n = len(found.states)
    places = sorted({round(i * (n - 1) / 5) for i in range(6)}) if n else []
    dates = [_date(axes, place, found.sessions[place]) for place in places]
    return f'<svg viewBox="0 0 {WIDTH} {axes.height}" aria-hidden="true">{"".join([*parts, *dates])}</svg>'


def _date(axes: Axes, place: int, session: str) -> str:
    """A date below its place; at the ends it is moved inwards."""
    x = min(max(axes.at(place + 1, 0)[0], LEFT + HALF), WIDTH - RIGHT - HALF)
    return f'<text x="{x:.1f}" y="{axes.height - 6}" class="mid">{session}</text>'
