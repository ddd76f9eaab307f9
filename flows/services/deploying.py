"""Work pool, deployments and automations, brought to what the files say; done again only where they changed.

Deploying again would replace every schedule, and with it what an operator changed in the UI; so a digest of all that
goes in is kept, and only another one leads to another registration.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from flows.services import processes, state
from flows.services.failures import ServiceError
from flows.services.prefect_api import PrefectApi
from flows.services.state import Services
from tasks import storage
from tasks.storage import PROJECT, sha256_json

FILE = PROJECT / "deployments" / "prefect.yaml"
RUNS_AT_ONCE = 2
"""Of each work queue, where it is made. Change it in the UI."""

_AUTOMATIONS = "from flows import automations; print('automations:', *automations.register(), sep='\\n  ')"


def names() -> tuple[str, ...]:
    """The deployments that the file describes."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return tuple(sorted(each["name"] for each in document["deployments"]))


def queues() -> tuple[str, ...]:
    """The work queues that the deployments are in: a night that waits holds up no monitor, rollout or ingest."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return tuple(sorted({each["work_pool"]["work_queue_name"] for each in document["deployments"]}))


def wanted(services: Services) -> str:
    """SHA-256 of all that a registration depends on: the file, what flows take, where they lie, who is notified."""
    told = {name: value for name, value in sorted(os.environ.items()) if name.startswith("NOCTURNE_NOTIFY")}
    return sha256_json(
        {
            "file": storage.sha256_file(FILE),
            "code": storage.code_digest("flows", "tasks/form.py", "tasks/problem.py", "tasks/pretraining.py"),
            "lock": storage.lock_digest(),
            "project": str(PROJECT),
            "server": services.database or services.api_url,
            "notifications": sha256_json(told),
        }
    )


def is_registered(api: PrefectApi, services: Services) -> bool:
    """Whether the server has what the files say."""
    there = {each["name"] for each in api.deployments()}
    return services.registered == wanted(services) and there >= set(names())


def register(api: PrefectApi, services: Services, environment: dict[str, str]) -> None:
    """Make or bring up to date pool, deployments and automations; those that left the file are removed.

    Raises ServiceError with the end of the log if Prefect refuses.
    """
    api.pool(queues(), RUNS_AT_ONCE)
    here = str(FILE.relative_to(PROJECT))
    _run([sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", here], environment)
    gone = set(services.deployments) - set(names())
    for each in api.deployments():
        if each["name"] in gone:
            api.remove(each["id"])
    if importlib.util.find_spec("flows.automations"):
        _run([sys.executable, "-c", _AUTOMATIONS], environment)


def make_queues() -> None:
    """The work pool and its queues with their limits, on the server that Prefect's own variables name.

    For a container, which has no services of its own. Raises ServiceError if the server refuses.
    """
    with PrefectApi(os.environ["PREFECT_API_URL"], auth=os.environ["PREFECT_API_AUTH_STRING"]) as api:
        api.pool(queues(), RUNS_AT_ONCE)


def _run(command: list[str], environment: dict[str, str]) -> None:
    log = state.log_of("registration")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        done = subprocess.run(
            command, cwd=PROJECT, env=environment, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, check=False
        )
    if done.returncode:
        raise ServiceError(
            f"{FILE}: the deployments could not be registered; the end of the log, {log}:\n"
            f"{processes.last_lines(Path(log))}"
        )
