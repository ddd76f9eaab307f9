"""The night: from bars to a champion that anyone can pull.

```
ingest ─ features ─ windows ─┬─ baseline ──┐
                             ├─ linear ────┤
                             ├─ h2o ───────┼─ leaderboard ─┬─ refit ───┬─ gate ─ register ─ report
                             └─ autokeras ─┘               └─ explain ─┘
```

1. Ingest: read bars, check every row, append what is new, freeze a snapshot.
2. Features and windows: one matrix; labels; purged windows in time order, the gate window last.
3. Search: every engine in a process of its own, within its budget; a failure does not take the others along.
4. Leaderboard: one scorer, the same selection rows for every candidate.
5. Refit: the leader's recipe and every baseline again, on everything before the gate (and, to be shipped, on all rows).
6. Gate: a pure decision from the losses on the gate window. Default: keep the champion.
7. Register: log everything, load the registered version afresh, compare, and only then move the alias.
8. Report: a page, and the same facts as artifacts.

What this flow does not do: touch a frame, a model or MLflow. It passes references between tasks.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Literal

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows.progress import StageClock
from tasks.bars.task import ingest
from tasks.contracts import EngineResult, FeatureMatrix, RefitJob, Rows
from tasks.environment import installed_versions
from tasks.evaluation import Leaderboard
from tasks.features.catalogue import lookback
from tasks.features.task import build_features, specification
from tasks.leaderboard.task import score
from tasks.problem import Problem
from tasks.registry.judgement import Fits
from tasks.registry.records import Night
from tasks.registry.task import champion_now, judge, log_night, open_registry, promote, register_version
from tasks.report.facts import Facts, Forecast
from tasks.report.task import publish
from tasks.search.task import explain, refit, search
from tasks.splits.sizes import precheck
from tasks.splits.task import make_rows
from tasks.storage import code_digest, lock_digest

Span = Literal["fit_gate", "fit_all"]


@flow(name="nightly", flow_run_name="{problem.name}", task_runner=ThreadPoolTaskRunner(max_workers=8))  # type: ignore[arg-type]
def nightly(problem: Problem) -> Facts:
    """Search, rank, gate and register models for one problem; the module's text lists the steps."""
    clock = StageClock()
    started = datetime.now(UTC).isoformat(timespec="seconds")
    registry = open_registry.submit()
    with clock.stage("ingest"):
        snapshot = ingest(problem)
        precheck(snapshot.sessions, lookback(specification(problem, snapshot).columns), problem)
    with clock.stage("features"):
        features = build_features(problem, snapshot)
    with clock.stage("windows"):
        rows = make_rows(problem, snapshot, features)
    with clock.stage("search"):
        registry.result()  # a registry that cannot be opened is found before the search, not after it
        results = _search(problem, features, rows)
    with clock.stage("leaderboard"):
        board = score(problem, rows, results)
    with clock.stage("refit"):
        refitted, explained = _refit(problem, features, rows, board, results)
    night = Night(
        problem=problem, snapshot=snapshot, features=features, rows=rows, results=results, leaderboard=board,
        code_version=code_digest("tasks", "flows"), notes=_notes(rows, results, refitted, explained),
    )  # fmt: skip
    with clock.stage("gate"):
        incumbent = champion_now(problem.name)
        fits = Fits.of(refitted)
        verdict = judge(night, fits, incumbent)
    with clock.stage("register"):
        logged = log_night(night)
        registered = register_version(night, logged, verdict.entry)
        if verdict.decision.promote:
            promote(registered, verdict.entry, night, incumbent)
    with clock.stage("report"):
        facts = Facts(
            run_id=str(flow_run.get_id()),
            problem=problem.model_dump(mode="json"),
            started=started,
            snapshot=snapshot,
            rows=rows,
            leaderboard=board,
            decision=verdict.decision,
            evidence=verdict.evidence,
            engines=results,
            forecasts=_forecasts(board, results, fits),
            importance_of=board.scores[0].candidate,
            importance=explained.importance,
            warnings=night.notes,
            version=registered.version,
            champion_version=registered.version if verdict.decision.promote else getattr(incumbent, "version", ""),
            model_uri=f"models:/{problem.name}@champion",
            tracking_uri=logged.tracking_uri,
            run_url=logged.url,
            bars_needed=registered.bars_needed if verdict.decision.promote else getattr(incumbent, "bars_needed", 0),
            seconds=dict(clock.seconds),
            engine_seconds=_engine_seconds(results, refitted),
            versions=installed_versions(),
            digests={"code": night.code_version, "lock": lock_digest()},
        )
        told = publish(facts)
    return replace(told, seconds=dict(clock.seconds))


