"""Five other histories: shown with what they are good for, on the page, in the artifact and in the document."""

from __future__ import annotations

import dataclasses

import pytest

from tasks.contracts import TargetName
from tasks.report import histories, markdown
from tasks.report.document import document
from tasks.report.page import render
from tests.report import nights
from tests.report.markup import Page

SHOWN = ["+3.10 %", "+1.20 %", "−0.40 %", "+2.70 %", "+1.90 %"]


@pytest.mark.parametrize(
    ("target", "reference"),
    [
        ("volatility", "least squares on LHAR's columns"),
        ("return", "the training mean"),
        ("direction", "the base rate"),
        ("triple_barrier", "the base rate"),
    ],
)
def test_they_are_told_with_their_reference_and_that_they_chose_nothing(target: TargetName, reference: str) -> None:
    made = nights.plain(target)
    page = Page(render(made))
    card = next(e for e in page.all("section") if e.attributes.get("aria-labelledby") == "histories")
    for said in (
        "Five other histories",
        "Used to choose nothing",
        reference,
        "ranks nothing and gates nothing",
        *SHOWN,
    ):
        assert said in card.text
    assert f"against {reference}" in histories.said(made.facts)


def test_bars_show_sign_and_proportion() -> None:
    made = nights.plain("return", other_histories=(0.04, -0.02, 0.0, 0.01, 0.0))
    assert [item["bar"] for item in histories.bars(made.facts)] == [1.0, -0.5, 0.0, 0.25, 0.0]
    small = nights.plain("return", other_histories=(0.001,) * 5)
    assert histories.bars(small.facts)[0]["bar"] == pytest.approx(0.05)


def test_artifact_and_document_hold_them() -> None:
    facts = nights.night("volatility").facts
    assert "Used to choose nothing: Skill of ridge" in markdown.decision(facts)
    told = document(facts)["other_histories"]
    assert told["skills"] == [0.031, 0.012, -0.004, 0.027, 0.019]
    assert told["said"].endswith(", ".join(SHOWN))


def test_a_night_without_them_does_not_speak_of_them() -> None:
    made = nights.plain("volatility", other_histories=())
    assert "other histories" not in Page(render(made)).all("main")[0].text
    assert "choose nothing" not in markdown.decision(made.facts)
    assert document(dataclasses.replace(made.facts))["other_histories"] == {"skills": [], "said": ""}
