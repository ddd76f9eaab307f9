"""The night as one HTML page that needs nothing else: no network, no script, light and dark, desk and phone.

``render`` is pure: the same night gives the same bytes. All text from outside is cleaned of control characters here
and escaped by the template. Every number is written with its full value in a ``data`` element's ``value``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import jinja2
import numpy as np
import pandas as pd
from markupsafe import Markup

from tasks.contracts import EngineResult, GateComparison, Score
from tasks.report import facts as told
from tasks.report import pictures, series, words
from tasks.report.facts import Facts
from tasks.report.series import Floats, Forecasts
from tasks.report.svg import Picture

MOST_FEATURES = 15
MOST_SYMBOLS = 12
_FOLD_CLIP, _SKILL_FULL = 0.2, 0.1
"""Where bars end: folds at a gain of 20 %, skill at the largest of the night's or 10 %; what is worse is cut."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A candidate's predictions, float64 (n,) aligned with the labels; NaN where there is none."""

    candidate: str
    role: Literal["leader", "baseline"]
    search: Floats | None = None
    gate: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """All that the page shows.

    ``bars``: columns symbol, time, close. ``labels``: columns symbol, time, session, label, window, in the same row
    order as each of ``predictions``' arrays.
    """

    facts: Facts
    bars: pd.DataFrame
    labels: pd.DataFrame
    predictions: tuple[Predictions, ...] = ()


@dataclass(frozen=True, slots=True)
class Number:
    """A number as shown, and its full value."""

    text: str
    value: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture with its title, what to see in it, and the lines that its legend names."""

    title: str
    caption: str
    picture: Picture
    legend: tuple[tuple[str, str], ...] = ()


def render(night: Night) -> str:
    """The page's HTML. Raises ValueError if a predictions array is not as long as the labels."""
    for item in night.predictions:
        for values in (item.search, item.gate):
            if values is not None and len(values) != len(night.labels):
                raise ValueError(
                    f"predictions of {item.candidate}: {len(values)} rows, labels have {len(night.labels)}"
                )
    facts = night.facts
    return _environment().get_template("page.html.j2").render(
        facts=facts, told=told, leader=told.chosen(facts), reference=told.best_baseline(facts),
        board=_board(facts), gate=_gate(facts), drawings=_drawings(night), windows=facts.rows.windows,
        importance=_importance(facts), engines=[_engine(result) for result in facts.engines],
        stages=_timed(facts.seconds), engine_seconds=_timed(facts.engine_seconds), data=_data(facts),
        snippet=words.snippet(facts), settings=_settings(facts), link=_link(facts.run_url),
    )  # fmt: skip


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(clean=words.clean, day=words.day, picture=Markup)
    environment.globals.update(words=words)
    return environment


def _board(facts: Facts) -> dict[str, Any]:
    scores = told.ranked(facts)
    names = words.metric_columns(scores)
    reference = told.best_baseline(facts)
    widest = max([_SKILL_FULL, *(score.skill for score in scores if math.isfinite(score.skill))])
    return {
        "names": [words.metric(name) for name in names],
        "ranking": words.metric(scores[0].metric) if scores else words.metric("score"),
        "arrow": "higher is better" if scores and scores[0].direction == "maximize" else "lower is better",
        "rows": [_board_row(facts, score, names, reference, widest) for score in scores],
        "folds": max((len(score.fold_scores) for score in scores), default=0),
    }


def _board_row(
    facts: Facts, score: Score, names: tuple[str, ...], reference: Score | None, widest: float
) -> dict[str, Any]:
    gains = series.fold_gains(
        score.fold_scores, reference.fold_scores if reference else (), score.direction != "maximize"
    )
    metrics = [score.metrics.get(name, float("nan")) for name in names]
    return {
        "score": score,
        "marks": words.standing(facts, score),
        "loss": Number(words.figure(score.score, 5), score.score),
        "skill": Number(words.percent(score.skill, plus=True), score.skill),
        "bar": max(-1.0, min(1.0, score.skill / widest)),
        "metrics": [Number(words.metric_value(n, v), v) for n, v in zip(names, metrics, strict=True)],
        "train": Number(words.duration(score.train_seconds), score.train_seconds),
        "speed": Number(words.figure(score.predict_us_per_row, 2), score.predict_us_per_row),
        "folds": [max(-1.0, min(1.0, gain / _FOLD_CLIP)) for gain in gains],
        "fold_text": "; ".join(f"{i}: {words.figure(v)}" for i, v in enumerate(score.fold_scores, 1)),
    }


