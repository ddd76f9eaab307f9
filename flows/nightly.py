"""The night: from bars to a champion that anyone can pull.

```
                             search                   folds
                         ┌─ baseline ──┐          ┌─ baseline ──┐                ┌─ refit ───┐
ingest ─ features ─ win- ├─ linear ────┤─ short- ─├─ linear ────┤─ leaderboard ─ ├─ canary ──┤─ gate ─ register ─ report
                    dows ├─ h2o ───────┤  list    ├─ h2o ───────┤                └─ explain ─┘
                         ├─ autokeras ─┤          ├─ autokeras ─┤
                         └─ transfer ──┘          └─ transfer ──┘
```

0. Guard: what cannot work is refused; a scheduled night without a session is skipped; one whose bars are late waits.
1. Ingest: read bars, check every row, append what is new, freeze a snapshot.
2. Features and windows: one matrix; labels; purged windows in time order, the gate window last.
3. Search: every engine in a process of its own, within its budget, from the leading recipes of earlier nights on, the
   transfer from a pre-trained backbone of the registry; a failure does not take the others along.
4. Folds: the leading recipes, every baseline and the champion's recipe, refitted before each walk-forward fold.
5. Leaderboard: one scorer over the joined out-of-sample predictions; the ledger counts what was tried; backtests.
6. Refit: the leader's recipe and every baseline on everything before the gate; the champion's, to refresh it.
7. Gate: a pure decision from the losses on the gate window. Default: keep the champion.
8. Register: log everything, load what is to hold an alias afresh, compare, and only then move it; keep a fallback.
9. Report: a page, and the same facts as artifacts.

Before the first stage stands the night's opening (``opening``): one night of a problem at a time, and none that the
calendar, a slot that was done already or an unchanged world make needless. A night that died is gone on from: every
stage's output is addressed by what went in and found again, and ``restart_from`` says from where on it is not.

What this flow does not do: touch a frame, a model or MLflow. It passes references between tasks.
"""

from __future__ import annotations

from dataclasses import replace

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.task_runners import ThreadPoolTaskRunner

from flows import guard, problems, settings
from flows.automations import tell_failure, tell_night
from flows.facts import Aside, Places, gathered
from flows.late import warn_if_late
from flows.observed import Observed, observed
from flows.opening import Opening, opened
from flows.restart import Stage
from flows.rollout import begin as begin_rollout
from tasks import retention
from tasks.backtest.candidates import check_rule
from tasks.backtest.task import backtest, backtest_gate, draw_tear_sheet, zipline_check
from tasks.bars.task import ingest
from tasks.contracts import Backbones, EngineResult, FeatureMatrix, Rows, Snapshot
from tasks.evaluation import CHAMPION, Decision
from tasks.features.catalogue import lookback
from tasks.features.task import build_features, check_features, specification
from tasks.leaderboard.task import inspect, other_histories, score, shortlist
from tasks.live import Standing
from tasks.masking import at_the_edge
from tasks.problem import Problem
from tasks.registry.fits import Fits
from tasks.registry.records import LoggedNight, Night
from tasks.registry.task import (
    champion_now,
    count_trials,
    job_backbones,
    judge,
    licence_due,
    log_night,
    log_resources,
    open_registry,
    register_version,
    search_backbones,
    take_places,
)
from tasks.report.facts import Facts
from tasks.report.task import publish
from tasks.search.jobs import Jobs, gate_jobs, walk_jobs
from tasks.search.recipes import Recalled
from tasks.search.results import named, notes, with_failures
from tasks.search.task import explain, keep_recipes, recall_recipes, refit, search
from tasks.splits.sizes import precheck
from tasks.splits.task import make_rows
from tasks.storage import code_digest


@flow(
    name="nightly",
    flow_run_name="{problem.name}",
    task_runner=ThreadPoolTaskRunner(max_workers=8),  # type: ignore[arg-type]
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
    on_cancellation=[tell_failure],
)
@at_the_edge
def nightly(problem: Problem, restart_from: Stage = "") -> Facts | State[None]:
    """Search, rank, gate and register models for one problem; the module's text lists the steps.

    A run that need not do anything (skipped, unchanged) returns a state that says why.

    Args:
        restart_from: This stage and all after it are computed anew, those before are reused. Empty: all that is there.
    """
    settings.reserve()
    guard.refuse(problem)
    with observed(problem.name, str(flow_run.get_id())) as clock, opened(problem, restart_from, clock) as night:
        if night.over is not None:
            return night.over
        facts = _stages(problem, night)
        night.keep(facts)
        retention.prune_safely()
    tell_night(facts)
    problems.publish_safely()
    return facts


def run(problem: Problem, restart_from: Stage = "") -> Facts:
    """A night for who is no deployment's run: it is neither skipped nor answered from the record."""
    found = nightly(problem, restart_from)
    assert isinstance(found, Facts)
    return found


