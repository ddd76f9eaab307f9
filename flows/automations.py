"""What happens without a person: runs that died are marked, and people are told how nights ended.

``tell`` emits an event of Prefect's; ``register`` makes the automations that listen: one that marks runs without
heartbeats as crashed, and for each channel (webhook, Slack, e-mail) one for nights and one for runs that failed.

What failed is told by Prefect's own events of the run's state, never by the run itself: one that was killed cannot
say so, and with both a failure would be told twice. Addresses with their secrets lie in Prefect's blocks; automations
refer to them.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.objects import StateType
from prefect.events import emit_event
from prefect.events.actions import CallWebhook, ChangeFlowRunState, SendNotification
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.events.schemas.events import Event, ResourceSpecification
from prefect.runtime import flow_run as this_run
from prefect.settings import get_current_settings
from prefect.utilities.urls import url_for

from flows import notifications
from flows.notifications import FAILED, Channel
from tasks.masking import masked
from tasks.report import words
from tasks.report.facts import Facts

ZOMBIES = "nocturne: crash runs without heartbeats"
SILENCE = timedelta(seconds=540)
"""Shorter, and a busy machine's late heartbeats end runs that live."""

EVENTS = {
    **{
        outcome: f"nocturne.night.{outcome}"
        for outcome in ("promoted", "refreshed", "baseline", "kept", "quarantined", "unchanged", "failed", "skipped")
    },
    "late": "nocturne.data.late",
}
FLOWS = ("nightly", "canary", "monitor", "rollout", "ingest", "backfill", "pretrain", "fleet")
MOST_REASONS, MOST_CHARACTERS = 5, 1500
HEARTBEAT = "prefect.flow-run.heartbeat"
ENDED = ("Completed", "Skipped", "Unchanged", "Failed", "Cancelled", "Crashed", "TimedOut", "Paused", "Suspended")


def tell(outcome: str, problem: str, **facts: Any) -> Event | None:
    """Emit how a night ended, or that its data is late, as an event of ``nocturne.problem.<name>``.

    outcome: a key of EVENTS. facts: JSON values; ``headline``, ``reasons``, ``champion_version``, ``report`` and
    ``run_url`` are shown by notifications. Without a server that outlives the run nobody listens: nothing is emitted.
    """
    event = EVENTS[outcome]
    if not get_current_settings().api.url:
        return None
    return emit_event(
        event=event,
        resource={"prefect.resource.id": f"nocturne.problem.{problem}", "prefect.resource.name": problem},
        payload={"problem": problem, "outcome": outcome, **facts},
    )


def tell_night(facts: Facts) -> None:
    """Tell how a night ended, once everything that it decided is done; one inside another flow is told by that one."""
    if this_run.get_parent_flow_run_id():
        return
    tell(
        facts.decision.outcome,
        str(facts.problem["name"]),
        headline=words.headline(facts),
        reasons=list(facts.decision.reasons[:MOST_REASONS]),
        version=facts.version,
        champion_version=facts.champion_version,
        report=Path(facts.report).as_uri() if facts.report else "",
        run_id=facts.run_id,
        run_url=url_for("flow-run", facts.run_id) or "",
        mlflow_url=facts.run_url,
    )


def tell_failure(flow: Any, flow_run: Any, state: Any) -> None:  # noqa: ARG001 - the names are Prefect's
    """Tell that a run failed, crashed or was cancelled: for a flow's ``on_failure`` and its sisters."""
    given = flow_run.parameters or {}
    problem = given.get("problem") or given.get("pretraining") or {}
    name = problem.get("name") if isinstance(problem, dict) else getattr(problem, "name", "")
    tell(
        FAILED,
        str(name or flow_run.name),
        headline=f"The run ended as {state.name}",
        reasons=[masked(state.message or "")[:MOST_CHARACTERS]],
        run_id=str(flow_run.id),
        run_url=url_for("flow-run", flow_run.id) or "",
    )


def register(environment: Mapping[str, str] = os.environ, silence: timedelta = SILENCE) -> tuple[str, ...]:
    """Create or update every automation by its name, on the server of Prefect's current settings; returns the names.

    environment: where notifications are configured (``flows.notifications.channels``). A channel that is not named
    there is left as it is; ``off`` takes it away. silence: so long without a heartbeat, and a run is crashed. Raises
    ConfigurationError for a value that cannot be used.
    """
    wanted = notifications.channels(environment)
    with get_client(sync_client=True) as client:
        made = [_upsert(client, _zombies(silence))]
        for channel in wanted:
            made += _channel(client, channel)
    return tuple(name for name in made if name)


def _channel(client: SyncPrefectClient, channel: Channel) -> list[str]:
    nights, failures = (f"nocturne: {channel.kind}, {what}" for what in ("nights", "failures"))
    block = channel.save() if channel.outcomes else None
    told = [EVENTS[outcome] for outcome in channel.outcomes if outcome != FAILED]
    return [
        _upsert(client, _nights(nights, told, channel.action(block))) if told else _remove(client, nights),
        _upsert(client, _failures(failures, channel.action(block, failure=True)))
        if FAILED in channel.outcomes
        else _remove(client, failures),
    ]


def _zombies(silence: timedelta) -> AutomationCore:
    """A run that has sent a heartbeat must send another, or end."""
    return AutomationCore(
        name=ZOMBIES,
        description=f"Marks a run as crashed that is silent for {silence.total_seconds():.0f} s and has not ended.",
        trigger=EventTrigger(
            after={HEARTBEAT},
            expect={HEARTBEAT, *(f"prefect.flow-run.{name}" for name in ENDED)},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Proactive,
            threshold=1,
            within=silence,
        ),
        actions=[
            ChangeFlowRunState(
                name="Crashed",
                state=StateType.CRASHED,
                force=False,
                message=f"No heartbeat for {silence.total_seconds():.0f} s: its process or machine is gone. "
                "Start it again: it goes on from its last whole stage.",
            )
        ],
    )


def _nights(name: str, events: list[str], action: CallWebhook | SendNotification) -> AutomationCore:
    return AutomationCore(
        name=name,
        description="Tells how nights ended.",
        trigger=EventTrigger(
            expect=set(events),
            match=ResourceSpecification({"prefect.resource.id": ["nocturne.problem.*"]}),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[action],
    )


def _failures(name: str, action: CallWebhook | SendNotification) -> AutomationCore:
    return AutomationCore(
        name=name,
        description="Tells which runs failed or crashed.",
        trigger=EventTrigger(
            expect={f"prefect.flow-run.{state}" for state in ("Failed", "Crashed", "TimedOut")},
            match=ResourceSpecification({"prefect.resource.id": ["prefect.flow-run.*"]}),
            match_related=ResourceSpecification(
                {"prefect.resource.role": ["flow"], "prefect.resource.name": list(FLOWS)}
            ),
            for_each={"prefect.resource.id"},
            posture=Posture.Reactive,
            threshold=1,
        ),
        actions=[action],
    )


def _upsert(client: SyncPrefectClient, wanted: AutomationCore) -> str:
    """One automation of this name, as wanted; one that is so is not touched: an update forgets which runs it awaits."""
    found = client.read_automations_by_name(wanted.name)
    for extra in found[1:]:
        client.delete_automation(extra.id)
    if not found:
        client.create_automation(wanted)
    elif AutomationCore(**found[0].model_dump(exclude={"id"})) != wanted:
        client.update_automation(found[0].id, wanted)
    return wanted.name


def _remove(client: SyncPrefectClient, name: str) -> str:
    for found in client.read_automations_by_name(name):
        client.delete_automation(found.id)
    return ""
