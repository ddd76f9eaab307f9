"""Predictions over HTTP: a token, errors in words with the status that fits, hot reload, an orderly end."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.errors import ConfigurationError
from tasks.registry.client import server as server_module
from tasks.registry.client.pulling import pull
from tasks.registry.client.server import HOST, Server
from tasks.registry.client.service import Champion
from tests.registry.client.conftest import FAILS, Shelf, other_code, settings
from tests.registry.conftest import NAME

TOKEN = "a-token"


@pytest.fixture
def served(shelf: Shelf) -> Iterator[Server]:
    """A server whose champion has no fallback and fails for bars of volume 12,345."""
    shelf.point(champion=shelf.put(edit=other_code(FAILS, "nocturne_model_0123456789d0")))
    with Champion(NAME, **settings(shelf)) as champion:
        server = Server(champion, 0, TOKEN)
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server
        server.stop()
        thread.join(10)
        server.server_close()


def ask(
    server: Server, path: str, document: Any = None, token: str | None = TOKEN, data: bytes | None = None
) -> tuple[int, Any]:
    """Status and document of one request: GET without a body, POST with one."""
    body = data if data is not None else None if document is None else json.dumps(document).encode()
    request = urllib.request.Request(server.url + path, data=body)
    if token is not None:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def records(bars: pd.DataFrame) -> list[dict[str, Any]]:
    """Bars as a client in another language would send them."""
    return list(json.loads(bars.assign(time=bars["time"].map(pd.Timestamp.isoformat)).to_json(orient="records")))


def test_records_and_columns_give_the_champions_prediction(served: Server, bars: pd.DataFrame) -> None:
    rows = records(bars)
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    expected = served.champion.predict(bars)["prediction"].iloc[0]
    for given in (rows, columns):
        status, said = ask(served, "/predict", {"bars": given, "key": "customer-1"})
        assert (status, said["version"], said["role"]) == (200, "1", "champion")
        assert said["predictions"][0]["prediction"] == pytest.approx(expected, rel=1e-9)
    assert len(ask(served, "/predict", {"bars": rows, "rows": "all"})[1]["predictions"]) > 100


@pytest.mark.parametrize(
    ("document", "status", "words"),
    [
        ({"bars": []}, 422, "list of records"),
        ({"bars": 3}, 422, "list of records"),
        ({"bars": {"time": ["2020-01-01"], "open": []}}, 422, "same length"),
        ({"bars": [{"time": "2020-01-01", "open": 1, "volume": 1}]}, 422, "high"),
        ({"bars": [{"time": "2020-01-01"}], "colour": "red"}, 422, "takes no option colour"),
        ({"bars": [{"time": "2020-01-01", "open": 10**400}]}, 422, "too large"),
        ({"key": "x"}, 400, "the body is"),
        ([1], 400, "the body is"),
    ],
)
def test_what_cannot_be_predicted_from_is_said(served: Server, document: Any, status: int, words: str) -> None:
    import re  # noqa: PLC0415

    found, said = ask(served, "/predict", document)
    assert found == status
    assert re.search(words, said["error"]["message"])


def test_other_requests_are_refused_with_their_status(served: Server) -> None:
    assert ask(served, "/predict", data=b"{")[0] == 400
    assert ask(served, "/predict")[0] == 405
    assert ask(served, "/version", {})[0] == 405
    assert ask(served, "/nothing")[0] == 404
    assert ask(served, "/../../etc/passwd")[0] == 404


@pytest.mark.parametrize("token", [None, "", "a-toke", "a-token-", "ä"])
def test_without_the_token_nothing_is_said_but_that_it_lives(served: Server, token: str | None) -> None:
    if token == "ä":
        token = "%C3%A4"
    for path, document in (("/predict", {"bars": []}), ("/version", None)):
        assert ask(served, path, document, token)[0] == 401
    assert ask(served, "/health", None, token) == (200, {"status": "ok"})


def test_bodies_too_large_or_without_a_length_are_not_read(served: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "LARGEST", 100)
    assert ask(served, "/predict", {"bars": "x" * 200})[0] == 413
    head = f"POST /predict HTTP/1.1\r\nHost: {HOST}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
    with socket.create_connection((HOST, served.server_port), timeout=10) as connection:
        connection.sendall(head.encode())
        assert b" 411 " in connection.recv(1000)


def test_a_model_that_fails_is_a_503_and_the_next_request_is_answered(served: Server, bars: pd.DataFrame) -> None:
    status, said = ask(served, "/predict", {"bars": records(bars.assign(volume=12_345.0))})
    assert (status, said["error"]["type"]) == (503, "RegistryError")
    assert "a defect" in said["error"]["message"]
    assert ask(served, "/predict", {"bars": records(bars)})[0] == 200


def test_the_version_follows_the_alias(served: Server, shelf: Shelf, bars: pd.DataFrame) -> None:
    shelf.point(champion=shelf.put(-0.5))
    served.champion.refresh()
    assert ask(served, "/version")[1]["version"] == "2"
    shelf.point(champion=shelf.put(model_sha256="0" * 64))
    served.champion.refresh()
    assert ask(served, "/health") == (200, {"status": "degraded"})
    assert "altered" in ask(served, "/version")[1]["degraded"]


def test_it_listens_on_the_loopback_alone_and_needs_a_token_and_a_free_port(served: Server) -> None:
    assert served.server_address[0] == "127.0.0.1"
    with pytest.raises(ConfigurationError, match="token is empty"):
        Server(served.champion, 0, "")
    with pytest.raises(ConfigurationError, match="cannot be had"):
        Server(served.champion, served.server_port, TOKEN)


def test_the_command_serves_until_it_is_told_to_stop_and_keeps_its_log(
    shelf: Shelf, bars: pd.DataFrame, tmp_path: Path
) -> None:
    shelf.point(champion=shelf.put())
    folder = pull(NAME, tracking_uri=shelf.store.tracking_uri, to=tmp_path / "out").folder
    command = [sys.executable, "-W", "ignore", "-m", "tasks.registry.client.cli", "serve", NAME]
    process = subprocess.Popen(
        [*command, "--registry", str(folder), "--port", "0", "--log", str(tmp_path / "log")],
        stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    assert process.stderr is not None
    lines: list[str] = []
    while not any(line.startswith("token") for line in lines):
        lines.append(process.stderr.readline())
        assert lines[-1], f"it ended: {lines}"
    url = next(line for line in lines if " on http" in line).split()[-1]
    assert any("version 1 (champion) on" in line for line in lines)
    with socket.create_connection((HOST, int(url.rpartition(":")[2]))):  # an idle client keeps nobody waiting
        server: Any = type("At", (), {"url": url})
        status, _ = ask(server, "/predict", {"bars": records(bars)}, lines[-1].split()[-1])
        assert status == 200
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    assert time.monotonic() - begun < 10
    process.stderr.close()
    assert len(list((tmp_path / "log").glob("part-*"))) == 1
