"""The figures of a model card: against every baseline, with intervals, by stretch of time, after costs. Pure text."""

from __future__ import annotations

import math
from typing import Any

from tasks.evaluation import Backtest, Evidence, GateComparison, Score
from tasks.registry import reasons
from tasks.registry.card_parts import Section, between, bullets, chance, day, figure, plain, table
from tasks.registry.records import Entry, Night

_WIDTH = 1.959964  # the normal's 97.5 % point


def sections(night: Night, entry: Entry) -> list[Section]:
    """What was measured, in the order in which it is read."""
    return [
        Section("Gate window", _gate(entry), weight=9),
        Section("Walk-forward folds", _walked(night, entry), weight=7),
        Section("By stretch of time", _stretches(night, entry.score), weight=3),
        Section("Intervals", _coverage(entry.coverage), weight=8),
        Section("After costs", _backtests(entry.backtests), weight=6),
        Section("Refresh", _refresh(entry.evidence), weight=4),
    ]


def _gate(entry: Entry) -> str:
    evidence = entry.evidence
    if evidence is None or not evidence.comparisons:
        why = evidence.not_read if evidence is not None else ""
        return f"Not read: {plain(why, 400)}" if why else ""
    lead = (
        f"Read {evidence.read} of the gate in the term from {evidence.term}, each test at {evidence.level:.3g}. "
        "Nothing before the gate saw these dates."
    )
    if entry.gated.name != evidence.challenger:
        return f"{lead} {_of_another(entry.gated.name, evidence)}"
    head = (
        "rival",
        "role",
        "its loss",
        "loss here",
        "gain",
        "p (one-sided)",
        "dates",
        "Clark-West p",
        "HLN p",
        "QLIKE p",
    )
    gain = "Gain: the rival's loss less this recipe's, with its 95 % interval."
    return f"{lead} {gain}\n\n{table(head, map(_comparison, evidence.comparisons))}"


def _of_another(name: str, evidence: Evidence) -> str:
    """The losses alone, for a model that is not the one that was tested: a baseline, or the refreshed champion."""
    own = evidence.gate_losses.get(name, math.nan)
    words = (
        f"The tests were of the challenger {plain(evidence.challenger)}, not of this model; losses on the same dates:"
    )
    ordered = sorted(evidence.gate_losses.items(), key=lambda item: item[1])
    rows = [
        (f"**{plain(other, 40)}**" if other == name else plain(other, 40), f"{loss:.6g}", figure(loss - own, "+.3g"))
        for other, loss in ordered
    ]
    return f"{words}\n\n{table(('model', 'loss', 'more than here'), rows)}"


def _comparison(item: GateComparison) -> tuple[str, ...]:
    p = map(chance, (item.clark_west_p, item.hln_p, item.qlike_worse_p))
    return (
        plain(item.rival, 40), item.role, f"{item.rival_loss:.6g}", f"{item.challenger_loss:.6g}", _gain(item),
        chance(item.p_value), str(item.dates), *p,
    )  # fmt: skip


def _gain(item: GateComparison) -> str:
    """The difference and its interval, from the standard error behind the Diebold-Mariano statistic."""
    shown = f"{item.difference:+.3g}"
    if not (math.isfinite(item.statistic) and item.statistic):
        return shown
    error = abs(item.difference / item.statistic)
    return f"{shown} ({between(item.difference - _WIDTH * error, item.difference + _WIDTH * error, '.3g')})"


def _walked(night: Night, entry: Entry) -> str:
    score = entry.score
    if score is None:
        return ""
    board = night.leaderboard
    lead = (
        f"Rank {score.rank} of {len(board.scores)} on {board.dates:,} dates ({board.rows:,} rows), refitted before "
        f"each fold. {score.metric.upper()} {score.score:.6g} ({score.direction}). {_skill(score)} Recipes are ranked "
        "by these rows, so they flatter the best."
    )
    others = [other for other in board.scores if other.engine == "baseline" and other.candidate != score.candidate]
    rows = [
        (plain(other.candidate, 40), f"{other.score:.6g}", chance(score.p_values.get(other.candidate, math.nan)))
        for other in others
    ]
    return "\n\n".join(part for part in (lead, table(("baseline", score.metric, "p that it is as good"), rows)) if part)


def _skill(score: Score) -> str:
    low, high = score.skill_interval
    if score.skill == low == high == 0:
        return "It is the best baseline itself."
    interval = between(low, high, ".3f")
    return f"Skill against the best baseline {score.skill:.3f}{f' (95 %: {interval})' if interval else ''}."


def _stretches(night: Night, score: Score | None) -> str:
    """The loss of each fold: whether the model is as good in one market as in another."""
    if score is None or not score.fold_scores:
        return ""
    folds = night.rows.folds
    if len(folds) != len(score.fold_scores):
        return bullets(f"fold {place}: {loss:.6g}" for place, loss in enumerate(score.fold_scores, start=1))
    rows = [
        (f"{day(fold.first)} to {day(fold.last)}", str(fold.dates), f"{loss:.6g}")
        for fold, loss in zip(folds, score.fold_scores, strict=True)
    ]
    return table(("dates", "how many", score.metric), rows)


def _coverage(found: dict[str, Any]) -> str:
    """How the intervals held; ``found`` is ``Entry.coverage``, whose figures that do not exist are null."""
    if not found:
        return ""
    kinds = (("as it ships", "fixed", "width"), ("adapted in service", "adapted", "adapted_width"))
    rows = [(said, *_held(found[kind]), figure(_number(found[width]))) for said, kind, width in kinds]
    fixed = found["fixed"]
    lead = (
        f"`interval={found['coverage']:g}` gives a lower and an upper end. On the gate window ({fixed['dates']} dates) "
        "so many outcomes lay inside; approximate, since markets change:"
    )
    head = ("interval", "inside", "95 %", f"worst {fixed['window']} dates", "mean width")
    return f"{lead}\n\n{table(head, rows)}"


def _held(one: dict[str, Any]) -> tuple[str, str, str]:
    share, worst = (figure(_number(one[name]), ".1%") for name in ("share", "worst"))
    return share, between(_number(one["low"]), _number(one["high"]), ".1%"), worst


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _backtests(found: tuple[Backtest, ...]) -> str:
    head = (
        "rows", "rule", "annual return over cash", "Sharpe", "deflated Sharpe", "maximum drawdown", "turnover",
    )  # fmt: skip
    rows = [
        (
            item.rows, plain(item.rule), figure(item.excess_return, ".2%"), figure(item.sharpe, ".2f"),
            figure(item.deflated_sharpe, ".2f"), figure(item.max_drawdown, ".1%"), figure(item.turnover, ".1f"),
        )
        for item in found
    ]  # fmt: skip
    why = dict.fromkeys(f"Illustrative: {plain(item.illustrative, 300)}" for item in found if item.illustrative)
    return "\n\n".join(part for part in (table(head, rows), *why) if part)


def _refresh(evidence: Evidence | None) -> str:
    return "" if evidence is None or evidence.licence is None else reasons.licence(evidence.licence)
