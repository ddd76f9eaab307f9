"""The search stage's store: what is computed once, what is never kept, and what is tried again."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from types import SimpleNamespace
from uuid import UUID, uuid4

import pytest
from prefect.context import TaskRunContext

from tasks.contracts import EngineRequest, RefitJob
from tasks.documents import to_json
from tasks.errors import EngineKilledError
from tasks.search import child, process, task
from tasks.storage import home, read_parquet, write_json
from tests.search.conftest import BARS, Ask
from tests.search.toy_engine import Toy


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
    failed = task.answered(ask("toy"))
    assert "the optimiser gave up" in failed.error
    assert (failed.engine, failed.candidates, failed.reproducible) == ("toy", (), False)
    toy.delenv("NOCTURNE_TOY")
    assert not task.answered(ask("toy")).error


def refits(ask: Ask, flaw: str) -> EngineRequest:
    jobs = (
        RefitJob(name="sound", recipe={}, rows="fit_all"),
        RefitJob(name="other", recipe={"flaw": flaw}, rows="fit_all"),
    )
    return ask("toy", "refit", jobs=jobs)


def test_a_job_that_broke_is_asked_for_again_until_the_answer_is_whole(
    toy: pytest.MonkeyPatch, ask: Ask, caplog: pytest.LogCaptureFixture
) -> None:
    toy.setenv("NOCTURNE_TOY", "flaky")
    for _ in range(2):
        broken = task.answered(refits(ask, "flaky"))
        assert not broken.whole
        assert broken.work_seconds > 0
        assert [item.name for item in broken.candidates] == ["sound"]
    assert "another night asks again" in caplog.text
    toy.delenv("NOCTURNE_TOY")
    whole = task.answered(refits(ask, "flaky"))
    assert [item.name for item in whole.candidates] == ["sound", "other"]
    toy.setenv("NOCTURNE_TOY", "flaky")
    assert task.answered(refits(ask, "flaky")) == dataclasses.replace(whole, work_seconds=0.0, start_seconds=0.0)
    # What the first night referred to is still there.
    assert len(read_parquet(broken.candidates[0].predictions)) == BARS


def test_a_job_without_time_is_asked_for_again(toy: pytest.MonkeyPatch, ask: Ask) -> None:
    def out_of_time(request: EngineRequest, out: Path, _: object) -> None:
        toy.setattr(child, "work_seconds", lambda request: -1.0)
        write_json(out / child.RESULT, to_json(child.answer(Toy(), request, out, lambda *_: None)))

    toy.setattr(task, "run", out_of_time)
    late = task.answered(refits(ask, ""))
    assert [item.name for item in late.candidates] == ["sound"]
    assert any("other (fit_all): not fitted" in note for note in late.notes)
    toy.setattr(task, "run", process.run)
    assert [item.name for item in task.answered(refits(ask, "")).candidates] == ["sound", "other"]


@pytest.mark.parametrize("flaw", ["fails", "lies"])
def test_a_recipe_that_is_refused_is_not_asked_for_again(toy: pytest.MonkeyPatch, ask: Ask, flaw: str) -> None:
    first = task.answered(refits(ask, flaw))
    assert [item.name for item in first.candidates] == ["sound"]
    assert task.answered(refits(ask, flaw)) == dataclasses.replace(first, work_seconds=0.0, start_seconds=0.0)


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
