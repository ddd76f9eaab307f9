"""The night as one HTML page that needs nothing else: no network, no script, light and dark, desk and phone.

``render`` is pure: the same night gives the same bytes. All text from outside is cleaned of control characters here
and escaped by the template. Scores, tests and times carry their full value in a ``data`` element.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from markupsafe import Markup

from tasks.contracts import EngineResult
from tasks.evaluation import GateComparison, Score
from tasks.report import facts as told
from tasks.report import histories, series, transfers, words
from tasks.report.drawings import drawings
from tasks.report.facts import Facts
from tasks.report.machine import used
from tasks.report.night import Night
from tasks.report.protocol import Number, backtests, protocol
from tasks.templates import template

TEMPLATE = Path(__file__).with_name("page.html.j2")
MOST_FEATURES = 15
_FOLD_CLIP, _SKILL_FULL = 0.2, 0.1
"""Where bars end: folds at a gain of 20 %, skill at the largest of the night's or 10 %; what is worse is cut."""


def render(night: Night) -> str:
    """The page's HTML. Raises ValueError if a predictions array is not as long as the labels."""
    for item in night.predictions:
        for values in (item.folds, item.gate):
            if values is not None and len(values) != len(night.labels):
                raise ValueError(
                    f"predictions of {item.candidate}: {len(values)} rows, labels have {len(night.labels)}"
                )
    facts = night.facts
    page = template(TEMPLATE, clean=words.clean, day=words.day, picture=Markup)
    return page.render(
        words=words,
        facts=facts, told=told, leader=told.chosen(facts), reference=told.best_baseline(facts),
        board=_board(facts), gate=_gate(facts), drawings=drawings(night), windows=facts.rows.windows,
        importance=_importance(facts), engines=[_engine(result) for result in facts.engines],
        backtests=backtests(facts.leaderboard.backtests), gate_backtests=backtests(facts.gate_backtests),
        protocol=protocol(facts), histories=histories,
        transferred=transfers.lines(facts), carried=transfers.carried(facts), transfers_said=transfers.said(facts),
        stages=_timed(facts.seconds), used=used(facts), engine_seconds=_timed(facts.engine_seconds), data=_data(facts),
        snippet=words.snippet(facts), settings=_settings(facts), link=_link(facts.run_url),
    )  # fmt: skip


def _board(facts: Facts) -> dict[str, Any]:
    scores = told.ranked(facts)
    names = words.metric_columns(scores)
    key = words.key_metrics(names)
    other = tuple(name for name in names if name not in key)
    reference = told.best_baseline(facts)
    widest = max([_SKILL_FULL, *(score.skill for score in scores if math.isfinite(score.skill))])
    return {
        "names": [words.metric(name) for name in key],
        "other": [words.metric(name) for name in other],
        "ranking": words.metric(scores[0].metric) if scores else words.metric("score"),
        "arrow": "higher is better" if scores and scores[0].direction == "maximize" else "lower is better",
        "rows": [_board_row(facts, score, (key, other), reference, widest) for score in scores],
        "folds": max((len(score.fold_scores) for score in scores), default=0),
    }


def _board_row(
    facts: Facts,
    score: Score,
    names: tuple[tuple[str, ...], tuple[str, ...]],
    reference: Score | None,
    widest: float,
) -> dict[str, Any]:
    gains = series.fold_gains(
        score.fold_scores, reference.fold_scores if reference else (), score.direction != "maximize"
    )
    key, other = (_metrics(score, some) for some in names)
    return {
        "score": score,
        "marks": words.standing(facts, score),
        "loss": Number(words.figure(score.score, 5), score.score),
        "skill": Number(words.percent(score.skill, plus=True), score.skill),
        "bar": max(-1.0, min(1.0, score.skill / widest)),
        "interval": words.interval(score.skill_interval),
        "p": Number(words.probability(told.hardest_p(score, facts)), told.hardest_p(score, facts)),
        "p_text": "; ".join(f"{rival}: {words.probability(p)}" for rival, p in score.p_values.items()),
        "gate": Number(words.figure(told.gate_loss(facts, score.candidate), 5), told.gate_loss(facts, score.candidate)),
        "metrics": key,
        "other": other,
        "train": Number(words.duration(score.train_seconds), score.train_seconds),
        "speed": Number(words.figure(score.predict_us_per_row, 2), score.predict_us_per_row),
        "folds": [max(-1.0, min(1.0, gain / _FOLD_CLIP)) for gain in gains],
        "fold_text": "; ".join(f"{i}: {words.figure(v)}" for i, v in enumerate(score.fold_scores, 1)),
    }


