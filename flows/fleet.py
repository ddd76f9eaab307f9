"""Many nights at once: each problem's night is a task that Prefect's Dask runner gives to a worker process.

```
              ┌─ worker: the night of problem a ─┐
fleet ─ Dask ─┼─ worker: the night of problem b ─┼─ a row each: outcome, leader, champion, where it ran
              └─ …  (one night at a time each)   ─┘
```

The night itself is ``flows/nightly.py``, unchanged: a worker runs it as this machine would, and its leaderboard is the
same to the last digit. By symbol, every symbol of a problem becomes a problem, and a model, of its own.

Where the workers are, ``flows/dask_cluster.py`` says. One night that fails costs itself: the others end, and then the
whole run fails, naming it.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from prefect import flow, task
from prefect.artifacts import create_table_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed
from prefect_dask.task_runners import DaskTaskRunner

from flows import guard, problems, settings, unchanged
from flows.automations import EVENTS, tell, tell_failure
from flows.chosen import PROBLEMS, Level, named
from flows.dask_cluster import cluster, reachable_server
from flows.nightly import run
from tasks.errors import ConfigurationError
from tasks.masking import at_the_edge, masked
from tasks.problem import Problem
from tasks.registry.task import champion_now
from tasks.report.document import document

log = logging.getLogger("nocturne.fleet")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How one night ended. ``leaderboard`` is its digest; ``error`` is empty where it ended well."""

    problem: str
    outcome: str = ""
    leader: str = ""
    skill: float = 0.0
    champion: str = ""
    leaderboard: str = ""
    report: str = ""
    worker: str = ""
    seconds: float = 0.0
    error: str = ""


@flow(
    name="fleet",
    flow_run_name="several problems",
    task_runner=DaskTaskRunner(cluster_class=cluster),  # type: ignore[arg-type]
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
    on_cancellation=[tell_failure],
)
@at_the_edge
def fleet(
    names: tuple[str, ...] = (),
    budget: Level = "nightly",
    changes: tuple[str, ...] = (),
    by_symbol: bool = False,
) -> State[Any]:
    """Run the nights of several problems on a Dask cluster; a night on which nothing changed is answered as always.

    Its result is a Row a problem, in order. It ends as failed if a night failed, and names it; as skipped if the
    schedule's day is no session of any. Raises ConfigurationError before anything starts for a problem that is unknown
    or cannot be run.

    Args:
        names: Names of problems in deployments/problems. Empty: all of them.
        budget: How hard each night searches: demo takes minutes, nightly up to two hours a problem.
        changes: Fields to change in every problem, each as field=value, for example fresh_within=1. Empty: none.
        by_symbol: Whether each symbol that a problem names becomes a problem, and a model, of its own.
    """
    settings.reserve()
    wanted = chosen([named(name, None, list(changes), budget) for name in names or shipped()], by_symbol)
    reasons = {problem.name: guard.reason_to_skip(problem, guard.scheduled()) for problem in wanted}
    due = [problem for problem in wanted if not reasons[problem.name]]
    for problem in wanted:
        if reasons[problem.name]:
            guard.skipped(problem, reasons[problem.name])
    if not due:
        return Completed(name="Skipped", message="; ".join(dict.fromkeys(reasons.values())), data=[])
    champion_now(due[0].name)  # makes the registry's tables, if they are not there: two workers must not both do so
    with reachable_server():
        futures = [(problem, night.submit(problem)) for problem in due]
        rows = [_told(_row(problem, future.result(raise_on_failure=False))) for problem, future in futures]
    create_table_artifact(key="fleet", table=[asdict(row) for row in rows], description="Nights side by side")
    problems.publish_safely()
    return _ended(rows)


def run_fleet(
    names: list[str] | None, budget: Level, changes: list[str] | None, by_symbol: bool
) -> list[dict[str, Any]]:
    """As ``fleet``, for who is no deployment's run: the rows as JSON values, failed nights among them."""
    state = fleet(tuple(names or ()), budget, tuple(changes or ()), by_symbol, return_state=True)
    rows: Any = state.result(raise_on_failure=False)
    if isinstance(rows, BaseException):
        raise rows
    return [asdict(row) for row in rows]


