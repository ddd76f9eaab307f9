"""What transfers were worth, as told: every figure one that was given, and what hurts is not to be missed."""

from __future__ import annotations

import dataclasses
import io
import json
import re
from typing import Any

import pytest
from rich.console import Console

from tasks.contracts import Candidate, Ref
from tasks.documents import from_json, to_json
from tasks.evaluation import CarriedError, Score, TransferWorth
from tasks.report import markdown, terminal, transfers, words
from tasks.report.document import document
from tasks.report.facts import Facts, alerts
from tasks.report.night import Night
from tasks.report.page import render
from tasks.report.transfer_pictures import worths
from tests.report import nights
from tests.report.markup import Page

NAN = float("nan")
CONTROL = "transfer-scratch-1"


def line(name: str, verdict: Any, difference: float, spread: float = 0.002, **changes: Any) -> TransferWorth:
    made = TransferWorth(
        candidate=name, control=CONTROL, strategy=name.split("-")[1], backbone="liquid:3", frozen=0.8,
        difference=difference, interval=(difference - spread, difference + spread), hurts_p=0.9, helps_p=0.1,
        verdict=verdict, dates=400,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)


LINES = (
    line("transfer-features-1", "helps", 0.005, helps_p=0.0002, hurts_p=0.9998),
    line("transfer-full-1", "no difference", 0.0004, note="40 dates are worth 40 that share no bar", dates=40),
    line("transfer-partial-1", "hurts", -0.006, hurts_p=0.0004, helps_p=0.9996),
)


def group(candidate: str, by: Any, name: str, difference: float) -> CarriedError:
    return CarriedError(
        candidate=candidate, control=CONTROL, by=by, group=name, rows=80, dates=80, control_loss=0.11,
        candidate_loss=0.11 - difference, difference=difference, interval=(difference - 0.01, difference + 0.01),
        control_bias=0.002, candidate_bias=-0.031,
    )  # fmt: skip


GROUPS = (
    group("transfer-features-1", "market's volatility", "low", 0.008),
    group("transfer-features-1", "market's volatility", "high", -0.003),
    group("transfer-features-1", "symbols", "<b>SPX", 0.001),
)


def transferred(lines: tuple[TransferWorth, ...] = LINES, untold: str = "") -> Night:
    """A night whose board holds transfers and their control; ``untold`` one of which nothing is known."""
    night = nights.plain("volatility")
    like = night.facts.leaderboard.scores[0]
    names = [*(each.candidate for each in lines), CONTROL, *([untold] if untold else [])]
    more = [
        dataclasses.replace(like, candidate=name, engine="transfer", rank=6 + place, score=0.1)
        for place, name in enumerate(names)
    ]
    board = dataclasses.replace(
        night.facts.leaderboard, scores=(*night.facts.leaderboard.scores, *more), transfers=lines,
        carried=GROUPS if lines == LINES else (),
    )  # fmt: skip
    searched = tuple(_searched(name) for name in names)
    engine = nights.engine("transfer", candidates=searched)
    return dataclasses.replace(
        night, facts=dataclasses.replace(night.facts, leaderboard=board, engines=(*night.facts.engines, engine))
    )


def _searched(name: str) -> Candidate:
    adaptation = {"method": "coral", "reason": "AUC 0.81, 0.55 after CORAL: covariances are aligned."}
    backbone = {} if name == CONTROL else {"name": "liquid", "version": "3"}
    recipe = {"strategy": name.split("-")[1], "backbone": backbone}
    recipe |= {"adaptation": adaptation} if "features" in name else {}
    return Candidate(
        name=name, engine="transfer", recipe=recipe, model=name,
        predictions=Ref(path="p.parquet", sha256=nights.SHA, rows=1), train_seconds=1.0, predict_us_per_row=1.0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def page() -> tuple[Facts, str]:
    night = transferred()
    return night.facts, render(night)


def test_the_page_tells_each_transfer_and_each_group_as_they_are(page: tuple[Facts, str]) -> None:
    facts, html = page
    (section,) = [each for each in Page(html).all("section") if each.attributes.get("aria-labelledby") == "transfers"]
    for each in LINES:
        assert each.candidate in section.text
        assert words.probability(each.hurts_p) in section.text
    values = {float(element.attributes["value"]) for element in Page(html).all("data")}
    assert {each.difference / 0.1 for each in LINES} <= values
    assert {each.difference / 0.11 for each in GROUPS} <= values
    assert {-0.031, 0.002} <= values
    assert "40 dates are worth 40 that share no bar" in section.text
    assert "adapted by coral" in section.text
    assert "AUC 0.81" in section.text
    assert "<b>SPX" in section.text
    assert "<b>SPX" not in html
    assert [each.text for each in Page(html).all("span", class_="soft")] == ["no difference"]
    assert "Of 3 transfers, beside the same without pre-training: 1 helped, 1 made no difference" in section.text
    assert facts.leaderboard.transfers == LINES


def test_the_page_stays_whole_and_small(page: tuple[Facts, str]) -> None:
    html = page[1]
    ids = [element.attributes["id"] for element in Page(html).elements if "id" in element.attributes]
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'(?:url\(#|href="#|aria-labelledby=")([\w-]+)', html)) <= set(ids)
    assert len(html.encode()) < 700_000


def test_what_hurts_is_marked_and_alerted(page: tuple[Facts, str]) -> None:
    facts, html = page
    marks = {score.candidate: words.standing(facts, score) for score in facts.leaderboard.scores}
    assert "transfer hurts" in marks["transfer-partial-1"]
    assert "transfer helps" in marks["transfer-features-1"]
    assert not any("transfer" in mark for mark in marks["transfer-full-1"])
    (told,) = [alert for alert in alerts(facts) if "hurts" in alert.title]
    assert told.level == "warn"
    assert "transfer-partial-1" in told.title
    assert "0.0004 on 400 dates; it is not promoted" in told.detail
    assert told.title in html


