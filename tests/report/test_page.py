"""The page: whole, self-contained, escaped, and true to what it was given."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tasks.contracts import TargetName, Window
from tasks.documents import to_json
from tasks.evaluation import Decision, Leaderboard
from tasks.report import words
from tasks.report.night import Night, Predictions
from tasks.report.page import render
from tests.report import nights
from tests.report.markup import Page

HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(2)>',
    "{{ 7*7 }}{% raw %}",
    "</svg></style></title><b>",
    "javascript:alert(3)",
    "a\x00b\x1b[31m\u202egnp.exe",
    "'=cmd()|' A1",
    "lone \ud800 surrogate",
    "x" * 5000,
)


@pytest.fixture(scope="module", params=["volatility", "return", "direction"])
def rendered(request: pytest.FixtureRequest) -> tuple[Night, str]:
    """A night of each target, and its page."""
    made = nights.night(request.param)
    return made, render(made)


def test_page_is_well_formed_and_its_references_resolve(rendered: tuple[Night, str]) -> None:
    page = Page(rendered[1])
    ids = [element.attributes["id"] for element in page.elements if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    wanted = re.findall(r'(?:url\(#|href="#|aria-labelledby=")([\w-]+)', rendered[1])
    assert wanted
    assert set(wanted) <= set(ids)
    assert page.all("html")[0].attributes["lang"] == "en"
    assert len(page.all("h1")) == 1


def test_page_asks_for_nothing(rendered: tuple[Night, str]) -> None:
    page = Page(rendered[1])
    assert not [e for e in page.elements if e.tag in {"script", "img", "iframe", "object", "embed", "base", "form"}]
    for element in page.elements:
        for name, value in element.attributes.items():
            assert not name.startswith("on"), (element.tag, name)
            if name in {"src", "href", "xlink:href", "srcset", "action"}:
                assert value.startswith(("#", "data:,")), (element.tag, value)
    assert "http" not in re.sub(r"http-equiv", "", rendered[1])
    assert "@import" not in rendered[1]
    assert len(rendered[1].encode()) < 700_000


def test_every_number_is_one_that_was_given(rendered: tuple[Night, str]) -> None:
    night, html = rendered
    given = set(_numbers(to_json(night.facts))) | {1 - 0.112 / 0.115}  # and the gain that the two losses make
    shown = [element for element in Page(html).all("data") if element.attributes["value"] != "nan"]
    assert len(shown) > 60
    for element in shown:
        assert float(element.attributes["value"]) in given, element


def test_leaderboard_shows_every_score_in_order(rendered: tuple[Night, str]) -> None:
    night, html = rendered
    page = Page(html)
    scores = night.facts.leaderboard.scores
    assert [float(cell.text) for cell in page.all("td", class_="ranks")] == pytest.approx(
        [score.score for score in scores], rel=1e-4
    )
    rows = [row for row in page.all("tr") if any(score.candidate in row.text for score in scores)][: len(scores)]
    assert [score.candidate in row.text for score, row in zip(scores, rows, strict=True)] == [True] * len(scores)
    assert ["base" in row.attributes.get("class", "") for row in rows] == [s.engine == "baseline" for s in scores]


def test_render_is_deterministic() -> None:
    assert render(nights.night("return")) == render(nights.night("return"))


def test_words_of_the_windows_are_honest(rendered: tuple[Night, str]) -> None:
    assert "Walk-forward folds: used to choose" in rendered[1]
    assert "Gate window: never used to choose" in rendered[1]


def test_pictures_follow_the_pages_colours(rendered: tuple[Night, str]) -> None:
    html = rendered[1]
    pictures = re.findall(r"<svg viewBox.*?</svg>", html, flags=re.DOTALL)
    drawn = [picture for picture in pictures if "path" in picture]
    assert len(drawn) == (6 if rendered[0].facts.rows.target.name == "volatility" else 8)
    for picture in drawn:
        assert "var(--" in picture
        assert set(re.findall(r"#[0-9a-f]{6}\b", picture)) <= {"#000000", "#ffffff"}, "a colour that ignores the scheme"


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_names_are_text_and_nothing_else(text: str) -> None:
    made = nights.night("volatility")
    if text != HOSTILE[1]:  # pictures take time and hold no names; their legends are tried once
        made = nights.plain("volatility")
    stormy_source = render(_stormy(made, text))
    stormy = Page(stormy_source)
    tags = [element.tag for element in stormy.elements]
    assert "script" not in tags
    assert "img" not in tags
    assert "b" not in tags
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", stormy_source)
    assert "javascript:" not in "".join(e.attributes.get("href", "") for e in stormy.elements)
    assert "49" not in "".join(element.text for element in stormy.all("h1"))
    stormy_source.encode("utf-8")
    assert words.clean(text, 80)[:12] in stormy.all("h1")[0].text


def _stormy(made: Night, text: str) -> Night:
    facts, board = made.facts, made.facts.leaderboard
    scores = tuple(dataclasses.replace(score, candidate=f"{text}{score.rank}") for score in board.scores)
    engines = (dataclasses.replace(facts.engines[0], error=text, notes=(text,)), *facts.engines[1:])
    assert facts.evidence is not None
    rivals = tuple(dataclasses.replace(item, rival=text) for item in facts.evidence.comparisons)
    changed = dataclasses.replace(
        facts,
        run_id=text,
        problem={**facts.problem, "name": text, "owner": text},
        snapshot=dataclasses.replace(
            facts.snapshot, symbols=(text,), quarantined=(text,), warnings=(text,), finding_counts={text: 3}
        ),
        leaderboard=dataclasses.replace(board, scores=scores, refused={text: text}),
        decision=Decision(outcome="promoted", promote=text, reasons=(text,)),
        evidence=dataclasses.replace(
            facts.evidence, challenger=text, comparisons=rivals, alarms=(text,), partial=(text,)
        ),
        engines=engines,
        importance_of=text,
        importance=((text, 1.0),),
        model_uri=text,
        tracking_uri=text,
        run_url=text,
        versions={text: text},
        digests={text: text},
        seconds={text: 1.0},
        warnings=(text,),
    )
    predictions = tuple(dataclasses.replace(item, candidate=text) for item in made.predictions)
    return dataclasses.replace(made, facts=changed, predictions=predictions)


def test_only_a_web_address_is_linked() -> None:
    made = nights.plain("volatility", run_url="https://runs.example/1?a=1&b=<2>")
    linked = [e.attributes["href"] for e in Page(render(made)).all("a")]
    assert linked == ["https://runs.example/1?a=1&b=<2>"]


def test_baseline_outcome_says_so() -> None:
    made = nights.plain("volatility", decision=Decision(outcome="baseline", promote="h-a-r", reasons=("none beat it",)))
    page = Page(render(made))
    assert "Nothing earned more than a baseline: h-a-r serves as champion" in page.all("h2")[0].text
    assert "tone-warn" in page.all("section", class_="decision")[0].attributes["class"]


def test_failed_and_irreproducible_engines_are_said_loudly() -> None:
    engines = (
        nights.engine("baseline"),
        nights.engine("h2o", 0, error="the JVM was killed after 41 s"),
        nights.engine("autokeras", reproducible=False, notes=("met its limit of 150 s",)),
    )
    page = Page(render(nights.plain("direction", engines=engines)))
    bad = [element.text for element in page.all("div", class_="bad")]
    assert any("Engine h2o failed" in text and "the JVM was killed after 41 s" in text for text in bad)
    assert any("linear was asked for and left no result" in text for text in bad)
    assert any("autokeras is not reproducible" in element.text for element in page.all("div", class_="warn"))
    assert [e.text for e in page.all("span", class_="status") if e.text.isupper()] == ["FAILED", "NOT REPRODUCIBLE"]


def test_a_good_night_shows_no_alert() -> None:
    assert not Page(render(nights.plain("volatility"))).all("div", class_="alert")


def test_a_night_with_next_to_nothing_still_renders() -> None:
    made = nights.night("return")
    empty = Leaderboard(scores=(), rows=0, dates=0, sha256=nights.SHA)
    facts = dataclasses.replace(
        made.facts, leaderboard=empty, evidence=None, engines=(), importance=(), importance_of="", seconds={},
        decision=Decision(outcome="quarantined", promote="", reasons=()), model_uri="", engine_seconds={},
    )  # fmt: skip
    page = Page(render(Night(facts=facts, bars=made.bars, labels=made.labels)))
    text = page.all("main")[0].text
    for said in ("No candidate could be scored", "Nothing was compared", "There is no champion to pull yet"):
        assert said in text
    assert "No importance is known for the leader" in text


def test_a_panel_is_drawn_as_an_index() -> None:
    page = Page(render(nights.night("volatility", symbols=tuple(f"S{i}" for i in range(20)))))
    text = page.all("main")[0].text
    assert "equal-weight index of 20 symbols" in text
    assert "Symbols are averaged by date" in text
    assert "S11 and 8 more" in text


def test_what_is_not_a_number_is_a_dash() -> None:
    made = nights.plain("return")
    scores = tuple(
        dataclasses.replace(s, metrics={**s.metrics, "ic": float("nan")}) for s in made.facts.leaderboard.scores
    )
    board = dataclasses.replace(made.facts.leaderboard, scores=scores)
    page = Page(render(dataclasses.replace(made, facts=dataclasses.replace(made.facts, leaderboard=board))))
    shown = [e.text for e in page.all("data", value="nan")]
    unread = len(scores) - 2  # no gate loss but for the challenger and the best baseline
    assert shown == ["–"] * (len(scores) + unread)


def test_predictions_of_another_length_are_refused() -> None:
    made = nights.night("volatility")
    short = Predictions(candidate="short", role="leader", folds=np.zeros(3))
    with pytest.raises(ValueError, match=r"predictions of short: 3 rows, labels have 700"):
        render(dataclasses.replace(made, predictions=(short,)))


def test_a_leader_without_a_gated_fit_is_drawn_on_the_folds_alone() -> None:
    made = nights.night("direction")
    half = tuple(dataclasses.replace(item, gate=None) for item in made.predictions)
    html = render(dataclasses.replace(made, predictions=half))
    assert "Walk-forward folds (used to choose)" in html
    assert "Gate window (never used to choose)" not in html


@pytest.mark.parametrize("target", ["volatility", "return", "direction"])
def test_a_baseline_that_leads_is_drawn_without_a_rival(target: TargetName) -> None:
    made = nights.night(target)
    html = render(dataclasses.replace(made, predictions=made.predictions[:1]))
    assert "Forecast and outcome" in html
    assert "Who was ahead" not in html
    assert "best baseline)" not in html
    assert "nan" not in "".join(re.findall(r' d="([^"]*)"', html))


def test_prices_below_zero_are_drawn() -> None:
    made = nights.plain("direction")
    sunk = made.bars.assign(close=made.bars["close"] - made.bars["close"].median())
    assert "<svg" in render(dataclasses.replace(made, bars=sunk))


def test_twenty_years_of_intraday_rows_stay_small() -> None:
    made = nights.night("volatility", symbols=tuple(f"S{i}" for i in range(60)))
    assert len(render(made).encode()) < 700_000


@pytest.mark.parametrize("dark", [False, True])
def test_text_has_contrast(dark: bool) -> None:
    html = render(nights.plain("volatility"))
    block = re.search(rf"color-scheme:{'dark' if dark else 'light'};(.*?)}}", html, flags=re.DOTALL)
    assert block is not None
    values = dict(re.findall(r"--([\w-]+):(#[0-9a-f]{3,6})\b", block[1]))
    for back in ("page", "card", "raised"):
        for text in ("ink", "soft", "leader", "rival", "good", "warn", "bad"):
            least = 4.5 if back != "raised" or text in ("ink", "soft") else 4.0
            assert _contrast(values[text], values[back]) >= least, (text, back)
    for tone in ("good", "warn", "bad"):
        assert _contrast(values[tone], values[f"{tone}-back"]) >= 4.5, tone
    for line in ("leader", "rival", "outcome"):
        assert _contrast(values[line], values["card"]) >= 2.9, line


def _contrast(one: str, other: str) -> float:
    """WCAG 2 contrast ratio of two colours."""
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)


def test_windows_are_listed_with_their_dates() -> None:
    made = nights.plain("volatility")
    text = Page(render(made)).all("main")[0].text
    for window in made.facts.rows.windows:
        assert isinstance(window, Window)
        assert window.first[:10] in text
        assert window.last[:10] in text
        assert words.WINDOW_USE[window.name] in text


@pytest.mark.parametrize("target", ["volatility", "return", "direction"])
def test_constant_forecasts_are_drawn(target: TargetName) -> None:
    made = nights.night(target)
    level = {"volatility": -4.8, "return": 0.0, "direction": 0.55}[target]
    flat = np.full(len(made.labels), level)
    fixed = tuple(dataclasses.replace(item, folds=flat, gate=flat) for item in made.predictions)
    assert "<svg" in render(dataclasses.replace(made, predictions=fixed))
