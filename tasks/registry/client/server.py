"""A model behind HTTP on this machine: loopback only, a token, bars in and predictions out as JSON.

``POST /predict`` ``{"bars": [{…}, …] or {"time": […], …}, "key": …, and the model's options}``, ``GET /version``,
and ``GET /health``, which alone needs no token. Errors are ``{"error": {"type", "message"}}`` with a status that fits:
400 not understood, 401 no token, 404, 405, 411, 413, 422 bars that cannot be predicted from, 503 no model can answer.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hmac
import json
import logging
import os
import secrets
import signal
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd

from ...errors import ConfigurationError, ModelInputError, NocturneError
from .service import Champion

HOST = "127.0.0.1"
PORT = 8765
TOKEN = "NOCTURNE_SERVE_TOKEN"  # noqa: S105 - the variable's name
LARGEST = 64 * 2**20
"""Bytes that a request may have: about 500,000 bars."""
log = logging.getLogger("nocturne.client")


class Server(ThreadingHTTPServer):
    """Serves one champion. ``port`` 0 takes a free one; ``url`` says which."""

    daemon_threads = False

    def __init__(self, champion: Champion, port: int, token: str) -> None:
        """Raises ConfigurationError if the port is taken or the token is empty."""
        if not token:
            raise ConfigurationError(f"the token is empty: set {TOKEN}")
        self.champion, self.token = champion, token
        self._connections: set[socket.socket] = set()
        try:
            super().__init__((HOST, port), Handler)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(f"port {port} on {HOST} cannot be had: {error}; choose another") from error

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self.server_port}"

    def stop(self) -> None:
        """Take no more requests; those that have arrived are answered. Then ``serve_forever`` returns."""
        self.shutdown()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # it may be closed already
                connection.shutdown(socket.SHUT_RD)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """One connection, in its own thread."""
        self._connections.add(request)
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._connections.discard(request)


class Refused(Exception):  # noqa: N818 - a refusal, not a fault
    """A request that gets no prediction: the status and the words for it."""

    def __init__(self, status: HTTPStatus, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.kind = status, kind


class Handler(BaseHTTPRequestHandler):
    """Answers one connection's requests."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "nocturne", ""
    timeout = 30  # seconds for a client to send what it began, and to keep a connection open
    server: Server

    def do_GET(self) -> None:
        """``/health`` and ``/version``."""
        self._answered(self._get)

    def do_POST(self) -> None:
        """``/predict``."""
        self._answered(self._post)

    def _get(self) -> tuple[HTTPStatus, dict[str, Any]]:
        state = self.server.champion.state
        if self.path == "/health":
            return HTTPStatus.OK, {"status": "degraded" if state.degraded else "ok"}
        self._require_token()
        if self.path == "/version":
            return HTTPStatus.OK, dataclasses.asdict(state)
        raise self._elsewhere({"/predict": "POST"})

    def _post(self) -> tuple[HTTPStatus, dict[str, Any]]:
        self._require_token()
        if self.path != "/predict":
            raise self._elsewhere({"/health": "GET", "/version": "GET"})
        bars, key, options = _asked(self._body())
        said = self.server.champion.predict(bars, key, **options)
        version, role = str(said["version"].iloc[0]), str(said["role"].iloc[0])
        return HTTPStatus.OK, {"version": version, "role": role, "predictions": rows_of(said)}

    def _answered(self, answer: Callable[[], tuple[HTTPStatus, dict[str, Any]]]) -> None:
        try:
            status, document = answer()
        except Refused as refusal:
            self.close_connection = True  # its body may not have been read
            status, document = refusal.status, _error(refusal.kind, str(refusal))
        except ModelInputError as error:
            status, document = HTTPStatus.UNPROCESSABLE_ENTITY, _error(type(error).__name__, str(error))
        except NocturneError as error:
            status, document = HTTPStatus.SERVICE_UNAVAILABLE, _error(type(error).__name__, str(error))
        except OSError:  # the client went away
            self.close_connection = True
            return
        except Exception:  # the boundary of the server: the next request must be answered all the same
            log.exception("a request failed")
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            document = _error("InternalError", "the server failed; its log says why")
        self._send(status, document)

    def _send(self, status: HTTPStatus, document: dict[str, Any]) -> None:
        body = json.dumps(document, allow_nan=False).encode()
        with contextlib.suppress(OSError):  # the client went away
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            if status is HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", "Bearer")
            if self.close_connection:
                self.send_header("Connection", "close")
            self.end_headers()
            self.wfile.write(body)

    def _require_token(self) -> None:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ").strip()
        if not hmac.compare_digest(given.encode(), self.server.token.encode()):
            raise Refused(
                HTTPStatus.UNAUTHORIZED, "Unauthorized", f"send 'Authorization: Bearer <token>', the value of {TOKEN}"
            )

    def _elsewhere(self, others: dict[str, str]) -> Refused:
        if self.path in others:
            return Refused(HTTPStatus.METHOD_NOT_ALLOWED, "MethodNotAllowed", f"{self.path} takes {others[self.path]}")
        return Refused(HTTPStatus.NOT_FOUND, "NotFound", "there are POST /predict, GET /version and GET /health")

    def _body(self) -> bytes:
        text = self.headers.get("Content-Length", "")
        if not text.isdecimal():
            raise Refused(HTTPStatus.LENGTH_REQUIRED, "LengthRequired", "send the body with a Content-Length")
        if int(text) > LARGEST:
            raise Refused(
                HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "TooLarge", f"{int(text):,} bytes; at most {LARGEST:,} are taken"
            )
        return self.rfile.read(int(text))

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the standard library's name
        """Requests go to the log, not to standard error."""
        log.debug("%s %s", self.address_string(), format % args)


