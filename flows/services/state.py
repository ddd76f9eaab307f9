"""What runs in the background, where it listens, and where its passwords lie: read by whoever needs to know.

Everything is below ``services`` of the state folder: ``state.json`` (no secrets in it), ``logs``, and ``secrets``,
which only the owner may read. Importing this module starts nothing and imports no server.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from flows.services import passwords
from tasks import storage
from tasks.holder import identity
from tasks.storage import home

HOST = "127.0.0.1"
PREFECT, MLFLOW, WORKER = "prefect", "mlflow", "worker"
NAMES = (PREFECT, MLFLOW, WORKER)
POOL = "nocturne"
_STATE = "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """One background process: ``started`` tells it from a later one with the same pid; ``since`` is UTC, ISO."""

    name: str
    pid: int
    started: str
    since: str
    log: str

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        return identity(self.pid) == self.started


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What ``nocturne up`` left behind. ``running`` holds what should run; ``database`` has no password in it."""

    prefect_port: int
    mlflow_port: int
    running: Mapping[str, Service] = field(default_factory=dict)
    registered: str = ""
    deployments: tuple[str, ...] = ()
    paused: bool = False
    database: str = ""

    @property
    def prefect_url(self) -> str:
        """Prefect's UI."""
        return f"http://{HOST}:{self.prefect_port}"

    @property
    def api_url(self) -> str:
        """What PREFECT_API_URL holds."""
        return f"{self.prefect_url}/api"

    @property
    def mlflow_url(self) -> str:
        """MLflow's UI, which is its API's address too."""
        return f"http://{HOST}:{self.mlflow_port}"

    @property
    def by_server(self) -> bool:
        """Whether nights reach MLflow's store through its server: with PostgreSQL; a file they open themselves."""
        return bool(self.database)

    def url(self, name: str) -> str:
        """Where the service of this name listens; the worker does not."""
        return {PREFECT: self.prefect_url, MLFLOW: self.mlflow_url}.get(name, "")

    def alive(self, name: str) -> bool:
        """Whether the service of this name was started and still runs."""
        return name in self.running and self.running[name].alive


def folder() -> Path:
    """Where state, logs and secrets of the services lie."""
    return home() / "services"


def log_of(name: str) -> Path:
    """The log of a service."""
    return folder() / "logs" / f"{name}.log"


def read() -> Services | None:
    """What ``nocturne up`` wrote; None where it never ran. Raises StorageError for a damaged file."""
    path = folder() / _STATE
    if not path.is_file():
        return None
    document: dict[str, Any] = storage.read_json(path)
    running = {name: Service(**each) for name, each in document.pop("running").items()}
    return Services(**{**document, "running": running, "deployments": tuple(document["deployments"])})


def write(services: Services) -> Services:
    """Keep it, atomically; returns it."""
    storage.write_json(folder() / _STATE, {**asdict(services), "deployments": list(services.deployments)})
    return services


def client_environment(services: Services) -> dict[str, str]:
    """What a client of these services needs in its environment, passwords included.

    NOCTURNE_MLFLOW_URL is where links lead. NOCTURNE_TRACKING_URI is set only where the store is reached by the server.
    """
    user, password = passwords.prefect().split(":", 1)
    found = {
        "PREFECT_API_URL": services.api_url,
        "PREFECT_API_AUTH_STRING": f"{user}:{password}",
        "NOCTURNE_MLFLOW_URL": services.mlflow_url,
        "MLFLOW_TRACKING_USERNAME": passwords.USER,
        "MLFLOW_TRACKING_PASSWORD": passwords.mlflow(),
    }
    if services.by_server:
        found |= {"NOCTURNE_TRACKING_URI": services.mlflow_url, "NOCTURNE_LEDGER_URL": passwords.database()}
    return found


def for_commands(environment: Mapping[str, str]) -> dict[str, str]:
    """What a command of this state folder adds to its environment; empty where no Prefect server of ours runs.

    What the operator has set stays. With PostgreSQL the registry's address is given even if its server is down: a
    command fails then, and never falls back to another registry.
    """
    services = read()
    if services is None:
        return {}
    wanted = client_environment(services) if services.running or services.by_server else {}
    if not services.alive(PREFECT) or environment.get("PREFECT_API_URL"):
        wanted = {name: value for name, value in wanted.items() if not name.startswith("PREFECT_")}
    return {name: value for name, value in wanted.items() if not environment.get(name)}
