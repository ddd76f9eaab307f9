"""The harness: what an engine may see, what becomes of its candidates, and how each way of failing is reported."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from tasks.contracts import EngineBudget, EngineRequest, RefitJob
from tasks.errors import EngineError, EngineKilledError
from tasks.search import child, process, training
from tasks.search.engine import work_seconds
from tasks.search.process import EngineProgress, run
from tasks.statistics.shuffle import shuffled_labels
from tasks.storage import read_parquet
from tests.search.conftest import BARS, Ask, execute
from tests.search.toy_engine import Toy


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setitem(process.MODULES, "toy", "tests.search.toy_engine")
    return monkeypatch


def test_a_candidate_that_repeats_its_engine_is_kept_and_a_liar_refused(
    toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path
) -> None:
    result = execute(ask("toy"), tmp_path)
    assert [(item.name, item.rows) for item in result.candidates] == [("first", "")]
    assert result.whole
    assert "a note" in result.notes
    assert any("liar" in note and "0.001" in note and "refused" in note for note in result.notes)
    predictions = read_parquet(result.candidates[0].predictions)["prediction"]
    assert len(predictions) == BARS
    assert predictions.notna().all()  # no columns, so every row can be predicted
    assert Path(result.candidates[0].model, "model.json").is_file()
    assert result.work_seconds > 0
    assert result.start_seconds > 0


def test_a_search_sees_no_label_of_selection_or_gate(toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    result = execute(ask("toy"), tmp_path)
    assert result.candidates[0].recipe["seen"] == ["blending", "train", "validation"]


def test_refit_jobs_see_their_rows_and_keep_their_names(toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    jobs = tuple(RefitJob(name=f"job {rows}", recipe={}, rows=rows) for rows in ("fit_gate", "fit_all"))
    result = execute(ask("toy", "refit", jobs=jobs), tmp_path)
    assert [(item.name, item.rows) for item in result.candidates] == [
        ("job fit_gate", "fit_gate"),
        ("job fit_all", "fit_all"),
    ]
    assert result.candidates[0].recipe["seen"] == ["blending", "train", "validation"]
    assert "gate" in result.candidates[1].recipe["seen"]


def test_a_canary_is_fitted_on_permuted_labels_and_says_so(toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    jobs = tuple(RefitJob(name="har", recipe={}, rows="fit_fold_2", shuffle=seed) for seed in (0, 5))
    plain, canary = execute(ask("toy", "refit", jobs=jobs), tmp_path).candidates
    assert [(item.rows, item.shuffle) for item in (plain, canary)] == [("fit_fold_2", 0), ("fit_fold_2", 5)]
    data = training.load(ask("toy"))
    assert plain.recipe["labels"] == data.y[60:63].tolist()
    permuted = shuffled_labels(data.y, data.sessions, data.symbols, seed=5)
    assert canary.recipe["labels"] == permuted[60:63].tolist() != plain.recipe["labels"]


@pytest.mark.parametrize(
    ("flaw", "words", "whole"),
    [
        ("fails", "did not converge", True),
        ("lies", "differs from the engine's own", True),
        ("bug", "ZeroDivisionError: a bug", False),
    ],
)
def test_a_job_that_fails_is_noted_and_the_others_stay(
    toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path, flaw: str, words: str, whole: bool
) -> None:
    """What refuses a recipe would refuse it again: the answer is whole. What broke may go well another time."""
    jobs = (
        RefitJob(name="broken", recipe={"flaw": flaw}, rows="fit_gate"),
        RefitJob(name="sound", recipe={}, rows="fit_gate"),
        RefitJob(name="sound", recipe={}, rows="fit_all"),
    )
    result = execute(ask("toy", "refit", jobs=jobs), tmp_path)
    assert not result.error
    assert [(item.name, item.rows) for item in result.candidates] == [("sound", "fit_gate"), ("sound", "fit_all")]
    assert result.whole is whole
    (note,) = (note for note in result.notes if "broken" in note)
    assert note.startswith("broken (fit_gate): ")
    assert words in note


def test_an_unknown_fit_costs_its_job_alone(toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    jobs = tuple(RefitJob(name="har", recipe={}, rows=rows) for rows in ("fit_fold_9", "fit_fold_1"))
    result = execute(ask("toy", "refit", jobs=jobs), tmp_path)
    assert [item.rows for item in result.candidates] == ["fit_fold_1"]
    assert any("no fit is called 'fit_fold_9'; there are fit_fold_1, " in note for note in result.notes)


def test_progress_says_which_fold_it_is(toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    jobs = tuple(RefitJob(name="har", recipe={}, rows=f"fit_fold_{k}") for k in (1, 2))
    said: list[EngineProgress] = []
    execute(ask("toy", "refit", jobs=jobs), tmp_path, said.append)
    assert [(item.message, item.done, item.allowed) for item in said] == [
        ("har: fold 1 of 2", 0, 2),
        ("har: fold 2 of 2", 1, 2),
    ]


def test_time_that_runs_out_leaves_the_first_recipe_its_folds(
    monkeypatch: pytest.MonkeyPatch, ask: Ask, tmp_path: Path
) -> None:
    jobs = tuple(RefitJob(name=name, recipe={}, rows=f"fit_fold_{k}") for k in (1, 2) for name in ("best", "next"))
    monkeypatch.setattr(child, "work_seconds", lambda request: -1.0)
    result = child.answer(Toy(), ask("toy", "refit", jobs=jobs), tmp_path, lambda *_: None)
    assert [(item.name, item.rows) for item in result.candidates] == [("best", "fit_fold_1"), ("best", "fit_fold_2")]
    assert not result.whole
    assert [note for note in result.notes if "used up" in note] == [
        f"next (fit_fold_{k}): not fitted: the -1 s for fitting recipes again are used up" for k in (1, 2)
    ]


def test_many_jobs_get_more_time_than_a_search() -> None:
    def request(seconds: int, jobs: int) -> EngineRequest:
        asked: Any = SimpleNamespace(budget=EngineBudget(models=1, seconds=seconds), jobs=(None,) * jobs)
        return cast(EngineRequest, asked)

    assert work_seconds(request(180, 0)) == 180
    assert work_seconds(request(180, 15)) == 15 * (60 + 18)
    assert work_seconds(request(3600, 1)) == 3600


def test_a_backend_that_dies_in_a_refit_is_worth_a_retry(toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    jobs = tuple(RefitJob(name=flaw, recipe={"flaw": flaw}, rows="fit_all") for flaw in ("", "dies"))
    with pytest.raises(EngineKilledError, match="the backend is gone"):
        run(ask("toy", "refit", jobs=jobs), tmp_path)


def test_a_refit_without_any_success_is_an_error(toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    toy.setenv("NOCTURNE_TOY", "lie")
    result = execute(ask("toy", "refit", jobs=(RefitJob(name="a", recipe={}, rows="fit_all"),)), tmp_path)
    assert result.candidates == ()
    assert "a (fit_all): the exported model differs from the engine's own predictions" in result.error


def test_paths_in_the_result_file_are_relative(toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    execute(ask("toy"), tmp_path / "out")
    assert str(tmp_path) not in (tmp_path / "out" / "result.json").read_text()
    (tmp_path / "out").rename(tmp_path / "elsewhere")
    moved = process.read_result(tmp_path / "elsewhere")
    assert len(read_parquet(moved.candidates[0].predictions)) == BARS


def test_scratch_and_request_are_gone_afterwards(toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    execute(ask("toy"), tmp_path)
    assert not (tmp_path / "scratch").exists()
    assert not (tmp_path / "request.json").exists()


def test_progress_reaches_callback_and_log(
    toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toy.setenv("NOCTURNE_TOY", "chatter")
    seen: list[EngineProgress] = []
    with caplog.at_level(logging.INFO, logger="nocturne.progress"):
        result = execute(ask("toy", seconds=77), tmp_path, seen.append)
    assert not result.error
    assert [(item.done, item.allowed, item.best, item.message) for item in seen] == [(1, 2, 0.5, "half way")]
    record = next(item for item in caplog.records if item.name == "nocturne.progress")
    assert record.__dict__["stage"] == "toy"
    assert record.__dict__["budget"] == 77
    assert record.__dict__["best"] == 0.5
    assert "not a progress line" in (tmp_path / "engine.log").read_text()


@pytest.mark.parametrize(
    ("behaviour", "words", "retryable"),
    [
        ("killed", "killed by SIGKILL", True),
        ("exit", "exit code 3", True),
        ("raise", "the optimiser gave up", False),
        ("bug", "ZeroDivisionError: a bug", False),
        ("memory", "MemoryError", False),
        ("no memory", "out of memory", True),
    ],
)
def test_every_failure_is_named(
    toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path, behaviour: str, words: str, retryable: bool
) -> None:
    toy.setenv("NOCTURNE_TOY", behaviour)
    with pytest.raises(EngineError, match=words) as caught:
        run(ask("toy"), tmp_path / "raised")
    assert isinstance(caught.value, EngineKilledError) is retryable


def test_an_engine_past_its_time_is_killed_with_all_it_started(
    toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path
) -> None:
    toy.setenv("NOCTURNE_TOY", "hang")
    begun = time.monotonic()
    result = execute(ask("toy", seconds=1), tmp_path, grace=7.0)
    assert "no result after 8 s" in result.error
    assert time.monotonic() - begun < 25
    assert _gone(int((tmp_path / "sleeper").read_text()))


def test_an_interrupted_caller_leaves_no_process(toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    toy.setenv("NOCTURNE_TOY", "hang")

    def interrupt(progress: EngineProgress) -> None:
        deadline = time.monotonic() + 20
        while not (tmp_path / "sleeper").is_file() and time.monotonic() < deadline:
            time.sleep(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(ask("toy"), tmp_path, interrupt)
    assert _gone(int((tmp_path / "sleeper").read_text()))


def test_an_unknown_engine_is_refused_by_name(ask: Ask, tmp_path: Path) -> None:
    assert "there is no engine 'oracle'" in execute(ask("oracle"), tmp_path).error


def test_a_damaged_input_is_found_before_it_is_parsed(ask: Ask, tmp_path: Path) -> None:
    request = ask("baseline")
    bytes_ = bytearray(Path(request.features.ref.path).read_bytes())
    bytes_[len(bytes_) // 2] ^= 1
    damaged = tmp_path / "features.parquet"
    damaged.write_bytes(bytes_)
    ref = dataclasses.replace(request.features.ref, path=str(damaged))
    asked = dataclasses.replace(request, features=dataclasses.replace(request.features, ref=ref))
    assert "SHA-256" in execute(asked, tmp_path / "out").error


def test_a_result_that_is_not_one_is_refused(tmp_path: Path) -> None:
    (tmp_path / "result.json").write_text(json.dumps({"engine": "toy", "surprise": 1}))
    with pytest.raises(EngineError, match="surprise"):
        process.read_result(tmp_path)


def test_engines_are_bounded_to_their_threads_and_to_jax_on_the_cpu() -> None:
    environment = process.environment(3)
    assert {environment[name] for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")} == {"3"}
    assert (environment["KERAS_BACKEND"], environment["JAX_PLATFORMS"]) == ("jax", "cpu")


def test_a_transfer_computes_on_what_there_is_and_others_on_the_cpu(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    request = ask("baseline")
    asked = {engine: process.platforms_of(dataclasses.replace(request, engine=engine)) for engine in process.MODULES}
    assert asked == {**dict.fromkeys(process.MODULES, "cpu"), "transfer": ""}
    assert process.platforms_of(dataclasses.replace(request, engine="transfer", mode="explain")) == "cpu"
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert process.environment(1, "")["JAX_PLATFORMS"] == "", "whatever JAX finds"
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert process.environment(1, "")["JAX_PLATFORMS"] == "cuda", "unless the operator says what"
    assert process.environment(1)["JAX_PLATFORMS"] == "cpu"


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        if _zombie(pid):
            return True
        time.sleep(0.05)
    return False


def _zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return False
