"""The README's picture of the DAG is that of the flow's code."""

from __future__ import annotations

import pytest

from flows.picture import FLOW, drawn, mermaid, stages
from tests.flows.conftest import PROJECT

FORKED = """
from tasks.bars.task import ingest
from tasks.search.task import refit, search

def flow(night):
    with night.stage("bars"):
        snapshot = ingest(night)
    with night.stage("left"):
        found = [search.submit(snapshot) for _ in range(2)]
    with night.stage("right"):
        again = _helped(snapshot)
    with night.stage("end"):
        last = ingest(found, again)

def _helped(snapshot):
    return refit(snapshot)
"""


def test_the_readme_shows_the_flow_as_it_is() -> None:
    page = (PROJECT / "README.md").read_text(encoding="utf-8")
    assert drawn(page, mermaid(FLOW.read_text(encoding="utf-8"))) == page, "run python -m flows.picture README.md"


def test_the_night_has_its_stages_in_order() -> None:
    names = [box.name for box in stages(FLOW.read_text(encoding="utf-8"))]
    assert names[:4] == ["ingest", "features", "windows", "search"]
    assert names[-3:] == ["gate", "register", "report"]


def test_arrows_follow_what_is_handed_on() -> None:
    picture = mermaid(FORKED)
    arrows = {line.strip() for line in picture.splitlines() if "-->" in line}
    assert arrows == {"bars --> left", "bars --> right", "left --> end", "right --> end"}
    assert "‖ search" in picture
    assert "refit" in picture


def test_a_page_without_its_marks_is_refused() -> None:
    with pytest.raises(ValueError, match="has no"):
        drawn("no marks here", "picture")
