"""The parent side of an engine: start its process, pass its progress on, bound it, and say by name why it failed.

A process of its own (never a fork or a pool) in a session of its own: whatever it leaves behind is ended with it, and
one engine's death is only its own. Call from a thread that waits for the result: on Linux the engine dies with it.
"""

from __future__ import annotations

import json
import logging
import os
import selectors
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tasks.contracts import EngineRequest, EngineResult, resolved
from tasks.documents import from_json, to_json
from tasks.errors import EngineError, EngineKilledError, NocturneError
from tasks.search.child import FAILURE, RESULT, SCRATCH, SPAWNED
from tasks.search.engine import work_seconds
from tasks.search.engine_log import passed_on
from tasks.storage import PROJECT, read_json, write_json

MODULES = {
    "baseline": "tasks.search.baselines",
    "linear": "tasks.search.linear",
    "h2o": "tasks.search.h2o_automl",
    "autokeras": "tasks.search.auto_keras",
    "transfer": "tasks.search.transfer.engine",
}
ACCELERATED = ("transfer",)
"""Engines whose process may compute on whatever JAX finds; the others' searches are the same everywhere, on the CPU."""

EXPLAINER = "tasks.search.importance"
GRACE_SECONDS = 240.0
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NPROC")
LOG = "engine.log"
_TAIL = 2000
_OUT_OF_MEMORY = ("OutOfMemoryError", "MemoryError", "Cannot allocate memory")
log = logging.getLogger("nocturne.progress")


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineProgress:
    """How far an engine is: models done of those allowed, its best validation loss so far, seconds of its budget."""

    engine: str
    message: str
    done: int
    allowed: int
    best: float | None
    elapsed: float
    budget: float


