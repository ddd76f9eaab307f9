"""Numbers and names as they are written."""

from __future__ import annotations

import ast
import dataclasses
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.contracts import Ref
from tasks.evaluation import Decision
from tasks.report import words
from tests.report import nights

FLOATS = st.floats(-1e300, 1e300)


@given(FLOATS, st.integers(2, 7))
def test_a_figure_reads_back_within_half_of_its_last_digit(value: float, digits: int) -> None:
    shown = float(words.figure(value, digits).replace("−", "-").replace(",", ""))
    assert math.isclose(shown, value, rel_tol=0.5000001 * 10.0 ** (1 - digits), abs_tol=1e-320)


@given(st.floats(-20, 20))
def test_a_percentage_reads_back_and_shows_its_sign(value: float) -> None:
    text = words.percent(value, plus=True)
    number = float(text.removesuffix(" %").replace("−", "-"))
    assert abs(number - 100 * value) <= 0.0500001
    assert (text[0] == "+") == (number > 0)
    assert "−0.0" not in text


@given(st.text(st.characters(exclude_categories=[]), max_size=300))
def test_cleaned_text_is_printable_bounded_and_encodable(text: str) -> None:
    shown = words.clean(text, 50)
    assert len(shown) <= 50
    assert shown.isprintable() or all(c.isprintable() or c.isspace() or ord(c) > 127 for c in shown)
    assert not set(shown) & set(map(chr, [*range(32), 127, *range(0x80, 0xA0), *range(0x202A, 0x202F), 0x200B]))
    shown.encode("utf-8")


@pytest.mark.parametrize(
    ("champion", "challenger", "said"),
    [
        ("3", "", "is the new champion"),
        ("1", "3", "takes over gradually"),
        ("1", "2", "is approved, and waits: version 2 is the challenger"),
        ("1", "", "is approved, and has no place: it was not proved to be what was evaluated"),
    ],
)
def test_what_became_of_an_approved_recipe_is_told(champion: str, challenger: str, said: str) -> None:
    facts = nights.night("volatility").facts
    leader = facts.leaderboard.scores[0]
    assert facts.evidence is not None
    told = dataclasses.replace(
        facts,
        evidence=dataclasses.replace(facts.evidence, champion="ridge (version 1)"),
        problem={**facts.problem, "takeover": "gradual"},
        decision=Decision(outcome="promoted", promote=leader.candidate, reasons=("better than every rival",)),
        version="3",
        champion_version=champion,
        challenger_version=challenger,
    )
    assert words.headline(told) == f"{leader.candidate} {said}"
    assert ("now champion" in words.standing(told, leader)) is (champion == "3")


def test_cleaning_leaves_ordinary_names_alone() -> None:
    for name in ("BRK.B", "Größe", "日経225", "GBM_1_AutoML_1", "a b"):
        assert words.clean(name) == name


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (0.01, "< 0.1 s"), (0.44, "0.4 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (3725, "1 h 02 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text


@pytest.mark.parametrize(
    "path", ["/home/me/bars.parquet", "/x'\"\\/" + "long/" * 60, "/ü\u202e\ud800/" + "日" * 90, "", "a\nb"]
)
def test_the_snippet_is_python_that_quotes_every_value(path: str) -> None:
    facts = nights.night("volatility").facts
    bars = Ref(path=path, sha256=nights.SHA, rows=1)
    facts = dataclasses.replace(facts, snapshot=dataclasses.replace(facts.snapshot, bars=bars), tracking_uri=path)
    code = words.snippet(facts)
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Call)]
    texts = [node.args[0].value for node in calls if isinstance(node.args[0], ast.Constant)]
    assert texts == [path, "models:/spx-volatility@champion", path]
    assert len(calls) == 5
    assert all(len(line) < 80 for line in code.splitlines())


def test_a_panel_is_asked_for_by_symbol() -> None:
    assert "'symbol', 'time'" in words.snippet(nights.night("volatility", symbols=("A", "B")).facts)


@pytest.mark.parametrize(
    ("outcome", "promote", "champion", "said", "pulls"),
    [
        ("promoted", "m", "", "m is the first champion", True),
        ("promoted", "m", "old", "m is the new champion", True),
        ("baseline", "har", "", "Nothing earned more than a baseline: har serves as champion", True),
        ("kept", "", "old", "The champion stays: old", True),
        ("kept", "", "", "Nothing was promoted: there is no champion yet", False),
        ("quarantined", "", "old", "Nothing was promoted: the evidence is in quarantine", True),
        ("quarantined", "", "", "Nothing was promoted: the evidence is in quarantine", False),
        ("unchanged", "", "", "Nothing changed since the last run", True),
    ],
)
def test_headline_and_snippet_by_outcome(outcome: str, promote: str, champion: str, said: str, pulls: bool) -> None:
    facts = nights.night("volatility").facts
    assert facts.evidence is not None
    facts = dataclasses.replace(
        facts,
        decision=Decision(outcome=outcome, promote=promote, reasons=()),  # type: ignore[arg-type]
        evidence=dataclasses.replace(facts.evidence, champion=champion),
    )
    assert words.headline(facts) == said
    assert bool(words.snippet(facts)) == pulls


@pytest.mark.parametrize(
    ("difference", "p", "said"),
    [
        (0.1, 0.01, "clearly better"),
        (0.1, 0.05, "better, not clearly"),
        (0.0, 0.01, "not better"),
        (-1.0, 0.9, "not better"),
    ],
)
def test_a_tie_is_not_better(difference: float, p: float, said: str) -> None:
    item = dataclasses.replace(nights.comparison("har", "baseline", p), difference=difference)
    assert words.verdict(item, 0.05) == said
