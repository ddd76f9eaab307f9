"""The child side of an engine: one process, one request, one result file.

``python -m tasks.search.<module> request.json out``:

1. hold on to the parent (lifeline), keep standard output for progress lines, send everything else to the log;
2. read the request and the verified data; blank the labels that the mode forbids;
3. start the engine; search (after the recipes of earlier nights: ``warm.py``) or refit;
4. for every recipe, load what was exported, compare it with the engine's own predictions, predict all rows (a recipe
   that fails leaves a note, and the others their results; the answer is whole if no other try could bring it back);
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import pandas as pd

from tasks.contracts import Candidate, EngineName, EngineRequest, EngineResult, RefitJob, WarmRecipe
from tasks.documents import digest, from_json, to_json
from tasks.errors import EngineError, ModelInputError, NocturneError
from tasks.search import training, warm
from tasks.search.engine import Engine, Fitted, Progress, TrainingData, work_seconds
from tasks.search.exported import microseconds_per_row, verified
from tasks.search.jobs import words
from tasks.search.lifeline import die_with_parent, watch_parent
from tasks.storage import read_json, write_json, write_parquet

RESULT = "result.json"
FAILURE = "failure.json"
SCRATCH = "scratch"
SPAWNED = "NOCTURNE_SPAWNED"
REFUSALS = (EngineError, ModelInputError)
"""With the same input they come every time: an engine refuses a recipe, an export does not repeat its engine."""

log = logging.getLogger("nocturne.search")


class _Fit(NamedTuple):
    """What an engine made of a recipe; the rows that the job marked, its shuffle and its seconds if it was one.

    ``night``: which earlier night the recipe comes from, if one."""

    fitted: Fitted
    rows: str = ""
    shuffle: int = 0
    seconds: float = 0.0
    night: str = ""


@dataclasses.dataclass(slots=True)
class _Missing:
    """What is noted of recipes that left no candidate; not ``final`` once another try might bring one of them."""

    notes: list[str] = dataclasses.field(default_factory=list)
    final: bool = True

    def late(self, job: RefitJob, seconds: float) -> None:
        """A job that was not begun."""
        late = EngineError(f"not fitted: the {seconds:.0f} s for fitting recipes again are used up")
        self._note(late, job.name, job.rows, final=False)

    def failed(self, error: Exception, name: str, rows: str) -> None:
        """A recipe that failed; raises the error again where a second try of the process may mend it."""
        if isinstance(error, NocturneError) and error.retryable:
            raise error
        self._note(_named(error), name, rows, final=isinstance(error, REFUSALS))

    def skipped(self, recipes: Sequence[WarmRecipe]) -> None:
        """Recipes of earlier nights for which half the budget was not enough: the clock's doing, as in any search."""
        names = ", ".join(recipe.name for recipe in recipes)
        self.notes.append(f"not fitted again, for half the time budget is used up: {names}; not reproducible")

    def _note(self, error: NocturneError, name: str, rows: str, *, final: bool) -> None:
        self.final &= final
        log.warning("%s %s: %s", name, rows, error)
        reason = str(error).removeprefix(f"{name}: ")
        self.notes.append(f"{name} ({rows}): {reason}" if rows else f"{name}: {reason}")


class _Asked(NamedTuple):
    """What an engine is to do, on what, where to, and whom it tells."""

    request: EngineRequest
    data: TrainingData
    out: Path
    progress: Progress


Answer = Callable[[EngineRequest, Path, Progress], EngineResult]


def run_engine(engine: Engine) -> None:
    """Serve the request named on the command line with this engine, and exit."""
    serve(lambda request, out, progress: answer(engine, request, out, progress), engine.close)


def serve(respond: Answer, close: Callable[[], None]) -> None:
    """Serve the request named on the command line as an EngineRequest, and exit as ``serve_document``."""
    serve_document(lambda asked, out, progress: respond(from_json(EngineRequest, asked), out, progress), close)


def serve_document(respond: Callable[[Any, Path, Progress], Any], close: Callable[[], None]) -> None:
    """Serve the JSON document named on the command line, and exit: 0 with a result, 1 with a failure that says why."""
    request_file, out = Path(sys.argv[1]), Path(sys.argv[2])
    die_with_parent()
    progress = _progress_channel(time.monotonic())
    watch_parent(lambda: _abandon(close, out))
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(name)s %(message)s")
    try:
        write_json(out / RESULT, to_json(respond(read_json(request_file), out, progress)))
    except Exception as error:  # the process boundary: whatever an engine raises becomes its failure
        log.exception("the engine failed")
        write_json(out / FAILURE, _failure(error))
        sys.exit(1)
    finally:
        close()
        shutil.rmtree(out / SCRATCH, ignore_errors=True)


def answer(engine: Engine, request: EngineRequest, out: Path, progress: Progress) -> EngineResult:
    """Start the engine, do what the request asks, and verify what came of it; an error only if nothing did."""
    if (asked := getattr(engine, "asked", None)) is not None:
        asked(request)
    data = training.load(request, getattr(engine, "columns", None))
    (out / SCRATCH).mkdir(parents=True, exist_ok=True)
    engine.start(request.budget, request.seed, out / SCRATCH)
    started = time.time()
    fits, missing = _work(engine, _Asked(request, data, out, progress))
    worked = time.time() - started
    candidates = warm.once(_candidates(fits, data, out, missing))
    if not candidates:
        nothing = "the engine found no model within its budget: give it more seconds"
        raise EngineError("; ".join(missing.notes) or nothing)
    return EngineResult(
        engine=request.engine,
        candidates=tuple(candidates),
        work_seconds=worked,
        start_seconds=started - float(os.environ.get(SPAWNED, started)),
        reproducible=all(item.reproducible for item in candidates),
        whole=missing.final,
        notes=(*getattr(engine, "notes", ()), *missing.notes),
        missing=tuple(getattr(engine, "missing", ())) if request.mode == "search" else (),
    )


