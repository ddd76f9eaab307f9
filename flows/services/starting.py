"""``nocturne up``: start what does not run.

1. Find what runs already. A process that is gone, or is another program's by now, is started again; one that runs and
   does not answer is ended first.
2. Choose ports and passwords, or take those of the last start. Make databases.
3. Start both servers, and wait until each answers to its password.
4. Register work pool, deployments and automations, if anything about them changed.
5. Start the worker, and wait for its first heartbeat.

Each step is written down before the next: a start that is killed is finished by the next one.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from flows.progress import StageClock
from flows.services import commands, databases, deploying, passwords, ports, processes, readiness, state
from flows.services.databases import Databases
from flows.services.failures import ServiceError
from flows.services.lock import held
from flows.services.prefect_api import PrefectApi
from flows.services.state import MLFLOW, NAMES, PREFECT, WORKER, Service, Services
from tasks.errors import ConfigurationError, StorageError
from tasks.holder import identity
from tasks.storage import home

FREE_BYTES = 512 * 2**20
SECONDS_TO_END = 20
TITLES = {PREFECT: "Prefect server", MLFLOW: "MLflow server", WORKER: "worker"}


@dataclass(frozen=True, slots=True)
class Started:
    """What ``up`` did: ``fresh`` names what it started, ``registered`` whether deployments were brought up to date."""

    services: Services
    fresh: tuple[str, ...]
    registered: bool


def up(prefect_port: int = 0, mlflow_port: int = 0, beside: bool = False) -> Started:
    """Start what does not run; a second call starts nothing. A port of 0: the last, the usual, or any free one.

    beside: even if services of another state folder run here. Raises ConfigurationError for a taken port, another
    ``up``, other services; StorageError if the state folder cannot be written; ServiceError if a server does not come
    up.
    """
    commands.writable(state.folder())
    _require_space()
    with held("up"):
        if not beside:
            _require_alone()
        clock = StageClock()
        url = _database()
        services, fresh = _prepared(prefect_port, mlflow_port, databases.addresses(url))
        with clock.stage("databases"):
            databases.prepare(url)
        services, servers = _servers(services, fresh, databases.addresses(url), clock)
        services, registered = _register(services, clock)
        if WORKER in fresh:
            with clock.stage(TITLES[WORKER]):
                services = _start(services, WORKER, databases.addresses(url))
                readiness.wait(services.running[WORKER], services)
        return Started(services, tuple(name for name in NAMES if name in (*servers, *fresh)), registered)


def meant_to_run() -> bool:
    """Whether services were started here and not stopped by ``nocturne down``, whether or not they live."""
    services = state.read()
    return services is not None and bool(services.running)


def _require_space() -> None:
    free = shutil.disk_usage(home()).free
    if free < FREE_BYTES:
        raise StorageError(f"{home()}: {free:,} bytes are free on this disk, and {FREE_BYTES:,} are wanted to start")


def _require_alone() -> None:
    others = [folder for folder in processes.folders() if folder != str(state.folder())]
    if others:
        raise ConfigurationError(
            f"services of another state folder run here: {', '.join(others)}. Look at them with NOCTURNE_HOME="
            f"{others[0].removesuffix('/services')} nocturne status; --beside starts these as well"
        )


def _database() -> str:
    """The PostgreSQL address given now or earlier. Raises ConfigurationError if another one is in use."""
    given, kept = os.environ.get(databases.SETTING, ""), passwords.database()
    databases.addresses(given)
    before = state.read()
    if given and before is not None and given != kept and any(before.alive(name) for name in NAMES):
        used = databases.addresses(kept).shown or "SQLite files"
        raise ConfigurationError(f"{databases.SETTING} names another database than the running services use ({used})")
    if given and given != kept:
        passwords.keep_database(given)
    return given or kept


def _prepared(prefect_port: int, mlflow_port: int, where: Databases) -> tuple[Services, list[str]]:
    """The services with their ports, and the names of those that must be started."""
    before = state.read()
    missing = [name for name in NAMES if before is None or not _runs(before, name)]
    chosen = {
        name: _port(name, asked, before, name in missing)
        for name, asked in ((PREFECT, prefect_port), (MLFLOW, mlflow_port))
    }
    services = replace(
        before or Services(prefect_port=0, mlflow_port=0),
        prefect_port=chosen[PREFECT],
        mlflow_port=chosen[MLFLOW],
        database=where.shown,
    )
    return state.write(services), missing


def _runs(services: Services, name: str) -> bool:
    """Whether it runs and answers; what was left of it is ended, but for the nights of a worker that is gone."""
    if services.alive(name) and any(readiness.answers(name, services, seconds) for seconds in (3, 10, 30)):
        return True
    leftover = processes.marked(name, state.folder())
    if name == WORKER:
        leftover, _ = processes.parted(leftover, commands.command(WORKER, services))
    processes.end(leftover, SECONDS_TO_END)
    return False


def _port(name: str, asked: int, before: Services | None, missing: bool) -> int:
    remembered = 0 if before is None else {PREFECT: before.prefect_port, MLFLOW: before.mlflow_port}[name]
    if asked not in (0, remembered) and before is not None and any(before.alive(each) for each in NAMES):
        raise ConfigurationError(
            f"{name} cannot move to port {asked} while services run that know it at {remembered}: 'nocturne down' first"
        )
    return ports.choose(name, asked, remembered) if missing else remembered


def _servers(
    services: Services, fresh: list[str], where: Databases, clock: StageClock
) -> tuple[Services, tuple[str, ...]]:
    """Both at once: most of the time they import."""
    missing = [name for name in (PREFECT, MLFLOW) if name in fresh]
    for name in missing:
        services = _start(services, name, where)
    for name in missing:
        with clock.stage(TITLES[name]):
            readiness.wait(services.running[name], services)
    return services, tuple(missing)


def _start(services: Services, name: str, where: Databases) -> Services:
    log = state.log_of(name)
    since = datetime.now(UTC).isoformat(timespec="milliseconds")
    pid = processes.start(
        processes.mark(name, state.folder()),
        commands.command(name, services),
        commands.environment(name, services, where),
        log,
        umask=-1 if name == WORKER else 0o077,
    )
    started = identity(pid)
    if not started:
        raise ServiceError(f"{TITLES[name]} ended at once; its log is {log}:\n{processes.last_lines(log)}")
    service = Service(name=name, pid=pid, started=started, since=since, log=str(log))
    return state.write(replace(services, running={**services.running, name: service}))


def _register(services: Services, clock: StageClock) -> tuple[Services, bool]:
    with PrefectApi(services) as api:
        if services.paused:
            api.pause(False)
            services = state.write(replace(services, paused=False))
        if deploying.is_registered(api, services):
            return services, False
        with clock.stage("deployments"):
            environment = commands.environment(WORKER, services, databases.addresses(""))
            deploying.register(api, services, environment)
        wanted = deploying.wanted(services)
        return state.write(replace(services, registered=wanted, deployments=deploying.names())), True
