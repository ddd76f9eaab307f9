"""A night run as a user runs it: the command in a process of its own, in a state folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

PROJECT = Path(__file__).resolve().parents[2]
Nocturne = Callable[..., "subprocess.CompletedProcess[str]"]
QUICK = ("--set", "engines=[baseline, linear]")


def nocturne(home: Path, *arguments: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run the command line with its state below ``home``."""
    environment = {**os.environ, "NOCTURNE_HOME": str(home), "COLUMNS": "80"}
    environment.pop("PREFECT_API_URL", None)
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=PROJECT, env=environment, capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def document(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """What ``--json`` printed; the whole of standard output must be one document."""
    assert done.returncode == 0, done.stderr[-3000:]
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


@pytest.fixture(scope="session")
def quick_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The state folder of the quick night, shared by the tests that look at it afterwards."""
    return tmp_path_factory.mktemp("quick-night")


@pytest.fixture(scope="session")
def quick_night(quick_home: Path) -> dict[str, Any]:
    """A whole night on the S&P 500 with the engines that need no seconds: baselines and linear models."""
    return document(nocturne(quick_home, "run", "sp500-volatility", *QUICK, "--json"))
