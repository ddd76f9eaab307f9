"""Artifacts: tables that stay tables, whatever the names are."""

from __future__ import annotations

import dataclasses
import re

import pytest

from tasks.contracts import TargetName
from tasks.report import markdown, words
from tests.report import nights


@pytest.mark.parametrize("target", ["volatility", "return", "direction"])
def test_rows_are_text_and_have_the_same_columns(target: TargetName) -> None:
    facts = nights.night(target).facts
    rows = markdown.leaderboard_rows(facts)
    assert len({tuple(row) for row in rows}) == 1
    assert all(isinstance(cell, str) for row in rows for cell in row.values())
    ranking = words.metric(facts.leaderboard.scores[0].metric).short
    assert [row[ranking] for row in rows] == [words.figure(s.score, 5) for s in facts.leaderboard.scores]


@pytest.mark.parametrize(
    "evil", ["a|b", "x\n\n# y", "<script>z</script>", "[t](javascript:1)", "`c`", "![i](http://x)"]
)
def test_names_cannot_leave_their_cell(evil: str) -> None:
    facts = nights.night("volatility").facts
    assert facts.evidence is not None
    scores = (dataclasses.replace(facts.leaderboard.scores[0], candidate=evil), *facts.leaderboard.scores[1:])
    rivals = (dataclasses.replace(facts.evidence.comparisons[0], rival=evil),)
    facts = dataclasses.replace(
        facts,
        leaderboard=dataclasses.replace(facts.leaderboard, scores=scores),
        evidence=dataclasses.replace(facts.evidence, comparisons=rivals),
        decision=dataclasses.replace(facts.decision, promote=evil, reasons=(evil,)),
    )
    cells = "\n".join(cell for row in markdown.leaderboard_rows(facts) for cell in row.values())
    assert not re.search(r"(?<!\\)\|", cells)
    whole = f"{cells}\n{markdown.decision(facts)}"
    assert "<script" not in whole
    assert not re.search(r"(?<!\\)\]\(", whole)
    headings = [line for line in whole.splitlines() if line.startswith("#")]
    assert len(headings) == 3


def test_the_decision_tells_reasons_alarms_and_rivals() -> None:
    facts = nights.night("direction", engines=(nights.engine("h2o", 0, error="no Java"),)).facts
    text = markdown.decision(facts)
    for said in (
        "better than every rival",
        "**Engine h2o failed** no Java",
        "never used to choose",
        "2nd read of this term",
    ):
        assert said in text
    assert "    model = mlflow.pyfunc.load_model" in text
