"""Is a service up, and is it ours? A server is asked for something that only our password opens."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import httpx

from flows.services import passwords, processes, state
from flows.services.commands import WORKER_NAME
from flows.services.failures import ServiceError
from flows.services.prefect_api import PrefectApi
from flows.services.state import MLFLOW, PREFECT, WORKER, Service, Services

SECONDS: Mapping[str, float] = {PREFECT: 180, MLFLOW: 180, WORKER: 120}


def answers(name: str, services: Services, seconds: float = 3) -> bool:
    """Whether the service does its work now. Raises ServiceError if it refuses our password: it is another's."""
    if name == WORKER:
        return _worker_reports(services, seconds)
    url, login = _question(name, services)
    try:
        code = httpx.get(url, auth=login, timeout=seconds, trust_env=False).status_code
    except httpx.HTTPError:
        return False
    if code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
        raise ServiceError(
            f"{url} refuses the password in {passwords.folder() / name}: another program listens there, or the file "
            "was replaced. Put the old file back"
            + (f", or delete {state.folder() / 'mlflow-users.db'} to begin with a new one" if name == MLFLOW else "")
        )
    return bool(code == httpx.codes.OK)


def _question(name: str, services: Services) -> tuple[str, tuple[str, str]]:
    if name == MLFLOW:
        return f"{services.mlflow_url}/version", (passwords.USER, passwords.mlflow())
    user, password = passwords.prefect().split(":", 1)
    return f"{services.api_url}/admin/version", (user, password)


def _worker_reports(services: Services, seconds: float) -> bool:
    """Its last heartbeat is later than its start, and not older than three are apart."""
    worker = services.running[WORKER]
    try:
        with PrefectApi(services, seconds) as api:
            found = [each for each in api.workers() if each["name"] == WORKER_NAME]
    except ServiceError:
        return False
    beats = [datetime.fromisoformat(each["last_heartbeat_time"]) for each in found if each.get("last_heartbeat_time")]
    now = datetime.now(UTC)
    return any(beat >= datetime.fromisoformat(worker.since) and (now - beat).total_seconds() < 100 for beat in beats)


def wait(service: Service, services: Services) -> None:
    """Return once it answers. Raises ServiceError with the end of its log if it ends or stays silent."""
    begun = time.monotonic()
    while not answers(service.name, services):
        if not service.alive:
            raise _not_up(service, "ended while starting")
        if time.monotonic() - begun > SECONDS[service.name]:
            raise _not_up(service, f"did not answer within {SECONDS[service.name]:.0f} s")
        time.sleep(0.3)


def _not_up(service: Service, what: str) -> ServiceError:
    lines = processes.last_lines(Path(service.log))
    return ServiceError(f"{service.name} {what}; the end of its log, {service.log}:\n{lines}")
