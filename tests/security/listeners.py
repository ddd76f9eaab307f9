"""Every listening socket of a run: whose it is, what it may give to somebody without a password, and what it gave.

A ``Witness`` looks at the whole machine several times a second while services and nights run, and tries each socket of
theirs the moment it appears: some live for seconds. What may be given out without a password is in ``OPEN``; all else
must be refused. A socket that is nobody's in ``KINDS`` is a finding by itself.
"""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from flows.services import processes

SECONDS = 60.0
"""For an answer: a busy machine takes its time."""

GONE = -1
"""Instead of a status: a search ends while its server is asked, and the server with it."""

STRANGERS_WORDS = (
    b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
    b"\x16\x03\x01\x00\x2e\x01\x00\x00\x2a\x03\x03" + bytes(32) + b"\x00\x00\x02\x00\x2f\x01\x00",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    b"\x00" * 64,
)
"""HTTP, a TLS greeting, HTTP/2 (gRPC), and zeros."""

OPEN: Mapping[str, str] = {
    "prefect /api/health": "says true: for monitors, and for clients that wait for a start",
    "prefect /api/ready": "says OK: whether the database answers",
    "prefect /ui-settings": "the addresses and switches that the login page needs before anybody has logged in",
    "prefect /openapi.json": "which paths this release of Prefect has; the same for everyone who installs it",
    "prefect /docs": "the same as a page",
    "prefect /": "the files of the UI, the same for everyone who installs it; they ask for the password",
    "mlflow /health": "says OK: for monitors",
    "mlflow /ajax-api/3.0/mlflow/server-info": "which kind of store and which switches: the UI asks before the login",
    "mlflow /api/3.0/mlflow/server-info": "the same for clients",
}
"""HTTP paths that are answered without a password, each with its reason."""

SILENT: Mapping[str, str] = {
    "h2o-internal": "H2O's nodes among themselves; the port above its REST API, which cannot be turned off",
    "runner": "a worker's channel to its own runs, for which each has a token",
}
"""Listeners that are no HTTP servers and know no password: they take no word of a stranger's and say none."""

TRIED: Mapping[str, tuple[str, ...]] = {
    "prefect": (
        "GET /api/admin/settings", "GET /api/version", "GET /api/openapi.json", "GET /api/csrf-token?client=a",
        "POST /api/flow_runs/filter", "POST /api/deployments/filter", "POST /api/logs/filter",
        "POST /api/artifacts/filter", "POST /api/block_documents/filter", "POST /api/variables/filter",
        "POST /api/events/filter", "POST /api/admin/database/clear", "GET /api/work_pools/nocturne",
    ),
    "mlflow": (
        "GET /", "GET /version", "GET /metrics", "GET /signup", "GET /api/2.0/mlflow/experiments/search?max_results=1",
        "POST /api/2.0/mlflow/runs/search", "GET /api/2.0/mlflow/registered-models/search",
        "GET /api/2.0/mlflow-artifacts/artifacts", "GET /api/2.0/mlflow-artifacts/artifacts/1/models",
        "PUT /api/2.0/mlflow-artifacts/artifacts/planted", "GET /get-artifact?path=a&run_uuid=b",
        "GET /model-versions/get-artifact?path=a&name=b&version=1", "POST /v1/traces", "POST /graphql",
        "GET /api/2.0/mlflow/users/get?username=nocturne", "POST /api/2.0/mlflow/users/create",
        "POST /ajax-api/3.0/jobs/search", "GET /gateway/mlflow/v1/models", "GET /ajax-api/3.0/mlflow/assistant/config",
    ),
    "h2o": (
        "GET /", "GET /3/About", "GET /3/Cloud", "GET /3/Frames", "GET /3/Models", "GET /3/Logs/download",
        "GET /3/ImportFiles?path=/etc", "POST /99/Rapids", "POST /3/Shutdown", "GET /flow/index.html",
        "GET /3/Metadata/endpoints", "GET /3/NodePersistentStorage/a",
    ),
}  # fmt: skip
"""What a stranger asks of servers that must refuse all of it; H2O's, which has no description to go by, at length."""

KINDS = (*TRIED, *SILENT)


@dataclass(frozen=True)
class Listener:
    """A socket and whose it is. ``kind`` is empty where nothing here knows it."""

    kind: str
    host: str
    port: int
    process: str


@dataclass(frozen=True)
class Witnessed:
    """A listener, and what a stranger got out of it that he should not have."""

    listener: Listener
    complaints: tuple[str, ...]


