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
