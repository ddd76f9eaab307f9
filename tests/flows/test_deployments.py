"""Every deployment names a flow that exists, parameters that it takes, and a schedule that means what it says."""

from __future__ import annotations

import asyncio
import importlib
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import exchange_calendars
import pytest
import yaml
from prefect import Flow
from prefect.cli.deploy._triggers import _initialize_deployment_triggers
from prefect.client.schemas.schedules import CronSchedule
from prefect.events import DeploymentEventTrigger
from prefect.exceptions import ParameterTypeError
from prefect.server.schemas.schedules import CronSchedule as Runs
from prefect.utilities.callables import parameter_schema

from flows.automations import FLOWS, tell_failure
from flows.chosen import named
from flows.fleet import fleet, shipped
from flows.guard import reason_to_skip
from tasks import pretraining
from tasks.bars.night import night_of, sessions_between
from tasks.drift.task import EXCEEDED
from tasks.problem import Problem, load
from tasks.storage import home
from tests.flows.conftest import PROJECT

FILE = yaml.safe_load((PROJECT / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))
EVERY: dict[str, dict[str, Any]] = {each["name"]: each for each in FILE["deployments"]}
ALL = EVERY["nightly-all"]
DEPLOYMENTS = {name: each for name, each in EVERY.items() if "problem" in each["parameters"]}
"""Those of one problem."""