OnProgress = Callable[[EngineProgress], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """A process to be attended: its name in logs, its module, what it is asked (JSON), the seconds of its work and
    those after which it is killed, its threads, and what JAX may compute on there ("cpu"; empty: what there is).
    """

    name: str
    module: str
    asked: Any
    budget: float
    limit: float
    threads: int = 1
    platforms: str = "cpu"


def run(
    request: EngineRequest, out: Path, on_progress: OnProgress | None = None, grace: float | None = None
) -> EngineResult:
    """Answer a request in a process of its own; everything it writes lies below ``out`` (paths absolute in the result).

    The process may take ``work_seconds(request) + grace`` seconds, then it is killed with all that it started;
    ``grace`` is for starting, fitting leaders again and predicting, by default four minutes and half the budget. Raises
    EngineError with the cause, or EngineKilledError where a second try may succeed.
    """
    name = EXPLAINER if request.mode == "explain" else MODULES.get(request.engine)
    if name is None:
        raise EngineError(f"there is no engine {request.engine!r}; there are {', '.join(MODULES)}")
    child = Child(
        name=request.engine,
        module=name,
        asked=to_json(resolved(request, str(Path.cwd()))),
        budget=work_seconds(request),
        limit=work_seconds(request) + (GRACE_SECONDS + request.budget.seconds / 2 if grace is None else grace),
        threads=max(request.budget.threads // request.budget.workers, 1),
        platforms=platforms_of(request),
    )
    attend(child, out, on_progress)
    return read_result(out)


def attend(child: Child, out: Path, on_progress: OnProgress | None = None) -> None:
    """Have a process answer what it is asked; its result lies in ``out``. Raises as ``run``."""
    out.mkdir(parents=True, exist_ok=True)
    asked = out / "request.json"
    write_json(asked, child.asked)
    with (out / LOG).open("wb") as stream:
        process = _spawn(child, asked, out, stream.fileno())
        try:
            with passed_on(child.name, out / LOG, out / SCRATCH):
                for line in _lines(process, time.monotonic() + child.limit):
                    _report(line, child, on_progress)
                _finish(process, time.monotonic() + 30)
            log.info("%s: done", child.name, extra={"stage": child.name, "state": "done"})
        except TimeoutError:
            raise EngineError(f"{child.name} was stopped: no result after {child.limit:.0f} s\n{_tail(out)}") from None
        finally:
            _end(process)
            asked.unlink(missing_ok=True)
            shutil.rmtree(out / SCRATCH, ignore_errors=True)
    _require_result(child.name, process.returncode, out)


def platforms_of(request: EngineRequest) -> str:
    """What JAX may compute on in the process that answers: "cpu", or empty for whatever there is."""
    return "" if request.engine in ACCELERATED and request.mode != "explain" else "cpu"


def environment(threads: int, platforms: str = "cpu") -> dict[str, str]:
    """The environment of an engine's process: threads bounded, keras on JAX, no hash randomness.

    platforms: what JAX may compute on, the CPU; empty: the operator's JAX_PLATFORMS, or whatever JAX finds.
    """
    jax = platforms or os.environ.get("JAX_PLATFORMS", "")
    fixed = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": jax, "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
    shared = {"XLA_PYTHON_CLIENT_PREALLOCATE": "false"}  # else JAX takes three quarters of a GPU at once: others wait
    return {**shared, **os.environ, **dict.fromkeys(THREADS, str(threads)), **fixed, SPAWNED: repr(time.time())}


def _spawn(child: Child, asked: Path, out: Path, stream: int) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", child.module, str(asked.resolve()), str(out.resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stream,
        env=environment(child.threads, child.platforms),
        cwd=PROJECT,
        start_new_session=True,
    )


def _lines(process: subprocess.Popen[bytes], deadline: float) -> Iterator[bytes]:
    """The child's output line by line until it closes; raises TimeoutError at the deadline (monotonic seconds)."""
    assert process.stdout is not None
    pending = b""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not selector.select(left):
                continue
            chunk = os.read(process.stdout.fileno(), 65536)
            if not chunk:
                return
            *lines, pending = (pending + chunk).split(b"\n")
            yield from lines
    raise TimeoutError


def _finish(process: subprocess.Popen[bytes], deadline: float) -> None:
    """Wait for the exit that follows the end of output; a shutdown that hangs after a result is cut short."""
    try:
        process.wait(max(deadline - time.monotonic(), 0.1))
    except subprocess.TimeoutExpired:
        log.warning("an engine's process did not end by itself and is killed")


def _report(line: bytes, child: Child, on_progress: OnProgress | None) -> None:
    try:
        document: dict[str, Any] = json.loads(line)
        progress = EngineProgress(engine=child.name, budget=child.budget, **document)
    except (ValueError, TypeError):
        log.debug("%s printed %r", child.name, line[:200])
        return
    best = "" if progress.best is None else f", best {progress.best:.5g}"
    log.info(
        "%s: %s (%d of %d%s)",
        progress.engine,
        progress.message,
        progress.done,
        progress.allowed,
        best,
        extra={"stage": progress.engine, "elapsed": progress.elapsed, "budget": progress.budget, "best": progress.best},
    )
    if on_progress is not None:
        on_progress(progress)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill whatever is left of the engine's session, and collect it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):
        log.debug("process group %d is gone", process.pid)
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


def _require_result(name: str, code: int, out: Path) -> None:
    """Raise the reason where there is no result."""
    if (out / RESULT).is_file():
        return
    if (out / FAILURE).is_file():
        failure = read_json(out / FAILURE)
        kind = EngineKilledError if failure["retryable"] else EngineError
        raise kind(f"{name} failed: {failure['error']}")
    raise EngineKilledError(f"{name}'s process {_cause(code, out)}\n{_tail(out)}".rstrip())


def read_result(folder: Path) -> EngineResult:
    """A result as its process left it, with paths below ``folder``. Raises EngineError if it cannot be understood."""
    try:
        result: EngineResult = from_json(EngineResult, read_json(folder / RESULT))
    except (TypeError, AttributeError, NocturneError) as error:
        raise EngineError(f"{folder / RESULT}: not a result: {error}") from error
    answer: EngineResult = resolved(result, str(folder))
    return answer


def _cause(code: int, out: Path) -> str:
    if any(sign in _tail(out) for sign in _OUT_OF_MEMORY):
        return f"ran out of memory (exit code {code}): raise memory_mb or use fewer rows"
    if code == -signal.SIGKILL:
        return "was killed by SIGKILL (by hand, or for memory by the system)"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with exit code {code} and without a result"


def _tail(out: Path) -> str:
    """The last lines of the engine's log."""
    try:
        return (out / LOG).read_bytes()[-_TAIL:].decode(errors="replace").strip()
    except OSError:
        return ""
