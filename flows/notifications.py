"""Where notifications go and what they say, from the environment.

| variable | holds |
|---|---|
| ``NOCTURNE_NOTIFY_WEBHOOK`` | address that gets one JSON document by POST |
| ``NOCTURNE_NOTIFY_SLACK`` | address of a Slack incoming webhook |
| ``NOCTURNE_NOTIFY_EMAIL`` | receivers, separated by commas |
| ``NOCTURNE_NOTIFY_SMTP`` | mail server: ``smtps://user:password@host``, ``starttls://…`` or ``smtp://…`` |
| ``NOCTURNE_NOTIFY_ON`` | outcomes to tell, separated by commas |
| ``NOCTURNE_NOTIFY_WEBHOOK_ON``, ``…_SLACK_ON``, ``…_EMAIL_ON`` | the same for one channel |

Addresses are secrets (whoever has one can post): they go into Prefect's blocks and into no message of this module.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

from prefect.blocks.core import Block
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.webhook import Webhook
from prefect.events.actions import CallWebhook, SendNotification
from prefect.settings import get_current_settings
from prefect.types import SecretDict
from pydantic import SecretStr

from flows.mail import PORTS, NocturneMail
from tasks.errors import ConfigurationError

Kind = Literal["webhook", "slack", "email"]
FAILED = "failed"
TOLD = ("promoted", "refreshed", "baseline", "kept", "quarantined", FAILED, "late")
OUTCOMES = (*TOLD, "unchanged", "skipped")
PREFIX = "NOCTURNE_NOTIFY_"
OFF = "off"

_NIGHT = """\
{% set problem = event.payload.problem or "" -%}
{% set outcome = event.payload.outcome or "" -%}
{% set headline = event.payload.headline or "" -%}
{% set reasons = event.payload.reasons or [] -%}
{% set champion = event.payload.champion_version or "" -%}
{% set run = event.payload.run_url or "" -%}
{% set report = event.payload.report or "" -%}
"""
_FAILURE = """\
{% set problem = flow_run.parameters.problem.name or flow_run.name or event.resource["prefect.resource.name"] -%}
{% set outcome = "failed" -%}
{% set headline = "The run ended as " ~ (event.resource["prefect.state-name"] or "failed") -%}
{% set reasons = [(event.resource["prefect.state-message"] or "it says nothing")|truncate(1500)] -%}
{% set champion = "" -%}
{% set run = flow_run.id and (RUNS ~ "/" ~ flow_run.id) or "" -%}
{% set report = "" -%}
"""
_SUBJECT = "{{ problem }}: {{ outcome }}"
_BODY = """\
{{ headline }}
{% for reason in reasons %}- {{ reason }}
{% endfor %}{% if champion %}Champion: version {{ champion }}
{% endif %}{% if run %}Run: {{ run }}
{% endif %}{% if report %}Report: {{ report }}
{% endif %}"""
_JSON = """\
{"problem": {{ problem|tojson }}, "outcome": {{ outcome|tojson }}, "headline": {{ headline|tojson }}, \
"reasons": {{ reasons|tojson }}, "champion_version": {{ champion|tojson }}, "run": {{ run|tojson }}, \
"report": {{ report|tojson }}}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """One way to be told; no ``outcomes`` takes it away. ``address`` and ``server`` are secrets."""

    kind: Kind
    outcomes: tuple[str, ...]
    address: str = field(default="", repr=False)
    server: str = field(default="", repr=False)

    def save(self) -> UUID:
        """Keep the address in a block named ``nocturne-<kind>`` of Prefect's; returns the block's id."""
        made = _block(self).save(f"nocturne-{self.kind}", overwrite=True)
        assert isinstance(made, UUID)
        return made

    def action(self, block: UUID | None, *, failure: bool = False) -> CallWebhook | SendNotification:
        """What the automation does: call the webhook with one JSON document, or send subject and text."""
        assert block is not None
        facts = _FAILURE.replace("RUNS", json.dumps(_runs_url())) if failure else _NIGHT
        if self.kind == "webhook":
            return CallWebhook(block_document_id=block, payload=facts + _JSON)
        return SendNotification(block_document_id=block, subject=facts + _SUBJECT, body=facts + _BODY)


def channels(environment: Mapping[str, str]) -> tuple[Channel, ...]:
    """The channels that the environment names, those to take away among them.

    Raises ConfigurationError that names the variable and what it must hold, never the value.
    """
    kinds: tuple[Kind, ...] = ("webhook", "slack", "email")
    return tuple(_channel(kind, environment) for kind in kinds if environment.get(PREFIX + kind.upper()))


def _channel(kind: Kind, environment: Mapping[str, str]) -> Channel:
    name = PREFIX + kind.upper()
    address = environment[name].strip()
    if address == OFF:
        return Channel(kind=kind, outcomes=())
    server = environment.get(f"{PREFIX}SMTP", "").strip() if kind == "email" else ""
    _check_address(kind, name, address, server)
    return Channel(kind=kind, outcomes=_outcomes(name, environment), address=address, server=server)


def _outcomes(name: str, environment: Mapping[str, str]) -> tuple[str, ...]:
    given = environment.get(f"{name}_ON") or environment.get(f"{PREFIX}ON") or ",".join(TOLD)
    wanted = tuple(dict.fromkeys(word.strip() for word in given.split(",") if word.strip()))
    unknown = [word for word in wanted if word not in OUTCOMES]
    if unknown:
        raise ConfigurationError(
            f"{name}_ON or {PREFIX}ON names the outcome {unknown[0]!r}; there are {', '.join(OUTCOMES)}"
        )
    return wanted


def _check_address(kind: Kind, name: str, address: str, server: str) -> None:
    if kind == "email":
        if not all("@" in receiver.strip(" @") for receiver in address.split(",")):
            raise ConfigurationError(f"{name} must hold e-mail addresses separated by commas")
        if not _is_address(server, tuple(PORTS)):
            raise ConfigurationError(f"{PREFIX}SMTP must hold the mail server, like smtps://user:password@host:465")
    elif not _is_address(address, ("http", "https")):
        raise ConfigurationError(f"{name} must hold an address that begins with https:// (or http://)")


def _is_address(text: str, schemes: tuple[str, ...]) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in schemes and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _runs_url() -> str:
    """Where Prefect's pages of runs lie; its server does not always know under which address people reach it."""
    settings = get_current_settings()
    base = settings.ui_url or (settings.api.url or "").removesuffix("/api")
    return f"{base.rstrip('/')}/runs/flow-run"


def _block(channel: Channel) -> Block:
    if channel.kind == "webhook":
        headers = SecretDict({"Content-Type": "application/json"})
        return Webhook(url=SecretStr(channel.address), headers=headers)
    if channel.kind == "slack":
        return SlackWebhook(url=SecretStr(channel.address))
    receivers = tuple(receiver.strip() for receiver in channel.address.split(","))
    return NocturneMail(server=SecretStr(channel.server), to=receivers)
