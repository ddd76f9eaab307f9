"""What is started, and with which environment. Arguments are seen by everyone on the machine: no secret is in them."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

from flows import settings
from flows.services import passwords, state
from flows.services.databases import Databases, artifacts
from flows.services.state import HOST, MLFLOW, POOL, PREFECT, WORKER, Services
from tasks import storage
from tasks.errors import StorageError
from tasks.storage import PROJECT, home

WORKER_NAME = f"nocturne-{platform.node() or 'here'}"
_AUTH = """# Written by 'nocturne up' at each start. The admin's password is in secrets/mlflow.
[mlflow]
default_permission = READ
database_uri = sqlite:///{database}
admin_username = {user}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


def command(name: str, services: Services) -> list[str]:
    """The command line of a service."""
    module = [sys.executable, "-m"]
    if name == PREFECT:
        return [*module, "prefect", "server", "start", "--host", HOST, "--port", str(services.prefect_port)]
    if name == WORKER:
        return [*module, "prefect", "worker", "start", "--pool", POOL, "--type", "process", "--name", WORKER_NAME]
    return [
        *module, "mlflow", "server", "--host", HOST, "--port", str(services.mlflow_port), "--workers", "1",
        "--app-name", "basic-auth", "--uvicorn-opts", "--log-level warning",
        "--artifacts-destination", _destination(), "--default-artifact-root", _root(services),
        "--allowed-hosts", ",".join(f"{host}:{services.mlflow_port}" for host in (HOST, "localhost")),
        "--cors-allowed-origins", ",".join(f"http://{host}:{services.mlflow_port}" for host in (HOST, "localhost")),
    ]  # fmt: skip


def _destination() -> str:
    return os.environ.get("NOCTURNE_ARTIFACTS") or artifacts().as_uri()


def _root(services: Services) -> str:
    """Of new experiments: a folder that nights reach themselves, or whatever is behind the server."""
    return "mlflow-artifacts:/" if services.by_server else artifacts().as_uri()


def environment(name: str, services: Services, databases: Databases) -> dict[str, str]:
    """The whole environment of a service: the operator's, and what this service needs, secrets included."""
    made = {
        PREFECT: lambda: _prefect(services, databases),
        MLFLOW: lambda: _mlflow(databases),
        WORKER: lambda: client(services),
    }[name]()
    return {**_operators(), **_everyone(), **made}


def _operators() -> dict[str, str]:
    """What this process was started with, less what is set for a server that lives for one run."""
    left_out = {
        *settings.EPHEMERAL,
        "PREFECT_API_URL",
        "PREFECT_API_AUTH_STRING",
        "PREFECT_SERVER_API_AUTH_STRING",
        "PREFECT_PROFILE",
        "NOCTURNE_DATABASE_URL",
    }
    left_out |= {name for name, value in os.environ.items() if name.startswith("MLFLOW_") and not value}
    return {name: value for name, value in os.environ.items() if name not in left_out}


def _everyone() -> dict[str, str]:
    return {
        "NOCTURNE_HOME": str(home()),
        "NOCTURNE_PROJECT": str(PROJECT),
        "PREFECT_HOME": str(home() / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
        "PREFECT_LOGGING_COLORS": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
        "NO_COLOR": "1",
        "PYTHONUNBUFFERED": "1",
    }


def _prefect(services: Services, databases: Databases) -> dict[str, str]:
    return {
        "PREFECT_SERVER_API_AUTH_STRING": passwords.prefect(),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": databases.prefect,
        "PREFECT_SERVER_UI_API_URL": services.api_url,
        "PREFECT_SERVER_UI_ENABLED": "true",
    }


def _mlflow(databases: Databases) -> dict[str, str]:
    """Access rights lie in a file of their own, whatever the store is."""
    settings_file = state.folder() / "mlflow-auth.ini"
    text = _AUTH.format(database=state.folder() / "mlflow-users.db", user=passwords.USER)
    storage.write_text(settings_file, text)
    return {
        "MLFLOW_BACKEND_STORE_URI": databases.mlflow,
        "MLFLOW_AUTH_CONFIG_PATH": str(settings_file),
        "MLFLOW_AUTH_ADMIN_USERNAME": passwords.USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": passwords.mlflow(),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": passwords.forms(),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
        "MLFLOW_TRACKING_URI": "",
    }


def client(services: Services) -> dict[str, str]:
    """What the worker and the registration of deployments add to the operator's environment."""
    return {
        **{name: value for name, value in settings.DEFAULTS.items() if name not in os.environ},
        **state.client_environment(services),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "nocturne",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "INFO",
    }


def writable(folder: Path) -> None:
    """Raise StorageError unless files can be made in this folder, which is made if need be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        probe = folder / ".probe"
        probe.write_bytes(b"probe")
        probe.unlink()
    except OSError as error:
        raise StorageError(
            f"{folder}: the state folder cannot be written: {error.strerror}; set NOCTURNE_HOME to one that can"
        ) from error