def test_a_transfer_without_a_control_is_alerted_and_a_control_is_not() -> None:
    facts = transferred(untold="transfer-full-9").facts
    unknown = [alert.title for alert in alerts(facts) if "not known" in alert.title]
    assert unknown == ["What the transfer of transfer-full-9 was worth is not known"]


def test_a_worth_that_is_not_known_is_said_drawn_and_alerted() -> None:
    why = "the clock ended the training of its control, transfer-scratch-1"
    night = transferred((*LINES, line("transfer-multitask-1", "not known", 0.004, note=why)))
    (told,) = [alert for alert in alerts(night.facts) if "not known" in alert.title]
    assert (told.level, told.detail) == ("warn", f"{why}; it is not promoted")
    assert transfers.said(night.facts).endswith("1 had no control that was trained to its end")
    html = render(night)
    assert why in html
    assert ">not known<" in html


def test_without_transfers_nothing_is_said() -> None:
    night = nights.plain("volatility")
    assert "What the transfers were worth" not in render(night)
    assert "transfers" not in markdown.decision(night.facts)
    assert transfers.said(night.facts) == ""
    assert transfers.carried(night.facts) == []


def shown(facts: Facts) -> str:
    stream = io.StringIO()
    console = Console(file=stream, width=80, color_system=None, force_terminal=False)
    for part in terminal.night(document(facts)):
        console.print(part)
    return stream.getvalue()


def test_the_terminal_has_a_line_for_each_in_80_columns() -> None:
    long = line("transfer-features-with-a-name-that-has-no-end-at-all", "hurts", -0.006)
    text = shown(transferred((*LINES, long)).facts)
    assert max(len(row) for row in text.splitlines()) <= 80
    rows = {each.candidate: next(r for r in text.splitlines() if r.startswith(each.candidate)
            and r.rstrip().endswith(each.verdict)) for each in LINES}  # fmt: skip
    assert "+5.0 %" in rows["transfer-features-1"]
    assert "80.0 %" in rows["transfer-features-1"]
    assert "−6.0 %" in rows["transfer-partial-1"]
    assert "40 dates are worth 40" in text


def test_a_night_of_an_earlier_version_is_told_without() -> None:
    told = document(transferred().facts)
    del told["transfers"]
    stream = io.StringIO()
    for part in terminal.night(told):
        Console(file=stream, width=80).print(part)
    assert "What the transfers were worth" not in stream.getvalue()


def test_the_document_is_json_and_the_facts_survive_it() -> None:
    facts = transferred((line("transfer-full-1", "no difference", 0.0, interval=(NAN, NAN)),)).facts
    told = json.loads(json.dumps(document(facts), allow_nan=False))
    assert told["transfers"]["lines"][0]["verdict"] == "no difference"
    assert told["transfers"]["lines"][0]["interval"] == [None, None]
    assert repr(from_json(Facts, json.loads(json.dumps(to_json(facts))))) == repr(facts)


def test_markdown_has_the_table_escaped() -> None:
    evil = line("transfer-full-|<b>x</b>", "hurts", -0.01)
    text = markdown.decision(transferred((evil,)).facts)
    (row,) = [each for each in text.splitlines() if "hurts" in each and each.startswith("| transfer")]
    assert "<b>" not in row
    assert row.replace("\\|", "").count("|") == 8
    assert "−10.0 %" in row


@pytest.mark.parametrize(
    "drawn",
    [
        [(0.05, (0.01, 0.09), "helps"), (-0.06, (-0.1, -0.02), "hurts"), (0.0, (NAN, NAN), "no difference")],
        [(0.0, (0.0, 0.0), "no difference")],
        [(NAN, (NAN, NAN), "no difference")],
        [(0.01, (-9.0, 9.0), "no difference")] * 30,
    ],
)
def test_the_picture_takes_any_lines(drawn: list[tuple[float, tuple[float, float], str]]) -> None:
    found = worths(drawn)
    for svg in (found.wide, found.narrow):
        assert svg.startswith("<svg")
        assert "nan" not in svg
        assert f">{len(drawn)}<" in svg


def test_the_picture_puts_gains_on_their_side_of_zero() -> None:
    """A gain's mark is right of the line at zero, a loss's left of it."""
    wins, loses = (worths([(gain, (gain, gain), "no difference")]).wide for gain in (0.05, -0.05))
    assert _mark(wins) > _zero(wins)
    assert _mark(loses) < _zero(loses)


def _mark(svg: str) -> float:
    uses = re.findall(r'<use [^>]*x="([\d.]+)" y="[\d.]+"[^>]*fill: var\(--soft\)', svg) or re.findall(
        r'<use [^>]*x="([\d.]+)"[^>]*var\(--soft\)', svg
    )
    return float(uses[-1])


def _zero(svg: str) -> float:
    """The middle of the drawn area: the axis reaches as far to either side."""
    x, width = re.findall(r'<rect x="([\d.]+)" y="[\d.]+" width="([\d.]+)"', svg)[-1]
    return float(x) + float(width) / 2


def test_scores_of_a_transfer_are_in_the_leaderboard_too() -> None:
    facts = transferred().facts
    ranked: list[Score] = list(facts.leaderboard.scores)
    assert [row["candidate"] for row in markdown.leaderboard_rows(facts)][-1] == markdown.escaped(ranked[-1].candidate)