@task(name="night", task_run_name="night-{problem.name}", cache_policy=NO_CACHE)
@at_the_edge
def night(problem: Problem) -> Row:
    """A problem's night, in the worker that runs this task; what goes wrong is told in the row."""
    begun, worker = time.monotonic(), f"{socket.gethostname()}:{os.getpid()}"
    settings.reserve()
    try:
        told = _answered(problem) or document(run(problem))
    except Exception as error:  # the worker's boundary: not every exception survives the way back
        log.exception("%s: the night failed", problem.name)
        return Row(problem=problem.name, worker=worker, error=masked(f"{type(error).__name__}: {error}"))
    leader, decision = told["leaderboard"][0], told["decision"]
    return Row(
        problem=problem.name,
        outcome=decision["outcome"],
        leader=leader["candidate"],
        skill=leader["skill"],
        champion=decision["champion_version"],
        leaderboard=told["leaderboard_sha256"],
        report=told["report"],
        worker=worker,
        seconds=round(time.monotonic() - begun, 1),
    )


def _answered(problem: Problem) -> dict[str, Any] | None:
    """The last night's document, if nothing has changed since it: as ``nocturne run`` answers."""
    begun = time.monotonic()
    before = unchanged.last_night(problem, unchanged.fingerprint(problem))
    if before is None:
        return None
    champion = champion_now(problem.name)
    if (champion.version if champion else "") != before["decision"]["champion_version"]:
        return None
    return unchanged.answer(problem, before, time.monotonic() - begun)


def _row(problem: Problem, found: Any) -> Row:
    """What came of the task: its row, or of one that crashed with its worker, the reason."""
    if isinstance(found, Row):
        return found
    return Row(problem=problem.name, error=f"{type(found).__name__}: {found}")


def _told(row: Row) -> Row:
    extra = {"stage": row.problem, "elapsed": row.seconds, "state": "failed" if row.error else "done"}
    log.info("%s: %s", row.problem, row.error or f"{row.outcome} in {row.seconds:.0f} s on {row.worker}", extra=extra)
    if row.outcome in EVENTS:  # the night leaves this to the run that it is part of
        headline = f"{row.outcome}: {row.leader} leads, skill {row.skill:.4f}"
        tell(row.outcome, row.problem, headline=headline, champion_version=row.champion, report=_address(row.report))
    return row


def _address(report: str) -> str:
    return Path(report).as_uri() if report else ""


def _ended(rows: list[Row]) -> State[Any]:
    failed = [f"{row.problem} ({row.error})" for row in rows if row.error]
    if failed:
        return Failed(message=f"{len(failed)} of {len(rows)} nights failed: {'; '.join(failed[:5])}", data=rows)
    return Completed(message=f"{len(rows)} nights", data=rows)


def shipped() -> list[str]:
    """The names of the problems of deployments/problems."""
    return sorted(path.stem for path in PROBLEMS.glob("*.yaml"))


def chosen(problems: Sequence[Problem], by_symbol: bool) -> list[Problem]:
    """The problems whose nights will run. Raises ConfigurationError for two of one name, or one that cannot be run."""
    found = [part for problem in problems for part in (split(problem) if by_symbol else (problem,))]
    names = [problem.name for problem in found]
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise ConfigurationError(
            f"several problems are called {', '.join(doubled[:5])}: a name is one registered model's"
        )
    for problem in found:
        guard.refuse(problem)
    return found


def split(problem: Problem) -> tuple[Problem, ...]:
    """A problem for each symbol, named ``<problem>-<symbol>``. Raises ConfigurationError if it names no symbols."""
    if not problem.symbols:
        raise ConfigurationError(
            f"{problem.name}: by symbol needs the symbols named: --set 'symbols=[AAPL, MSFT]', or in the problem's file"
        )
    return tuple(_of_symbol(problem, symbol) for symbol in problem.symbols)


def _of_symbol(problem: Problem, symbol: str) -> Problem:
    name = f"{problem.name}-{re.sub('[^a-z0-9]+', '-', symbol.lower()).strip('-')}"
    return Problem.model_validate({**problem.model_dump(), "name": name, "symbols": (symbol,)})
