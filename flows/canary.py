"""The weekly canary: a whole night, real engines included, on a market in which nothing can be known.

The bars are made from the problem's own (``tasks/leaderboard/noise.py``); everything else is as on any night, but below
a state folder of its own, so that neither registry nor ledger mistakes it for real. Every market has another: where
markets shared a ledger, each would be read at a stricter level than the last, until no canary could fall. Nothing but a
baseline may come out: whatever is promoted there was promoted by a leak or by luck.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from prefect import flow

from flows import settings
from flows.apart import apart
from flows.automations import tell_failure
from flows.nightly import run
from tasks.bars.task import ingest
from tasks.errors import RegistryError
from tasks.leaderboard.task import market_of_noise
from tasks.masking import at_the_edge
from tasks.problem import Problem
from tasks.report.facts import Facts
from tasks.storage import home


@flow(
    name="canary",
    flow_run_name="canary {problem.name}",
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
    on_cancellation=[tell_failure],
)
@at_the_edge
def canary(problem: Problem, seed: int = 0) -> Facts:
    """Run the problem's night on noise; another seed makes another market, and 0 stands for this week's own.

    Raises RegistryError if the night promotes a model or raises an alarm.
    """
    settings.reserve()
    seed = seed or this_week()
    noise = market_of_noise(problem, ingest(problem), seed)
    with apart(place(f"{problem.name}-{seed}")):
        facts = run(noise)
    if facts.decision.outcome == "promoted" or facts.leaderboard.alarms:
        raise RegistryError(
            f"{problem.name}: on a market of noise (seed {seed}) the night ended as '{facts.decision.outcome}' with "
            f"{len(facts.leaderboard.alarms)} alarms: trust no promotion until it is known why; see {facts.report}"
        )
    return facts


def this_week() -> int:
    """The ISO year and week as one number, 202607: a seed that is another one every week."""
    year, week, _ = datetime.now(UTC).isocalendar()
    return 100 * year + week


def place(market: str) -> Path:
    """Where a market of noise has its registry, ledger and stages."""
    return home() / "canaries" / "state" / market
