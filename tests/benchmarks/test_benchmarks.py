"""What the benchmarks share: which there are, universes side by side, and how a night's costs are added up."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
from prefect import Task

from flows import nightly
from tests.benchmarks import __main__ as every
from tests.benchmarks import bench_cost
from tests.benchmarks.bench_cost import Call, counted, timed
from tests.benchmarks.universes import lived, processor_seconds, side_by_side


def test_every_benchmark_says_how_long_it_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(every.LENGTH) == set(every.known())
    assert every.main(["night", "luck"]) == 2
    assert "luck" in capsys.readouterr().err


def test_universes_come_back_in_their_order_from_any_number_of_processes() -> None:
    cases = [float(number) for number in range(9, 0, -1)]
    with side_by_side(2) as pool:
        apart = lived(pool, math.sqrt, cases, what="roots", found=lambda root: root > 2)
    with side_by_side(1) as none:
        assert none is None
        assert lived(none, math.sqrt, cases, what="roots", found=lambda root: root > 2) == apart
    assert apart == [math.sqrt(case) for case in cases]
    assert processor_seconds() > 0


def test_how_many_have_lived_is_said_meanwhile(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.benchmarks.universes.PAUSE", 0.0)
    lived(None, math.sqrt, [1.0, 9.0], what="roots", found=lambda root: root > 2)
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("roots: 2 of 2 done, found in 1,")


def fit(rows: str, seconds: float, shuffle: int = 0) -> SimpleNamespace:
    return SimpleNamespace(rows=rows, shuffle=shuffle, job_seconds=seconds)


def test_costs_are_those_of_the_tasks_and_of_the_jobs_that_make_no_model() -> None:
    refitted = SimpleNamespace(
        candidates=(
            fit("fit_gate", 64.0), fit("fit_all", 64.0), fit("fit_fold_5", 1.0, shuffle=3),
            fit("fit_origin_1", 2.0), fit("fit_origin_2", 2.0), fit("fit_fold_5", 64.0),
        )
    )  # fmt: skip
    names = ("shortlist", "leaderboard", "count trials", "backtest", "inspect", "gate", "backtest on the gate")
    calls = [Call(name, 0.5, 0.4, None) for name in names]
    calls += [
        Call("check-features", 0.25, 9.0, ()),
        Call("other-histories", 9.0, 0.5, ()),
        Call("refit", 300.0, 0.1, refitted),
    ]
    calls.append(Call("search", 60.0, 0.1, ()))
    costs = counted(calls, {"leaderboard": 2.0, "gate": 1.75})
    assert sum(costs.values()) == pytest.approx(0.5 + 1.0 + 0.75 + 4.0 + 2.0 + 1.75)
    assert {name for name in costs if "at 2 origins" in name}


def test_a_night_has_every_task_that_is_counted() -> None:
    there = {found.name for found in vars(nightly).values() if isinstance(found, Task)}
    wanted = {"shortlist", "leaderboard", "count trials", "backtest", "refit", "inspect", "gate"}
    assert {*wanted, bench_cost.AT_GATE, *bench_cost.APART, *bench_cost.REPORTED} <= there


def test_tasks_are_timed_while_the_block_runs_and_not_after() -> None:
    def double(value: int) -> int:
        return 2 * value

    task: Task[Any, Any] = Task(double, name="double")
    module = SimpleNamespace(double=task)
    with timed(module) as calls:
        assert task.fn(4) == 8
    assert [(call.task, call.result) for call in calls] == [("double", 8)]
    assert task.fn is double
