"""The search stage's store: what is computed once, what is never kept, and what is tried again."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from prefect.context import TaskRunContext

from tasks.errors import EngineKilledError
from tasks.search import process, task
from tasks.storage import home, read_parquet
from tests.search.conftest import BARS, Ask


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setitem(process.MODULES, "toy", "tests.search.toy_engine")
    return monkeypatch


def test_a_second_time_is_answered_from_the_store_and_says_so(
    toy: pytest.MonkeyPatch, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    first = task.answered(ask("toy"))
    toy.setenv("NOCTURNE_TOY", "raise")
    with caplog.at_level(logging.INFO, logger="nocturne.search"):
        again = task.answered(ask("toy"))
    assert first.work_seconds > 0
    assert first.start_seconds > 0
    assert again == dataclasses.replace(first, work_seconds=0.0, start_seconds=0.0)
    assert "search-toy: reused" in caplog.text
    assert len(read_parquet(again.candidates[0].predictions)) == BARS
    assert Path(again.candidates[0].model, "model.json").is_file()


def test_another_seed_budget_or_input_is_another_answer(toy: pytest.MonkeyPatch, ask: Ask) -> None:
    task.answered(ask("toy"))
    toy.setenv("NOCTURNE_TOY", "raise")
    request = ask("toy")
    other_rows = dataclasses.replace(request.rows, ref=dataclasses.replace(request.rows.ref, sha256="0" * 64))
    for other in (ask("toy", seed=2), ask("toy", models=5), dataclasses.replace(request, rows=other_rows)):
        assert task.answered(other).error


def test_a_failure_is_not_kept(toy: pytest.MonkeyPatch, ask: Ask) -> None:
    toy.setenv("NOCTURNE_TOY", "raise")
    assert "the optimiser gave up" in task.answered(ask("toy")).error
    toy.delenv("NOCTURNE_TOY")
    assert not task.answered(ask("toy")).error


def test_the_log_of_a_failure_outlives_it_and_is_named(toy: pytest.MonkeyPatch, ask: Ask) -> None:
    toy.setenv("NOCTURNE_TOY", "raise")
    first, second = task.answered(ask("toy")).error, task.answered(ask("toy")).error
    kept = [Path(error.splitlines()[-1].removeprefix("The engine's log: ")) for error in (first, second)]
    assert {path.parent for path in kept} == {home() / "logs"}
    assert len(set(kept)) == 2
    for path in kept:
        assert path.name.startswith("search-toy-")
        assert "EngineError: the optimiser gave up" in path.read_text()


def test_a_log_that_cannot_be_kept_hides_no_cause(toy: pytest.MonkeyPatch, ask: Ask) -> None:
    toy.setenv("NOCTURNE_TOY", "raise")
    home().mkdir(parents=True, exist_ok=True)
    (home() / "logs").write_text("not a folder")
    assert "the optimiser gave up" in task.answered(ask("toy")).error


def test_a_success_leaves_no_log_apart(toy: pytest.MonkeyPatch, ask: Ask) -> None:
    assert not task.answered(ask("toy")).error
    assert not (home() / "logs").exists()


def test_an_explanation_that_fails_is_a_result_with_its_error(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text("{}")
    result = task.answered(ask("linear", "explain", explain=str(tmp_path)))
    assert result.error
    assert result.importance == ()


class Unreachable:
    """A call to Prefect's API that fails, unless it has an artifact to answer with."""

    def __init__(self, artifact: UUID | None = None) -> None:
        self.calls = 0
        self._artifact = artifact

    def __call__(self, *args: object, **kwargs: object) -> UUID:
        self.calls += 1
        if self._artifact is None:
            raise ConnectionError("All connection attempts failed")
        return self._artifact


def test_an_api_that_does_not_answer_costs_no_search(
    toy: pytest.MonkeyPatch, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    update = Unreachable()
    toy.setattr(TaskRunContext, "get", lambda: SimpleNamespace(task_run=SimpleNamespace(run_count=2)))
    toy.setattr(task, "create_progress_artifact", Unreachable(uuid4()))
    toy.setattr(task, "update_progress_artifact", update)
    toy.setenv("NOCTURNE_TOY", "talkative")
    result = task.answered(ask("toy"))
    assert not result.error
    assert update.calls == 1
    assert caplog.text.count("progress of toy is no longer shown: All connection attempts failed") == 1


def test_an_artifact_that_cannot_be_made_costs_no_search(
    toy: pytest.MonkeyPatch, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    toy.setattr(TaskRunContext, "get", lambda: SimpleNamespace(task_run=SimpleNamespace(run_count=2)))
    toy.setattr(task, "create_progress_artifact", Unreachable())
    assert not task.answered(ask("toy")).error
    assert "no progress is shown for toy" in caplog.text


def test_a_damaged_answer_is_computed_again(toy: pytest.MonkeyPatch, ask: Ask) -> None:
    first = task.answered(ask("toy"))
    path = Path(first.candidates[0].predictions.path)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    again = task.answered(ask("toy"))
    assert again.candidates[0].predictions.sha256 == first.candidates[0].predictions.sha256
    assert len(read_parquet(again.candidates[0].predictions)) == BARS


def test_outside_a_run_a_killed_engine_is_a_result_with_its_error(toy: pytest.MonkeyPatch, ask: Ask) -> None:
    toy.setenv("NOCTURNE_TOY", "killed")
    assert "killed by SIGKILL" in task.answered(ask("toy")).error


def test_while_a_retry_is_left_a_killed_engine_raises(toy: pytest.MonkeyPatch, ask: Ask) -> None:
    toy.setenv("NOCTURNE_TOY", "killed")
    toy.setattr(task, "_attempt", lambda: 1)
    with pytest.raises(EngineKilledError):
        task.answered(ask("toy"))
    toy.setenv("NOCTURNE_TOY", "raise")
    assert "the optimiser gave up" in task.answered(ask("toy")).error
