"""What stands before a night: parameters that cannot work are refused, and a night without a session is skipped; one
that is scheduled before its session's close fails.

Both cost a second, and neither reads a bar. The exchange's calendar decides by the schedule's own time: a run that
starts late is judged by when it should have started. Runs that a person or an event starts have no schedule and are
never skipped.
"""

from __future__ import annotations

import logging
from datetime import UTC, datetime

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.runtime import flow_run
from prefect.states import Completed

from flows.automations import tell
from tasks.bars.describe import from_problem
from tasks.bars.night import CalendarRangeError, why_not
from tasks.bars.preflight import check_file, check_source
from tasks.problem import Problem
from tasks.splits.sizes import check_horizon

log = logging.getLogger("nocturne.guard")


def refuse(problem: Problem) -> None:
    """Raise ConfigurationError or DataError, in words, for what no form can check: the source, its calendar and files,
    and a horizon that no window can judge.
    """
    check_source(from_problem(problem))
    check_file("membership", problem.membership)
    check_horizon(problem)


def scheduled() -> datetime | None:
    """When the schedule wanted this run, aware; None outside a run, and for one that no schedule started."""
    context = FlowRunContext.get()
    run = context.flow_run if context else None
    if run is None or not run.auto_scheduled or run.expected_start_time is None:
        return None
    return datetime.fromtimestamp(run.expected_start_time.timestamp(), UTC)


def reason_to_skip(problem: Problem, scheduled: datetime | None) -> str:
    """Why a night scheduled for an aware instant has nothing to do, for example "XNYS is closed on 2026-11-26
    (Thanksgiving)"; empty where it has, and for a run that no schedule started (None).

    A time that the calendar does not know skips nothing: a night too many costs less than a session missed.
    Raises ConfigurationError for an unknown calendar, a naive instant, and one before its session's close.
    """
    if scheduled is None:
        return ""
    try:
        return why_not(problem.calendar, scheduled)
    except CalendarRangeError as error:
        log.warning("calendar %s cannot say whether %s is a session: %s", problem.calendar, scheduled.date(), error)
        return ""


def skipped(problem: Problem, reason: str, *, told: bool = True) -> State[None]:
    """The state that a skipped run returns: completed under a name of its own, with the reason.

    told: as an event too; what follows a night leaves that to the night.
    """
    log.info("%s: skipped: %s", problem.name, reason)
    if told:
        tell("skipped", problem.name, headline=reason, run_id=str(flow_run.get_id() or ""))
    return Completed(name="Skipped", message=reason)
