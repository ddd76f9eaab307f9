"""A PostgreSQL server of the tests' own: on loopback, a free port, with a password, gone with the session."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pg8000.native

PASSWORD = "p@ss:w/rd"
_SPEEDY = ("-c", "shared_buffers=16MB", "-c", "max_connections=40", "-c", "fsync=off", "-c", "full_page_writes=off")
_names = count()


@dataclass(frozen=True)
class Server:
    """Where it listens."""

    port: int

    def new_database(self) -> str:
        """The URL of an empty database."""
        name = f"ledger_{next(_names)}"
        connection = pg8000.native.Connection("nocturne", host="127.0.0.1", port=self.port, password=PASSWORD)
        connection.run(f"CREATE DATABASE {name}")
        connection.close()
        return f"postgresql://nocturne:{PASSWORD.replace('@', '%40').replace('/', '%2F')}@127.0.0.1:{self.port}/{name}"


@contextmanager
def server() -> Iterator[Server]:
    """A running server in a folder that is removed afterwards; initdb refuses root, who becomes ``postgres``."""
    initdb = shutil.which("initdb") or next(str(p) for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")))
    folder = Path(tempfile.mkdtemp(prefix="nocturne-postgres-"))
    folder.chmod(0o755)
    (data := folder / "data").mkdir()
    (secret := folder / "secret").write_text(PASSWORD)
    as_user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if as_user:
        shutil.chown(data, "postgres")
        shutil.chown(secret, "postgres")
    made = [initdb, "-D", str(data), "-U", "nocturne", "-A", "scram-sha-256", f"--pwfile={secret}", "-E", "UTF8"]
    try:
        subprocess.run([*as_user, *made, "--no-sync", "--locale=C"], check=True, capture_output=True, cwd=folder)
        port = _free_port()
        where = ["-D", str(data), "-p", str(port), "-c", "listen_addresses=127.0.0.1", "-k", str(data)]
        command = [*as_user, str(Path(initdb).with_name("postgres")), *where, *_SPEEDY]
        with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL):
            try:
                _await(port)
                _make_home(port)
                yield Server(port)
            finally:
                os.kill(int((data / "postmaster.pid").read_text().split()[0]), signal.SIGQUIT)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int, seconds: float = 30) -> None:
    until = time.monotonic() + seconds
    while True:
        try:
            _connect(port).close()
        except (pg8000.native.InterfaceError, pg8000.native.DatabaseError):
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
        else:
            return


def _make_home(port: int) -> None:
    connection = _connect(port)
    connection.run("CREATE DATABASE nocturne")
    connection.close()


def _connect(port: int) -> pg8000.native.Connection:
    return pg8000.native.Connection(
        "nocturne", host="127.0.0.1", port=port, password=PASSWORD, database="postgres", timeout=10
    )