def _metrics(score: Score, names: tuple[str, ...]) -> list[Number]:
    values = [score.metrics.get(name, float("nan")) for name in names]
    return [Number(words.metric_value(name, value), value) for name, value in zip(names, values, strict=True)]


def _gate(facts: Facts) -> dict[str, Any]:
    level = told.level(facts)
    rows = [_gate_row(item, level) for item in told.comparisons(facts)]
    return {
        "rows": rows,
        "level": words.figure(level, 3),
        "hardest": told.hardest_rival(facts),
        "reading": words.reading(facts.evidence) if facts.evidence else "",
        "skill": _gate_skill(facts),
        "qlike": any(item.qlike_worse_p < 1 for item in told.comparisons(facts)),
    }


def _gate_skill(facts: Facts) -> Number | None:
    """The challenger's gain over the best baseline on the gate, the figure that chose nothing."""
    reference = told.best_baseline(facts)
    if facts.evidence is None or reference is None or reference.candidate == facts.evidence.challenger:
        return None
    mine, theirs = (told.gate_loss(facts, name) for name in (facts.evidence.challenger, reference.candidate))
    skill = 1.0 - mine / theirs if theirs else float("nan")
    return Number(words.percent(skill, plus=True), skill) if math.isfinite(skill) else None


def _gate_row(item: GateComparison, level: float) -> dict[str, Any]:
    return {
        "item": item,
        "rival_loss": Number(words.figure(item.rival_loss, 5), item.rival_loss),
        "challenger_loss": Number(words.figure(item.challenger_loss, 5), item.challenger_loss),
        "difference": Number(words.figure(item.difference, 3), item.difference),
        "statistic": Number(words.signed(f"{item.statistic:.2f}"), item.statistic),
        "p": Number(words.probability(item.p_value), item.p_value),
        "clark_west": Number(words.probability(item.clark_west_p), item.clark_west_p),
        "hln": Number(words.probability(item.hln_p), item.hln_p),
        "qlike": Number(words.probability(item.qlike_worse_p), item.qlike_worse_p),
        "verdict": words.verdict(item, level),
    }


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
        ("Symbols", words.some(snapshot.symbols)),
        (
            "Bars",
            f"{snapshot.bars.rows:,} of {snapshot.bar}, {words.day(snapshot.first)} to {words.day(snapshot.last)}",
        ),
        ("Calendar", snapshot.calendar),
        ("True opens", "yes" if snapshot.true_opens else "no: features of the open are left out"),
        ("Volume", "yes" if snapshot.has_volume else "no"),
        ("Rows purged or embargoed", f"{rows.purged:,} purged, embargo of {rows.embargo} bars"),
        ("Labels", "weighted by their uniqueness" if rows.weighted else "weighted equally"),
        ("Gate window fixed since", words.day(rows.term_start)),
    ]
    if rows.target.name == "volatility":
        facts_found.append(("Ranges floored at one tick", f"{100 * rows.floored_share:.3g} %"))
    quarantined = tuple(
        f"{name} from {snapshot.quarantined_from[name]}" if name in snapshot.quarantined_from else name
        for name in snapshot.quarantined
    )
    counts = ", ".join(f"{rule} × {count:,}" for rule, count in snapshot.finding_counts.items())
    facts_found.append(("Findings of the checks", counts or "none"))
    if snapshot.quarantined:
        facts_found.append(("In quarantine", words.some(quarantined)))
    return [(name, words.clean(text, 600)) for name, text in facts_found]


def _settings(facts: Facts) -> list[tuple[str, str]]:
    return [(words.clean(key), words.clean(_plain(value), 400)) for key, value in facts.problem.items()]


def _plain(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return words.some(tuple(str(item) for item in value)) or "all"
    return str(value)


def _link(address: str) -> str:
    """The address if it may be linked: http or https, nothing that a browser would run."""
    return address if address.startswith(("http://", "https://")) else ""
