"""The page, the artifact, the terminal's lines, and evidently without a network."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tasks.drift import markdown, page, terminal
from tasks.drift.svg import NARROW, WIDE, Curve, drawn
from tasks.drift.values import DriftReport
from tests.drift.conftest import TRAINING, World

HOSTILE = "<script>alert(1)</script>\x1b[31m`|x"

OFFLINE = """
import os, sys
os.environ.pop("DO_NOT_TRACK", None)
tried = []
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.sendto", "socket.gethostbyname"):
        tried.append((event, str(arguments)))
sys.addaudithook(hook)
import numpy as np, pandas as pd
from tasks.drift.evidently_page import distributions
from tasks.drift.values import ColumnDrift, DriftReport
rng = np.random.default_rng(1)
frames = [pd.DataFrame(rng.normal(size=(n, 2)), columns=["calm", "wild"]) for n in (900, 63)]
columns = tuple(
    ColumnDrift(column=name, psi=1.0, ks=0.5, psi_limit=1.0, ks_limit=0.5, ratio=ratio)
    for name, ratio in (("calm", 0.4321), ("wild", 1.7654))
)
report = DriftReport(name="a", version="1", candidate="b", at="", snapshot="", training_end="", window=63, sessions=1,
                     last="", state="retrain", run_length=504, columns=columns)
body, why = distributions(*frames, report)
assert not why and len(body) > 100_000, (why, len(body))
assert "0.4321" in body and "1.7654" in body
assert os.environ["DO_NOT_TRACK"] == "1"
assert not tried, tried
"""


class Seen(HTMLParser):
    """Tags that load something, and whether every tag is closed."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.scripts += tag == "script"
        self.loads += [str(given[name]) for name in ("src", "href") if given.get(name)]


@pytest.fixture
def drifted(world: World) -> DriftReport:
    """An alarm of a feature and of the loss, with a page beside it."""
    world.features[TRAINING:, 1] *= 100.0
    world.noise[TRAINING:] *= 3.0
    report = world.report()
    return dataclasses.replace(report, files={"page": "/x/index.html", "distributions": "/x/distributions.html"})


def test_the_page_loads_nothing_but_its_neighbour(drifted: DriftReport) -> None:
    seen = Seen()
    seen.feed(page.render(drifted))
    assert seen.scripts == 0
    assert set(seen.loads) == {"data:,", "distributions.html"}


def test_the_page_says_what_exceeded_and_since_when(drifted: DriftReport) -> None:
    body = page.render(drifted)
    assert "f1" in body
    assert drifted.since in body
    assert body.count("<svg") == 4, "two curves, each for desk and phone"
    assert "retraining run" in body


def test_hostile_names_stay_text(drifted: DriftReport) -> None:
    columns = tuple(dataclasses.replace(each, column=HOSTILE) for each in drifted.columns)
    hostile = dataclasses.replace(drifted, name=HOSTILE, candidate=HOSTILE, columns=columns, said=(HOSTILE,))
    for text in (page.render(hostile), markdown.artifact(hostile), "\n".join(terminal.lines(hostile))):
        assert "\x1b" not in text
    assert "<script" not in page.render(hostile)
    assert "<script" not in markdown.artifact(hostile)
    assert r"\`\|x" in markdown.artifact(hostile)


def test_the_terminal_has_eighty_columns(drifted: DriftReport) -> None:
    told = list(terminal.lines(dataclasses.replace(drifted, files={})))
    assert max(map(len, told)) <= 80
    assert any("f1" in line for line in told)


def test_the_page_of_a_first_day_needs_no_curve(world: World) -> None:
    report = world.report(TRAINING)
    assert "<svg" not in page.render(report)
    assert "Nothing to watch yet" in "\n".join(terminal.lines(report))


def test_a_curve_is_drawn_in_another_colour_above_its_limit() -> None:
    days = [f"2020-01-{day:02}" for day in range(1, 11)]
    quiet = Curve(title="", caption="", sessions=days, values=[0.5] * 10, limit=1.0)
    loud = dataclasses.replace(quiet, values=[0.5] * 5 + [2.0] * 5)
    for size in (WIDE, NARROW):
        assert 'class="over"' not in drawn(quiet, size)
        assert 'class="over"' in drawn(loud, size)


@pytest.mark.slow
def test_evidently_tries_no_connection(tmp_path: Path) -> None:
    """In a process whose every connection is watched; its scores are this monitor's, not the textbook's."""
    done = subprocess.run(
        [sys.executable, "-c", OFFLINE], capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
