"""A real MLflow server on loopback: SQLite behind it, artifacts through its proxy, as a team would run one."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tasks.contracts import Candidate
from tasks.registry import mlflow_store, model_log
from tasks.registry.records import Night
from tasks.registry.serving.folder import folder_digest

START_SECONDS = 90


@dataclass(frozen=True)
class Server:
    """A running server: its address, its folder (``mlflow.db``, ``artifacts``, ``log``), its process group's leader."""

    uri: str
    folder: Path
    process: subprocess.Popen[bytes]


@pytest.fixture(scope="session")
def mlflow_server(empty_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``mlflow server --serve-artifacts`` over SQLite, on a free port of the loopback, one for the whole session.

    Tests share it: each registers under a name of its own.
    """
    folder = tmp_path_factory.mktemp("mlflow-server")
    shutil.copyfile(empty_store, folder / "mlflow.db")  # with its tables made: migrations take longer than the server
    with serving(mlflow_command(folder), folder) as server:
        yield server


@pytest.fixture
def remote_store(mlflow_server: Server, monkeypatch: pytest.MonkeyPatch) -> mlflow_store.Store:
    """The project's own store, pointed at the server."""
    monkeypatch.setenv("NOCTURNE_TRACKING_URI", mlflow_server.uri)
    return mlflow_store.open_store()


def mlflow_command(folder: Path) -> list[str]:
    """A server over the database and artifacts in this folder; the port is added."""
    return [
        *(sys.executable, "-m", "mlflow", "server", "--workers", "1", "--serve-artifacts"),
        *("--backend-store-uri", f"sqlite:///{folder / 'mlflow.db'}"),
        *("--artifacts-destination", str(folder / "artifacts")),
    ]


@contextlib.contextmanager
def serving(command: list[str], folder: Path, health: str = "/health", **environment: str) -> Iterator[Server]:
    """Run a server command with ``--host 127.0.0.1 --port`` of a free port until the block ends, with its children.

    Raises AssertionError with the end of its log if it does not answer in time.
    """
    port = free_port()
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [*command, "--host", "127.0.0.1", "--port", str(port)],
            cwd=folder, stdout=log, stderr=log, start_new_session=True, env={**os.environ, **quiet, **environment},
        )  # fmt: skip
    server = Server(f"http://127.0.0.1:{port}", folder, process)
    try:
        await_answer(server, health)
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def await_answer(server: Server, path: str) -> None:
    """Return once the server answers this path with success."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and server.process.poll() is None:
        refused = contextlib.suppress(urllib.error.URLError, ConnectionError, TimeoutError)
        with refused, urllib.request.urlopen(server.uri + path, timeout=2):
            return
        time.sleep(0.1)
    raise AssertionError(f"no answer from {server.uri}{path}: {(server.folder / 'log').read_text()[-2000:]}")


def free_port() -> int:
    """A port of the loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def register(store: mlflow_store.Store, night: Night, candidate: Candidate, facts: dict[str, Any], name: str) -> str:
    """Log a candidate and register it under ``name`` as the champion, with the digest that clients check; its version.

    What a night does, without its gate, its ledger and its verification.
    """
    run = mlflow_store.new_run(store, mlflow_store.experiment(store, name), "run", {})
    problem = night.problem.model_copy(update={"name": name})
    uri = model_log.log_model(run, candidate.name, dataclasses.replace(night, problem=problem), candidate, facts)
    with tempfile.TemporaryDirectory() as scratch:
        tags = {"model_sha256": folder_digest(mlflow_store.fetch(store, uri, Path(scratch)))}
    version = mlflow_store.create_version(store, name, source=uri, run_id=run, tags=tags, description="")
    store.client.set_registered_model_alias(name, "champion", version)
    return version
