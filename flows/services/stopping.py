"""``nocturne down``: worker first, then the servers; nothing that they started is left.

1. The work pool gives out no more runs.
2. Runs that go on are waited for; with ``now`` they are ended, and marked as crashed where they could not say so.
3. The worker, then the MLflow server, then the Prefect server are asked to end, and killed if they do not.

Ports, passwords and registrations stay for the next start, which lets the pool give out runs again. Who interrupts the
waiting (2.) leaves everything as it was before.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, replace
from typing import Any

import psutil

from flows.progress import StageClock
from flows.services import commands, processes, state
from flows.services.failures import ServiceError
from flows.services.lock import held
from flows.services.prefect_api import PrefectApi
from flows.services.starting import SECONDS_TO_END, TITLES
from flows.services.state import MLFLOW, PREFECT, WORKER, Services

SECONDS_FOR_NIGHTS = 10
SECONDS_BETWEEN_WORDS = 30.0
INTERRUPTED = "ended by 'nocturne down --now'; run it again: finished stages are kept"
log = logging.getLogger("nocturne.progress")


@dataclass(frozen=True, slots=True)
class Stopped:
    """``ended``: what ran and was ended; ``interrupted``: names of the runs that were cut off."""

    ended: tuple[str, ...]
    interrupted: tuple[str, ...] = ()


def down(now: bool = False) -> Stopped:
    """Stop everything of this state folder. now: do not wait for runs that go on.

    Raises ConfigurationError if another ``up`` or ``down`` is at work.
    """
    services = state.read()
    if services is None:
        return Stopped(())
    with held("down"):
        clock = StageClock()
        before = tuple(name for name in state.NAMES if processes.marked(name, state.folder()))
        services = _pause(services)
        if not now:
            try:
                _await_nights(services, clock)
            except BaseException:
                _resume(services)
                raise
        cut = _end_worker(services, clock)
        for name in (MLFLOW, PREFECT):
            with clock.stage(TITLES[name]):
                processes.end(processes.marked(name, state.folder()), SECONDS_TO_END)
        state.write(replace(services, running={}))
        return Stopped(before, cut)


def _pause(services: Services) -> Services:
    """Where the server is gone nobody gives out runs anyway."""
    if not services.alive(PREFECT):
        return services
    try:
        with PrefectApi(services) as api:
            paused = api.pause(True)
    except ServiceError as error:
        log.warning("the work pool could not be paused: %s", error)
        return services
    return state.write(replace(services, paused=services.paused or paused))


def _resume(services: Services) -> None:
    """Nothing was stopped after all: runs are given out again."""
    if not services.paused:
        return
    try:
        with PrefectApi(services) as api:
            api.pause(False)
    except ServiceError as error:
        log.warning("the work pool stays paused until the next 'nocturne up': %s", error)
        return
    state.write(replace(services, paused=False))


def _nights(services: Services) -> list[psutil.Process]:
    """What the worker started, and all that they started."""
    return processes.parted(processes.marked(WORKER, state.folder()), commands.command(WORKER, services))[1]


def _await_nights(services: Services, clock: StageClock) -> None:
    if not _nights(services):
        return
    with clock.stage("runs"):
        said = 0.0
        while _nights(services):
            if time.monotonic() - said > SECONDS_BETWEEN_WORDS:
                said = time.monotonic()
                names = ", ".join(run["name"] for run in _unfinished(services)) or "a run"
                words = "waiting for %s to end (Control-C leaves it running; --now ends it)"
                log.info(words, names, extra={"stage": "runs", "elapsed": clock.elapsed()})
            time.sleep(0.5)


def _end_worker(services: Services, clock: StageClock) -> tuple[str, ...]:
    """The worker, and what it still runs; the names of the runs that were cut off."""
    with clock.stage(TITLES[WORKER]):
        worker, nights = processes.parted(processes.marked(WORKER, state.folder()), commands.command(WORKER, services))
        cut = _unfinished(services) if nights else []
        processes.end(nights, SECONDS_FOR_NIGHTS)
        processes.end(worker, SECONDS_TO_END)
        processes.end(processes.marked(WORKER, state.folder()), 0)
        _mark(services, cut)
    return tuple(run["name"] for run in cut)


def _unfinished(services: Services) -> list[dict[str, Any]]:
    if not services.alive(PREFECT):
        return []
    try:
        with PrefectApi(services) as api:
            return api.unfinished()
    except ServiceError:
        return []


def _mark(services: Services, runs: list[dict[str, Any]]) -> None:
    """Those that said nothing themselves when they were ended."""
    silent = {run["id"] for run in runs} & {run["id"] for run in _unfinished(services)} if runs else set()
    if silent:
        with PrefectApi(services) as api:
            for run in silent:
                api.crash(run, INTERRUPTED)
