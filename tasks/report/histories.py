"""Five other histories: the skills on the paths of combinatorial purged cross-validation, which chose nothing."""

from __future__ import annotations

from typing import Any

from tasks.report import words
from tasks.report.facts import Facts
from tasks.report.protocol import Number

LEAST_WIDTH = 0.02
"""Bars end at the largest skill, or here."""


def said(facts: Facts) -> str:
    """What ridge showed on the paths of combinatorial purged cross-validation, which chose nothing; or nothing."""
    if not facts.other_histories:
        return ""
    reference = {
        "volatility": "least squares on LHAR's columns",
        "return": "the training mean",
        "direction": "the base rate",
        "triple_barrier": "the base rate",
    }[facts.rows.target.name]
    skills = ", ".join(words.two_decimals_percent(skill) for skill in facts.other_histories)
    return (
        f"Skill of ridge on all features against {reference}, on {len(facts.other_histories)} paths of combinatorial "
        f"purged cross-validation through the rows before the gate: {skills}"
    )


def bars(facts: Facts) -> list[dict[str, Any]]:
    """The skills on other histories, with bars that end at the largest of them or at 2 %."""
    widest = max([LEAST_WIDTH, *(abs(skill) for skill in facts.other_histories)])
    return [
        {"number": Number(words.two_decimals_percent(skill), skill), "bar": skill / widest}
        for skill in facts.other_histories
    ]
