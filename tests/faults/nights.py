"""The test's side of ``killed_nights``: ask for nights, and look whether anything of theirs is left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil

from tasks.storage import PROJECT
from tests.flows.servers import prefect_server

NAME = "sp500-volatility"
VALUES = {"name": NAME, "source": "builtin:sp500", "target": "volatility"}


class Nights:
    """The process that forks nights, under a Prefect server at ``api``."""

    def __init__(self, process: subprocess.Popen[str], api: str, log: Path) -> None:
        self.process, self.api, self._log = process, api, log

    def one(self, home: Path, **asked: Any) -> dict[str, Any]:
        """What came of a night in this state folder, and what was said last."""
        return self.at_once({"home": str(home), **asked})[0]

    def at_once(self, *batch: dict[str, Any]) -> list[dict[str, Any]]:
        """The same of several that begin at once."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps([{"values": VALUES, **asked} for asked in batch]) + "\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        said = self._log.read_text(errors="replace")[-3000:]
        assert line, said
        answers: list[dict[str, Any]] = json.loads(line)
        return [answer | {"said": said} for answer in answers]


@contextmanager
def nights_under_a_server(folder: Path) -> Iterator[Nights]:
    """A Prefect server, and under it the process that forks nights."""
    with prefect_server(folder) as api, nights_under(api, folder) as nights:
        yield nights


@contextmanager
def nights_under(api: str, folder: Path) -> Iterator[Nights]:
    """The process that forks nights, under a server that is there."""
    environment = {**os.environ, "NOCTURNE_HOME": str(folder), "PREFECT_API_URL": api}
    environment.pop("NOCTURNE_LEDGER_URL", None)
    command = [sys.executable, "-m", "tests.faults.killed_nights"]
    log = folder / "nights.log"
    with (
        log.open("w") as said,
        subprocess.Popen(command, cwd=PROJECT, env=environment, stdin=-1, stdout=-1, stderr=said, text=True) as process,
    ):
        try:
            yield Nights(process, api, log)
        finally:
            process.terminate()


def left(home: Path, seconds: float = 10.0) -> list[str]:
    """Commands of this state folder's processes that are still there after so long."""
    until = time.monotonic() + seconds
    while found := _processes(home):
        if time.monotonic() > until:
            return found
        time.sleep(0.1)
    return []


def _processes(home: Path) -> list[str]:
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("NOCTURNE_HOME") == str(home) and process.status() != "zombie":
                found.append(" ".join(process.cmdline()))
        except (psutil.Error, OSError):  # it ended, or is another user's
            continue
    return found
