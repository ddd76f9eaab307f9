"""Late bars: a scheduled night waits for them until its deadline, and then fails in words.

Only where a problem asks (``fresh_within``). The run shows the state ``WaitingForBars`` meanwhile, the event
``nocturne.data.late`` is emitted once, and the source is read again every few minutes.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime, timedelta

from prefect.client.orchestration import get_client
from prefect.runtime import flow_run
from prefect.states import Running

from flows.automations import tell
from tasks.bars.freshness import lateness
from tasks.bars.task import ingest
from tasks.errors import DataError, SourceUnavailableError
from tasks.problem import Problem

PAUSE = timedelta(minutes=10)
log = logging.getLogger("nocturne.late")


def wait_for_bars(problem: Problem, scheduled: datetime | None) -> None:
    """Return once the source has bars as new as the problem asks a night scheduled at an aware instant to have.

    A night that nobody scheduled (None), or that does not ask, waits for nothing. Raises DataError once ``wait_hours``
    have passed since the schedule, and what ingest raises for bars that break a rule.
    """
    if scheduled is None or not problem.fresh_within:
        return
    deadline = scheduled + timedelta(hours=problem.wait_hours)
    told = False
    while late := _late(problem, scheduled):
        left = deadline - datetime.now(UTC)
        if left <= timedelta(0):
            raise DataError(f"{late}. Waited until {deadline:%Y-%m-%d %H:%M} UTC (wait_hours: {problem.wait_hours:g})")
        if not told:
            tell("late", problem.name, headline="Bars are late", reasons=[late], deadline=deadline.isoformat())
        told = True
        _show("WaitingForBars", f"{late}. Trying again until {deadline:%Y-%m-%d %H:%M} UTC")
        time.sleep(min(PAUSE, left).total_seconds())
    if told:
        _show("Running", "the bars have come")


def warn_if_late(problem: Problem, last: str) -> None:
    """Log a warning where the newest bar (``last``: its close, ISO 8601) is older than a scheduled night would take."""
    late = lateness(problem, last, datetime.now(UTC))
    if late:
        log.warning("%s; a scheduled night would wait for them", late)


def _late(problem: Problem, scheduled: datetime) -> str:
    """Why the night cannot begin yet, in words; empty when it can. A source that is silent is late too."""
    try:
        return lateness(problem, ingest(problem).last, scheduled)
    except SourceUnavailableError as error:
        return f"bars are late: {problem.source} does not answer ({error})"


def _show(name: str, message: str) -> None:
    """The run's state for who looks at it; its type stays RUNNING."""
    log.info("%s: %s", name, message)
    with get_client(sync_client=True) as client:
        client.set_flow_run_state(str(flow_run.get_id()), Running(name=name, message=message))