def _gate(facts: Facts) -> dict[str, Any]:
    alpha = words.alpha_of(facts.problem)
    rows = [_gate_row(item, alpha) for item in told.comparisons(facts)]
    return {"rows": rows, "alpha": words.percent(alpha), "hardest": told.hardest_rival(facts)}


def _gate_row(item: GateComparison, alpha: float) -> dict[str, Any]:
    return {
        "item": item,
        "rival_loss": Number(words.figure(item.rival_loss, 5), item.rival_loss),
        "challenger_loss": Number(words.figure(item.challenger_loss, 5), item.challenger_loss),
        "difference": Number(words.figure(item.difference, 3), item.difference),
        "statistic": Number(words.signed(f"{item.statistic:.2f}"), item.statistic),
        "p": Number(words.probability(item.p_value), item.p_value),
        "verdict": words.verdict(item, alpha),
    }


def _drawings(night: Night) -> list[Drawing]:
    found = [rows for rows in (_rows_of(night, "selection"), _rows_of(night, "gate")) if rows is not None]
    drawn = _forecast_drawings(night, found) if found else []
    times, price = series.price_line(night.bars)
    picture = pictures.windows_over_price(times, price, night.facts.rows.windows)
    symbols = night.facts.snapshot.symbols
    over = words.clean(symbols[0], 60) if len(symbols) == 1 else f"an equal-weight index of {len(symbols)} symbols"
    caption = f"Close of {over}. Stretches without colour belong to no window: lookback, purge, embargo."
    return [*drawn, Drawing("The windows over the price", caption, picture)]


def _rows_of(night: Night, window: Literal["selection", "gate"]) -> Forecasts | None:
    arrays = {p.role: p.search if window == "selection" else p.gate for p in night.predictions}
    leader = arrays.get("leader")
    if leader is None:
        leader = arrays.get("baseline")
    return None if leader is None else series.in_window(night.labels, window, leader, arrays.get("baseline"))


def _forecast_drawings(night: Night, found: list[Forecasts]) -> list[Drawing]:
    lines = _legend(night)
    target, panel = night.facts.rows.target, len(night.facts.snapshot.symbols) > 1
    by_date = " Symbols are averaged by date." if panel else ""
    if target.name == "direction":
        return [_calibration(found, lines), _hits(night, found, lines, by_date)]
    over_time = _volatility(night, found, lines, by_date) if target.name == "volatility" else _returns(found, lines)
    if not all(np.isfinite(rows.rival).all() for rows in found):  # the leader is itself the best baseline
        return [over_time]
    return [over_time, _ahead(found, target.loss, lines, by_date)]


def _ahead(
    found: list[Forecasts], loss: Literal["mse", "log_loss"], lines: tuple[tuple[str, str], ...], by_date: str
) -> Drawing:
    caption = (
        "Running gain over the best baseline, as a share of its whole loss in the window: rising where it does "
        f"better, and it ends at the skill on that window.{by_date}"
    )
    return Drawing("Who was ahead, and when", caption, pictures.advantage(found, loss), lines)


def _legend(night: Night) -> tuple[tuple[str, str], ...]:
    roles = {item.role: words.clean(item.candidate, 60) for item in night.predictions}
    lines = [("leader", roles["leader"])] if "leader" in roles else []
    if "baseline" in roles:
        lines.append(("rival", f"{roles['baseline']} (best baseline)"))
    return tuple(lines)


def _volatility(night: Night, found: list[Forecasts], lines: tuple[tuple[str, str], ...], by_date: str) -> Drawing:
    a_year = series.bars_per_year(night.labels, night.facts.snapshot.calendar)
    caption = (
        f"Volatility in % a year: 100 · exp(forecast) · √{a_year:,.0f}. The leaderboard's losses are on the log scale."
        f"{by_date}"
    )
    picture = pictures.volatility_over_time(found, a_year)
    return Drawing("Forecast and outcome", caption, picture, (("outcome", "outcome"), *lines))


