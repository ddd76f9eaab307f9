"""The search stage's store: what is computed once, what is never kept, and what is tried again."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path

import pytest

from tasks.errors import EngineKilledError
from tasks.search import process, task
from tasks.storage import read_parquet
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
    assert again == first
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