def _search(problem: Problem, features: FeatureMatrix, rows: Rows) -> tuple[EngineResult, ...]:
    """All engines at once; baselines compete whether they were asked for or not."""
    engines = dict.fromkeys(("baseline", *problem.engines))
    running = [search.submit(problem, features, rows, engine) for engine in engines]
    return tuple(future.result() for future in running)


def _refit(
    problem: Problem, features: FeatureMatrix, rows: Rows, board: Leaderboard, results: tuple[EngineResult, ...]
) -> tuple[tuple[EngineResult, ...], EngineResult]:
    """The leader and every baseline fitted again, an engine a process; meanwhile, what the leader looks at."""
    leader = next(c for result in results for c in result.candidates if c.name == board.scores[0].candidate)
    jobs = _jobs(problem, board, results)
    running = [refit.submit(problem, features, rows, engine, mine) for engine, mine in jobs.items()]
    explained = explain.submit(problem, features, rows, leader.engine, leader.model)
    return tuple(future.result() for future in running), explained.result()


def _jobs(problem: Problem, board: Leaderboard, results: tuple[EngineResult, ...]) -> dict[str, tuple[RefitJob, ...]]:
    """By engine: each recipe that the gate needs, before the gate and (where that is shipped) on all rows."""
    recipes = {candidate.name: candidate.recipe for result in results for candidate in result.candidates}
    spans: tuple[Span, ...] = ("fit_gate", "fit_all") if problem.refit == "through_gate" else ("fit_gate",)
    jobs: dict[str, tuple[RefitJob, ...]] = {}
    for entry in board.scores:
        if entry.rank == 1 or entry.engine == "baseline":
            mine = tuple(RefitJob(name=entry.candidate, recipe=recipes[entry.candidate], rows=span) for span in spans)
            jobs[entry.engine] = jobs.get(entry.engine, ()) + mine
    return jobs


def _notes(
    rows: Rows, results: tuple[EngineResult, ...], refitted: tuple[EngineResult, ...], explained: EngineResult
) -> tuple[str, ...]:
    """What degraded the night without failing it, for the report and for the registry's entry."""
    said = [f"{result.engine}: {text}" for result in (*results, *refitted) for text in result.notes]
    missing = [f"{result.engine}: {result.error}" for result in (*refitted, explained) if result.error]
    return tuple(dict.fromkeys((*rows.warnings, *said, *missing)))


def _forecasts(board: Leaderboard, results: tuple[EngineResult, ...], fits: Fits) -> tuple[Forecast, ...]:
    """What the report draws: the leader and the best baseline."""
    searched = {candidate.name: candidate.predictions for result in results for candidate in result.candidates}
    names = {board.scores[0].candidate: "leader"}
    names.setdefault(next(entry.candidate for entry in board.scores if entry.engine == "baseline"), "baseline")
    return tuple(
        Forecast(candidate=name, role=role, search=searched[name], gate=fits.gated[name].predictions)  # type: ignore[arg-type]
        for name, role in names.items()
        if name in fits.gated
    )


def _engine_seconds(searched: tuple[EngineResult, ...], refitted: tuple[EngineResult, ...]) -> dict[str, float]:
    """Seconds of work by engine, without bringing its JVM or backend up."""
    seconds: dict[str, float] = {}
    for result in (*searched, *refitted):
        seconds[result.engine] = seconds.get(result.engine, 0.0) + result.work_seconds
    return {engine: round(value, 3) for engine, value in seconds.items()}