def _returns(found: list[Forecasts], lines: tuple[tuple[str, str], ...]) -> Drawing:
    caption = (
        "Up to ten bins of equal size by forecast, each with two standard errors (too narrow where labels "
        "overlap). On the dotted line forecasts would be right on average; a flat row of points says nothing."
    )
    return Drawing("Forecast and outcome", caption, pictures.return_bins(found), lines[:1])


def _calibration(found: list[Forecasts], lines: tuple[tuple[str, str], ...]) -> Drawing:
    caption = (
        "Up to ten bins of equal size by forecast, each with two standard errors. On the dotted line probabilities "
        "mean what they say; a base rate is a single point."
    )
    return Drawing("Forecast and outcome: calibration", caption, pictures.calibration(found), lines)


def _hits(night: Night, found: list[Forecasts], lines: tuple[tuple[str, str], ...], by_date: str) -> Drawing:
    usual = series.usual_direction(night.labels)
    caption = (
        f"Hits beyond always saying “{'up' if usual else 'down'}” (the usual direction in the training window), summed "
        f"over time, as a share of all dates in the window.{by_date}"
    )
    return Drawing("Excess hit rate", caption, pictures.excess_hits(found, usual), lines)


def _importance(facts: Facts) -> list[dict[str, Any]]:
    largest = sorted(facts.importance, key=lambda item: -abs(item[1]))[:MOST_FEATURES]
    top = max((abs(value) for _, value in largest), default=0.0) or 1.0
    return [
        {"name": name, "number": Number(words.figure(value, 3), value), "share": abs(value) / top}
        for name, value in largest
    ]


def _engine(result: EngineResult) -> dict[str, Any]:
    status = words.engine_status(result)
    return {
        "result": result,
        "status": status,
        "level": {"done": "good", "NOT REPRODUCIBLE": "warn"}.get(status, "bad"),
        "work": Number(words.duration(result.work_seconds), result.work_seconds),
        "start": Number(words.duration(result.start_seconds), result.start_seconds),
    }


def _timed(seconds: dict[str, float]) -> list[dict[str, Any]]:
    longest = max(seconds.values(), default=0.0) or 1.0
    return [
        {"name": name, "number": Number(words.duration(value), value), "share": max(0.0, value / longest)}
        for name, value in seconds.items()
    ]


def _data(facts: Facts) -> list[tuple[str, str]]:
    snapshot, rows = facts.snapshot, facts.rows
    facts_found = [
        ("Symbols", _some(snapshot.symbols)),
        (
            "Bars",
            f"{snapshot.bars.rows:,} of {snapshot.bar}, {words.day(snapshot.first)} to {words.day(snapshot.last)}",
        ),
        ("Calendar", snapshot.calendar),
        ("True opens", "yes" if snapshot.true_opens else "no: features of the open are left out"),
        ("Volume", "yes" if snapshot.has_volume else "no"),
        ("Rows purged or embargoed", f"{rows.purged:,} purged, embargo of {rows.embargo} bars"),
        ("Gate window fixed since", words.day(rows.term_start)),
    ]
    if rows.target.name == "volatility":
        facts_found.append(("Ranges floored at one tick", f"{100 * rows.floored_share:.3g} %"))
    counts = ", ".join(f"{rule} × {count:,}" for rule, count in snapshot.finding_counts.items())
    facts_found.append(("Findings of the checks", counts or "none"))
    if snapshot.quarantined:
        facts_found.append(("In quarantine", _some(snapshot.quarantined)))
    return [(name, words.clean(text, 600)) for name, text in facts_found]


def _some(names: tuple[str, ...]) -> str:
    more = len(names) - MOST_SYMBOLS
    shown = ", ".join(words.clean(name, 40) for name in names[:MOST_SYMBOLS])
    return f"{shown} and {more:,} more" if more > 0 else shown


def _settings(facts: Facts) -> list[tuple[str, str]]:
    return [(words.clean(key), words.clean(_plain(value), 400)) for key, value in facts.problem.items()]


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return _some(tuple(str(item) for item in value)) or "all"
    return str(value)


def _link(address: str) -> str:
    """The address if it may be linked: http or https, nothing that a browser would run."""
    return address if address.startswith(("http://", "https://")) else ""
