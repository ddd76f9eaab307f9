"""Which jobs a night asks of its engines, in which order, and what they are called."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tasks.contracts import Candidate, EngineName, EngineResult, Ref, RefitJob
from tasks.documents import digest
from tasks.errors import EngineError
from tasks.evaluation import CHAMPION
from tasks.search.jobs import Jobs, gate_jobs, walk_jobs, words

FITS = (
    *(f"fit_fold_{k}" for k in range(1, 6)),
    "fit_gate",
    "fit_origin_1",
    "fit_origin_2",
    "fit_all",
)


def candidate(name: str, engine: EngineName) -> Candidate:
    return Candidate(
        name=name,
        engine=engine,
        recipe={"algorithm": name},
        model="",
        predictions=Ref(path="", sha256="", rows=0),
        train_seconds=0.0,
        predict_us_per_row=0.0,
    )


RESULTS = (
    EngineResult(engine="baseline", candidates=(candidate("har", "baseline"), candidate("lhar", "baseline"))),
    EngineResult(engine="h2o", candidates=(candidate("gbm", "h2o"), candidate("glm", "h2o"))),
    EngineResult(engine="autokeras", error="no trial completed"),
)
OLD: tuple[str, dict[str, Any]] = ("h2o", {"algorithm": "old gbm"})


def asked(jobs: Jobs) -> dict[str, list[tuple[str, str, int]]]:
    return {engine: [(job.name, job.rows, job.shuffle) for job in mine] for engine, mine in jobs.items()}


def test_every_shortlisted_recipe_walks_every_fold_and_rows_change_as_seldom_as_they_can() -> None:
    jobs = walk_jobs(RESULTS, ["gbm", "lhar", "glm"], None, FITS)
    assert asked(jobs) == {
        "h2o": [(name, f"fit_fold_{k}", 0) for k in range(1, 6) for name in ("gbm", "glm")],
        "baseline": [("lhar", f"fit_fold_{k}", 0) for k in range(1, 6)],
    }
    assert all(job.recipe == {"algorithm": job.name} for mine in jobs.values() for job in mine)


def test_the_champions_recipe_walks_under_its_own_name_on_its_engine() -> None:
    jobs = walk_jobs(RESULTS, ["lhar"], OLD, FITS)
    assert [(job.name, job.recipe) for job in jobs["h2o"]] == [(CHAMPION, OLD[1])] * 5
    assert walk_jobs(RESULTS, [], None, FITS) == {}


def transferred(control: dict[str, Any]) -> dict[str, Any]:
    return {"strategy": "full", "control": digest(control), "control_recipe": control}


def test_the_control_of_the_champion_walks_beside_it_wherever_its_recipe_comes_from() -> None:
    """Under a name of its own, unless the search came upon that control itself; and it may lead and be judged."""
    control = {"strategy": "scratch", "backbone": {}}
    champion = ("transfer", transferred(control))
    jobs = walk_jobs(RESULTS, ["lhar"], champion, FITS)
    mine = [job for job in jobs["transfer"] if job.rows == "fit_fold_1"]
    assert [(job.name, job.recipe) for job in mine] == [(CHAMPION, champion[1]), (f"{CHAMPION}-control", control)]
    assert len(jobs["transfer"]) == 10
    asked_for = gate_jobs(RESULTS, f"{CHAMPION}-control", champion, FITS, ship=True)["transfer"]
    assert {job.name: job.recipe for job in asked_for} == {f"{CHAMPION}-control": control}
    scratch = dataclasses.replace(candidate("transfer-scratch-tcn", "transfer"), recipe=control)
    found = (*RESULTS, EngineResult(engine="transfer", candidates=(scratch,)))
    again = walk_jobs(found, ["lhar", "transfer-scratch-tcn"], champion, FITS)["transfer"]
    assert {job.name for job in again} == {CHAMPION, "transfer-scratch-tcn"}
    warm = dataclasses.replace(candidate("transfer-full-1-warm-abcdef", "transfer"), recipe=champion[1])
    known = (*RESULTS, EngineResult(engine="transfer", candidates=(warm,)))
    recalled = walk_jobs(known, ["lhar", warm.name], None, FITS)["transfer"]
    assert {job.name for job in recalled} == {warm.name, f"{warm.name}-control"}


def test_the_gate_asks_for_challenger_and_baselines_before_it_and_on_all_rows() -> None:
    assert asked(gate_jobs(RESULTS, "gbm", None, FITS, ship=True)) == {
        "h2o": [("gbm", "fit_gate", 0), ("gbm", "fit_all", 0)],
        "baseline": [(name, rows, 0) for rows in ("fit_gate", "fit_all") for name in ("har", "lhar")],
    }
    frozen = asked(gate_jobs(RESULTS, "gbm", None, FITS, ship=False))
    assert {rows for mine in frozen.values() for _, rows, _ in mine} == {"fit_gate"}


def test_a_baseline_that_challenges_is_fitted_once() -> None:
    jobs = asked(gate_jobs(RESULTS, "lhar", None, FITS, ship=True))
    assert sorted(jobs["baseline"]) == sorted(
        (name, rows, 0) for name in ("har", "lhar") for rows in ("fit_gate", "fit_all")
    )
    assert list(jobs) == ["baseline"]


def test_a_licence_asks_for_every_origin_of_the_champions_recipe() -> None:
    jobs = asked(
        gate_jobs(
            RESULTS, "gbm", OLD, FITS, ship=True, incumbent=CHAMPION, incumbent_gated=True, licence=True, canary=7
        )
    )
    assert jobs["h2o"] == [
        ("gbm", "fit_gate", 0),
        (CHAMPION, "fit_gate", 0),
        (CHAMPION, "fit_origin_1", 0),
        (CHAMPION, "fit_origin_2", 0),
        ("gbm", "fit_all", 0),
        (CHAMPION, "fit_all", 0),
        ("gbm", "fit_fold_5", 7),
    ]


def test_a_champion_that_was_found_again_needs_no_fit_of_its_own() -> None:
    jobs = asked(gate_jobs(RESULTS, "gbm", None, FITS, ship=True, incumbent="gbm", incumbent_gated=True))
    assert jobs["h2o"] == [("gbm", "fit_gate", 0), ("gbm", "fit_all", 0)]


def test_names_that_nobody_has_or_two_have_are_refused() -> None:
    with pytest.raises(EngineError, match="no candidate is called 'xgb'; there are har, lhar, gbm, glm"):
        walk_jobs(RESULTS, ["xgb"], None, FITS)
    taken = (EngineResult(engine="h2o", candidates=(candidate(CHAMPION, "h2o"),)),)
    with pytest.raises(EngineError, match="a candidate is called 'champion'"):
        walk_jobs(taken, [CHAMPION], OLD, FITS)


@pytest.mark.parametrize(
    ("rows", "shuffle", "said"),
    [
        ("fit_fold_2", 0, "fold 2 of 5"),
        ("fit_fold_5", 3, "fold 5 of 5, labels shuffled"),
        ("fit_origin_1", 0, "origin 1 of 2"),
        ("fit_gate", 0, "before the gate"),
        ("fit_all", 0, "all rows"),
    ],
)
def test_who_watches_reads_what_a_job_is(rows: str, shuffle: int, said: str) -> None:
    assert words(RefitJob(name="gbm", recipe={}, rows=rows, shuffle=shuffle), FITS) == said
