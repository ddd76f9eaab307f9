"""Several processes that try networks of one search: Keras-Tuner's oracle, served to workers over gRPC.

The engine's process holds the oracle, which says what is tried next, and tries networks itself; each worker asks it for
a trial, fits it, and leaves the weights in the search's folder. It is Keras-Tuner's own protocol (``OracleServicer``,
``OracleClient``) with AutoKeras's own oracle. What differs from Keras-Tuner's chief:

- the port is a free one on loopback (``NOCTURNE_KERAS_CHIEF=HOST:PORT`` says otherwise), and every call must carry the
  search's token: the protocol itself lets anyone who reaches the port hand in trials;
- the chief works too, and ends when the last trial has ended, not up to twenty seconds later;
- a worker that dies costs its trial; Keras-Tuner would wait for it for ever;
- a worker ends after its last trial: AutoKeras would have each of them load and save the best model.

Which worker is faster decides what is tried next, so that such a search is not reproducible; each of its recipes is.

Import it after ``keras_space``, for which the backend must be settled.
"""

from __future__ import annotations

import hmac
import json
import logging
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from keras_tuner.src import protos
from keras_tuner.src.distribute import oracle_chief, oracle_client

from tasks.errors import ConfigurationError, EngineError
from tasks.search.keras_space import Tuner
from tasks.search.lifeline import tethered
from tasks.search.process import THREADS
from tasks.storage import PROJECT

ADDRESS = "NOCTURNE_KERAS_CHIEF"
TOKEN = "nocturne-token"  # noqa: S105 - the name of a header
LOOPBACK = "127.0.0.1:0"
LAST_TRIAL_SECONDS = 60.0
ARRIVAL_SECONDS = 120.0
TASK, ARRAYS = "task.json", "arrays.npz"
log = logging.getLogger("nocturne.search.keras")


