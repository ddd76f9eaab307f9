"""``nocturne status``: what runs, what died, how the last nights ended, and what comes next. Changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flows.services import passwords, processes, readiness, state
from flows.services.failures import ServiceError
from flows.services.prefect_api import PrefectApi
from flows.services.state import NAMES, PREFECT, WORKER, Services
from tasks import storage
from tasks.errors import StorageError
from tasks.storage import home

COMING = 8
BAD = ("dead", "silent")


def status() -> dict[str, Any]:
    """A JSON document: ``ok`` is false where something that should run is dead, does not answer, or gives out no runs.

    State of a service: running, silent (it lives and does not answer), dead (it ended by itself or was killed),
    stopped (by ``nocturne down``), never.
    """
    services = state.read()
    found = [_service(name, services) for name in NAMES]
    told = _of_prefect(services)
    return {
        "ok": not (told["paused"] or any(each["state"] in BAD for each in found)),
        "home": str(home()),
        "secrets": str(passwords.folder()),
        "database": (services.database if services else "") or "SQLite",
        "services": found,
        "others": [each for each in processes.folders() if each != str(state.folder())],
        "nights": _nights(),
        **told,
    }


def _service(name: str, services: Services | None) -> dict[str, Any]:
    empty = {"name": name, "state": "never", "url": "", "pid": 0, "since": "", "memory_bytes": 0, "log": ""}
    if services is None:
        return empty
    if name not in services.running:
        return {**empty, "state": "stopped" if state.log_of(name).is_file() else "never", "url": services.url(name)}
    service = services.running[name]
    told = {"url": services.url(name), "pid": service.pid, "since": service.since, "log": service.log}
    if not service.alive:
        return {**empty, **told, "state": "dead"}
    memory = processes.memory(processes.marked(name, state.folder()))
    return {**empty, **told, "state": _answering(name, services), "memory_bytes": memory}


def _answering(name: str, services: Services) -> str:
    """The worker speaks through the server: while that is gone, only that can be said to be."""
    if name == WORKER and not services.alive(PREFECT):
        return "running"
    try:
        return "running" if readiness.answers(name, services) else "silent"
    except ServiceError:
        return "silent"


def _nights() -> list[dict[str, Any]]:
    """The last night of each problem, from its own records, whoever ran it."""
    return [night for path in sorted((home() / "runs").glob("*/last.json")) if (night := _night(path))]


def _night(path: Path) -> dict[str, Any] | None:
    try:
        document = storage.read_json(path)["document"]
        decision = document["decision"]
        return {
            "problem": path.parent.name,
            "started": document.get("started", ""),
            "outcome": decision["outcome"],
            "headline": decision["headline"],
            "champion_version": decision["champion_version"],
            "report": document["report"],
        }
    except (StorageError, KeyError, TypeError):
        return None


def _of_prefect(services: Services | None) -> dict[str, Any]:
    """What goes on, how each deployment's last run ended, and what is next; nothing where the server is gone."""
    nothing: dict[str, Any] = {"paused": False, "running": [], "last": [], "next": []}
    if services is None or not services.alive(PREFECT):
        return nothing
    try:
        with PrefectApi(services, 5) as api:
            named = {each["id"]: each["name"] for each in api.deployments()}
            last = [(name, api.latest(each)) for each, name in sorted(named.items(), key=lambda item: item[1])]
            return {
                "paused": api.is_paused(),
                "running": [_run(run, named) for run in api.unfinished()],
                "last": [_run(run, named) | {"deployment": name} for name, run in last if run is not None],
                "next": [_run(run, named) for run in api.coming(COMING)],
            }
    except ServiceError:
        return nothing


def _run(run: dict[str, Any], named: dict[str, str]) -> dict[str, Any]:
    return {
        "deployment": named.get(run["deployment_id"], ""),
        "run": run["name"],
        "id": run["id"],
        "state": run["state_name"],
        "message": (run.get("state") or {}).get("message") or "",
        "at": run.get("end_time") or run.get("start_time") or run["expected_start_time"],
    }
