"""The page, the terminal and the artifact of a rollout: what they say, and that nothing from outside is markup."""

from __future__ import annotations

import dataclasses
import html
import re
from typing import Any

import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from tasks.rollout import page, terminal, words
from tasks.rollout.assess import Assessment, assess
from tasks.rollout.plan import Ending, Plan

PLAN = Plan(
    id="20200101T000000Z-v2", name="spx", mode="gradual", champion="1", challenger="2", predicts="volatility",
    loss="mse", started="2020-01-01T00:00:00+00:00", after="2020-01-01", streams=1, bound=1.0, level=0.025, limit=120,
    read=1, champion_is="har", challenger_is="ridge",
    prior=tuple(np.random.default_rng(1).normal(0.25, 0.5, 300)),
)  # fmt: skip


def stands(gains: list[float], plan: Plan = PLAN, **more: Any) -> Assessment:
    days = pd.bdate_range("2020-01-02", periods=len(gains) + 1)
    forecasts = pd.DataFrame({"session": days})
    outcomes = pd.DataFrame({"session": days[:-1], "difference": np.asarray(gains, dtype=np.float64)})
    return assess(plan, forecasts, outcomes, **more)


def printed(found: Assessment) -> str:
    console = Console(width=80, highlight=False, file=None, record=True, quiet=False)
    with console.capture() as captured:
        for part in terminal.rollout(words.document(found)):
            console.print(part)
    return captured.get()


def test_it_says_how_long_it_will_take_with_an_interval() -> None:
    found = stands([0.2] * 10)
    assert found.outlook is not None
    assert 0 < found.outlook.low < found.outlook.median < (found.outlook.high or 999)
    text = words.time_left(found)
    assert re.match(r"about \d+ more dates \(\d+ to .+ in 80 % of drawn futures; \d+% get there in time; drawn", text)
    hopeless = dataclasses.replace(PLAN, prior=tuple(-abs(value) for value in PLAN.prior))
    assert words.time_left(stands([-0.01] * 3, hopeless)).startswith(
        "likely not before the time limit: E gets there in 0%"
    )
    assert words.time_left(stands([1.0] * 60)) == ""


def test_dates_that_the_gate_chose_by_are_told_beside_the_number_and_left_out_once_60_count() -> None:
    chosen, other = dataclasses.replace(PLAN, approved=True, limit=504), dataclasses.replace(PLAN, limit=504)
    early = stands([0.0] * 59, chosen)
    for text in (
        words.time_left(early),
        html.unescape(page.render(early)),
        words.as_markdown(early, ""),
        " ".join(printed(early).split()),
    ):
        assert "300 of them are the gate's, which chose the challenger for them: expect it later" in text
    assert words.document(early)["outlook"]["selected"] == 300
    assert "the gate's, which" not in words.time_left(stands([0.0] * 59, other))
    late = stands([0.02, -0.02] * 30, chosen)
    assert late.outlook is not None
    assert (late.outlook.drawn_from, late.outlook.selected) == (60, 0)
    assert early.outlook is not None
    assert late.outlook.reaching < 0.1 < early.outlook.reaching, "what counts is not flattered by what chose"


@pytest.mark.parametrize(
    ("gains", "mode", "headline"),
    [
        ([1.0] * 60, "gradual", "The challenger took over"),
        ([-1.0] * 60, "gradual", "The challenger was rolled back"),
        ([0.0] * 120, "gradual", "The champion stays: the time was up"),
        ([0.5] * 8, "gradual", "5% of requests see the challenger"),
        ([], "gradual", "1% of requests see the challenger"),
        ([0.5] * 8, "shadow", "In the shadow: nobody sees the challenger"),
    ],
)
def test_page_terminal_and_artifact_say_the_same(gains: list[float], mode: Any, headline: str) -> None:
    found = stands(gains, dataclasses.replace(PLAN, mode=mode))
    html = page.render(found)
    assert f"<h1>{headline}</h1>" in html
    assert html == page.render(found)
    assert html.count("<svg") == (3 if mode == "gradual" else 2)
    assert "nan" not in html.lower()
    text = printed(found)
    assert headline in text
    assert max(map(len, text.splitlines())) <= 80
    assert headline in words.as_markdown(found, "page.html")
    assert words.document(found)["headline"] == headline


def test_how_it_ended_is_told() -> None:
    ending = Ending(outcome="superseded", at="2020-03-01T00:00:00+00:00", dates=8, why=("version 3 is champion now",))
    found = stands([0.5] * 8, ending=ending)
    assert "Ended 2020-03-01 after 8 dates: superseded. version 3 is champion now." in page.render(found)
    assert "the champion is another one now" in printed(found)
    assert found.outlook is None


def test_the_page_shows_every_step_of_the_share() -> None:
    found = stands([1.0] * 60)
    assert [row[3] for row in words.changes(found)] == ["1%", "5%", "25%", "50%", "100%"]
    curve = re.search(r'<polyline class="curve leader" points="([^"]+)"', page.render(found))
    assert curve is not None
    heights = [float(point.split(",")[1]) for point in curve[1].split()]
    assert len(heights) == 21
    assert heights == sorted(heights, reverse=True), "E only rises here, and up is up"


def test_text_from_outside_is_text() -> None:
    hostile = dataclasses.replace(PLAN, challenger_is="<script>alert(1)</script>\x1b[31m|x", name="spx")
    found = stands([0.5] * 8, hostile, warnings=("[bold]x[/] <b>y</b>\n# z",))
    html, text, markdown = page.render(found), printed(found), words.as_markdown(found, "")
    assert "<script" not in html
    assert "<b>" not in html
    assert "\x1b[31m" not in text
    assert "[bold]x[/]" in text
    assert "<script" not in markdown
    assert "\n# z" not in markdown


def test_the_page_needs_nothing_else() -> None:
    html = page.render(stands([0.5] * 8))
    assert "default-src 'none'" in html
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", html)
