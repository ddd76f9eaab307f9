"""What runs inside a container of ``deployments/Dockerfile``: ``python -m flows.services.container ROLE``.

Roles: ``prefect``, ``mlflow``, ``worker``, and ``register``, which ends once pool, deployments and automations are as
the files say. Secrets are files below ``NOCTURNE_SECRETS`` (``/run/secrets``): ``database`` (PostgreSQL's password),
``prefect`` (user:password), ``mlflow`` (password), ``mlflow-forms``, and, if there is one, ``environment`` (keys of
vendors, addresses of notifications: ``NAME=value`` lines). They reach a program by its environment, never by its
arguments. ``python -m flows.services.container secrets FOLDER`` makes such files anew, outside any container.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

USER, POOL = "nocturne", "nocturne"
SETTINGS: Mapping[str, str] = {
    "NOCTURNE_SECRETS": "/run/secrets",
    "NOCTURNE_DATABASE_HOST": "postgres",
    "NOCTURNE_PREFECT_INSIDE": "http://prefect:4200",
    "NOCTURNE_MLFLOW_INSIDE": "http://mlflow:5000",
    "NOCTURNE_PREFECT_URL": "http://127.0.0.1:4200",
    "NOCTURNE_MLFLOW_URL": "http://127.0.0.1:5000",
    "NOCTURNE_ARTIFACTS": "/state/artifacts",
    "NOCTURNE_LISTEN": "0.0.0.0",  # noqa: S104 - inside a container; what is published is the engine's decision
    "NOCTURNE_STAGES_URL": "",
    "NOCTURNE_DASK": "",
    "NOCTURNE_DASK_WORKERS": "2",
}
"""Variables that may be set, and what they are if not: where the parts reach each other, where people do, and what lies
past one machine (deployments/README.md).
"""

_AUTH = """[mlflow]
default_permission = READ
database_uri = sqlite:////state/mlflow-users.db
admin_username = {user}
authorization_function = mlflow.server.auth:authenticate_request_basic_auth
auth_cache_ttl_seconds = 60
"""


@dataclass(frozen=True)
class Plan:
    """Commands in their order, the last one to become; their whole environment; files to be written before."""

    commands: tuple[tuple[str, ...], ...]
    environment: Mapping[str, str]
    files: Mapping[str, str]


def plan(role: str, environment: Mapping[str, str]) -> Plan:
    """What a role runs. Raises SystemExit in words for a role or a secret that is not there."""
    roles = {"prefect": _prefect, "mlflow": _mlflow, "worker": _worker, "register": _register}
    if role not in roles:
        raise SystemExit(f"a role must be one of {', '.join(roles)}, got {role!r}")
    settings = {**SETTINGS, **environment}
    found = roles[role](settings)
    return Plan(found.commands, {**settings, **found.environment}, found.files)


def database(settings: Mapping[str, str]) -> str:
    """PostgreSQL's address."""
    return f"postgresql://{USER}:{quote(_secret(settings, 'database'), safe='')}@{_host(settings)}:5432/nocturne"


