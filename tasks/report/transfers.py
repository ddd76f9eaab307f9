"""What each transfer was worth, and where its errors are others than without: as shown on page, terminal and artifacts.

A gain is the control's mean loss less the candidate's, as a share of the control's: 5 % is a twentieth of the loss of
the same without pre-training. The control is on the leaderboard; a line without it there shows no share.
"""

from __future__ import annotations

import math
from typing import Any

from tasks.evaluation import CarriedError, TransferWorth
from tasks.report import words
from tasks.report.facts import Facts
from tasks.report.protocol import Number

LEVELS = {"helps": "good", "no difference": "soft", "hurts": "bad", "not known": "warn"}
WIDEST, FULL = 1.0, 0.1
"""Bars of groups end at the largest gain or loss, which is at least 10 %, and at most at the whole loss."""


def lines(facts: Facts) -> list[dict[str, Any]]:
    """A row for each transfer, in the order of the leaderboard."""
    rank = {score.candidate: score.rank for score in facts.leaderboard.scores}
    ordered = sorted(facts.leaderboard.transfers, key=lambda line: (rank.get(line.candidate, 0), line.candidate))
    return [{"number": number, **_line(facts, line)} for number, line in enumerate(ordered, start=1)]


def gains(facts: Facts) -> list[tuple[float, tuple[float, float], str]]:
    """What is drawn of each line, in the same order: gain, interval, verdict."""
    return [(row["gain"].value, row["bounds"], row["worth"].verdict) for row in lines(facts)]


def carried(facts: Facts) -> list[dict[str, Any]]:
    """For each transfer its groups of rows, with what they are divided by."""
    found = [
        {"worth": row["worth"], "groups": [_group(each) for each in _of(facts, row["worth"].candidate)]}
        for row in lines(facts)
    ]
    every = [group for item in found for group in item["groups"]]
    known = [abs(group["gain"].value) for group in every if math.isfinite(group["gain"].value)]
    widest = min(max([FULL, *known]), WIDEST)
    for group in every:
        gain = group["gain"].value
        group["bar"] = max(-1.0, min(1.0, gain / widest)) if math.isfinite(gain) else 0.0
    return [item for item in found if item["groups"]]


def said(facts: Facts) -> str:
    """How the transfers did, in one sentence; empty where there are none."""
    found = [line.verdict for line in facts.leaderboard.transfers]
    if not found:
        return ""
    parts = [f"{found.count(verdict)} {word}" for verdict, word in _COUNTED.items() if verdict in found]
    return f"Of {len(found)} transfers, beside the same without pre-training: {', '.join(parts)}"


_COUNTED = {
    "helps": "helped",
    "no difference": "made no difference that these dates show",
    "hurts": "hurt",
    "not known": "had no control that was trained to its end",
}


def _line(facts: Facts, line: TransferWorth) -> dict[str, Any]:
    loss = next((s.score for s in facts.leaderboard.scores if s.candidate == line.control), math.nan)
    gain, *bounds = (value / loss if loss > 0 else math.nan for value in (line.difference, *line.interval))
    recipe = getattr(words.searched(facts, line.candidate), "recipe", {})
    return {
        "worth": line,
        "gain": Number(words.percent(gain, plus=True), gain),
        "bounds": (bounds[0], bounds[1]),
        "interval": words.interval((bounds[0], bounds[1])),
        "frozen": Number(words.percent(line.frozen), line.frozen),
        "helps": Number(words.probability(line.helps_p), line.helps_p),
        "hurts": Number(words.probability(line.hurts_p), line.hurts_p),
        "level": LEVELS[line.verdict],
        "adaptation": _adaptation(recipe),
        "why": _why(recipe),
    }


def _adaptation(recipe: dict[str, Any]) -> str:
    told = recipe.get("adaptation", "")
    return str(told.get("method", "")) if isinstance(told, dict) else str(told)


def _why(recipe: dict[str, Any]) -> str:
    told = recipe.get("adaptation", "")
    return str(told.get("reason", "")) if isinstance(told, dict) else ""


def _of(facts: Facts, candidate: str) -> list[CarriedError]:
    return [each for each in facts.leaderboard.carried if each.candidate == candidate]


def _group(each: CarriedError) -> dict[str, Any]:
    loss = each.control_loss if each.control_loss > 0 else math.nan
    gain, low, high = (value / loss for value in (each.difference, *each.interval))
    return {
        "by": each.by,
        "group": each.group,
        "rows": each.rows,
        "gain": Number(words.percent(gain, plus=True), gain),
        "interval": words.interval((low, high)),
        "without": Number(words.figure(each.control_loss), each.control_loss),
        "with": Number(words.figure(each.candidate_loss), each.candidate_loss),
        "bias_without": Number(words.figure(each.control_bias, 3), each.control_bias),
        "bias_with": Number(words.figure(each.candidate_bias, 3), each.candidate_bias),
    }
