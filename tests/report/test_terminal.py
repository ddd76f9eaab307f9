"""The terminal: 80 columns, nothing cut that counts, nothing executed that came from outside."""

from __future__ import annotations

import dataclasses
import io

import pytest
from rich.console import Console

from tasks.contracts import TargetName
from tasks.report import words
from tasks.report.document import document
from tasks.report.facts import Facts
from tasks.report.terminal import night
from tests.report import nights


def shown(facts: Facts, columns: int = 80) -> str:
    """What a terminal without colours shows."""
    stream = io.StringIO()
    console = Console(file=stream, width=columns, color_system=None, force_terminal=False)
    for part in night(document(facts)):
        console.print(part)
    return stream.getvalue()


@pytest.mark.parametrize("target", ["volatility", "return", "direction"])
def test_it_fits_80_columns_with_every_figure_whole(target: TargetName) -> None:
    facts = nights.night(target).facts
    scores = tuple(
        dataclasses.replace(score, candidate=f"StackedEnsemble_BestOfFamily_{i}_AutoML_1_20260101_20000", skill=-12.345)
        for i, score in enumerate(facts.leaderboard.scores)
    )
    text = shown(dataclasses.replace(facts, leaderboard=dataclasses.replace(facts.leaderboard, scores=scores)))
    assert max(len(line) for line in text.splitlines()) <= 80
    for score in scores:
        line = next(line for line in text.splitlines() if line.startswith(f"{score.rank} "))
        for figure in (
            words.figure(score.score, 5),
            words.percent(score.skill, plus=True),
            words.interval(score.skill_interval),
        ):
            assert figure in line


def test_the_snippet_can_be_copied_whole() -> None:
    facts = nights.night("volatility", tracking_uri="sqlite:////" + "deep/" * 50 + "mlflow.db").facts
    assert all(line in shown(facts).splitlines() for line in words.snippet(facts).splitlines() if line)


def test_markup_and_control_characters_stay_text() -> None:
    evil = "[bold red]x[/] \x1b[2J\x07[link=file:///etc/passwd]y[/link]"
    facts = nights.night("volatility").facts
    scores = (dataclasses.replace(facts.leaderboard.scores[0], candidate=evil),)
    text = shown(
        dataclasses.replace(
            facts,
            leaderboard=dataclasses.replace(facts.leaderboard, scores=scores),
            decision=dataclasses.replace(facts.decision, reasons=(evil,), promote=evil),
            warnings=(evil,),
        )
    )
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[bold red]x[/] \\x1b[2J\\x07[link=file" in text


def test_what_degraded_comes_first() -> None:
    facts = nights.night("volatility", engines=(nights.engine("h2o", 0, error="no Java"),)).facts
    assert shown(facts).startswith("ENGINE H2O FAILED: no Java")


def test_the_winner_and_the_baselines_are_marked() -> None:
    lines = shown(nights.night("volatility").facts).splitlines()
    assert any("→ h2o-candidate-1" in line for line in lines)
    assert any("dim: baselines" in line for line in lines)
    assert any("walk-forward folds (used to choose)" in line for line in lines)


def test_no_score_at_all_is_still_told() -> None:
    facts = nights.night("volatility").facts
    empty = dataclasses.replace(facts.leaderboard, scores=())
    assert "decision: promoted" in shown(dataclasses.replace(facts, leaderboard=empty, model_uri=""))


def unread(cause: str, reasons: tuple[str, ...]) -> Facts:
    """A night on which the gate was not read for the challenger."""
    facts = nights.night("volatility").facts
    assert facts.evidence is not None
    return dataclasses.replace(
        facts,
        evidence=dataclasses.replace(facts.evidence, read=0, not_read=cause, comparisons=()),
        decision=dataclasses.replace(facts.decision, outcome="kept", promote="", reasons=reasons),
    )


def test_what_a_reason_says_is_not_said_again() -> None:
    causes = ("The gate has 281 dates; 504 are required", "The run is partial: 1 symbols quarantined")
    text = shown(unread("; ".join(causes), tuple(f"{cause}." for cause in causes)))
    assert " ".join(text.split()).count("504 are required") == 1
    assert "gate: not read" not in text


def test_of_long_causes_the_first_is_told_in_short_and_the_report_has_them_all() -> None:
    causes = [f"cause {number} " + "that goes on and on " * 20 for number in (1, 2, 3)]
    facts = unread("; ".join(causes), ("something else",))
    text = " ".join(shown(facts).replace("│", " ").split())
    assert "gate: not read: cause 1 that goes" in text
    assert "… and 2 more, in the report" in text
    assert "cause 2" not in text
    assert facts.evidence is not None
    assert words.reading(facts.evidence).count("goes on and on") > 10
