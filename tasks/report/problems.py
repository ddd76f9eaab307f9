"""The page of all problems: how each one's last night ended, who serves, whether the world drifted, what comes next.

``render`` is pure: the same rows give the same bytes. Text from outside is cleaned of control characters here and
escaped by the template. Problems that a person should look at come first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tasks.report import words
from tasks.report.markdown import escaped
from tasks.report.sparkline import sparkline
from tasks.templates import template

TEMPLATE = Path(__file__).with_name("problems.html.j2")
TONES = {
    "promoted": "good", "refreshed": "good", "kept": "soft", "unchanged": "soft", "baseline": "warn",
    "running": "soft", "waiting": "soft", "quarantined": "bad", "failed": "bad", "interrupted": "bad", "died": "bad",
}  # fmt: skip
DRIFTS = {"within": ("soft", "within limits"), "retrain": ("warn", "alarm"), "exceeded": ("bad", "exceeded")}
DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemRow:
    """A problem as the page shows it; what is unknown is empty. Times are ISO 8601, UTC.

    ``outcome``: of the last night, or what became of it instead (failed, died, interrupted, running). ``headline``: a
    sentence on it. ``seconds``: its wall time. ``report``, ``drift_page``: links relative to the page. ``drift``: the
    monitor's state. ``rollout``: what goes on, in words. ``losses``: the champion's loss on the last live sessions, a
    mean over a month each, over ``expected``'s, its loss before. ``trouble``: what of the problem could not be read.
    """

    name: str
    outcome: str = ""
    headline: str = ""
    at: str = ""
    seconds: float = 0.0
    report: str = ""
    run_url: str = ""
    champion: str = ""
    champion_version: str = ""
    champion_since: str = ""
    drift: str = ""
    drift_at: str = ""
    drift_page: str = ""
    rollout: str = ""
    next_run: str = ""
    losses: tuple[float, ...] = ()
    expected: float = float("nan")
    trouble: str = ""


def render(rows: tuple[ProblemRow, ...], at: str, links: tuple[tuple[str, str], ...] = ()) -> str:
    """The page's HTML. at: when it is made (ISO, UTC). links: of Prefect's and MLflow's pages, name and address."""
    ordered = tuple(sorted(rows, key=lambda row: (-urgency(row), row.name)))
    bad = sum(urgency(row) >= 2 for row in ordered)
    page = template(TEMPLATE, clean=words.clean, minute=_minute)
    return page.render(rows=[_shown(row, at) for row in ordered], at=at, bad=bad, links=links)


def table(rows: tuple[ProblemRow, ...], at: str) -> str:
    """The same as Markdown, for an artifact. at: when it is made (ISO, UTC)."""
    head = "| problem | last night | champion | drift | live loss | rollout | next run |\n" + "|---" * 7 + "|"
    lines = [" | ".join(_cells(row, at)) for row in sorted(rows, key=lambda row: (-urgency(row), row.name))]
    return "\n".join([head, *(f"| {line} |" for line in lines)])


def _cells(row: ProblemRow, at: str) -> tuple[str, ...]:
    night = f"**{escaped(row.outcome, 20)}** {ago(row.at, at)}: {escaped(row.headline, 200)}" if row.outcome else "–"
    since = f", since {ago(row.champion_since, at)}" if row.champion_since else ""
    return (
        escaped(row.name, 80) + (f" ({escaped(row.trouble, 300)})" if row.trouble else ""),
        night,
        f"version {escaped(row.champion_version, 20)}{since}" if row.champion_version else "none",
        escaped(DRIFTS.get(row.drift, ("", row.drift))[1], 40) or "not watched",
        escaped(trend(row)) or "–",
        escaped(row.rollout, 120) or "–",
        ahead(row.next_run, at) or "–",
    )


def urgency(row: ProblemRow) -> int:
    """2: somebody should look; 1: worth a glance; 0: fine."""
    tones = {TONES.get(row.outcome, "soft"), DRIFTS.get(row.drift, ("soft", ""))[0], "bad" if row.trouble else "soft"}
    return 2 if "bad" in tones else int("warn" in tones)


def _shown(row: ProblemRow, at: str) -> dict[str, Any]:
    return {
        "row": row,
        "tone": TONES.get(row.outcome, "soft"),
        "when": ago(row.at, at),
        "took": words.duration(row.seconds) if row.seconds else "",
        "urgency": urgency(row),
        "age": _for(row.champion_since, at),
        "drift": DRIFTS.get(row.drift, ("soft", row.drift)),
        "next": ahead(row.next_run, at),
        "picture": Markup(sparkline(row.losses, row.expected)),  # noqa: S704 - numbers only
        "trend": trend(row),
    }


def trend(row: ProblemRow) -> str:
    """How the live loss compares with what was expected, in words; empty where nothing is live."""
    if not row.losses or not row.expected > 0:
        return ""
    change = row.losses[-1] / row.expected - 1
    if abs(change) < 0.005:
        return "loss as expected"
    return f"loss {abs(change):.0%} {'above' if change > 0 else 'below'} expected"


def ago(moment: str, now: str) -> str:
    """A past moment as a person says it: 12 min ago, 3 h ago, 41 days ago; empty if it is unknown."""
    seconds = _seconds(moment, now)
    if seconds is None:
        return ""
    return "just now" if seconds < 90 else f"{_rough(seconds)} ago"


def ahead(moment: str, now: str) -> str:
    """A moment to come: in 3 h, in 2 days; one that has passed is due."""
    seconds = _seconds(now, moment)
    if seconds is None:
        return ""
    return "due" if seconds < 0 else f"in {_rough(max(seconds, 60))}"


def _for(moment: str, now: str) -> str:
    """How long something has lasted: for 3 h, for 41 days; empty if it is unknown."""
    seconds = _seconds(moment, now)
    return "" if seconds is None else f"for {_rough(max(seconds, 60))}"


def _rough(seconds: float) -> str:
    if seconds < 5400:
        return f"{round(seconds / 60)} min"
    if seconds < 2 * DAY:
        return f"{round(seconds / 3600)} h"
    return f"{round(seconds / DAY)} days"


def _seconds(earlier: str, later: str) -> float | None:
    try:
        first, last = (datetime.fromisoformat(text) for text in (earlier, later))
    except ValueError:
        return None
    known = [moment if moment.tzinfo else moment.replace(tzinfo=UTC) for moment in (first, last)]
    return (known[1] - known[0]).total_seconds()


def _minute(moment: str) -> str:
    return words.clean(moment[:16].replace("T", " "), 20)