class Crew:
    """The served oracle and the workers on this machine. ``close`` may be called twice."""

    def __init__(self, folder: Path, workers: int, settings: dict[str, Any], arrays: dict[str, Any]) -> None:
        """folder: for the workers' task, which ``settings`` (JSON) and ``arrays`` describe (``keras_worker.py``)."""
        self._folder, self._count = folder, workers
        self._settings = settings
        self._token = secrets.token_urlsafe(24)
        self._server: Any = None
        self._workers: list[subprocess.Popen[bytes]] = []
        folder.mkdir(parents=True, exist_ok=True)
        np.savez(folder / ARRAYS, **{name: value for name, value in arrays.items() if value is not None})

    def begin(self, tuner: Tuner) -> None:
        """Serve the tuner's oracle and start the workers. Raises EngineError where the address cannot be had."""
        self._server = grpc.server(
            ThreadPoolExecutor(max_workers=1), interceptors=[_Gate(self._token)], options=[("grpc.so_reuseport", 0)]
        )
        service = _Service(tuner)
        protos.get_service_grpc().add_OracleServicer_to_server(service, self._server)
        host, port = address()
        try:
            port = self._server.add_insecure_port(f"{host}:{port}")
        except RuntimeError as error:
            raise EngineError(f"{ADDRESS}: {host}:{port} cannot be listened on: {error}") from error
        task = {**self._settings, "address": f"{host}:{port}", "token": self._token}
        descriptor = os.open(self._folder / TASK, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w", encoding="ascii") as stream:
            json.dump(task, stream)
        self._workers = [self._spawn(number) for number in range(1, self._count + 1)]
        self._server.start()
        log.info("the oracle is served on %s:%d to %d workers", host, port, self._count)
        self._await(service)

    def _await(self, service: _Service) -> None:
        """Until every worker has asked for a trial: bringing keras up, they need the processor, and few trials last."""
        deadline = time.monotonic() + ARRIVAL_SECONDS
        while len(service.arrived) < self._count and time.monotonic() < deadline:
            if any(worker.poll() is not None for worker in self._workers):
                log.warning("a worker ended before it tried anything")
                return
            time.sleep(0.1)

    def end(self, tuner: Tuner, deadline: float) -> None:
        """Wait until the workers' last trials have ended; what a minute after the deadline has not, counts as failed.

        deadline: monotonic seconds.
        """
        while tuner.oracle.ongoing_trials and time.monotonic() < deadline + LAST_TRIAL_SECONDS:
            if self._workers and all(worker.poll() is not None for worker in self._workers) and not _elsewhere():
                break
            time.sleep(0.1)
        for lost in tuner.oracle.ongoing_trials.values():
            log.warning("trial %s was begun by a worker that never handed it in", lost.trial_id)
        self.close()

    def close(self) -> None:
        """Stop serving and end the workers."""
        if self._server is not None:
            self._server.stop(grace=None).wait(5.0)
        for worker in self._workers:
            worker.kill()
            worker.wait()
        (self._folder / TASK).unlink(missing_ok=True)

    def _spawn(self, number: int) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tasks.search.keras_worker", str(self._folder), f"worker-{number}"]
        threads = {name: str(self._settings["threads"]) for name in THREADS}
        return subprocess.Popen(
            tethered(command), stdin=subprocess.DEVNULL, stdout=2, env={**os.environ, **threads}, cwd=PROJECT
        )


class Chief(Tuner):
    """A tuner whose oracle others ask, too."""

    def __init__(self, *, crew: Crew, **settings: Any) -> None:
        super().__init__(**settings)
        # Keras-Tuner raises at the third failure in a row under a lock that it does not give back then.
        self.oracle.max_consecutive_failed_trials = self.oracle.max_trials + 1
        self._crew = crew

    def on_search_begin(self) -> None:
        """Let the others in."""
        self._crew.begin(self)

    def on_search_end(self) -> None:
        """Wait for them."""
        self._crew.end(self, self._deadline)
        self.met_limit |= self._past_limit()


class Worker(Tuner):
    """A tuner that asks a chief's oracle."""

    def __init__(self, *, token: str, **settings: Any) -> None:
        super().__init__(**settings)
        oracle_client.TIMEOUT = max(self._deadline - time.monotonic(), 0.0) + LAST_TRIAL_SECONDS
        where = f"{os.environ['KERASTUNER_ORACLE_IP']}:{os.environ['KERASTUNER_ORACLE_PORT']}"
        channel = grpc.intercept_channel(grpc.insecure_channel(where), _Pass(token))
        self.oracle.stub = protos.get_service_grpc().OracleStub(channel)

    def pre_create_trial(self) -> None:
        """The chief minds the limit."""

    def report(self) -> None:
        """The chief tells."""

    def on_search_end(self) -> None:
        """Nothing is left to do: what follows in AutoKeras is the chief's."""
        raise SystemExit(0)


def address() -> tuple[str, int]:
    """Where the chief listens: loopback and a free port, unless told otherwise. Raises ConfigurationError."""
    told = os.environ.get(ADDRESS) or LOOPBACK
    host, _, port = told.rpartition(":")
    if not host or not port.isdigit():
        raise ConfigurationError(f"{ADDRESS} must be HOST:PORT, got {told!r}")
    return host, int(port)


def _elsewhere() -> bool:
    """Whether workers of other machines may be at work, whose end cannot be seen."""
    return not address()[0].startswith("127.")


class _Service(oracle_chief.OracleServicer):  # type: ignore[misc]
    """Keras-Tuner's service, with the search's limit, each trial's seconds and its report."""

    def __init__(self, tuner: Tuner) -> None:
        super().__init__(tuner.oracle)
        self._tuner = tuner
        self._begun: dict[str, float] = {}
        self.arrived: set[str] = set()

    def CreateTrial(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        self.arrived.add(request.tuner_id)
        self._tuner.end_if_late()
        answer = super().CreateTrial(request, context)
        self._begun[answer.trial.trial_id] = time.perf_counter()
        return answer

    def EndTrial(self, request: Any, context: Any) -> Any:  # noqa: N802 - the protocol's name
        answer = super().EndTrial(request, context)
        name = request.trial.trial_id
        self._tuner.seconds[name] = time.perf_counter() - self._begun.get(name, time.perf_counter())
        self._tuner.report()
        return answer


class _Gate(grpc.ServerInterceptor):  # type: ignore[misc]
    """Refuses every call without the token."""

    def __init__(self, token: str) -> None:
        self._token = token
        self._refusal = grpc.unary_unary_rpc_method_handler(_refuse)

    def intercept_service(self, continuation: Callable[[Any], Any], details: Any) -> Any:
        given = dict(details.invocation_metadata or ()).get(TOKEN, "")
        return continuation(details) if hmac.compare_digest(str(given), self._token) else self._refusal


def _refuse(_request: Any, context: Any) -> None:
    context.abort(grpc.StatusCode.UNAUTHENTICATED, "this search's token is wanted")


class _Pass(grpc.UnaryUnaryClientInterceptor):  # type: ignore[misc]
    """Adds the token to every call."""

    def __init__(self, token: str) -> None:
        self._token = token

    def intercept_unary_unary(self, continuation: Callable[[Any, Any], Any], details: Any, request: Any) -> Any:
        metadata = [*(details.metadata or ()), (TOKEN, self._token)]
        return continuation(details._replace(metadata=metadata), request)