BACKBONES = {name: each for name, each in EVERY.items() if "pretraining" in each["parameters"]}
PRETRAININGS = {path.stem: path for path in (PROJECT / "deployments" / "pretraining").glob("*.yaml")}
DAILY = ("nightly", "ingest", "monitor", "rollout")
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
    assert len(EVERY) == len(FILE["deployments"])
    assert set(EVERY) == {*DEPLOYMENTS, *BACKBONES, "nightly-all"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_deployment_runs_a_shipped_problem_at_the_nightly_budget(name: str) -> None:
    deployment = DEPLOYMENTS[name]
    given = flow_of(deployment).validate_parameters(deployment["parameters"])
    shipped = name.split("-", 1)[1]
    assert given["problem"] == load(PROBLEMS[shipped], "nightly", {})
    assert deployment["description"]
    assert deployment["tags"] == name.split("-", 1)
    assert deployment["concurrency_limit"]["limit"] == 1


@pytest.mark.parametrize("kind", ["ingest", "backfill", "canary", "monitor", "rollout"])
def test_every_deployed_problem_has_what_belongs_to_its_nights(kind: str) -> None:
    nightly = {name.removeprefix("nightly-") for name in DEPLOYMENTS if name.startswith("nightly-")}
    assert {name.removeprefix(f"{kind}-") for name in DEPLOYMENTS if name.startswith(f"{kind}-")} == nightly


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_trained_and_updated_as_it_is_shipped(name: str) -> None:
    deployment, (kind, shipped_as) = BACKBONES[name], name.split("-", 1)
    given = flow_of(deployment).validate_parameters(deployment["parameters"])
    changes = {"update": "incremental", "until": ""} if kind == "update" else {}
    assert given["pretraining"] == pretraining.load(PRETRAININGS[shipped_as], changes)
    assert deployment["description"]
    assert deployment["tags"] == [kind, shipped_as]
    assert deployment["concurrency_limit"]["limit"] == 1
    schedules = [(each["cron"], each["active"]) for each in deployment.get("schedules", [])]
    assert schedules == ([("0 6 * * SAT", True)] if kind == "update" else [])


@pytest.mark.parametrize("name", BACKBONES)
def test_the_form_of_a_pretraining_explains_itself(name: str) -> None:
    schema = flow_of(BACKBONES[name]).parameters.definitions["Pretraining"]["properties"]
    assert list(schema) == list(pretraining.Pretraining.model_fields)
    for field, told in schema.items():
        assert told["description"].rstrip().endswith((".", ")")), field
        assert "anyOf" not in told, f"{field}: Prefect's form renders unions badly"
        assert told["title"] == "Name" or told["title"].split(":")[0] in pretraining.GROUPS.values()
    positions = [told["position"] for told in schema.values()]
    assert len(set(positions)) == len(positions)


def test_all_nights_at_once_are_every_shipped_problem_at_the_nightly_budget() -> None:
    given = flow_of(ALL).validate_parameters(ALL["parameters"])
    problems = [named(name, None, list(given["changes"]), given["budget"]) for name in given["names"] or shipped()]
    assert problems == [load(path, "nightly", {}) for _, path in sorted(PROBLEMS.items())]
    assert given["by_symbol"] is False
    assert ALL["tags"] == ["nightly", "all"]
    assert ALL["concurrency_limit"] == {"limit": 1, "collision_strategy": "ENQUEUE"}


def test_all_nights_at_once_wait_for_a_switch_and_begin_after_every_close() -> None:
    (given,) = ALL["schedules"]
    assert given["active"] is False, "the problems have schedules of their own"
    assert given["slug"]
    moments = dates(CronSchedule(cron=given["cron"], timezone=given["timezone"]), 5)
    for path in PROBLEMS.values():
        problem = load(path, "nightly", {})
        assert [reason_to_skip(problem, moment) for moment in moments] == [""] * 5


def test_the_form_of_all_nights_explains_itself() -> None:
    flow = flow_of(ALL)
    fields = parameter_schema(flow.fn).properties
    assert list(fields) == list(ALL["parameters"]) == ["names", "budget", "changes", "by_symbol"]
    assert [field["position"] for field in fields.values()] == [0, 1, 2, 3]
    assert all(field["description"].endswith(".") for field in fields.values())
    assert fields["budget"]["enum"] == ["demo", "nightly"]
    assert {fields[name]["type"] for name in ("names", "changes")} == {"array"}
    with pytest.raises(ParameterTypeError, match="demo"):
        flow.validate_parameters({**ALL["parameters"], "budget": "all night"})


def test_all_nights_at_once_on_a_holiday_are_skipped_and_say_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.guard.scheduled", lambda: datetime(2026, 11, 26, 23, tzinfo=UTC))
    ended = fleet.fn(names=("sp500-volatility",))
    assert (ended.name, ended.message) == ("Skipped", "XNYS is closed on 2026-11-26 (Thanksgiving)")


@pytest.mark.parametrize("kind", ["monitor", "rollout"])
def test_what_follows_the_night_is_skipped_on_a_holiday_too(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it reads anything: there is no champion here, and a monitor that ran would fail for it."""
    monkeypatch.setattr("flows.guard.scheduled", lambda: datetime(2026, 11, 26, 23, 30, tzinfo=UTC))
    deployment = DEPLOYMENTS[f"{kind}-sp500-volatility"]
    ended = flow_of(deployment).fn(problem_of(f"{kind}-sp500-volatility"))
    assert (ended.name, ended.message) == ("Skipped", "XNYS is closed on 2026-11-26 (Thanksgiving)")
    assert list(home().iterdir() if home().is_dir() else ()) == []


def test_a_second_run_waits_but_for_ingest_which_would_do_the_same_again() -> None:
    strategies = {name: each["concurrency_limit"]["collision_strategy"] for name, each in DEPLOYMENTS.items()}
    again = {name for name, strategy in strategies.items() if strategy == "CANCEL_NEW"}
    assert again == {name for name in DEPLOYMENTS if name.startswith("ingest-")}
    assert set(strategies.values()) == {"ENQUEUE", "CANCEL_NEW"}


@pytest.mark.parametrize("name", [name for name in EVERY if name.endswith(("-volatility", "-all"))])
def test_whatever_ends_badly_is_told_as_an_event(name: str) -> None:
    ran = flow_of(EVERY[name])
    assert ran.name in FLOWS
    hooks = (ran.on_failure_hooks, ran.on_crashed_hooks, ran.on_cancellation_hooks)
    assert [list(each) for each in hooks] == [[tell_failure]] * 3


def test_who_may_wait_for_days_has_a_queue_without_those_who_must_not() -> None:
    queues = {name: each["work_pool"]["work_queue_name"] for name, each in EVERY.items()}
    kinds = {
        queue: {name.split("-")[0] for name, found in queues.items() if found == queue} for queue in queues.values()
    }
    nights = {"nightly", "canary", "backfill", "pretrain", "update"}
    assert kinds == {"nights": nights, "bars": {"ingest"}, "rest": {"monitor", "rollout"}}
    assert {each["work_pool"]["name"] for each in EVERY.values()} == {"nocturne"}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_a_schedule_keeps_its_name_so_that_deploying_again_doubles_no_slot(name: str) -> None:
    given = DEPLOYMENTS[name].get("schedules", [])
    slugs = [schedule.get("slug") for schedule in given]
    assert all(slugs)
    assert len(set(slugs)) == len(slugs)
    assert bool(given) != name.startswith("backfill-"), "only a backfill is started by hand alone"
    assert [schedule["active"] for schedule in given] == [not name.startswith("ingest-")] * len(given)


@pytest.mark.parametrize("name", [name for name in DEPLOYMENTS if name.split("-")[0] in DAILY])
def test_every_session_of_three_years_has_one_date_and_it_is_after_the_close(name: str) -> None:
    problem = problem_of(name)
    (given,) = DEPLOYMENTS[name]["schedules"]
    runs = Runs(cron=given["cron"], timezone=given["timezone"])
    first, last = datetime(2024, 1, 1, tzinfo=UTC), datetime(2026, 12, 31, 12, tzinfo=UTC)
    moments = asyncio.run(runs.get_dates(1000, start=first, end=last))
    met = [night_of(problem.calendar, moment) for moment in moments if not reason_to_skip(problem, moment)]
    wanted = sessions_between(problem.calendar, date(2024, 1, 1), date(2026, 12, 30))
    assert [night.day for night in met] == [session.label for session in wanted]
    by_day = {night.day: session.close for night, session in zip(met, wanted, strict=True)}
    early = {day for day, close in by_day.items() if close.astimezone(ZoneInfo("America/New_York")).hour == 13}
    assert {date(2024, 7, 3), date(2025, 11, 28), date(2026, 12, 24)} <= early
    skipped: dict[date, str] = {moment.date(): reason_to_skip(problem, moment) for moment in moments}
    assert skipped[date(2026, 11, 26)] == "XNYS is closed on 2026-11-26 (Thanksgiving)"
    assert sum(map(bool, skipped.values())) == len(moments) - len(wanted)


@pytest.mark.parametrize("name", [name for name in DEPLOYMENTS if name.split("-")[0] in DAILY])
def test_a_schedule_is_in_the_time_of_the_exchange(name: str) -> None:
    calendar = exchange_calendars.get_calendar(problem_of(name).calendar, start="2018-01-01", end="2018-12-31")
    (given,) = DEPLOYMENTS[name]["schedules"]
    assert given["timezone"] == str(calendar.tz)


def problem_of(name: str) -> Problem:
    """The problem of a deployment, as its flow gets it."""
    found = flow_of(DEPLOYMENTS[name]).validate_parameters(DEPLOYMENTS[name]["parameters"])["problem"]
    assert isinstance(found, Problem)
    return found


@pytest.mark.parametrize("name", CANARIES)
def test_a_canary_runs_on_sundays_where_the_exchange_is_on_a_market_of_that_week(name: str) -> None:
    deployment = DEPLOYMENTS[name]
    problem = flow_of(deployment).validate_parameters(deployment["parameters"])["problem"]
    (given,) = deployment["schedules"]
    schedule = CronSchedule(cron=given["cron"], timezone=given["timezone"])
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
