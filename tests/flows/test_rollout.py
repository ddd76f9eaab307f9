"""A rollout from end to end on real bars: approved by a gate, begun by the night, ended by its evidence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.flows.conftest import played

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What ``run_rollout`` leaves."""
    return played("run_rollout", tmp_path_factory.mktemp("rollout"), timeout=600)


def held(document: dict[str, Any]) -> tuple[str, str, float]:
    now = document["now"]
    return now["champion"], now["challenger"], now["share"]


def test_what_the_gate_approved_begins_with_its_read_and_a_hundredth(found: dict[str, Any]) -> None:
    begun = found["begun"]
    assert held(begun) == ("1", "2", 0.01)
    plan = begun["plan"]
    assert (plan["read"], plan["level"], plan["approved"]) == (1, 0.025, True)
    assert plan["after"] == "2015-06-30"
    assert (begun["dates"], begun["outlook"]["selected"]) == (0, begun["outlook"]["drawn_from"])
    assert "which chose the challenger for them" in begun["time"]


def test_evenings_count_dates_out_of_sample_and_a_refresh_of_the_champion_ends_nothing(found: dict[str, Any]) -> None:
    first, refreshed = found["first"], found["refreshed"]
    assert held(first) == ("1", "2", 0.01)
    assert (first["dates"], first["ahead"]) == (12, 1), "sessions from 1 to 20 July 2015, the last without its label"
    assert held(refreshed) == ("3", "2", 0.01)
    assert refreshed["dates"] == 13, "the refit had learned from what lies between, but for the date that was forecast"
    assert refreshed["plan"] == first["plan"]


def test_the_better_model_takes_over_by_its_evidence_and_the_ledger_and_history_say_so(found: dict[str, Any]) -> None:
    last = found["last"]
    assert held(last) == ("2", "", 0.0)
    assert last["ending"]["outcome"] == "promoted"
    assert float(last["e"]) >= 40
    assert found["over"]["ending"] == last["ending"]
    steps = [(move["action"], move["by"]) for move in found["moves"]]
    assert steps == [
        ("baseline", "nightly"), ("challenged", "nightly"), ("challenged", "rollout"), ("refreshed", "nightly"),
        ("promoted", "rollout"),
    ]  # fmt: skip
    noted = [row["outcome"] for row in found["outcomes"] if row["read"] == 1]
    assert noted == ["promoted", "rollout began", "promoted"]
    assert Path(last["page"]).exists()
