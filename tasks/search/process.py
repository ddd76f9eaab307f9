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
from tasks.storage import PROJECT, read_json, write_json

MODULES = {
    "baseline": "tasks.search.baselines",
    "linear": "tasks.search.linear",
    "h2o": "tasks.search.h2o_automl",
    "autokeras": "tasks.search.auto_keras",
}
EXPLAINER = "tasks.search.importance"
GRACE_SECONDS = 240.0
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


def run(
    request: EngineRequest, out: Path, on_progress: OnProgress | None = None, grace: float | None = None
) -> EngineResult:
    """Answer a request in a process of its own; everything it writes lies below ``out`` (paths absolute in the result).

    The process may take ``work_seconds(request) + grace`` seconds, then it is killed with all that it started;
    ``grace`` is for starting, fitting leaders again and predicting, by default four minutes and half the budget. Raises
    EngineError with the cause, or EngineKilledError where a second try may succeed.
    """
    out.mkdir(parents=True, exist_ok=True)
    asked = out / "request.json"
    write_json(asked, to_json(resolved(request, str(Path.cwd()))))
    limit = work_seconds(request) + (GRACE_SECONDS + request.budget.seconds / 2 if grace is None else grace)
    with (out / LOG).open("wb") as stream:
        process = _spawn(request, asked, out, stream.fileno())
        try:
            for line in _lines(process, time.monotonic() + limit):
                _report(line, request, on_progress)
            _finish(process, time.monotonic() + 30)
            log.info("%s: done", request.engine, extra={"stage": request.engine, "state": "done"})
        except TimeoutError:
            raise EngineError(f"{request.engine} was stopped: no result after {limit:.0f} s\n{_tail(out)}") from None
        finally:
            _end(process)
            asked.unlink(missing_ok=True)
            shutil.rmtree(out / SCRATCH, ignore_errors=True)
    return _outcome(request, process.returncode, out)


def environment(threads: int) -> dict[str, str]:
    """The environment of an engine's process: threads bounded, keras on JAX, CPU only, no hash randomness."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS", "NPROC")
    fixed = {"KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONHASHSEED": "0", "PYTHONUNBUFFERED": "1"}
    return {**os.environ, **dict.fromkeys(names, str(threads)), **fixed, SPAWNED: repr(time.time())}


def _spawn(request: EngineRequest, asked: Path, out: Path, stream: int) -> subprocess.Popen[bytes]:
    name = EXPLAINER if request.mode == "explain" else MODULES.get(request.engine)
    if name is None:
        raise EngineError(f"there is no engine {request.engine!r}; there are {', '.join(MODULES)}")
    return subprocess.Popen(
        [sys.executable, "-m", name, str(asked.resolve()), str(out.resolve())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=stream,
        env=environment(request.budget.threads),
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


def _report(line: bytes, request: EngineRequest, on_progress: OnProgress | None) -> None:
    try:
        document: dict[str, Any] = json.loads(line)
        progress = EngineProgress(engine=request.engine, budget=work_seconds(request), **document)
    except (ValueError, TypeError):
        log.debug("%s printed %r", request.engine, line[:200])
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


def _outcome(request: EngineRequest, code: int, out: Path) -> EngineResult:
    if (out / RESULT).is_file():
        return read_result(out)
    if (out / FAILURE).is_file():
        failure = read_json(out / FAILURE)
        kind = EngineKilledError if failure["retryable"] else EngineError
        raise kind(f"{request.engine} failed: {failure['error']}")
    raise EngineKilledError(f"{request.engine}'s process {_cause(code, out)}\n{_tail(out)}".rstrip())


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
