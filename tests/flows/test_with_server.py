"""A night under a Prefect server that was there before: named and tagged runs, artifacts, pages in a browser."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.flows.conftest import PROJECT, QUICK

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API address of a Prefect server on loopback, with its UI."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = tmp_path_factory.mktemp("prefect")
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    environment |= {"PREFECT_SERVER_UI_API_URL": f"http://127.0.0.1:{port}/api"}
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (
        (home / "server.log").open("wb") as log,
        subprocess.Popen(command, env=environment, stdout=log, stderr=log) as server,
    ):
        try:
            _wait_until_healthy(f"http://127.0.0.1:{port}/api/health", server)
            yield f"http://127.0.0.1:{port}/api"
        finally:
            server.terminate()
            server.wait(timeout=60)


def _wait_until_healthy(url: str, server: subprocess.Popen[bytes]) -> None:
    for _ in range(240):
        assert server.poll() is None, "the server ended"
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.5)
    pytest.fail("the server did not come up in two minutes")


@pytest.fixture(scope="module")
def flow_run(api: str, quick_home: Path, quick_night: dict[str, Any]) -> dict[str, Any]:
    """The flow run of a night under that server; its stages are those of the quick night, reused."""
    environment = {**os.environ, "NOCTURNE_HOME": str(quick_home), "PREFECT_API_URL": api}
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "run", "sp500-volatility", *QUICK, "--again"],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    runs = httpx.post(f"{api}/flow_runs/filter", json={}, timeout=30).json()
    assert len(runs) == 1
    found: dict[str, Any] = runs[0]
    return found


def test_the_run_is_named_tagged_and_completed(flow_run: dict[str, Any]) -> None:
    assert flow_run["name"] == "sp500-volatility"
    assert {"sp500-volatility", "volatility"} <= set(flow_run["tags"])
    assert flow_run["state_type"] == "COMPLETED"
    assert flow_run["parameters"]["problem"]["name"] == "sp500-volatility"


def test_every_stage_is_a_task_run(api: str, flow_run: dict[str, Any]) -> None:
    wanted = {"ingest", "rows", "search-baseline", "search-linear", "leaderboard", "gate", "register", "report"}
    question = {"task_runs": {"flow_run_id": {"any_": [flow_run["id"]]}}}
    names: set[str] = set()
    for _ in range(40):
        names = {run["name"].rsplit("-", 1)[0] for run in httpx.post(f"{api}/task_runs/filter", json=question).json()}
        names |= {run["name"] for run in httpx.post(f"{api}/task_runs/filter", json=question).json()}
        if wanted <= names:
            return
        time.sleep(0.5)
    pytest.fail(f"missing {wanted - names} among {sorted(names)}")


def test_leaderboard_decision_and_links_are_artifacts(api: str, flow_run: dict[str, Any]) -> None:
    artifacts = httpx.post(f"{api}/artifacts/filter", json={}, timeout=30).json()
    by_key = {artifact["key"]: artifact for artifact in artifacts}
    assert {"sp500-volatility-leaderboard", "sp500-volatility-decision", "sp500-volatility-report"} <= set(by_key)
    assert "lhar" in by_key["sp500-volatility-leaderboard"]["data"]
    assert by_key["sp500-volatility-decision"]["type"] == "markdown"


@pytest.mark.needs_browser
def test_the_run_can_be_looked_at_in_a_browser(api: str, flow_run: dict[str, Any], tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    assert browser is not None
    page = f"{api.removesuffix('/api')}/runs/flow-run/{flow_run['id']}"
    picture = tmp_path / "run.png"
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    flags += f" --disable-component-update --disable-sync --user-data-dir={tmp_path / 'user'} --window-size=1280,1000"
    done = subprocess.run(
        [browser, *flags.split(), "--virtual-time-budget=15000", f"--screenshot={picture}", "--dump-dom", page],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-1000:]
    assert "sp500-volatility" in done.stdout
    assert picture.stat().st_size > 20_000