@dataclass
class Witness:
    """Looks from ``start`` to ``stop``. ``ports``: of the services that are known, by kind.

    ``commands`` are the command lines of all processes of the machine that were seen meanwhile.
    """

    folder: Path
    ports: Mapping[str, int]
    found: dict[tuple[str, int, int], Witnessed] = field(default_factory=dict)
    commands: set[str] = field(default_factory=set)
    failures: list[BaseException] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        """In a thread of its own."""
        self._thread = threading.Thread(target=self._watch, name="witness", daemon=True)
        self._thread.start()

    def stop(self) -> list[Witnessed]:
        """Everything that was seen. Raises what the looking ended with, if it did."""
        self._over.set()
        if self._thread is not None:
            self._thread.join(60)
        if self.failures:
            raise self.failures[0]
        return list(self.found.values())

    def _watch(self) -> None:
        try:
            while not self._over.wait(0.4):
                self.look()
        except Exception as error:  # noqa: BLE001 - a thread's end is told by stop
            self.failures.append(error)

    def look(self) -> None:
        """Try every socket that is new and ours."""
        for host, port, pid in listening():
            if (host, port, pid) not in self.found and (lineage := self._ours(pid)):
                listener = Listener(self._kind(port, lineage), host, port, " ".join(lineage[0])[:200])
                self.found[host, port, pid] = Witnessed(listener, tuple(complaints(listener)))
        self.commands |= {" ".join(each.info["cmdline"] or ()) for each in psutil.process_iter(["cmdline"])}

    def _ours(self, pid: int) -> list[list[str]]:
        """The command lines of a process and its parents, if it or one of them carries our mark."""
        with contextlib.suppress(psutil.Error):
            line = [psutil.Process(pid), *psutil.Process(pid).parents()]
            for process in line:
                with contextlib.suppress(psutil.Error):
                    if process.environ().get(processes.MARK, "").endswith(f"@{self.folder}"):
                        return [each.cmdline() for each in line]
        return []

    def _kind(self, port: int, lineage: list[list[str]]) -> str:
        known = {number: kind for kind, number in self.ports.items()}
        if port in known:
            return known[port]
        command = lineage[0]
        if any(part.endswith("h2o.jar") for part in command):
            rest = int(command[command.index("-port") + 1])
            return {rest: "h2o", rest + 1: "h2o-internal"}.get(port, "")
        run = {"flow-run", "execute"} <= set(command)  # which has a channel of its own, to what runs the flow
        return "runner" if run or command[1:5] == ["-m", "prefect", "worker", "start"] else ""


def listening() -> set[tuple[str, int, int]]:
    """Address, port and process of every listening or unconnected socket of this machine that may be seen."""
    return {
        (each.laddr.ip, each.laddr.port, each.pid)
        for each in psutil.net_connections("inet")
        if each.pid and each.laddr and (each.status == psutil.CONN_LISTEN or _receives(each))
    }


def _receives(connection: psutil._common.sconn) -> bool:
    """Whether it is a UDP socket that anybody may send to."""
    return bool(connection.type == socket.SOCK_DGRAM and not connection.raddr)


def complaints(listener: Listener) -> Iterable[str]:
    """What is wrong with it: where it listens, who it is, what it gives to a stranger."""
    if listener.host not in ("127.0.0.1", "::1", "::ffff:127.0.0.1"):
        yield f"listens on {listener.host}"
    if listener.kind in TRIED:
        yield from _of_http(listener, TRIED[listener.kind])
    elif listener.kind in SILENT:
        yield from (f"answered {said!r}" for said in map(_answer(listener), STRANGERS_WORDS) if said)
    else:
        yield "nobody knows whose it is"


def _of_http(listener: Listener, tried: tuple[str, ...]) -> Iterable[str]:
    refused = 0
    for request in tried:
        method, _, path = request.partition(" ")
        for told in ({}, {"Authorization": "Basic bm9jdHVybmU6Z3Vlc3M="}):
            status = asked(f"http://{listener.host}:{listener.port}{path}", method, told)[0]
            refused += status in (401, 403)
            if status not in (401, 403, GONE):
                yield f"{request} with {'a guess' if told else 'no password'}: {status}"
    if not refused:
        yield "refused nothing: it never answered"


def asked(url: str, method: str = "GET", headers: Mapping[str, str] | None = None) -> tuple[int, str]:
    """Status and body of an answer; redirects count as answers. GONE and the reason where there was none."""
    body = json.dumps({}).encode() if method in ("POST", "PUT") else None
    request = urllib.request.Request(url, body, {"Content-Type": "application/json", **(headers or {})}, method=method)
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _Stay())
    try:
        with opener.open(request, timeout=SECONDS) as answer:
            return answer.status, answer.read().decode(errors="replace")
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode(errors="replace")
    except OSError as error:
        return GONE, str(error)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        return None


def _answer(listener: Listener) -> Callable[[bytes], bytes]:
    def said(words: bytes) -> bytes:
        """What comes back within a second; a connection that is refused or cut says nothing."""
        with contextlib.suppress(OSError), socket.create_connection((listener.host, listener.port), 5) as stranger:
            stranger.sendall(words)
            stranger.settimeout(1)
            return stranger.recv(200)
        return b""

    return said