def serve(
    champion: Champion, *, port: int = PORT, token: str = "", ready: Callable[[Server], None] | None = None
) -> None:
    """Serve until SIGTERM or Ctrl-C, then answer what has arrived, write the log and return.

    ``ready`` is called once it listens. Must run in the main thread. Raises ConfigurationError as ``Server``.
    """
    server = Server(champion, port, token)
    before = {
        number: signal.signal(number, lambda *_: threading.Thread(target=server.stop).start())
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        if ready is not None:
            ready(server)
        server.serve_forever(poll_interval=0.1)
    finally:
        server.server_close()  # waits for the requests that are being answered
        champion.close()
        for number, handler in before.items():
            signal.signal(number, handler)


def token() -> tuple[str, bool]:
    """The token from the environment, or a new one; whether it is new, and so has to be told to somebody."""
    given = os.environ.get(TOKEN, "")
    return (given, False) if given else (secrets.token_urlsafe(24), True)


def _asked(body: bytes) -> tuple[pd.DataFrame, object, dict[str, Any]]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refused(HTTPStatus.BAD_REQUEST, "NotJson", f"the body is not JSON: {error}") from error
    if not isinstance(document, dict) or "bars" not in document:
        raise Refused(HTTPStatus.BAD_REQUEST, "NoBars", 'the body is {"bars": records or columns, "key": optional}')
    options = {name: value for name, value in document.items() if name not in ("bars", "key")}
    return _frame(document["bars"]), document.get("key"), options


def _frame(bars: object) -> pd.DataFrame:
    records = isinstance(bars, list) and all(isinstance(row, dict) for row in bars)
    columns = isinstance(bars, dict) and all(isinstance(column, list) for column in bars.values())
    if not (records or columns) or not bars:
        raise ModelInputError("bars are a list of records, or lists by column: time, open, high, low, close, volume")
    try:
        return pd.DataFrame(bars)  # type: ignore[call-overload,no-any-return]
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelInputError(f"bars: {error}") from error


def rows_of(said: pd.DataFrame) -> list[dict[str, Any]]:
    """Predictions as records that JSON knows: stamps as ISO 8601, NumPy's numbers as Python's."""
    return [{str(name): _plain(value) for name, value in row.items()} for row in said.to_dict("records")]


def _plain(value: Any) -> Any:
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return value.item() if hasattr(value, "item") else value


def _error(kind: str, message: str) -> dict[str, Any]:
    return {"error": {"type": kind, "message": message}}
