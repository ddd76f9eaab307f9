"""The child side of an engine: one process, one request, one result file.

``python -m tasks.search.<module> request.json out``:

1. hold on to the parent (lifeline), keep standard output for progress lines, send everything else to the log;
2. read the request and the verified data; blank the labels that the mode forbids;
3. start the engine, search or refit;
4. for every recipe, load what was exported, compare it with the engine's own predictions, predict all rows (a recipe
   that fails leaves a note, and the others their results);
5. write ``result.json`` (paths relative to the folder), or ``failure.json`` with the reason.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, cast

import pandas as pd

from tasks.contracts import Candidate, EngineName, EngineRequest, EngineResult, RefitJob
from tasks.documents import from_json, to_json
from tasks.errors import EngineError, NocturneError
from tasks.search import training
from tasks.search.engine import Engine, Fitted, Progress, TrainingData, work_seconds
from tasks.search.exported import microseconds_per_row, verified
from tasks.search.jobs import words
from tasks.search.lifeline import die_with_parent, watch_parent
from tasks.storage import read_json, write_json, write_parquet

RESULT = "result.json"
FAILURE = "failure.json"
SCRATCH = "scratch"
SPAWNED = "NOCTURNE_SPAWNED"
log = logging.getLogger("nocturne.search")


class _Fit(NamedTuple):
    """What an engine made of a recipe, and the rows that the job marked and its shuffle if it was one."""

    fitted: Fitted
    rows: str = ""
    shuffle: int = 0


Answer = Callable[[EngineRequest, Path, Progress], EngineResult]


def run_engine(engine: Engine) -> None:
    """Serve the request named on the command line with this engine, and exit."""
    serve(lambda request, out, progress: answer(engine, request, out, progress), engine.close)


def serve(respond: Answer, close: Callable[[], None]) -> None:
    """Serve the request named on the command line, and exit: 0 with a result, 1 with a failure that says why."""
    request_file, out = Path(sys.argv[1]), Path(sys.argv[2])
    die_with_parent()
    progress = _progress_channel(time.monotonic())
    watch_parent(lambda: _abandon(close, out))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    try:
        request = from_json(EngineRequest, read_json(request_file))
        write_json(out / RESULT, to_json(respond(request, out, progress)))
    except Exception as error:  # the process boundary: whatever an engine raises becomes its failure
        log.exception("the engine failed")
        write_json(out / FAILURE, _failure(error))
        sys.exit(1)
    finally:
        close()
        shutil.rmtree(out / SCRATCH, ignore_errors=True)


def answer(engine: Engine, request: EngineRequest, out: Path, progress: Progress) -> EngineResult:
    """Start the engine, do what the request asks, and verify what came of it; an error only if nothing did."""
    data = training.load(request)
    (out / SCRATCH).mkdir(parents=True, exist_ok=True)
    engine.start(request.budget, request.seed, out / SCRATCH)
    started = time.time()
    fits, failed = _work(engine, request, data, out, progress)
    worked = time.time() - started
    candidates, unverified = _candidates(fits, data, out)
    refused = failed + unverified
    if not candidates:
        raise EngineError("; ".join(refused) or "the engine found no model within its budget: give it more seconds")
    return EngineResult(
        engine=request.engine,
        candidates=tuple(candidates),
        work_seconds=worked,
        start_seconds=started - float(os.environ.get(SPAWNED, started)),
        reproducible=all(item.reproducible for item in candidates),
        notes=(*getattr(engine, "notes", ()), *refused),
    )


def _work(
    engine: Engine, request: EngineRequest, data: TrainingData, out: Path, progress: Progress
) -> tuple[list[_Fit], list[str]]:
    """What a search found, or the fits of the jobs that succeeded and why the others did not."""
    if request.mode == "search":
        return [_Fit(fitted) for fitted in engine.search(training.for_search(data), out, progress)], []
    deadline = time.monotonic() + work_seconds(request)
    fits, refused = [], []
    for done, job in enumerate(request.jobs):
        progress(done, len(request.jobs), None, f"{job.name}: {words(job, request.rows.fits)}")
        # The first recipe is the best that there is: the others are what can be done without.
        if time.monotonic() > deadline and job.name != request.jobs[0].name:
            late = EngineError(f"not fitted: the {work_seconds(request):.0f} s for fitting recipes again are used up")
            refused.append(_refusal(late, job.name, job.rows))
            continue
        try:
            fits.append(_refit(engine, job, data, out / f"job-{done}"))
        except Exception as error:  # noqa: BLE001 - an engine's boundary: what its libraries raise costs this job alone
            refused.append(_refusal(_named(error), job.name, job.rows))
    return fits, refused


def _refit(engine: Engine, job: RefitJob, data: TrainingData, folder: Path) -> _Fit:
    folder.mkdir(parents=True, exist_ok=True)
    fitted = engine.refit(training.for_job(data, job), job, folder)
    return _Fit(dataclasses.replace(fitted, name=job.name), job.rows, job.shuffle)


def _named(error: Exception) -> NocturneError:
    if isinstance(error, NocturneError):
        return error
    log.exception("a job failed")
    reason = (str(error).splitlines() or [""])[0][:300]  # some libraries put a page of parameters into a message
    return EngineError(f"{type(error).__name__}: {reason}")


def _candidates(fits: list[_Fit], data: TrainingData, out: Path) -> tuple[list[Candidate], list[str]]:
    candidates, refused = [], []
    for index, fit in enumerate(fits):
        try:
            candidates.append(_candidate(fit, data, out, f"predictions-{index}.parquet"))
        except NocturneError as error:
            refused.append(_refusal(error, fit.fitted.name, fit.rows))
    return candidates, refused


def _refusal(error: NocturneError, name: str, rows: str) -> str:
    """What is noted of a recipe that failed; raises the error again where a second try of the process may mend it."""
    if error.retryable:
        raise error
    log.warning("%s %s: %s", name, rows, error)
    reason = str(error).removeprefix(f"{name}: ")
    return f"{name} ({rows}): {reason}" if rows else f"{name}: {reason}"


def _candidate(fit: _Fit, data: TrainingData, out: Path, name: str) -> Candidate:
    item = fit.fitted
    scorer, predictions = verified(item, data)
    written = write_parquet(out / name, pd.DataFrame({"prediction": predictions}))
    return Candidate(
        name=item.name,
        engine=cast(EngineName, item.engine),
        recipe=item.recipe,
        model=item.model.relative_to(out).as_posix(),
        predictions=dataclasses.replace(written, path=name),
        train_seconds=item.train_seconds,
        predict_us_per_row=microseconds_per_row(scorer, data),
        reproducible=item.reproducible,
        held_out_smearing=item.held_out_smearing,
        notes=item.notes,
        rows=fit.rows,
        shuffle=fit.shuffle,
    )


def _progress_channel(begun: float) -> Progress:
    """Keep standard output for JSON lines; whatever libraries print goes to standard error, the log."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)

    def progress(done: int, allowed: int, best: float | None, message: str) -> None:
        line: dict[str, Any] = {"done": done, "allowed": allowed, "best": best, "message": message}
        channel.write(json.dumps({**line, "elapsed": time.monotonic() - begun}) + "\n")
        channel.flush()

    return progress


def _abandon(close: Callable[[], None], out: Path) -> None:
    close()
    shutil.rmtree(out / SCRATCH, ignore_errors=True)


def _failure(error: Exception) -> dict[str, Any]:
    if isinstance(error, NocturneError):
        return {"error": str(error), "retryable": error.retryable}
    return {"error": f"{type(error).__name__}: {error}", "retryable": False}
