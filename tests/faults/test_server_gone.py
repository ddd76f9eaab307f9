"""The Prefect server gone for minutes in the midst of a night: killed and started again, or stopped and resumed.

The night completes, or it fails and the next one resumes it; in either case the leaderboard is that of a night that
nobody disturbed. Only ``python -m tests.faults`` waits so long: elsewhere these are skipped.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tasks import journal
from tasks.registry import mlflow_store
from tasks.registry.ledger import Ledger
from tasks.registry.promotions import standing
from tasks.registry.verification import passed
from tests.faults.nights import NAME, Nights, left, nights_under
from tests.flows.servers import _wait_until_healthy

GONE = float(os.environ.get("NOCTURNE_FAULTS_GONE", "0"))
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(GONE == 0, reason="minutes without a server: python -m tests.faults --only 4"),
]


class Server:
    """A server at an address of its own, over one database: it can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self._folder = folder
        self.api = f"http://127.0.0.1:{self._port}/api"
        self.start()

    def start(self) -> None:
        """Start, and wait until it answers."""
        environment = {**os.environ, "PREFECT_HOME": str(self._folder), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
        for name in ("PREFECT_API_URL", "NOCTURNE_HOME"):  # it is no process of the night's
            environment.pop(name, None)
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self._port)]
        with (self._folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        _wait_until_healthy(f"{self.api}/health", self.process)

    def send(self, number: int) -> None:
        """A signal to the server and what it started."""
        os.killpg(self.process.pid, number)
        if number == signal.SIGKILL:
            self.process.wait(30)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("gone"))
    yield made
    made.send(signal.SIGKILL)


@pytest.fixture(scope="module")
def under(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    """Nights under that server."""
    with nights_under(server.api, tmp_path_factory.mktemp("under")) as running:
        yield running


def _killed(server: Server) -> None:
    server.send(signal.SIGKILL)
    time.sleep(GONE)
    server.start()


def _stopped(server: Server) -> None:
    server.send(signal.SIGSTOP)
    time.sleep(GONE)
    server.send(signal.SIGCONT)


@pytest.mark.parametrize("goes", [_killed, _stopped], ids=["killed", "stopped"])
def test_a_server_that_is_gone_for_minutes(
    goes: Callable[[Server], None],
    server: Server,
    under: Nights,
    undisturbed: tuple[Path, dict[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
) -> None:
    home = tmp_path / "night"
    home.mkdir()
    monkeypatch.setenv("NOCTURNE_HOME", str(home))
    disturber = threading.Thread(target=_once_it_searches, args=(home, lambda: goes(server)))
    disturber.start()
    begun = time.monotonic()
    first = under.one(home)
    took = time.monotonic() - begun
    disturber.join()
    assert left(home) == []
    (past,) = journal.nights(NAME)
    told = "completed" if first.get("digest") else f"ended at {past.stage} as {past.state}"
    if not first.get("digest"):
        assert past.state in ("failed", "interrupted") or past.died, past
        second = under.one(home)
        assert second.get("digest") == undisturbed[1]["digest"], second["said"]
        told += ", and the next night resumed it"
    else:
        assert first["digest"] == undisturbed[1]["digest"]
    with Ledger.open() as ledger:
        now = standing(ledger, NAME)
    store = mlflow_store.open_store()
    assert mlflow_store.holder(store, NAME, "champion") == now.champion
    assert passed(mlflow_store.version_tags(store, NAME, now.champion) or {})
    record_property("happened", f"server {goes.__name__[1:]} for {GONE:.0f} s: the night {told} ({took:.0f} s)")


def _once_it_searches(home: Path, act: Callable[[], None]) -> None:
    for _ in range(1_200):
        lines = [path.read_text() for path in (home / "runs" / NAME / "journal").glob("*.jsonl")]
        if any('"step": "search", "state": "started"' in text for text in lines):
            act()
            return
        time.sleep(0.1)
