"""Pictures as inline SVG that follow the page's colours, at two widths.

Drawn by Matplotlib's object interface with sentinel colours, which then become CSS custom properties: one picture
serves light and dark. Text stays text. Nothing here comes from data but numbers and dates, so nothing needs escaping;
names belong in the page's legends.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure

COLOURS: tuple[str, ...] = (
    "ink", "soft", "line", "card", "leader", "rival", "outcome", "good", "bad",
    "w-train", "w-validation", "w-blending", "w-selection", "w-fold", "w-gate",
)  # fmt: skip
WIDE, NARROW = 920, 350
POINTS_PER_INCH = 72
_TEXT = 12.5
_lock = threading.Lock()


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture in two shapes: ``wide`` for desks and paper, ``narrow`` for phones. Both are SVG elements."""

    wide: str
    narrow: str


def colour(name: str) -> str:
    """The sentinel that stands for a CSS custom property while Matplotlib draws."""
    return f"#0b{COLOURS.index(name):02x}0d"


def picture(name: str, paint: Callable[[Figure, bool], None], wide: int, narrow: int) -> Picture:
    """Draw twice. ``paint(figure, is_narrow)`` fills a figure; ``wide`` and ``narrow`` are heights in CSS pixels."""
    return Picture(
        wide=_draw(f"{name}-w", paint, False, (WIDE, wide)), narrow=_draw(f"{name}-n", paint, True, (NARROW, narrow))
    )


def _draw(prefix: str, paint: Callable[[Figure, bool], None], narrow: bool, size: tuple[int, int]) -> str:
    # Matplotlib's settings are the process's: other threads draw one after the other, and find them as they were.
    with _lock, mpl.rc_context(_settings(prefix)):
        width, height = size
        figure = Figure(figsize=(width / POINTS_PER_INCH, height / POINTS_PER_INCH), dpi=POINTS_PER_INCH)
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.04)
        paint(figure, narrow)
        stream = io.StringIO()
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return themed(stream.getvalue(), prefix)


def _settings(prefix: str) -> dict[str, Any]:
    ink, soft, line = colour("ink"), colour("soft"), colour("line")
    return {
        "svg.fonttype": "none",
        "svg.hashsalt": prefix,
        "font.family": ["DejaVu Sans"],
        "font.size": _TEXT,
        "axes.titlesize": _TEXT + 0.5,
        "axes.titleweight": "bold",
        "axes.titlelocation": "left",
        "axes.titlecolor": ink,
        "axes.labelcolor": soft,
        "axes.labelsize": _TEXT - 0.5,
        "axes.edgecolor": line,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": line,
        "grid.linewidth": 0.7,
        "text.color": ink,
        "text.parse_math": False,
        "xtick.color": soft,
        "ytick.color": soft,
        "xtick.labelsize": _TEXT - 1,
        "ytick.labelsize": _TEXT - 1,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "xtick.minor.size": 0,
        "ytick.minor.size": 0,
        "path.simplify": True,
        "path.simplify_threshold": 0.2,
        "axes.unicode_minus": True,
    }


def themed(document: str, prefix: str) -> str:
    """Matplotlib's document as an element for a page: CSS colours, own identifiers, no metadata, no doubled digits."""
    body = document[document.index("<svg") :]
    body = re.sub(r"<metadata>.*?</metadata>", "", body, flags=re.DOTALL)
    body = re.sub(r"<!--.*?-->", "", body, flags=re.DOTALL)
    body = re.sub(r'<style type="text/css">.*?</style>', "", body, flags=re.DOTALL)
    for index, name in enumerate(COLOURS):
        body = body.replace(f"#0b{index:02x}0d", f"var(--{name})")
    body = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font-size: \1", body)
    body = re.sub(r"font: bold ([\d.]+px) [^;\"]*", r"font-weight: 600; font-size: \1", body)
    body = re.sub(r"font-family: [^;\"]*(; )?", "", body)
    # Tenths of a pixel do for lines and places; text between tags keeps its digits.
    body = re.sub(r"<[^>]*>", lambda tag: re.sub(r"(\d\.\d)\d+", r"\1", tag[0]), body)
    return _opened(_renamed(body, prefix)).replace("\n", " ")


def _renamed(body: str, prefix: str) -> str:
    wanted = set(re.findall(r"(?:url\(#|xlink:href=\"#)([\w-]+)", body))
    body = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in wanted else "", body)
    body = re.sub(r"url\(#([\w-]+)\)", rf"url(#{prefix}-\1)", body)
    return re.sub(r'xlink:href="#([\w-]+)"', rf'href="#{prefix}-\1"', body)


def _opened(body: str) -> str:
    """The root element without namespaces, which HTML supplies, and without a fixed size, which the page sets."""
    box = re.search(r'viewBox="([^"]+)"', body)
    if box is None:
        raise ValueError("Matplotlib wrote an SVG without a viewBox")
    return re.sub(r"<svg[^>]*>", f'<svg viewBox="{box[1]}" aria-hidden="true" focusable="false">', body, count=1)
