"""Several problems, and symbols, side by side on a Dask cluster of two worker processes: what it decides is what one
process decides; what it opens is for nobody else.
"""

from __future__ import annotations

import json
import os
import socket
from typing import Any

import psutil
import pytest

from flows import dask_cluster, fleet
from tasks.errors import ConfigurationError
from tasks.problem import Problem, build
from tests.flows.conftest import nights_in_one_process, nocturne
from tests.flows.test_other_nights import two_indices

SYMBOLS = ("SP500", "NASDAQ")


def problem(**values: Any) -> Problem:
    return build({"name": "indices", "source": "builtin:sp500", "target": "volatility", **values}, "demo", {}, "test")


def test_by_symbol_each_becomes_a_problem_of_its_own() -> None:
    found = fleet.split(problem(symbols=("BRK.B", "SPY")))
    assert [part.name for part in found] == ["indices-brk-b", "indices-spy"]
    assert [part.symbols for part in found] == [("BRK.B",), ("SPY",)]
    assert found[0].model_copy(update={"name": "", "symbols": ()}) == problem(name="indices").model_copy(
        update={"name": ""}
    )


def test_by_symbol_asks_for_symbols() -> None:
    with pytest.raises(ConfigurationError, match="indices: by symbol needs the symbols named"):
        fleet.split(problem())


def test_two_problems_of_one_name_are_refused() -> None:
    with pytest.raises(ConfigurationError, match="several problems are called indices-brk-b"):
        fleet.chosen([problem(symbols=("BRK.B", "BRK-B"))], by_symbol=True)


def test_a_problem_that_cannot_be_run_is_refused_before_any_is() -> None:
    with pytest.raises(ConfigurationError, match="calendar"):
        fleet.chosen([problem(), problem(name="other", calendar="XMARS")], by_symbol=False)


@pytest.mark.parametrize("address", ["tls://cluster.example:8786", "tcp://127.0.0.1:8786", "tcp://[::1]:8786"])
def test_a_cluster_is_reached_with_certificates_or_on_the_loopback(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOCTURNE_DASK", address)
    with dask_cluster.cluster() as found:
        assert found == address


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("tcp://10.0.0.5:8786", "without TLS runs code on its workers"),
        ("tcp://scheduler.example:8786", "without TLS runs code on its workers"),
        ("http://127.0.0.1:8787", "must be tls://host:port"),
        ("tls://host", "must be tls://host:port"),
        ("tls://host:port", "must be tls://host:port"),
    ],
)
def test_any_other_address_is_refused(address: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTURNE_DASK", address)
    with pytest.raises(ConfigurationError, match=said):
        dask_cluster.address()


@pytest.mark.parametrize("count", ["0", "65", "many", "-1"])
def test_a_number_of_workers_that_cannot_be_is_refused(count: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTURNE_DASK_WORKERS", count)
    with pytest.raises(ConfigurationError, match="NOCTURNE_DASK_WORKERS must be a number from 1 to 64"):
        dask_cluster.workers()


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """A problem over two symbols: a fleet's rows on two worker processes, and one's night in a process of its own."""
    folder = tmp_path_factory.mktemp("fleet")
    panel = two_indices(folder / "indices.csv")
    changes = {"source": str(panel), "symbols": list(SYMBOLS), "as_of": "2009-12-31", "engines": ["baseline"]}
    options = [text for field, value in changes.items() for text in ("--set", f"{field}={json.dumps(value)}")]
    done = nocturne(folder / "apart", "fleet", "sp500-volatility", "--by-symbol", "--json", *options)
    assert done.returncode == 0, done.stderr[-3000:] + done.stdout[-2000:]
    second = {**changes, "name": "sp500-volatility-nasdaq", "symbols": ["NASDAQ"], "target": "volatility"}
    (alone,) = nights_in_one_process(folder, [second])
    return json.loads(done.stdout)["nights"], alone


@pytest.mark.slow
def test_what_a_worker_decides_is_what_a_process_alone_decides(
    nights: tuple[list[dict[str, Any]], dict[str, Any]],
) -> None:
    rows, alone = nights
    assert [row["error"] for row in rows] == [""] * 2
    assert [row["problem"] for row in rows] == ["sp500-volatility-sp500", "sp500-volatility-nasdaq"]
    assert rows[1]["problem"] == alone["problem"]
    assert rows[1]["leaderboard"] == alone["leaderboard_sha256"] != rows[0]["leaderboard"]
    assert rows[1]["outcome"] == alone["decision"]["outcome"]
    assert len({row["worker"] for row in rows}) == 2


@pytest.mark.slow
def test_the_local_cluster_listens_on_the_loopback_and_tells_strangers_nothing() -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}
    mine = _ports(psutil.Process())
    with dask_cluster.cluster() as found:
        assert found.scheduler_address.startswith("tls://127.0.0.1:")
        started = [each for each in psutil.Process().children(recursive=True) if each.pid not in before]
        listening = {port for each in started for port in _ports(each)} | (_ports(psutil.Process()) - mine)
        assert len(listening) >= 4, "a scheduler and two workers, each with a port for pages that it has not"
        assert {host for host, _ in listening} == {"127.0.0.1"}
        for _, port in listening:
            said = _answer(port)
            assert said.startswith(b"HTTP/1.1 404") or b"HTTP" not in said, said
            assert str(os.getpid()).encode() not in said


def _ports(process: psutil.Process) -> set[tuple[str, int]]:
    found = process.net_connections(kind="tcp")
    return {(each.laddr.ip, each.laddr.port) for each in found if each.status == psutil.CONN_LISTEN}


def _answer(port: int) -> bytes:
    """What a stranger hears who asks for the page of a scheduler, without a certificate."""
    with socket.create_connection(("127.0.0.1", port), timeout=5) as stranger:
        stranger.sendall(b"GET /info/main/workers.html HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n")
        try:
            return stranger.recv(4096)
        except (ConnectionError, TimeoutError):
            return b""
