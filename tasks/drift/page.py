"""The report as one HTML page without network or script; evidently's distributions lie beside it, linked."""

from __future__ import annotations

import math
from pathlib import Path

from markupsafe import Markup

from tasks.drift import words
from tasks.drift.svg import NARROW, WIDE, Curve, drawn
from tasks.drift.values import DriftReport
from tasks.templates import template

TEMPLATE = Path(__file__).with_name("page.html.j2")
TONES = {"within": "good", "retrain": "warn", "exceeded": "bad", "nothing live": "soft"}


def render(report: DriftReport) -> str:
    """The page's HTML; the same report gives the same bytes."""
    pictures = [(curve, Markup(drawn(curve, WIDE)), Markup(drawn(curve, NARROW))) for curve in curves(report)]  # noqa: S704
    return template(TEMPLATE, clean=words.clean, figure=words.figure, share=words.share).render(
        report=report,
        headline=words.HEADLINES[report.state],
        tone=TONES[report.state],
        tiles=_tiles(report),
        detectors=[(words.DETECTORS[each.name], each) for each in report.detectors],
        pictures=pictures,
        distributions=Path(report.files.get("distributions", "")).name,
    )


def curves(report: DriftReport) -> list[Curve]:
    """The two curves of the page: the distributions' maximum, and CUSUM where losses are watched."""
    if not report.curve:
        return []
    days = [point.session for point in report.curve]
    found = [
        Curve(
            title="Features and predictions: the column nearest to its limit",
            caption=(
                f"Each session's window of {report.window} sessions against training, the largest distance of all "
                "columns over its limit. The limit is what training's own windows pass so seldom."
            ),
            sessions=days,
            values=[point.ratio for point in report.curve],
            limit=1.0,
        )
    ]
    limit = next((each.limit for each in report.detectors if each.name == "cusum"), math.nan)
    values = [point.cusum for point in report.curve]
    if math.isfinite(limit) and any(map(math.isfinite, values)):
        caption = (
            "Cumulative sum of what the champion's realised loss exceeds its out-of-sample loss by, in standard "
            "deviations, less a quarter a session, never below nought."
        )
        found.append(Curve(title="Realised loss: CUSUM", caption=caption, sessions=days, values=values, limit=limit))
    return found


def _tiles(report: DriftReport) -> list[tuple[str, str, str]]:
    tiles = [("In service", f"{report.sessions:,}", f"sessions, through {report.last}")]
    if report.columns:
        worst = report.columns[0]
        over = sum(each.exceeds for each in report.columns)
        nearest = f"{words.clean(worst.column, 40)}, of its limit"
        tiles.append(("Nearest column", words.share(worst.ratio), nearest))
        tiles.append(("Columns past their limits", str(over), f"of {len(report.columns):,} watched"))
    if report.losses is not None and report.losses.sessions:
        told = report.losses
        before = f"{words.figure(told.reference_mean, 4)} in {told.reference_sessions:,} sessions before"
        tiles.append(("Mean realised loss", words.figure(told.mean, 4), before))
    return tiles
