"""Curves as inline SVG in the page's colours: no script, no file, nothing drawn but numbers, dates and fixed words."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

WIDE, NARROW = (1120, 250), (350, 230)
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 12, 26
MOST_POINTS = 700


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """Values by session (ISO dates; NaN leaves a gap) and the limit they are held against."""

    title: str
    caption: str
    sessions: Sequence[str]
    values: Sequence[float]
    limit: float


def drawn(curve: Curve, size: tuple[int, int]) -> str:
    """The curve as an SVG element of this width and height; what lies above the limit is drawn in another colour."""
    width, height = size
    known = [value for value in curve.values if math.isfinite(value)]
    step = _step(1.15 * max([curve.limit, *known]))
    top = step * math.ceil(1.08 * max([curve.limit, *known]) / step)
    spots = _spots(curve, size, top)
    limit = _y(curve.limit, top, height)
    parts = [f'<svg viewBox="0 0 {width} {height}" aria-hidden="true" focusable="false">']
    for index in range(round(top / step) + 1):
        y = _y(index * step, top, height)
        parts.append(f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="var(--line)"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{_plain(index * step)}</text>')
    parts += _dates(curve.sessions, width, height)
    parts += [f'<path d="{path}" class="within"/>' for path in _paths(spots)]
    over = [spot if spot is not None and spot[1] < limit else None for spot in spots]
    parts += [f'<path d="{path}" class="over"/>' for path in _paths(over)]
    parts.append(f'<line x1="{LEFT}" x2="{width - RIGHT}" y1="{limit:.1f}" y2="{limit:.1f}" class="limit"/>')
    parts.append(f'<text x="{LEFT + 4}" y="{limit - 6:.1f}" class="at">limit</text></svg>')
    return "".join(parts)


def _spots(curve: Curve, size: tuple[int, int], top: float) -> list[tuple[float, float] | None]:
    """Places of the values; of more than can be seen, the highest of each stretch."""
    n = len(curve.values)
    stride = max(math.ceil(n / MOST_POINTS), 1)
    spots: list[tuple[float, float] | None] = []
    for start in range(0, n, stride):
        some = [value for value in curve.values[start : start + stride] if math.isfinite(value)]
        x = _x(min(start + stride // 2, n - 1), n, size[0])
        spots.append((x, _y(max(some), top, size[1])) if some else None)
    return spots


def _paths(spots: Sequence[tuple[float, float] | None]) -> list[str]:
    """One path for each stretch without a gap; a single spot is a short dash."""
    paths, stretch = [], list[tuple[float, float]]()
    for spot in [*spots, None]:
        if spot is not None:
            stretch.append(spot)
        elif stretch:
            whole = stretch if len(stretch) > 1 else [(stretch[0][0] - 1.5, stretch[0][1]), stretch[0]]
            paths.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in whole))
            stretch = []
    return paths


def _dates(sessions: Sequence[str], width: int, height: int) -> list[str]:
    n = len(sessions)
    several = min(6 if width > 600 else 3, n)
    places = sorted({round(index * (n - 1) / max(several - 1, 1)) for index in range(several)})
    found = []
    for place in places:
        anchor = "start" if place == 0 else "end" if place == n - 1 else "middle"
        found.append(
            f'<text x="{_x(place, n, width):.1f}" y="{height - 6}" text-anchor="{anchor}">{sessions[place]}</text>'
        )
    return found


def _x(place: int, n: int, width: int) -> float:
    return LEFT + (width - LEFT - RIGHT) * (place / (n - 1) if n > 1 else 0.5)


def _y(value: float, top: float, height: int) -> float:
    return TOP + (height - TOP - BOTTOM) * (1.0 - value / top)


def _step(highest: float) -> float:
    """A round step of which about four make the axis."""
    raw = max(highest, 1e-9) / 4.0
    size = 10.0 ** math.floor(math.log10(raw))
    return size * next(step for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * size >= raw)


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value == round(value) else f"{value:.3g}"
