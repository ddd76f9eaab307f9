"""Settings of Prefect and MLflow that must stand in the environment before either is imported.

Nothing of them overrides what the operator has set. Everything stays on this machine: no telemetry, no server beyond
loopback, all state below the state folder.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

from flows.services import state
from tasks.errors import ConfigurationError
from tasks.storage import home

DEFAULTS = {
    # A new process without a server starts one of its own; on a busy machine that takes longer than the usual 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_EXTRA_LOGGERS": "nocturne",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    # The terminal shows this project's own progress and errors; Prefect's records still reach its server.
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "DO_NOT_TRACK": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "KERAS_BACKEND": "jax",
    # A tracking server that hangs or is gone is told of within minutes; MLflow's own limits add up to a quarter of an
    # hour a request. A restart of it is outlasted: the pauses between the tries double, from 2 s on.
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "5",
}

# MLflow, pandera, threadpoolctl and the canary write these while other threads run. In C, adding a variable moves the
# whole environment, and a thread that reads it meanwhile dies; changing one that is there does not. Empty means unset.
WRITTEN_LATER = {
    "NOCTURNE_LEDGER_URL": "",
    "NOCTURNE_TRACKING_URI": "",
    "NOCTURNE_MLFLOW_URL": "",
    "MLFLOW_TRACKING_URI": "",
    "MLFLOW_REGISTRY_URI": "",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_RECORD_ENV_VARS_IN_MODEL_LOGGING": "false",
    "KMP_DUPLICATE_LIB_OK": "True",
    "SPARK_LOCAL_IP": "127.0.0.1",
    "PYARROW_IGNORE_TIMEZONE": "1",
}

# What a server that lives for one run does not need; a real server keeps them.
EPHEMERAL = {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_TRIGGERS_ENABLED": "false",
}


def apply() -> None:
    """Set the defaults that the environment leaves open. Must run before prefect or mlflow is imported.

    Where ``nocturne up`` has started a server, runs of this command appear in it.
    """
    reserve()
    os.environ.update(state.for_commands(os.environ))
    wanted = {**DEFAULTS, "PREFECT_HOME": str(home() / "prefect")}
    if not os.environ.get("PREFECT_API_URL"):
        wanted |= EPHEMERAL | _password()
    for name, value in wanted.items():
        os.environ.setdefault(name, value)
    os.environ["NOCTURNE_HOME"] = str(home())
    try:
        _make_prefects(Path(os.environ["PREFECT_HOME"]))
    except OSError as error:
        raise ConfigurationError(
            f"the state folder {home()} cannot be made: {error.strerror}; set NOCTURNE_HOME to a writable folder"
        ) from error


def _make_prefects(folder: Path) -> None:
    """Prefect does not make its folder's parents. In its database lies the key to its blocks' secrets: for us alone."""
    folder.mkdir(parents=True, exist_ok=True)
    if folder == home() / "prefect":
        with contextlib.suppress(PermissionError):  # another user's, who closes it
            folder.chmod(0o700)


def _password() -> dict[str, str]:
    """Of a server that lives for one run: it listens on the loopback, where every user of the machine could reach it.

    Both sides read the same one from the environment; it is random unless the operator has set one.
    """
    client, server = "PREFECT_API_AUTH_STRING", "PREFECT_SERVER_API_AUTH_STRING"
    chosen = os.environ.get(client) or os.environ.get(server) or f"nocturne:{secrets.token_urlsafe(18)}"
    return {client: chosen, server: chosen}


def reserve() -> None:
    """Put variables that libraries will write into the environment, before there are threads that read it."""
    for name, value in WRITTEN_LATER.items():
        os.environ.setdefault(name, value)
