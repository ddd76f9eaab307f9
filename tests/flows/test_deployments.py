"""Every deployment names a flow that exists, parameters that it takes, and a schedule that means what it says."""

from __future__ import annotations

import asyncio
import importlib
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import exchange_calendars
import pytest
import yaml
from prefect import Flow
from prefect.cli.deploy._triggers import _initialize_deployment_triggers
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import DeploymentEventTrigger
from prefect.server.schemas.schedules import CronSchedule as Runs

from tasks.drift.task import EXCEEDED
from tasks.problem import load
from tests.flows.conftest import PROJECT

FILE = yaml.safe_load((PROJECT / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))
DEPLOYMENTS: dict[str, dict[str, Any]] = {each["name"]: each for each in FILE["deployments"]}
CANARIES = [name for name in DEPLOYMENTS if name.startswith("canary-")]
PROBLEMS = {path.stem: path for path in (PROJECT / "deployments" / "problems").glob("*.yaml")}


def flow_of(deployment: dict[str, Any]) -> Flow[Any, Any]:
    """The flow that the entrypoint names."""
    path, name = deployment["entrypoint"].split(":")
    assert (PROJECT / path).is_file()
    found = getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)
    assert isinstance(found, Flow)
    return found


def test_names_differ() -> None:
    assert len(DEPLOYMENTS) == len(FILE["deployments"])


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_runs_a_shipped_problem_at_the_nightly_budget(name: str) -> None:
    deployment = DEPLOYMENTS[name]
    given = flow_of(deployment).validate_parameters(deployment["parameters"])
    shipped = name.split("-", 1)[1]
    assert given["problem"] == load(PROBLEMS[shipped], "nightly", {})
    assert deployment["description"]
    assert deployment["tags"] == [name.split("-", 1)[0]]
    assert deployment["concurrency_limit"]["limit"] == 1


def test_every_deployed_problem_has_its_canary() -> None:
    nightly = {name.removeprefix("nightly-") for name in DEPLOYMENTS if name.startswith("nightly-")}
    assert {name.removeprefix("canary-") for name in CANARIES} == nightly


@pytest.mark.parametrize("name", CANARIES)
def test_a_canary_runs_on_sundays_where_the_exchange_is_on_a_market_of_that_week(name: str) -> None:
    deployment = DEPLOYMENTS[name]
    problem = flow_of(deployment).validate_parameters(deployment["parameters"])["problem"]
    (given,) = deployment["schedules"]
    assert given.pop("active") is True
    schedule = CronSchedule(**given)
    zone = exchange_calendars.get_calendar(problem.calendar, start="2018-01-01", end="2018-12-31").tz
    assert ZoneInfo(str(schedule.timezone)) == zone
    days = [moment.astimezone(zone) for moment in dates(schedule, 3)]
    assert [day.isoweekday() for day in days] == [7, 7, 7]
    assert len({day.isocalendar()[:2] for day in days}) == 3
    assert deployment["parameters"]["seed"] == 0  # this week's own


@pytest.mark.parametrize("name", [name for name in DEPLOYMENTS if name.startswith("monitor-")])
def test_a_drift_starts_the_night_of_its_problem_and_nothing_else(name: str) -> None:
    problem = DEPLOYMENTS[name]["parameters"]["problem"]["name"]
    listening = {}
    for deployment in DEPLOYMENTS.values():
        for given in _initialize_deployment_triggers(deployment["name"], deployment.get("triggers", [])):
            assert isinstance(given, DeploymentEventTrigger)
            (resource,) = list(given.match["prefect.resource.id"])
            listening[resource] = (deployment["name"], given.expect)
    assert listening[f"nocturne.model.{problem}"] == (f"nightly-{problem}", {EXCEEDED})


@pytest.mark.parametrize("name", [name for name in DEPLOYMENTS if name.startswith("monitor-")])
def test_the_monitor_runs_after_the_close_on_weekdays(name: str) -> None:
    (given,) = DEPLOYMENTS[name]["schedules"]
    moments = dates(CronSchedule(cron=given["cron"], timezone=given["timezone"]), 5)
    local = [moment.astimezone(ZoneInfo(given["timezone"])) for moment in moments]
    assert [moment.isoweekday() for moment in sorted(local)] == [3, 4, 5, 1, 2]
    assert {moment.hour for moment in local} == {18}


def dates(schedule: CronSchedule, several: int) -> list[datetime]:
    """The schedule's first dates from the middle of a week on, as a server computes them."""
    runs = Runs(cron=schedule.cron, timezone=schedule.timezone)
    return list(asyncio.run(runs.get_dates(several, start=datetime(2026, 3, 4, tzinfo=UTC))))