def _work(engine: Engine, asked: _Asked) -> tuple[list[_Fit], _Missing]:
    """What a search found, or the fits of the jobs that succeeded and why the others did not."""
    missing = _Missing()
    request, data, out, progress = asked
    if request.mode == "search":
        return _search(engine, asked._replace(data=warm.marked(training.for_search(data))), missing), missing
    deadline = time.monotonic() + work_seconds(request)
    fits = []
    for done, job in enumerate(request.jobs):
        progress(done, len(request.jobs), None, f"{job.name}: {words(job, request.rows.fits)}")
        # The first recipe is the best that there is: the others are what can be done without.
        if time.monotonic() > deadline and job.name != request.jobs[0].name:
            missing.late(job, work_seconds(request))
            continue
        try:
            fits.append(_refit(engine, job, data, out / f"job-{done}"))
        except Exception as error:  # noqa: BLE001 - an engine's boundary: what its libraries raise costs this job alone
            missing.failed(error, job.name, job.rows)
    return fits, missing


def _search(engine: Engine, asked: _Asked, missing: _Missing) -> list[_Fit]:
    """The recipes of earlier nights, then what the search finds with what is left; a recipe found anew counts once."""
    request, data, out, progress = asked
    begun, known = time.monotonic(), _warm(engine, asked, missing)
    limit = getattr(engine, "limit", None)
    if request.warm and limit is not None:
        rest = warm.left(request.budget, len(known), time.monotonic() - begun)
        limit(rest, warm.seed_of(request.seed, request.warm))
    nights = {digest(fit.fitted.recipe): fit.night for fit in known}
    found = [_Fit(item, night=nights.get(digest(item.recipe), "")) for item in engine.search(data, out, progress)]
    again = {digest(fit.fitted.recipe) for fit in found if fit.night}
    return [*(fit for fit in known if digest(fit.fitted.recipe) not in again), *found]


def _warm(engine: Engine, asked: _Asked, missing: _Missing) -> list[_Fit]:
    """Earlier nights' recipes, fitted again within their share of the budget."""
    request, data, out, progress = asked
    deadline = time.monotonic() + warm.SHARE * request.budget.seconds
    chosen = warm.affordable(request.warm, request.budget)
    fits: list[_Fit] = []
    for number, recipe in enumerate(chosen):
        if fits and time.monotonic() > deadline:
            missing.skipped(chosen[number:])
            return [fit._replace(fitted=dataclasses.replace(fit.fitted, reproducible=False)) for fit in fits]
        progress(number, request.budget.models, None, f"{recipe.name}: as on {recipe.night}, on tonight's rows")
        try:
            fit = _refit(engine, warm.job(recipe), data, out / f"warm-{number}")
        except Exception as error:  # noqa: BLE001 - an engine's boundary: this recipe alone is lost
            missing.failed(error, recipe.name, "")
        else:
            fits.append(_Fit(fit.fitted, night=recipe.night))
    return fits


def _refit(engine: Engine, job: RefitJob, data: TrainingData, folder: Path) -> _Fit:
    folder.mkdir(parents=True, exist_ok=True)
    begun = time.monotonic()
    fitted = engine.refit(training.for_job(data, job), job, folder)
    return _Fit(dataclasses.replace(fitted, name=job.name), job.rows, job.shuffle, time.monotonic() - begun)


def _named(error: Exception) -> NocturneError:
    if isinstance(error, NocturneError):
        return error
    log.exception("a job failed")
    reason = (str(error).splitlines() or [""])[0][:300]  # some libraries put a page of parameters into a message
    return EngineError(f"{type(error).__name__}: {reason}")


def _candidates(fits: list[_Fit], data: TrainingData, out: Path, missing: _Missing) -> list[Candidate]:
    candidates = []
    for index, fit in enumerate(fits):
        try:
            candidates.append(_candidate(fit, data, out, f"predictions-{index}.parquet"))
        except NocturneError as error:
            missing.failed(error, fit.fitted.name, fit.rows)
    return candidates


def _candidate(fit: _Fit, data: TrainingData, out: Path, name: str) -> Candidate:
    item, begun = fit.fitted, time.monotonic()
    scorer, predictions = verified(item, data)
    written = write_parquet(out / name, pd.DataFrame({"prediction": predictions}))
    microseconds = microseconds_per_row(scorer, data)
    return Candidate(
        name=item.name,
        engine=cast(EngineName, item.engine),
        recipe=item.recipe,
        model=item.model.relative_to(out).as_posix(),
        predictions=dataclasses.replace(written, path=name),
        train_seconds=item.train_seconds,
        predict_us_per_row=microseconds,
        reproducible=item.reproducible,
        notes=item.notes,
        rows=fit.rows,
        shuffle=fit.shuffle,
        night=fit.night,
        job_seconds=fit.seconds + time.monotonic() - begun if fit.rows else 0.0,
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
