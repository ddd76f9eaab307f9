"""The report in words: what a person reads on the page, in Prefect and in the terminal."""

from __future__ import annotations

import math
import re

from tasks.drift.values import PREDICTION, DriftReport, State

HEADLINES: dict[State, str] = {
    "within": "Within its limits",
    "retrain": "Drifting: a retraining run is asked for",
    "exceeded": "Past its limit: clients go over to the fallback",
    "nothing live": "Nothing to watch yet",
}
DETECTORS = {
    "distribution": "features and predictions",
    "cusum": "realised loss, CUSUM",
    "adwin": "realised loss, ADWIN",
}
MOST_COLUMNS = 5
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]+")


def clean(text: object, longest: int = 120) -> str:
    """Text from outside on one line, without control characters, cut to a length."""
    line = _CONTROL.sub(" ", str(text)).strip()
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def figure(value: float, digits: int = 3) -> str:
    """A number with so many significant digits; a dash for one that does not exist."""
    return f"{value:.{digits}g}" if math.isfinite(value) else "–"


def column(name: str) -> str:
    """A watched column as it is called in a sentence."""
    return "the predictions" if name == PREDICTION else name


def said(report: DriftReport) -> tuple[str, ...]:
    """What was found, one sentence each, the most important first."""
    if report.state == "nothing live":
        return (f"No bar has closed since the training end ({report.training_end[:10]}): nothing to compare yet.",)
    lines = [*_distribution(report), *_loss(report), *_comparison(report)]
    ask = "It asks for a retraining run and promotes nothing." if report.alarm else ""
    return tuple(line for line in (*lines, ask) if line)


def _distribution(report: DriftReport) -> list[str]:
    over = [each for each in report.columns if each.exceeds]
    span = f"the last {report.window} sessions"
    if report.sessions < report.window:
        span += f" ({report.sessions} of them in service, the rest from the end of training)"
    if not over:
        worst = report.columns[0] if report.columns else None
        nearest = f"; nearest: {column(worst.column)} at {100 * worst.ratio:.0f} % of its limit" if worst else ""
        return [f"No column's distribution over {span} is past its limit{nearest}."]
    named = ", ".join(f"{column(each.column)} at {share(each.ratio)}" for each in over[:MOST_COLUMNS])
    more = f" and {len(over) - MOST_COLUMNS} more" if len(over) > MOST_COLUMNS else ""
    day = next((each.since for each in report.detectors if each.name == "distribution"), "")
    since = f", since {day}" if day else ""
    return [f"Over {span}, {len(over)} of {len(report.columns)} columns are past their limits{since}: {named}{more}."]


def _loss(report: DriftReport) -> list[str]:
    if report.losses is None or not report.losses.sessions:
        return []
    told = report.losses
    figures = (
        f"{figure(told.mean, 4)} over {told.sessions} sessions in service, {figure(told.reference_mean, 4)} before"
    )
    rose = [each for each in report.detectors if each.name != "distribution" and each.exceeds]
    if not rose:
        return [f"The realised loss has not risen ({figures})."]
    names = " and ".join(f"{each.name.upper()} since {each.since}" for each in rose)
    return [f"The realised loss has risen ({figures}): {names}."]


def _comparison(report: DriftReport) -> list[str]:
    found = report.comparison
    if found is None or not report.alarm:
        return []
    figures = (
        f"champion {figure(found.champion_loss, 4)}, fallback {figure(found.fallback_loss, 4)} over the last "
        f"{found.sessions} sessions, p {figure(found.p_value, 2)} against {figure(found.level)}"
    )
    if report.state == "exceeded":
        return [f"The fallback does significantly better ({figures})."]
    return [f"The fallback does not do significantly better, so the champion stays in service ({figures})."]


def share(ratio: float) -> str:
    """A distance as a share of its limit."""
    return f"{100 * ratio:.0f} %" if math.isfinite(ratio) else "–"
