"""From a real MLflow server over HTTP: a stranger's environment with the built wheel, and a registry that goes away."""

from __future__ import annotations

import importlib.metadata
import json
import os
import shutil
import socket
import socketserver
import subprocess
import sys
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.errors import RegistryError
from tasks.registry import mlflow_store, signing
from tasks.registry.client.events import Event
from tasks.registry.client.service import Champion
from tasks.registry.client.sources import RegistryAwayError
from tasks.storage import PROJECT
from tests.registry.client.conftest import Shelf, variant
from tests.registry.servers import Server

pytestmark = pytest.mark.slow
NEEDED = ("mlflow-skinny", "pandas", "numpy", "TA-Lib", "pyarrow")
STRANGER = """
import json, os, sys, time
begun = time.perf_counter()
import pandas as pd
from nocturne_client import Champion, RegistryError, pull, read_log
import tasks
uri, name, bars = sys.argv[1:]
frame = pd.read_json(bars, orient="split", precise_float=True, convert_dates=False, dtype=False)
with Champion(name, tracking_uri=uri, log="log", refresh_seconds=0) as champion:
    said = champion.predict(frame, key="customer")
    seconds = time.perf_counter() - begun
found = [name for name in ("h2o", "keras", "prefect", "sqlalchemy", "sklearn", "mlflow.pyfunc") if name in sys.modules]
print(json.dumps({
    "prediction": said["prediction"].iloc[0], "version": said["version"].iloc[0], "role": said["role"].iloc[0],
    "mine": tasks.MINE, "found": found, "logged": len(read_log("log")), "seconds": seconds,
}))
"""


class Line:
    """A line to the server that can be cut, as a network's can."""

    def __init__(self, to: Server) -> None:
        port = int(to.uri.rpartition(":")[2])

        class Carry(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                with socket.create_connection(("127.0.0.1", port)) as far:
                    back = threading.Thread(target=_copy, args=(far, self.request), daemon=True)
                    back.start()
                    _copy(self.request, far)
                    back.join()

        self._handler = Carry
        self._port = 0
        self.mend()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def cut(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def mend(self) -> None:
        self._server = _Carrier(("127.0.0.1", self._port), self._handler)
        self._port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()


class _Carrier(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def _copy(one: socket.socket, other: socket.socket) -> None:
    try:
        while data := one.recv(65_536):
            other.sendall(data)
        other.shutdown(socket.SHUT_WR)
    except OSError:
        return


@pytest.fixture
def remote(mlflow_server: Server, remote_store: mlflow_store.Store, logged: Path, tmp_path: Path) -> Shelf:
    """A name of its own on the server, with two versions; the first is champion, the second its fallback."""
    shelf = Shelf(remote_store, tmp_path, logged, name=f"remote-{tmp_path.name}"[:60].replace("_", "-"))
    key = signing.create_key(tmp_path / "keys")
    client = remote_store.client
    run = client.create_run(client.create_experiment(shelf.name))
    for number, intercept in enumerate((-0.25, -0.5)):
        path = variant(logged, tmp_path / f"v{number}", intercept, shelf.name)
        home = f"{run.info.artifact_uri}/{number}"  # copied, not uploaded: 50 files take seconds
        shutil.copytree(path, mlflow_server.folder / "artifacts" / home.removeprefix("mlflow-artifacts:/"))
        shelf.register(
            path, home, run.info.run_id, signature=signing.sign(path, key.private), signing_key=key.fingerprint
        )
    shelf.point(champion="1", fallback="2")
    return shelf


@pytest.fixture
def line(mlflow_server: Server) -> Iterator[Line]:
    """A line to the server, cut at the end."""
    made = Line(mlflow_server)
    yield made
    made.cut()


def test_the_last_good_version_serves_while_the_registry_is_away(
    remote: Shelf, line: Line, bars: pd.DataFrame, tmp_path: Path
) -> None:
    events: list[Event] = []
    given: dict[str, Any] = {"tracking_uri": line.uri, "refresh_seconds": 0, "on_event": events.append}
    given["trusted_keys"] = tmp_path / "keys" / "trusted"
    champion = Champion(remote.name, **given)
    before = champion.predict(bars)
    assert champion.state.signed
    line.cut()
    assert champion.refresh().version == "1"
    assert "nobody answers there" in champion.state.degraded
    assert champion.refresh().version == "1"
    assert [event.kind for event in events] == ["loaded", "registry away"], "it is said once"
    with Champion(remote.name, **given) as restarted:
        assert restarted.predict(bars).equals(before)
        assert restarted.state.signed
        assert "nobody answers there" in restarted.state.degraded
        assert "the last good version on this disk" in events[-2].message
        with pytest.raises(RegistryAwayError):
            Champion(remote.name, **given | {"cache": tmp_path / "empty"})
        line.mend()
        remote.point(champion="2", fallback="1")
        assert restarted.refresh().version == "2"
        assert restarted.state.degraded == ""
        assert "registry back" in [event.kind for event in events]
    champion.close()


def test_a_damaged_last_good_version_is_not_served(
    remote: Shelf, line: Line, bars: pd.DataFrame, tmp_path: Path
) -> None:
    given: dict[str, Any] = {"tracking_uri": line.uri, "refresh_seconds": 0}
    Champion(remote.name, **given).close()
    line.cut()
    for hit in (tmp_path / "cache").rglob("model.json"):
        hit.write_text(hit.read_text().replace("linear", "Linear"))
    with pytest.raises(RegistryError, match=r"and the last good version.*was altered or damaged"):
        Champion(remote.name, **given)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the built wheel and its needs at this project's locked versions, nothing else."""
    folder = tmp_path_factory.mktemp("consumer")
    built = build(folder)
    uv = shutil.which("uv", path=str(Path(sys.executable).parent)) or "uv"
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder / "env")], check=True)
    pins = [f"{name}=={importlib.metadata.version(name)}" for name in NEEDED]
    install = [uv, "pip", "install", "--quiet", "--link-mode", "hardlink", "--python", str(folder / "env/bin/python")]
    done = subprocess.run([*install, str(built), *pins], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder / "env"


def build(folder: Path) -> Path:
    """The wheel, built from the checkout."""
    command = [sys.executable, "-m", "deployments.client", str(folder)]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=True)
    return Path(done.stdout.strip())


