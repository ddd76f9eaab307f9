"""A backfill: the nights of past sessions, one after the other, each as of its session's close.

```
from ── night ── night ── night ── … ── to        every night sees the bars that had closed by then, and no later one
         └ registry, ledger, recipes: those of the backfill's own state folder
```

What it may not do: promote anything for real. Its nights know what became of the sessions after them: the problem, the
features and this very code were written with them in sight, so a champion that a backfill elects has been elected with
hindsight. Registry, ledger and recipes therefore lie below ``backfills/`` of the state folder, and there is no switch
that lets them move the real ones. Only the bars are shared: their store knows what was read when.

It goes on where it ended: nights are recorded one by one, the same problem from the same session continues after the
last of them, and a night that died continues from its last whole stage. The first night that fails ends the run.
"""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.artifacts import create_table_artifact

from flows import guard, settings
from flows.apart import apart
from flows.automations import tell_failure
from flows.nightly import run
from tasks.bars.describe import from_problem
from tasks.bars.night import CalendarRangeError, Session, sessions_between
from tasks.bars.sources.registry import find_source
from tasks.errors import ConfigurationError
from tasks.masking import at_the_edge
from tasks.problem import Problem
from tasks.report.document import document
from tasks.storage import home, read_json, write_json

log = logging.getLogger("nocturne.backfill")


@flow(
    name="backfill",
    flow_run_name="backfill {problem.name} {first} to {last}",
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
    on_cancellation=[tell_failure],
)
@at_the_edge
def backfill(problem: Problem, first: date, last: date) -> dict[str, Any]:
    """Run the night of every session from ``first`` to ``last``, both included, in order, in a registry of its own.

    Returns and shows what each night decided. Raises ConfigurationError for a range without sessions or with one whose
    bars cannot be there yet, and what the first failing night raises.

    Args:
        first: The first session. Another one begins another backfill, with a registry of its own.
        last: The last session; nights that are done already are not run again.
    """
    settings.reserve()
    problem = problem.model_copy(update={"as_of": "", "fresh_within": 0})
    guard.refuse(problem)
    sessions = _sessions(problem, first, last)
    _refuse_to_come(problem, sessions)
    folder = place(problem, sessions[0])
    done = _done(folder)
    for session in sessions:
        if session.label.isoformat() not in done:
            done[session.label.isoformat()] = _night(problem, session, folder)
    nights = [done[session.label.isoformat()] for session in sessions]
    create_table_artifact(
        key=f"{problem.name}-backfill", table=nights, description="With hindsight, in a registry of its own"
    )
    return {"problem": problem.name, "state": str(folder), "nights": nights}


def place(problem: Problem, first: Session) -> Path:
    """Where the nights of a backfill that begins with a session lie: another problem or begin is another place."""
    return home() / "backfills" / f"{problem.name}-{first.label}-{problem.digest()[:12]}"


def as_of(problem: Problem, session: Session) -> datetime:
    """When the session's night would have begun at the earliest: at the close, and as much later as its source is."""
    source, _ = find_source(from_problem(problem))
    return session.close + getattr(source, "delay", timedelta(0))


def _sessions(problem: Problem, first: date, last: date) -> tuple[Session, ...]:
    if first > last:
        raise ConfigurationError(f"a backfill goes forward in time: {first} is after {last}")
    try:
        found = sessions_between(problem.calendar, first, last)
    except CalendarRangeError as error:
        raise ConfigurationError(f"calendar {problem.calendar} does not know {first} to {last}: {error}") from error
    if not found:
        raise ConfigurationError(f"there is no session of {problem.calendar} from {first} to {last}")
    return found


def _refuse_to_come(problem: Problem, sessions: tuple[Session, ...]) -> None:
    """A night before its bars would be recorded as done, and never run again once they are there."""
    now = datetime.now(UTC)
    to_come = [session for session in sessions if as_of(problem, session) > now]
    if to_come:
        when = as_of(problem, to_come[0])
        raise ConfigurationError(
            f"a backfill is of sessions that are over: the bars of {to_come[0].label} on {problem.calendar} are there "
            f"from {when:%Y-%m-%d %H:%M} UTC on, and it is {now:%Y-%m-%d %H:%M} UTC; choose an earlier last session"
        )


def _night(problem: Problem, session: Session, folder: Path) -> dict[str, Any]:
    moment = as_of(problem, session)
    log.info("%s: the night of %s, as of %s", problem.name, session.label, moment.isoformat())
    _share_bars(folder / "state")
    with apart(folder / "state"):
        told = document(run(problem.model_copy(update={"as_of": moment.isoformat()})))
    night = {"session": session.label.isoformat(), "as_of": moment.isoformat(), **_row(told)}
    write_json(folder / "nights" / f"{session.label}.json", night)
    return night


def _row(told: dict[str, Any]) -> dict[str, Any]:
    leader, decision = told["leaderboard"][0], told["decision"]
    return {
        "outcome": decision["outcome"],
        "leader": leader["candidate"],
        "skill": leader["skill"],
        "champion": decision["champion_version"],
        "last_bar": told["snapshot"]["last"],
        "report": told["report"],
    }


def _share_bars(state: Path) -> None:
    """The real bar store, which only grows: its nights read what was known when, and fetch nothing twice."""
    real, seen = home() / "bars", state / "bars"
    real.mkdir(parents=True, exist_ok=True)
    state.mkdir(parents=True, exist_ok=True)
    if not seen.is_symlink():
        seen.symlink_to(real, target_is_directory=True)


def _done(folder: Path) -> dict[str, dict[str, Any]]:
    """The nights recorded, by session."""
    return {path.stem: read_json(path) for path in sorted((folder / "nights").glob("*.json"))}
