"""The night: from bars to a champion that anyone can pull.

```
                             search                   folds
                         ┌─ baseline ──┐          ┌─ baseline ──┐                ┌─ refit ───┐
ingest ─ features ─ win- ├─ linear ────┤─ short- ─├─ linear ────┤─ leaderboard ─ ├─ canary ──┤─ gate ─ register ─ report
                    dows ├─ h2o ───────┤  list    ├─ h2o ───────┤                └─ explain ─┘
                         └─ autokeras ─┘          └─ autokeras ─┘
```

1. Ingest: read bars, check every row, append what is new, freeze a snapshot.
2. Features and windows: one matrix; labels; purged windows in time order, the gate window last.
3. Search: every engine in a process of its own, within its budget; a failure does not take the others along.
4. Folds: the leading recipes, every baseline and the champion's recipe, refitted before each walk-forward fold.
5. Leaderboard: one scorer over the joined out-of-sample predictions; the ledger counts what was tried; backtests.
6. Refit: the leader's recipe and every baseline on everything before the gate; the champion's, to refresh it.
7. Gate: a pure decision from the losses on the gate window. Default: keep the champion.
8. Register: log everything, load what is to hold an alias afresh, compare, and only then move it; keep a fallback.
9. Report: a page, and the same facts as artifacts.

What this flow does not do: touch a frame, a model or MLflow. It passes references between tasks.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from prefect import flow
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows import settings
from flows.progress import StageClock
from flows.rollout import begin as begin_rollout
from tasks.backtest.candidates import check_rule
from tasks.backtest.task import backtest, backtest_gate, draw_tear_sheet, zipline_check
from tasks.bars.task import ingest
from tasks.contracts import EngineResult, FeatureMatrix, Rows
from tasks.environment import installed_versions
from tasks.evaluation import CHAMPION, Decision
from tasks.features.catalogue import lookback
from tasks.features.task import build_features, check_features, specification
from tasks.leaderboard.task import inspect, other_histories, score, shortlist
from tasks.live import Standing
from tasks.problem import Problem
from tasks.registry.fits import Fits
from tasks.registry.records import Night
from tasks.registry.task import (
    champion_now,
    count_trials,
    judge,
    licence_due,
    log_night,
    open_registry,
    register_version,
    take_places,
)
from tasks.report.facts import Facts, forecasts
from tasks.report.task import publish
from tasks.search.jobs import Jobs, gate_jobs, walk_jobs
from tasks.search.results import named, notes, seconds_by_engine, whole, with_failures
from tasks.search.task import explain, refit, search
from tasks.splits.sizes import precheck
from tasks.splits.task import make_rows
from tasks.storage import code_digest, lock_digest


@flow(name="nightly", flow_run_name="{problem.name}", task_runner=ThreadPoolTaskRunner(max_workers=8))  # type: ignore[arg-type]
def nightly(problem: Problem) -> Facts:
    """Search, rank, gate and register models for one problem; the module's text lists the steps."""
    settings.reserve()
    clock, started = StageClock(), datetime.now(UTC).isoformat(timespec="seconds")
    registry = open_registry.submit(problem.name)
    with clock.stage("ingest"):
        snapshot = ingest(problem)
        check_rule(problem, len(snapshot.symbols))
        precheck(snapshot.sessions, lookback(specification(problem, snapshot).columns), problem)
    with clock.stage("features"):
        features = build_features(problem, snapshot)
        truncated = check_features(problem, snapshot, features)
    with clock.stage("windows"):
        rows = make_rows(problem, snapshot, features)
    with clock.stage("search"):
        registry.result()  # a registry that cannot be opened is found before the search, not after it
        found = _search(problem, features, rows)
    with clock.stage("folds"):
        incumbent = champion_now(problem.name)
        recipe = incumbent.recipe_for(problem.predicts) if incumbent else None
        chosen = shortlist(problem, rows, found, incumbent.recipe_sha256 if incumbent and recipe else "")
        unknown = None if chosen.champion else recipe
        walked = _refit(problem, features, rows, walk_jobs(found, chosen.names, unknown, rows.fits))
        results = with_failures(found, walked)
    with clock.stage("leaderboard"):
        board = score(problem, rows, results, walked, chosen)
        trials = count_trials(problem, snapshot, rows, board, (*results, *walked))
        counted = replace(board.statistics, trials=trials) if board.statistics else None
        board = replace(board, statistics=counted, backtests=backtest(problem, snapshot, rows, board, trials))
    with clock.stage("refit"):
        leader = named((*results, *walked), board.scores[0].candidate)
        same = (chosen.champion or CHAMPION) if recipe else ""
        jobs = gate_jobs(
            results, leader.name, unknown, rows.fits,
            ship=problem.refit == "through_gate",
            incumbent=same,
            incumbent_gated=True,
            licence=licence_due(incumbent, problem, snapshot, rows),
            canary=problem.seed,
        )  # fmt: skip
        traded = zipline_check.submit(problem, snapshot, rows, board, (leader.name, same))
        sheet = draw_tear_sheet.submit(problem, board.backtests[0]) if board.backtests else None
        explained, elsewhere = (
            explain.submit(problem, features, rows, leader.engine, leader.model),
            other_histories.submit(features, rows),
        )
        refitted = _refit(problem, features, rows, jobs)
    with clock.stage("gate"):
        night = Night(
            problem=problem, snapshot=snapshot, features=features, rows=rows, results=results,
            leaderboard=replace(board, alarms=inspect(problem, rows, board, refitted, truncated)),
            code_version=code_digest("tasks", "flows"),
            notes=(*rows.warnings, *notes(results, (*walked, *refitted, explained.result()))),
            importance_of=leader.name,
            importance=explained.result().importance,
        )  # fmt: skip
        fits = Fits.of(refitted)
        verdict = judge(night, fits, incumbent)
        read = verdict.evidence.read > 0
        earned = backtest_gate(problem, snapshot, rows, tuple(fits.gated.values()) if read else (), trials)
    with clock.stage("register"):
        logged = log_night(night)
        registered = register_version(night, logged, verdict.entry)
        now = take_places(night, logged, fits, verdict.entry, registered, incumbent)
        _begin_takeover(problem, verdict.decision, now, registered.version)
    with clock.stage("report"):
        facts = Facts(
            run_id=str(flow_run.get_id()),
            problem=problem.model_dump(mode="json"),
            started=started,
            snapshot=snapshot,
            rows=rows,
            leaderboard=night.leaderboard,
            decision=verdict.decision,
            evidence=verdict.evidence,
            engines=results,
            gate_backtests=earned,
            event_driven=traded.result(),
            tear_sheet=sheet.result() if sheet else None,
            whole=whole((*results, *walked, *refitted)),
            other_histories=elsewhere.result(),
            forecasts=forecasts(night.leaderboard, fits.gated, verdict.evidence.gate_losses),
            importance_of=leader.name,
            importance=explained.result().importance,
            warnings=night.notes,
            version=registered.version,
            champion_version=now.champion,
            challenger_version=now.challenger,
            model_uri=f"models:/{problem.name}@champion",
            tracking_uri=logged.tracking_uri,
            run_url=logged.url,
            bars_needed=getattr(registered if now.champion == registered.version else incumbent, "bars_needed", 0),
            seconds=dict(clock.seconds),
            engine_seconds=seconds_by_engine((*results, *walked, *refitted)),
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


def _refit(problem: Problem, features: FeatureMatrix, rows: Rows, jobs: Jobs) -> tuple[EngineResult, ...]:
    """Recipes fitted again, an engine a process."""
    running = [refit.submit(problem, features, rows, engine, mine) for engine, mine in jobs.items()]
    return tuple(future.result() for future in running)


def _begin_takeover(problem: Problem, decision: Decision, now: Standing, version: str) -> None:
    """Begin the rollout of what the gate approved, where the problem lets it take over gradually."""
    if problem.takeover == "gradual" and decision.outcome == "promoted" and now.challenger == version:
        begin_rollout(problem, version)
