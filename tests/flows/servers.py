"""A Prefect server of the tests' own: on loopback, a free port, gone when the block ends."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

_tables: Path | None = None
"""Where Prefect's tables of this run of tests lie, once they are made (``tables_in``)."""


def tables_in(folder: Path) -> None:
    """Where the tables are to be made that all servers of this run of tests begin with."""
    global _tables  # noqa: PLW0603 - one for the whole run, and processes are started far from any fixture
    _tables = folder / "prefect-tables.db"


def with_tables(home: Path) -> None:
    """Put Prefect's empty tables into its folder if there are none: to make them takes five seconds in every folder."""
    home.mkdir(parents=True, exist_ok=True)
    if _tables is None or (home / "prefect.db").exists():
        return
    if not _tables.is_file():
        making = _tables.with_name(f"prefect-tables-{os.getpid()}")
        environment = {**os.environ, "PREFECT_HOME": str(making)}
        command = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
        subprocess.run(command, env=environment, check=True, capture_output=True, timeout=300)
        assert not (making / "prefect.db-wal").exists()
        (making / "prefect.db").rename(_tables)
    shutil.copyfile(_tables, home / "prefect.db")


@contextmanager
def prefect_server(home: Path, **settings: str) -> Iterator[str]:
    """The API address of a server whose database lies in ``home``."""
    with_tables(home)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {**os.environ, "PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", **settings}
    environment["PREFECT_SERVER_UI_API_URL"] = f"http://127.0.0.1:{port}/api"
    environment.pop("PREFECT_API_URL", None)
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