def _stages(problem: Problem, night: Opening) -> Facts:
    """All stages, one after the other."""
    registry = open_registry.submit(problem.name, night.dead)
    with night.stage("ingest"):
        snapshot = ingest(problem)
        warn_if_late(problem, snapshot.last)
        check_rule(problem, len(snapshot.symbols))
        precheck(snapshot.sessions, lookback(specification(problem, snapshot).columns), problem)
    with night.stage("features"):
        features = build_features(problem, snapshot)
        truncated = check_features(problem, snapshot, features)
    with night.stage("windows"):
        rows = make_rows(problem, snapshot, features)
    with night.stage("search"):
        registry.result()  # a registry that cannot be opened is found before the search, not after it
        night.dead_seen_to()
        warm, found = _search(problem, snapshot, features, rows)
    with night.stage("folds"):
        incumbent = champion_now(problem.name)
        recipe = incumbent.recipe_for(problem.predicts) if incumbent else None
        chosen = shortlist(problem, rows, found, incumbent.recipe_sha256 if incumbent and recipe else "")
        keep_recipes(problem, snapshot, rows, found, chosen.losses)
        unknown = None if chosen.champion else recipe
        walked = _refit(problem, features, rows, walk_jobs(found, chosen.names, unknown, rows.fits))
        results = with_failures(found, walked)
    with night.stage("leaderboard"):
        board = score(problem, rows, results, walked, chosen, features=features)
        trials = count_trials(problem, snapshot, rows, board, (*results, *walked))
        counted = replace(board.statistics, trials=trials) if board.statistics else None
        board = replace(board, statistics=counted, backtests=backtest(problem, snapshot, rows, board, trials))
    with night.stage("refit"):
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
        aside = Aside(
            traded=zipline_check.submit(problem, snapshot, rows, board, (leader.name, same)),
            sheet=draw_tear_sheet.submit(problem, board.backtests[0]) if board.backtests else None,
            explained=explain.submit(problem, features, rows, leader.engine, leader.model),
            elsewhere=other_histories.submit(features, rows),
        )
        refitted = _refit(problem, features, rows, jobs)
    with night.stage("gate"):
        explained = aside.explained.result()
        facts = Night(
            problem=problem, snapshot=snapshot, features=features, rows=rows, results=results,
            leaderboard=replace(board, alarms=inspect(problem, rows, board, refitted, truncated)),
            code_version=code_digest("tasks", "flows"),
            notes=(*rows.warnings, *warm.notes, *notes(results, (*walked, *refitted, explained))),
            importance_of=leader.name,
            importance=explained.importance,
            flow_run=night.run,
        )  # fmt: skip
        fits = Fits.of(refitted)
        verdict = judge(facts, fits, incumbent)
        read = verdict.evidence.read > 0
        earned = backtest_gate(problem, snapshot, rows, tuple(fits.gated.values()) if read else (), trials)
    with night.stage("register"):
        logged = log_night(facts)
        registered = register_version(facts, logged, verdict.entry)
        now = take_places(facts, logged, fits, verdict.entry, registered, incumbent)
        _begin_takeover(problem, verdict.decision, now, registered.version)
    with night.stage("report"):
        places = Places(logged=logged, registered=registered, now=now, incumbent=incumbent)
        told = publish(gathered(night, facts, verdict, fits, places, aside, (*results, *walked, *refitted), earned))
    return _measured(told, logged, night.clock)


def _measured(facts: Facts, logged: LoggedNight, clock: Observed) -> Facts:
    """The facts with what every stage took, the report among them; MLflow has it too."""
    log_resources(logged, clock.points())
    return replace(facts, seconds=dict(clock.seconds), resources=clock.resources)


def _search(
    problem: Problem, snapshot: Snapshot, features: FeatureMatrix, rows: Rows
) -> tuple[Recalled, tuple[EngineResult, ...]]:
    """All engines at once, from earlier nights' recipes on; baselines compete whether they were asked for or not."""
    warm = recall_recipes(problem, snapshot, rows, features)
    engines = dict.fromkeys(("baseline", *problem.engines))
    start = {"transfer": search_backbones(problem, rows, features, warm.of("transfer"))}
    running = [
        search.submit(problem, features, rows, engine, warm.of(engine), start=start.get(engine, Backbones()))
        for engine in engines
    ]
    return warm, tuple(future.result() for future in running)


def _refit(problem: Problem, features: FeatureMatrix, rows: Rows, jobs: Jobs) -> tuple[EngineResult, ...]:
    """Recipes fitted again, an engine a process."""
    start = {engine: job_backbones(mine) for engine, mine in jobs.items() if engine == "transfer"}
    running = [
        refit.submit(problem, features, rows, engine, mine, start=start.get(engine, Backbones()))
        for engine, mine in jobs.items()
    ]
    return tuple(future.result() for future in running)


def _begin_takeover(problem: Problem, decision: Decision, now: Standing, version: str) -> None:
    """Begin the rollout of what the gate approved, where the problem lets it take over gradually."""
    if problem.takeover == "gradual" and decision.outcome == "promoted" and now.challenger == version:
        begin_rollout(problem, version)
