"""Ingest alone: bars in, every row checked, what is new stored, a snapshot frozen; what was found, as an artifact.

Nothing is fitted, scored or registered. Use it to look at a new source, or to have bars read before the night: what
it stores, the night need not fetch again. A scheduled run is skipped where the exchange was closed, and waits for bars
that are late as the night does.
"""

from __future__ import annotations

from pathlib import Path

from prefect import flow
from prefect.artifacts import create_markdown_artifact

from flows import guard, settings
from flows.automations import tell_failure
from flows.late import wait_for_bars, warn_if_late
from tasks.bars.task import ingest as read_bars
from tasks.bars.told import markdown
from tasks.contracts import Snapshot
from tasks.masking import at_the_edge
from tasks.problem import Problem
from tasks.storage import read_json


@flow(
    name="ingest",
    flow_run_name="ingest {problem.name}",
    on_failure=[tell_failure],
    on_crashed=[tell_failure],
    on_cancellation=[tell_failure],
)
@at_the_edge
def ingest(problem: Problem) -> Snapshot:
    """Read, check and store the problem's bars; the artifact ``<name>-bars`` shows what was found.

    Raises ConfigurationError (a schedule before its session's close, too) or DataError in words, before anything is
    stored.
    """
    settings.reserve()
    guard.refuse(problem)
    scheduled = guard.scheduled()
    if reason := guard.reason_to_skip(problem, scheduled):
        return guard.skipped(problem, reason)  # type: ignore[return-value]
    wait_for_bars(problem, scheduled)
    snapshot = read_bars(problem)
    warn_if_late(problem, snapshot.last)
    findings = read_json(Path(snapshot.findings.path)) if snapshot.findings else []
    create_markdown_artifact(
        key=f"{problem.name}-bars", markdown=markdown(snapshot, findings), description="What the checks found"
    )
    return snapshot
