"""Nights of a deployment: sent twice, at the same time as another, unchanged, and cancelled while an engine searches.

What opens and ends a night is real, its stages are one that sleeps (``killed_nights``).
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from tasks import journal
from tasks.problem import build
from tasks.storage import PROJECT
from tests.faults.nights import NAME, VALUES, Nights, left

pytestmark = pytest.mark.slow
PROBLEM = build({"engines": ["baseline", "linear"], **VALUES}, "demo", {}, "test").model_dump(mode="json")
Scheduled = Callable[..., str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A new state folder."""
    monkeypatch.setenv("NOCTURNE_HOME", str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def scheduled(nights: Nights) -> Scheduled:
    """Has the server schedule a run of a deployment, and gives its id."""
    flow = _ask(nights, "flows/", name="nightly")["id"]
    made = _ask(nights, "deployments/", name="nightly", flow_id=flow, enforce_parameter_schema=False)["id"]

    def schedule(when: datetime, **parameters: Any) -> str:
        state = {"type": "SCHEDULED", "state_details": {"scheduled_time": when.isoformat()}}
        given = {"problem": PROBLEM, **parameters}
        answer = _ask(nights, f"deployments/{made}/create_flow_run", state=state, parameters=given)
        return str(answer["id"])

    return schedule


def _ask(nights: Nights, path: str, **document: Any) -> dict[str, Any]:
    answer = httpx.post(f"{nights.api}/{path}", json=document, timeout=60)
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def _run(nights: Nights, run: str) -> dict[str, Any]:
    found: dict[str, Any] = httpx.get(f"{nights.api}/flow_runs/{run}", timeout=60).json()
    return found


def test_a_night_on_which_nothing_changed_is_answered_from_the_record(
    nights: Nights, scheduled: Scheduled, home: Path
) -> None:
    first, second, run = (scheduled(datetime.now(UTC)) for _ in range(3))
    assert nights.one(home, flow_run=first)["signal"] == 0
    (before,) = journal.nights(NAME)
    assert (before.run, before.state) == (first, "done")
    nights.one(home, flow_run=second)  # the first look at a registry makes its tables
    answer = nights.one(home, flow_run=run)
    assert answer["signal"] == 0, answer["said"]
    told = _run(nights, run)
    assert told["state"]["name"] == "Unchanged", answer["said"]
    assert f"nothing changed since run {before.run}" in told["state"]["message"]
    assert told["total_run_time"] < 20
    artifacts = httpx.post(f"{nights.api}/artifacts/latest/filter", json={}, timeout=60).json()
    decision = next(artifact for artifact in artifacts if artifact["key"] == f"{NAME}-decision")
    assert f"Unchanged since run {before.run}".replace("-", "") in decision["data"].replace("\\-", "").replace("-", "")
    assert len(journal.nights(NAME)) == 1, "no stage was begun"


def test_of_a_slot_that_was_sent_three_times_one_run_does_the_work(
    nights: Nights, scheduled: Scheduled, home: Path
) -> None:
    slot = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
    runs = [scheduled(slot, restart_from="search") for _ in range(3)]
    answers = nights.at_once(*({"home": str(home), "flow_run": run, "seconds": 1.0} for run in runs))
    assert [answer["signal"] for answer in answers] == [0, 0, 0], answers[0]["said"]
    states = {run: _run(nights, run)["state"] for run in runs}
    (worked,) = [run for run, state in states.items() if state["name"] == "Completed"]
    skipped = [state for state in states.values() if state["name"] == "Skipped"]
    assert [f"was done by run {worked}" in state["message"] for state in skipped] == [True, True]
    assert [past.run for past in journal.nights(NAME)] == [worked]


def test_a_manual_and_a_scheduled_night_run_one_after_the_other(
    nights: Nights, scheduled: Scheduled, home: Path
) -> None:
    runs = [scheduled(datetime.now(UTC), restart_from="search") for _ in range(2)]
    answers = nights.at_once(*({"home": str(home), "flow_run": run, "seconds": 2.0} for run in runs))
    assert [_run(nights, run)["state"]["name"] for run in runs] == ["Completed"] * 2, answers[0]["said"]
    later, earlier = journal.nights(NAME)
    assert later.started > earlier.last


def test_a_cancelled_night_ends_in_seconds_leaves_no_process_and_says_so(
    nights: Nights, scheduled: Scheduled, home: Path
) -> None:
    run = scheduled(datetime.now(UTC))
    answer = nights.one(home, flow_run=run, seconds=600.0, kill=["search", "started", 2.0, "TERM"])
    assert answer["signal"] or answer["failed"], answer["said"]
    assert left(home) == []
    past = journal.last(NAME)
    assert past is not None
    assert (past.run, past.state, past.stage) == (run, "interrupted", "search")
    lines = journal.lines(journal.path_of(NAME, run))
    at = {(line["step"], line["state"]): datetime.fromisoformat(line["at"]) for line in lines}
    assert (at["night", "interrupted"] - at["search", "started"]).total_seconds() < 20
    assert _run(nights, run)["state"]["type"] in ("CRASHED", "CANCELLED")
    again = nights.one(home, flow_run=scheduled(datetime.now(UTC)))
    assert again["signal"] == 0, again["said"]
    night = journal.last(NAME)
    assert night is not None
    assert (night.state, night.continues) == ("done", run)


def test_the_command_line_refuses_at_once_while_a_night_is_at_work(home: Path) -> None:
    environment = {**os.environ, "NOCTURNE_HOME": str(home)}
    command = [sys.executable, "-m", "tests.registry.holder", NAME, "the other run", "600"]
    with subprocess.Popen(command, cwd=PROJECT, env=environment, stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline().startswith("held")
        begun = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-m", "flows.cli", "run", NAME],
            cwd=PROJECT, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        took = time.monotonic() - begun
        other.communicate("release\n")
    assert done.returncode == 5, done.stderr
    assert "LeaseHeldError" in done.stderr
    assert "run the other run has been at work since 2" in done.stderr
    assert f"process {other.pid}" in done.stderr
    assert took < 60, "before Prefect's server is started"
