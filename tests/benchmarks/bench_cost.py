"""What statistics, canaries and gate cost of a night: at most 10 % of its wall time.

```
counted      shortlist and leaderboard    scores, bootstraps, SPA, StepM, MCS, PBO; trials, deflated Sharpe; backtests
             the shuffled canary          its job alone, in the process that refits the leader's recipe anyway
             other histories              their processor time, as they run beside the refits
             gate                         alarms, the champion scored in a clean process, judgement, backtests there
             the champion's licence       its recipe refitted at every origin inside the gate, once a term
not counted  search; refits on the folds, before the gate and of what ships: the engines' work
             bars, features, windows, registry, report; Zipline's check and the tear sheet, which the report waits for
```

The licence's refits make no model that anybody gets: they are evidence, so they are the gate's cost. The night is an
ordinary one: a champion is there, and its licence is due, as on one night of a term. A quick night before it, on bars
that end earlier, makes the champion, which is therefore a baseline or linear model and cheap to refit.

``python -m tests.benchmarks.bench_cost [--problem NAME] [--budget demo|nightly] [--set field=value]`` prints the table.
It ends with 1 above the limit, unless ``--set`` has changed the night. About four minutes with the demo's budget.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Any

from rich.console import Console

from flows import settings
from tests.benchmarks.bench_night import night

LIMIT = 0.10
EARLIER = "2018-12-21"
"""The built-in bars end on 2018-12-31: the champion was made a week before."""
ORIGIN = "fit_origin_"
APART = ("check-features", "other-histories")
AT_GATE = "backtest on the gate"
REPORTED = ("zipline check", "tear sheet", "explain", "report")
QUICK = ("--set", "engines=[baseline, linear]")


@dataclass(frozen=True, slots=True)
class Call:
    """One run of a Prefect task: its wall seconds, its thread's processor seconds, and what it returned."""

    task: str
    wall: float
    processor: float
    result: Any


@contextmanager
def timed(module: Any) -> Iterator[list[Call]]:
    """Every run of the tasks that a flow's module names, while the block runs."""
    from prefect import Task  # noqa: PLC0415 - reads its settings when it is imported

    calls: list[Call] = []
    tasks = [found for found in vars(module).values() if isinstance(found, Task)]
    plain = [task.fn for task in tasks]
    for task in tasks:
        task.fn = _clocked(task.name, task.fn, calls)
    try:
        yield calls
    finally:
        for task, function in zip(tasks, plain, strict=True):
            task.fn = function


def _clocked(name: str, function: Callable[..., Any], calls: list[Call]) -> Callable[..., Any]:
    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        wall, processor = time.monotonic(), time.thread_time()
        result = function(*arguments, **options)
        calls.append(Call(name, time.monotonic() - wall, time.thread_time() - processor, result))
        return result

    return run


def measured(name: str, budget: str, changes: Sequence[str]) -> tuple[list[Call], dict[str, float], float]:
    """A night in this process: its tasks, its wall seconds by stage, and those of the whole."""
    begun = time.monotonic()
    settings.apply()
    from flows import chosen, nightly, progress  # noqa: PLC0415 - as above

    problem = chosen.named(name, None, list(changes), budget)  # type: ignore[arg-type]
    with progress.shown(Console(stderr=True)), timed(nightly) as calls:
        facts = nightly.run(problem)
    return calls, facts.seconds, time.monotonic() - begun


def counted(calls: Sequence[Call], stages: Mapping[str, float]) -> dict[str, float]:
    """Seconds by what counts towards the limit, each part once."""
    wall: dict[str, float] = {}
    for call in calls:
        wall[call.task] = wall.get(call.task, 0.0) + call.wall
    refits = [fit for call in calls if call.task == "refit" for fit in call.result.candidates]
    origins = [fit.job_seconds for fit in refits if fit.rows.startswith(ORIGIN)]
    truncation, histories = (next(call for call in calls if call.task == name) for name in APART)
    within = [wall[name] for name in ("leaderboard", "count trials", "backtest", "inspect", "gate", AT_GATE)]
    return {
        "statistics: shortlist": wall["shortlist"],
        "statistics: scores, bootstraps, SPA, StepM, MCS, PBO": wall["leaderboard"],
        "statistics: ledger, independent trials": wall["count trials"],
        "statistics: backtests, deflated Sharpe": wall["backtest"],
        f"statistics: other histories ({histories.wall:.1f} s on the clock)": histories.processor,
        "canary: the leader's recipe on shuffled labels": sum(fit.job_seconds for fit in refits if fit.shuffle),
        "canary: truncation test": truncation.wall,
        "gate: alarms": wall["inspect"],
        "gate: champion scored, evidence, decision": wall["gate"],
        "gate: backtests": wall[AT_GATE],
        f"gate: licence, the champion refitted at {len(origins)} origins": sum(origins),
        "between these tasks": stages["leaderboard"] + stages["gate"] - sum(within),
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the two nights and print the table."""
    parser = argparse.ArgumentParser(prog="bench_cost")
    parser.add_argument("--problem", default="sp500-volatility")
    parser.add_argument("--budget", default="demo", choices=("demo", "nightly"))
    parser.add_argument("--set", dest="changes", action="append", default=[], metavar="field=value")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        night(Path(folder), given.problem, *QUICK, "--set", f"as_of={EARLIER}")
        os.environ["NOCTURNE_HOME"] = folder
        calls, stages, whole = measured(given.problem, given.budget, given.changes)
    costs = counted(calls, stages)
    total = sum(costs.values())
    print(f"| {given.problem}, budget {given.budget} | seconds | of the night |")
    print("|---|---|---|")
    for what, seconds in [*costs.items(), ("**statistics, canaries and gate**", total), ("the night", whole)]:
        print(f"| {what} | {seconds:.1f} | {seconds / whole:.1%} |")
    print(
        "\nfor the report, not counted: "
        + ", ".join(f"{call.task} {call.wall:.1f} s" for call in calls if call.task in REPORTED)
    )
    print("stages: " + ", ".join(f"{name} {seconds:.1f}" for name, seconds in stages.items()))
    print(f"{total / whole:.1%} of the night, at most {LIMIT:.0%} wanted")
    return int(total > LIMIT * whole and not given.changes)


if __name__ == "__main__":
    sys.exit(main())