def test_a_stranger_with_the_wheel_pulls_over_http_and_predicts(
    remote: Shelf, mlflow_server: Server, environment: Path, bars: pd.DataFrame, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    home = tmp_path / "stranger"
    home.mkdir()
    (home / "tasks.py").write_text("MINE = True\n")
    told = bars.assign(time=bars["time"].dt.strftime("%Y-%m-%d"))
    (home / "bars.json").write_text(json.dumps(told.to_dict(orient="split")))
    told.to_csv(home / "bars.csv", index=False)
    (home / "main.py").write_text(STRANGER)
    python = [str(environment / "bin" / "python"), "-W", "ignore", "main.py"]
    answer = json.loads(run(home, [*python, mlflow_server.uri, remote.name, "bars.json"]).splitlines()[-1])
    with Champion(remote.name, tracking_uri=mlflow_server.uri, refresh_seconds=0) as champion:
        expected = champion.predict(told)["prediction"].iloc[0]
    assert answer["prediction"] == pytest.approx(expected, rel=1e-12)
    assert (answer["version"], answer["role"], answer["mine"], answer["logged"]) == ("1", "champion", True, 1)
    assert answer["found"] == []
    client = [str(environment / "bin" / "nocturne-client")]
    where = ["--registry", mlflow_server.uri, "--json"]
    pulled = json.loads(run(home, [*client, "pull", remote.name, *where, "--to", "offline"]))
    assert (pulled["version"], pulled["alias"]) == ("1", "champion")
    predict = [*client, "predict", remote.name, "--bars", "bars.csv", "--registry", "./offline", "--json"]
    said = json.loads(run(home, predict))["predictions"]
    assert said[0]["prediction"] == pytest.approx(expected, rel=1e-12)
    with capsys.disabled():
        print(f"\na stranger's first prediction over HTTP: {answer['seconds']:.1f} s after the start of Python")


def run(home: Path, command: list[str]) -> str:
    """The command's standard output, in the stranger's own folder and environment."""
    environment = {"PATH": os.environ["PATH"], "HOME": str(home), "MLFLOW_DISABLE_TELEMETRY": "true"}
    done = subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_same_checkout_gives_the_same_wheel(tmp_path: Path) -> None:
    first, second = build(tmp_path / "one"), build(tmp_path / "two")
    assert first.read_bytes() == second.read_bytes()
    assert first.name == second.name
    with zipfile.ZipFile(first) as wheel:
        metadata = next(wheel.read(name).decode() for name in wheel.namelist() if name.endswith("METADATA"))
    needs = [line for line in metadata.splitlines() if line.startswith("Requires-Dist: mlflow")]
    assert [line.partition(" ; ")[2] for line in needs] == ["extra == 'registry'"], "a pulled folder needs no MLflow"
