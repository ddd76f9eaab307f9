"""A night run as a user runs it: the command in a process of its own, in a state folder of its own."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.flows.servers import prefect_server, with_tables

PROJECT = Path(__file__).resolve().parents[2]
Nocturne = Callable[..., "subprocess.CompletedProcess[str]"]
QUICK = ("--set", "engines=[baseline, linear]")
SERVED = ("run", "fleet", "backfill", "monitor", "pretrain")
"""Commands that start a Prefect server of their own."""


def nocturne(home: Path, *arguments: str, timeout: float = 600, bare: bool = False) -> subprocess.CompletedProcess[str]:
    """Run the command line with its state below ``home``. bare: Prefect makes its own tables, as on a new machine."""
    if not bare and arguments[0] in SERVED and not (home / "services").exists():  # else there is a server
        with_tables(home / "prefect")
    environment = {**os.environ, "NOCTURNE_HOME": str(home), "COLUMNS": "80"}
    environment.pop("PREFECT_API_URL", None)
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def nights_in_one_process(folder: Path, problems: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The documents of several problems' nights, one after the other in one process, their state below ``folder``."""
    (folder / "problems.json").write_text(json.dumps(problems))
    with_tables(folder / "home" / "prefect")
    environment = {**os.environ, "NOCTURNE_HOME": str(folder / "home")}
    environment.pop("PREFECT_API_URL", None)
    done = subprocess.run(
        [sys.executable, "-m", "tests.flows.run_nights", str(folder / "problems.json"), str(folder / "out.json")],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=1800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads((folder / "out.json").read_text())
    return found


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What ``--json`` printed; the whole of standard output must be one document."""
    assert done.returncode == 0, done.stderr[-3000:]
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def played(story: str, folder: Path, timeout: float) -> dict[str, Any]:
    """What ``python -m tests.flows.<story>`` leaves: many nights in one process, with one server and a state folder."""
    with_tables(folder / "home" / "prefect")
    environment = {**os.environ, "NOCTURNE_HOME": str(folder / "home")}
    environment.pop("PREFECT_API_URL", None)
    done = subprocess.run(
        [sys.executable, "-m", f"tests.flows.{story}", str(folder), str(folder / "out.json")],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    parsed: dict[str, Any] = json.loads((folder / "out.json").read_text())
    return parsed


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The API address of a Prefect server on loopback, with its UI."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as address:
        yield address


@pytest.fixture(scope="session")
def quick_home(whole_run: Path) -> Path:
    """The state folder of the quick night, shared by the tests that look at it afterwards."""
    return whole_run / "quick-night"


@pytest.fixture(scope="session")
def quick_night(quick_home: Path) -> dict[str, Any]:
    """A whole night on the S&P 500 with the engines that need no seconds: baselines and linear models.

    One for all processes of this run of tests. Only ``test_quick_night.py`` may change its state folder.
    """
    told = quick_home.with_suffix(".json")
    with quick_home.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not told.is_file():
            found = document(nocturne(quick_home, "run", "sp500-volatility", *QUICK, "--json", bare=True))
            told.write_text(json.dumps(found))
    night: dict[str, Any] = json.loads(told.read_text())
    return night
