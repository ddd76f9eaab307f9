"""What looks for open sockets and spilled secrets finds those that are there."""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.services import processes
from tests.security import spilled
from tests.security.listeners import KINDS, Listener, Witness, complaints

SERVER = """
import http.server, sys
server = http.server.ThreadingHTTPServer((sys.argv[1], 0), http.server.SimpleHTTPRequestHandler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""


@contextlib.contextmanager
def open_to_all(folder: Path, host: str = "127.0.0.1") -> Iterator[int]:
    """The port of a server of ours that asks for no password."""
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, processes.MARK: processes.mark("worker", folder)}
    command = [sys.executable, "-c", SERVER, host]
    with subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as server:
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.kill()


def test_a_socket_that_nobody_knows_is_a_finding(tmp_path: Path) -> None:
    with open_to_all(tmp_path / "ours") as port, open_to_all(tmp_path / "others"):
        witness = Witness(tmp_path / "ours", {})
        witness.start()
        while not witness.commands and not witness.failures:
            time.sleep(0.1)
        (found,) = witness.stop()
    assert (found.listener.kind, found.listener.port) == ("", port)
    assert found.complaints == ("nobody knows whose it is",)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_server_that_asks_for_no_password_is_a_finding(kind: str, tmp_path: Path) -> None:
    with open_to_all(tmp_path) as port:
        told = [*complaints(Listener(kind, "localhost", port, ""))]
    assert any(re.search(r"with no password: \d+|answered b'HTTP", each) for each in told)
    assert "listens on localhost" in told


def test_a_server_that_never_answers_was_not_tried(tmp_path: Path) -> None:
    with open_to_all(tmp_path) as port:
        pass
    assert [*complaints(Listener("h2o", "127.0.0.1", port, ""))] == ["refused nothing: it never answered"]


def test_a_secret_is_found_in_a_file_in_an_address_and_in_pieces(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "one").write_text("ge/heim")
    (tmp_path / "log").write_text("asked http://x?key=ge%2Fheim")
    with contextlib.closing(sqlite3.connect(tmp_path / "database")) as database:
        database.execute("CREATE TABLE parameters (text TEXT)")
        database.execute("INSERT INTO parameters VALUES (?)", ("x" * 4000 + "ge/heim" * 3000,))
        database.commit()
    found = [*spilled.in_files(tmp_path, {"one": "ge/heim"}, tmp_path / "secrets")]
    assert f"one, quoted: {tmp_path}/log" in found
    assert f"one: {tmp_path}/database, parameters" in found
    assert not [each for each in found if "secrets" in each]
    assert [*spilled.in_words(["java -jar ge/heim", "java"], {"one": "ge/heim"})] == ["one: java -jar ge/heim"]
