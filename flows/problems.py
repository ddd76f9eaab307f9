"""The page of all problems, made anew: ``reports/index.html`` below the state folder, and an artifact in Prefect.

What lies in the state folder tells of nights, champions, drift and rollouts; Prefect's server, where there is one,
what comes next.
"""

from __future__ import annotations

import dataclasses
import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateType
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.exceptions import PrefectHTTPStatusError
from prefect.runtime import flow_run as this_run
from prefect.settings import get_current_settings

from tasks.errors import NocturneError
from tasks.live import Move
from tasks.registry import leases, standings
from tasks.registry.ledger import Ledger
from tasks.report import gathering
from tasks.report.problems import ProblemRow, render, table
from tasks.storage import home, write_text

ARTIFACT = "nocturne-problems"
MOST_RUNS = 200
log = logging.getLogger("nocturne.problems")


def publish() -> tuple[ProblemRow, ...]:
    """Write the page; inside a flow, leave the same as an artifact. A night inside another flow leaves none.

    Raises StorageError if the page cannot be written.
    """
    rows, now = with_next(with_champions(gathering.rows(at_work))), _now()
    write_text(page(), render(rows, now, servers()))
    if this_run.get_id() and not this_run.get_parent_flow_run_id():
        create_markdown_artifact(key=ARTIFACT, markdown=table(rows, now), description="All problems")
    return rows


def publish_safely() -> None:
    """Write the page at a night's end; one that cannot be made costs itself, not the night."""
    try:
        publish()
    except Exception as error:  # noqa: BLE001 - the champion stands already, and a page decides nothing
        log.warning("the page of all problems is not made anew: %s: %s", type(error).__name__, error)


def page() -> Path:
    """Where the page lies."""
    return home() / "reports" / "index.html"


def servers() -> tuple[tuple[str, str], ...]:
    """Prefect's pages, where a server is named."""
    settings = get_current_settings()
    address = settings.ui_url or (settings.api.url or "").removesuffix("/api")
    return (("Prefect", address),) if address else ()


def at_work(problem: str) -> str | None:
    """The run that holds a problem's lease and renews it, empty if none does; None where that cannot be asked."""
    try:
        held = leases.look(problem)
    except NocturneError as error:
        log.warning("the ledger does not say who is at work: %s", error)
        return None
    return held.run if held is not None and held.lives else ""


def with_champions(rows: tuple[ProblemRow, ...]) -> tuple[ProblemRow, ...]:
    """The rows with who serves by the ledger, and since when its recipe does; as they were where it cannot be read."""
    try:
        with Ledger.open() as ledger:
            return tuple(_served(row, standings.history(ledger, row.name)) for row in rows)
    except NocturneError as error:
        log.warning("the ledger does not say who serves: %s", error)
        return rows


def _served(row: ProblemRow, moves: tuple[Move, ...]) -> ProblemRow:
    """moves: the newest first. A champion that is refreshed is the same recipe; only who came new has a new age."""
    if not moves or not moves[0].standing.champion:
        return row
    version, since = moves[0].standing.champion, ""
    for move, before in zip(moves, (*moves[1:], None), strict=True):
        new = before is None or before.standing.champion != move.standing.champion
        if new and move.action != "refreshed":
            since = move.at
            break
    same = row.champion if version == row.champion_version else ""
    return dataclasses.replace(row, champion_version=version, champion=same, champion_since=since)


def with_next(rows: tuple[ProblemRow, ...]) -> tuple[ProblemRow, ...]:
    """The rows with each problem's next nightly run, where a server is named and answers."""
    coming: dict[str, str] = {}
    if get_current_settings().api.url:
        try:
            coming = _coming()
        except (httpx.HTTPError, PrefectHTTPStatusError, RuntimeError) as error:
            log.warning("Prefect does not say what comes next: %s", type(error).__name__)
    return tuple(dataclasses.replace(row, next_run=coming.get(row.name, "")) for row in rows)


def _coming() -> dict[str, str]:
    """When each problem's next scheduled night begins (ISO, UTC)."""
    scheduled = FlowRunFilter(state=FlowRunFilterState(type=FlowRunFilterStateType(any_=[StateType.SCHEDULED])))
    with get_client(sync_client=True) as client:
        nightly = {flow.id for flow in client.read_flows() if flow.name == "nightly"}
        runs = client.read_flow_runs(
            flow_run_filter=scheduled, sort=FlowRunSort.EXPECTED_START_TIME_ASC, limit=MOST_RUNS
        )
    found: dict[str, str] = {}
    for run in runs:
        name = _problem_of(run)
        if run.flow_id in nightly and name and run.expected_start_time:
            found.setdefault(name, run.expected_start_time.astimezone(UTC).isoformat(timespec="seconds"))
    return found


def _problem_of(run: FlowRun) -> str:
    problem: Any = (run.parameters or {}).get("problem")
    return str(problem.get("name", "")) if isinstance(problem, dict) else ""


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
