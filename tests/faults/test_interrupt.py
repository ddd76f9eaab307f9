"""Control-C in the middle of a night: it ends at once, leaves no process, and what was finished is reused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

PROJECT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


def test_control_c_ends_a_night_at_once_and_leaves_nothing_running(tmp_path: Path) -> None:
    """A terminal sends Control-C to the whole group; the engines live in sessions of their own and die all the same."""
    environment = {**os.environ, "NOCTURNE_HOME": str(tmp_path / "home")}
    environment.pop("PREFECT_API_URL", None)
    said = tmp_path / "stderr"
    command = [sys.executable, "-m", "flows.cli", "run", "sp500-volatility", "--set", "engines=[baseline, linear]"]
    with (
        said.open("wb") as stderr,
        subprocess.Popen(
            command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=stderr, start_new_session=True
        ) as night,
    ):
        _wait_for(said, "search: started", night)
        started = psutil.Process(night.pid).children(recursive=True)
        assert started
        begun = time.monotonic()
        os.killpg(night.pid, signal.SIGINT)
        assert night.wait(timeout=30) == 130
        assert time.monotonic() - begun < 10
    gone, alive = psutil.wait_procs(started, timeout=10)
    assert alive == []
    assert len(gone) == len(started)
    assert "interrupted: no champion was changed" in said.read_text()
    assert list((tmp_path / "home" / "stages" / "features").glob("[0-9a-f]*/manifest.json"))


def _wait_for(file: Path, text: str, night: subprocess.Popen[bytes]) -> None:
    for _ in range(600):
        if text in file.read_text():
            return
        assert night.poll() is None, file.read_text()
        time.sleep(0.2)
    pytest.fail(f"'{text}' was not said in two minutes")