def make_secrets(folder: Path) -> None:
    """New files, in a folder that only its owner may enter: a container's users read them, each by its own mount.

    Raises FileExistsError if one is there already.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder.chmod(0o700)
    made = {name: secrets.token_urlsafe(24) for name in ("database", "mlflow", "mlflow-forms")}
    for name, text in {**made, "prefect": f"{USER}:{secrets.token_urlsafe(24)}", "environment": ""}.items():
        with os.fdopen(os.open(folder / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o444), "w") as stream:
            stream.write(text)


def _host(settings: Mapping[str, str]) -> str:
    return settings["NOCTURNE_DATABASE_HOST"]


def _secret(settings: Mapping[str, str], name: str) -> str:
    path = Path(settings["NOCTURNE_SECRETS"]) / name
    try:
        text = path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise SystemExit(f"{path}: the secret cannot be read: {error.strerror}") from error
    if not text:
        raise SystemExit(f"{path}: the secret is empty")
    return text


def _prefect(settings: Mapping[str, str]) -> Plan:
    address = database(settings).replace("postgresql://", "postgresql+asyncpg://") + "_prefect"
    environment = {
        "PREFECT_SERVER_API_AUTH_STRING": _secret(settings, "prefect"),
        "PREFECT_SERVER_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": address,
        "PREFECT_SERVER_UI_API_URL": f"{settings['NOCTURNE_PREFECT_URL']}/api",
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": "/state/prefect-ui",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    start = ("prefect", "server", "start", "--host", settings["NOCTURNE_LISTEN"], "--port", "4200")
    return Plan((_python("-m", *start),), environment, {})


def _mlflow(settings: Mapping[str, str]) -> Plan:
    outside = settings["NOCTURNE_MLFLOW_URL"].partition("://")[2]
    hosts = dict.fromkeys((settings["NOCTURNE_MLFLOW_INSIDE"].partition("://")[2], outside, "127.0.0.1:5000"))
    environment = {
        "MLFLOW_BACKEND_STORE_URI": database(settings).replace("postgresql://", "postgresql+pg8000://") + "_mlflow",
        "MLFLOW_AUTH_CONFIG_PATH": "/state/mlflow-auth.ini",
        "MLFLOW_AUTH_ADMIN_USERNAME": USER,
        "MLFLOW_AUTH_ADMIN_PASSWORD": _secret(settings, "mlflow"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": _secret(settings, "mlflow-forms"),
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true",
    }
    start = (
        "mlflow", "server", "--host", settings["NOCTURNE_LISTEN"], "--port", "5000", "--workers", "1",
        "--app-name", "basic-auth", "--artifacts-destination", settings["NOCTURNE_ARTIFACTS"],
        "--default-artifact-root", "mlflow-artifacts:/", "--allowed-hosts", ",".join(hosts),
        "--cors-allowed-origins", settings["NOCTURNE_MLFLOW_URL"],
    )  # fmt: skip
    return Plan((_python("-m", *start),), environment, {"/state/mlflow-auth.ini": _AUTH.format(user=USER)})


def _worker(settings: Mapping[str, str]) -> Plan:
    start = ("prefect", "worker", "start", "--pool", POOL, "--type", "process")
    return Plan((_python("-m", *start),), _client(settings), {})


def _register(settings: Mapping[str, str]) -> Plan:
    prefect = ("-m", "prefect", "--no-prompt")
    return Plan(
        (
            _python("-c", "from flows.services import deploying; deploying.make_queues()"),
            _python(*prefect, "deploy", "--all", "--prefect-file", "deployments/prefect.yaml"),
            _python("-c", "from flows import automations; automations.register()"),
        ),
        _client(settings),
        {},
    )


def _client(settings: Mapping[str, str]) -> dict[str, str]:
    return {
        **_operators(settings),
        "PREFECT_API_URL": f"{settings['NOCTURNE_PREFECT_INSIDE']}/api",
        "PREFECT_API_AUTH_STRING": _secret(settings, "prefect"),
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        "PREFECT_LOGGING_EXTRA_LOGGERS": "nocturne",
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "NOCTURNE_TRACKING_URI": settings["NOCTURNE_MLFLOW_INSIDE"],
        "NOCTURNE_LEDGER_URL": database(settings),
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": _secret(settings, "mlflow"),
        "KERAS_BACKEND": "jax",
    }


def _operators(settings: Mapping[str, str]) -> dict[str, str]:
    """``NAME=value`` lines of the secret ``environment``; none where there is no such file."""
    path = Path(settings["NOCTURNE_SECRETS"]) / "environment"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def _python(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, *arguments)


def main(arguments: list[str]) -> None:
    """Become the role's program. Databases that are missing are made before a server starts."""
    if arguments[:1] == ["secrets"] and len(arguments) == 2:
        make_secrets(Path(arguments[1]))
        return
    (role,) = arguments or [""]
    found = plan(role, os.environ)
    for path, text in found.files.items():
        Path(path).write_text(text, encoding="utf-8")
    if role in ("prefect", "mlflow"):
        from flows.services import databases  # noqa: PLC0415 - the secrets are made without it

        databases.prepare(database(found.environment))
    for command in found.commands[:-1]:
        subprocess.run(command, env=dict(found.environment), check=True)
    os.execve(found.commands[-1][0], found.commands[-1], dict(found.environment))  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main(sys.argv[1:])
