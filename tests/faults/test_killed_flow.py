"""SIGKILL at every step of a night's journal: each next night goes on, and the end is what it would have been.

One state folder: killed at the first step, resumed and killed at the second, and so on; then a night that is let run.
Beside it a folder whose night is never disturbed. Each kill comes some tenths of a second into its step, drawn with a
seed that is shown where something fails: NOCTURNE_FAULTS_SEED replays it.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tasks import journal
from tasks.live import ALIASES
from tasks.registry import mlflow_store
from tasks.registry.ledger import Ledger
from tasks.registry.promotions import history, standing
from tasks.registry.verification import passed
from tests.faults.nights import NAME, Nights, left

pytestmark = pytest.mark.slow
SEED = int(os.environ.get("NOCTURNE_FAULTS_SEED") or random.SystemRandom().randrange(10**6))
IN_STAGES = {"search": 6.0, "folds": 4.0, "refit": 4.0}
"""Seconds into which a kill may fall; elsewhere half a second, since the stage may be over soon."""

STAGES = ("ingest", "features", "windows", "search", "folds", "leaderboard", "refit", "gate")
REGISTERED = ("logged", "registered", "verified", "moved")
STATES = {"started": [*STAGES, "report"], "done": [*REGISTERED, "report"]}


@pytest.fixture(scope="module")
def walked(nights: Nights, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], list[str]]:
    """The folder in which every step was killed once, its last night's outcome, and the steps where kills fell."""
    home, draw = tmp_path_factory.mktemp("killed"), random.Random(SEED)
    fell = []
    for step, state in _points():
        longest = IN_STAGES.get(step, 0.5)
        seconds = 0.0 if (step, state) == ("report", "done") else round(draw.uniform(0.0, longest), 2)
        answer = nights.one(home, kill=[step, state, seconds])
        assert answer["signal"] == signal.SIGKILL, f"seed {SEED}: {step} {seconds} s: {answer['said']}"
        assert left(home) == [], f"seed {SEED}: killed {seconds} s into {step}: processes are left"
        fell.append(step)
    return home, nights.one(home), fell


def _points() -> list[tuple[str, str]]:
    """In the order of a night."""
    found = [(step, state) for state, steps in STATES.items() for step in steps]
    order = [*STAGES, *REGISTERED, "report"]
    return sorted(found, key=lambda point: (order.index(point[0]), point[1] == "done"))


def test_the_last_night_has_the_leaderboard_of_one_that_nobody_disturbed(
    walked: tuple[Path, dict[str, Any], list[str]], undisturbed: tuple[Path, dict[str, Any]]
) -> None:
    _, last, fell = walked
    assert fell == [*STAGES, *REGISTERED, "report", "report"]
    assert undisturbed[1]["signal"] == 0, undisturbed[1]["said"]
    assert last["signal"] == 0, last["said"]
    assert last["digest"] == undisturbed[1]["digest"], f"seed {SEED}"


def test_every_night_said_which_one_it_continued_and_nothing_finished_was_computed_twice(
    walked: tuple[Path, dict[str, Any], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _, fell = walked
    monkeypatch.setenv("NOCTURNE_HOME", str(home))
    runs = sorted(journal.nights(NAME), key=lambda past: past.started)
    assert [past.continues for past in runs] == ["", *(past.run for past in runs[:-1])]
    assert [past.state for past in runs] == ["dead"] * len(fell) + ["done"]
    assert all(past.collected for past in runs[:-1])
    assert journal.unfinished(NAME) == ()
    lines = [line for past in runs for line in journal.lines(journal.path_of(NAME, past.run))]
    computed = [line["key"] for line in lines if line["state"] == "computed"]
    assert len(computed) == len(set(computed)), "an output that was whole was computed again"
    last = journal.lines(journal.path_of(NAME, runs[-1].run))
    assert {line["state"] for line in last if line["step"] in ("features", "rows", "search-baseline")} <= {
        "started", "reused", "done",
    }  # fmt: skip


def test_one_read_of_the_gate_one_champion_verified_and_no_orphans(
    walked: tuple[Path, dict[str, Any], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, _, _ = walked
    monkeypatch.setenv("NOCTURNE_HOME", str(home))
    store = mlflow_store.open_store()
    with Ledger.open() as ledger:
        assert [row["k"] for row in ledger.chain.rows("reads")] == [1]
        assert len(ledger.chain.rows("nights")) == 1
        now, moves = standing(ledger, NAME), history(ledger, NAME)
    assert mlflow_store.holder(store, NAME, "champion") == now.champion
    assert [move.standing.champion for move in moves if move.action == "baseline"] == [now.champion]
    tags = mlflow_store.version_tags(store, NAME, now.champion)
    assert tags is not None
    assert passed(tags)
    places = {getattr(move.standing, alias) for move in moves for alias in ALIASES}
    newest = max(int(info.version) for info in mlflow_store.history(store, NAME))
    left = {info.version for info in mlflow_store.history(store, NAME)}
    assert left <= places | {str(newest)}, "versions of killed nights that never held a place are collected"
    with sqlite3.connect(home / "mlflow" / "mlflow.db") as database:
        states = {state for (state,) in database.execute("SELECT DISTINCT status FROM runs")}
    assert states <= {"FINISHED", "KILLED"}, "no run of a killed night goes on for ever"


def test_a_restart_computes_that_stage_and_all_after_it_anew_and_comes_to_the_same(
    nights: Nights, walked: tuple[Path, dict[str, Any], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, last, _ = walked
    monkeypatch.setenv("NOCTURNE_HOME", str(home))
    killed = nights.one(home, restart_from="folds", kill=["leaderboard", "started", 0.0])
    assert killed["signal"] == signal.SIGKILL
    assert _outputs() == [
        ("features", "reused"), ("rows", "reused"), ("search-baseline", "reused"), ("search-linear", "reused"),
        ("refit-baseline", "computed"), ("refit-linear", "computed"),
    ]  # fmt: skip
    again = nights.one(home)
    assert again["digest"] == last["digest"]
    outputs = _outputs()
    assert outputs[:6] == [(stage, "reused") for stage, _ in outputs[:6]], "the restart that died is gone on with"
    assert ("leaderboard", "computed") in outputs
    assert {state for stage, state in outputs if stage.startswith("explain")} == {"computed"}
    with Ledger.open() as ledger:
        assert [row["k"] for row in ledger.chain.rows("reads")] == [1]


def _outputs() -> list[tuple[str, str]]:
    """Which stages' outputs the last night reused or computed, by stage, in the order in which they were used."""
    past = journal.last(NAME)
    assert past is not None
    lines = journal.lines(journal.path_of(NAME, past.run))
    found = [(line["step"], line["state"]) for line in lines if line["state"] in ("reused", "computed")]
    return [*found[:2], *sorted(found[2:4]), *sorted(found[4:6]), *found[6:]]
