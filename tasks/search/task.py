"""The Prefect tasks of the search stage: one engine, one process, one verified result, computed once.

An engine that fails gives a result with its error, so that the others' results stay; nothing of it is stored. A
process that died under its engine (killed, out of memory) is tried once more, because that can help. An answer that is
not whole (jobs for which there was no time, or that broke) serves the night that asked and no other.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from prefect import task
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.context import TaskRunContext

from tasks.contracts import (
    Backbones,
    EngineRequest,
    EngineResult,
    FeatureMatrix,
    RefitJob,
    Rows,
    Snapshot,
    WarmRecipe,
)
from tasks.documents import to_json
from tasks.errors import EngineError, EngineKilledError
from tasks.masking import at_the_edge
from tasks.problem import Problem
from tasks.search.process import LOG, EngineProgress, OnProgress, read_result, run
from tasks.search.recipes import Recalled, keep, recall
from tasks.storage import StageStore, home, sha256_file

CODE = (
    "tasks/search",
    "tasks/registry/serving",
    "tasks/backbones.py",
    "tasks/statistics/losses.py",
    "tasks/statistics/shuffle.py",
    "tasks/contracts.py",
    "tasks/documents.py",
    "tasks/errors.py",
    "tasks/storage.py",
)
RETRIES = 1
NOTHING = Backbones()
log = logging.getLogger("nocturne.search")


async def _a_retry_can_help(_task: Any, _run: Any, state: Any) -> bool:
    found = await state.aresult(raise_on_failure=False)
    return isinstance(found, EngineKilledError)


_SETTINGS: dict[str, Any] = {
    "cache_policy": NO_CACHE,
    "retries": RETRIES,
    "retry_delay_seconds": 5,
    "retry_condition_fn": _a_retry_can_help,
}


@task(name="search", task_run_name="search-{engine}", **_SETTINGS)
@at_the_edge
def search(
    problem: Problem,
    features: FeatureMatrix,
    rows: Rows,
    engine: str,
    warm: tuple[WarmRecipe, ...] = (),
    *,
    start: Backbones = NOTHING,
) -> EngineResult:
    """What an engine finds within its budget, after ``warm``: candidates, or the error that stopped it.

    ``start``: the backbones that a transfer may begin with; where they are refused, it does not begin.
    """
    if start.refused:
        log.warning("search-%s: %s", engine, start.refused)
        return EngineResult(engine=engine, error=start.refused, reproducible=False)
    given = {"backbones": start.found, "recalled": start.recalled}
    found = answered(_request(problem, features, rows, engine, mode="search", warm=warm, **given))
    return replace(found, notes=(*start.notes, *found.notes))


@task(name="recall-recipes", cache_policy=NO_CACHE)
@at_the_edge
def recall_recipes(problem: Problem, snapshot: Snapshot, rows: Rows, features: FeatureMatrix) -> Recalled:
    """What tonight's searches start from; see ``recipes.py``."""
    return recall(problem, snapshot, rows, features)


@task(name="keep-recipes", cache_policy=NO_CACHE)
@at_the_edge
def keep_recipes(
    problem: Problem, snapshot: Snapshot, rows: Rows, results: tuple[EngineResult, ...], losses: dict[str, float]
) -> None:
    """Keep the night's leaders by their loss on the selection rows, for the nights to come; see ``recipes.py``."""
    keep(problem, snapshot, rows, results, losses)


@task(name="refit", task_run_name="refit-{engine}", **_SETTINGS)
@at_the_edge
def refit(
    problem: Problem,
    features: FeatureMatrix,
    rows: Rows,
    engine: str,
    jobs: tuple[RefitJob, ...],
    *,
    start: Backbones = NOTHING,
) -> EngineResult:
    """An engine's recipes fitted again, one candidate a job and in their order, or the error that stopped it."""
    given = {"backbones": start.found, "recalled": start.recalled}
    return answered(_request(problem, features, rows, engine, mode="refit", jobs=jobs, **given))


@task(name="explain", task_run_name="explain-{engine}", **_SETTINGS)
@at_the_edge
def explain(problem: Problem, features: FeatureMatrix, rows: Rows, engine: str, model: str) -> EngineResult:
    """The permutation importance of a model folder on the selection rows."""
    return answered(_request(problem, features, rows, engine, mode="explain", explain=model))


def answered(request: EngineRequest) -> EngineResult:
    """The stored answer to a request if it is whole (it took no time now), or a new one.

    Raises EngineKilledError while a retry is left that could help.
    """
    store, stage = StageStore(), f"{request.mode}-{request.engine}"
    key, kept = _kept(store, stage, request)
    if kept is not None:
        log.info("%s: reused", stage)
        # What it took then is not what it takes now.
        return replace(kept, work_seconds=0.0, start_seconds=0.0)
    try:
        with store.put(stage, key) as staging, _log_kept(stage, staging / LOG):
            run(request, staging, _progress_artifact(request))
    except EngineError as error:
        if isinstance(error, EngineKilledError) and _attempt() <= RETRIES:
            raise
        log.warning("%s: %s", stage, error)
        return EngineResult(engine=request.engine, error=str(error), reproducible=False)
    result = read_result(store.folder(stage, key))
    if not result.whole:
        log.warning("%s: not every job was answered, so another night asks again", stage)
    return result


def _kept(store: StageStore, stage: str, request: EngineRequest) -> tuple[str, EngineResult | None]:
    """The whole answer that is stored, and its key; without one, None and the key for the next.

    Answers that are not whole keep their places, because other nights refer to their files: the next gets another.
    """
    answer = 0
    while True:
        key = store.key(stage, {**_inputs(request), "answer": answer}, CODE)
        folder = store.get(stage, key)
        found = read_result(folder) if folder is not None else None
        if found is None or found.whole:
            return key, found
        answer += 1


@contextmanager
def _log_kept(stage: str, engine_log: Path) -> Iterator[None]:
    """Keep the engine's log where it fails, and name it on the last line of the error: its folder will be removed."""
    try:
        yield
    except EngineError as error:
        kept = home() / "logs" / f"{stage}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.log"
        try:
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(engine_log, kept)
        except OSError as problem:
            log.warning("%s: the engine's log cannot be kept: %s", stage, problem)
            raise error from None
        raise type(error)(f"{error}\nThe engine's log: {kept}") from error


def _request(problem: Problem, features: FeatureMatrix, rows: Rows, engine: str, **asked: Any) -> EngineRequest:
    return EngineRequest(
        engine=engine, features=features, rows=rows, budget=problem.budget(engine), seed=problem.seed, **asked
    )


def _inputs(request: EngineRequest) -> dict[str, Any]:
    """Everything that the answer depends on, by value: no paths."""
    return {
        "features": request.features.ref.sha256,
        "rows": request.rows.ref.sha256,
        "target": to_json(request.rows.target),
        "fits": to_json(request.rows.fits),
        "weighted": request.rows.weighted,
        "budget": to_json(request.budget),
        "seed": request.seed,
        "mode": request.mode,
        "jobs": to_json(request.jobs),
        "warm": to_json(request.warm),
        "backbones": [backbone.sha256 for backbone in request.backbones],
        "recalled": [backbone.sha256 for backbone in request.recalled],
        "explain": sha256_file(Path(request.explain) / "model.json") if request.explain else "",
    }


def _attempt() -> int:
    """Which attempt this is, from 1; outside a task run there is no other, so it counts as the last."""
    context = TaskRunContext.get()
    return context.task_run.run_count if context else RETRIES + 1


def _progress_artifact(request: EngineRequest) -> OnProgress | None:
    """Shows progress in the Prefect UI; None outside a task run, and where there is no artifact to update."""
    if TaskRunContext.get() is None:
        return None
    try:
        made = create_progress_artifact(0.0, key=f"{request.mode}-{request.engine}", description="models done")
    except Exception as error:  # noqa: BLE001 - Prefect's API: a server that does not answer must not cost the search
        log.warning("no progress is shown for %s: %s", request.engine, error)
        return None
    return _Updates(request.engine, made) if isinstance(made, UUID) else None


class _Updates:
    """Updates an artifact until that fails once."""

    def __init__(self, engine: str, artifact: UUID) -> None:
        self._engine, self._artifact = engine, artifact
        self._failed = False

    def __call__(self, progress: EngineProgress) -> None:
        """Show how far the engine is."""
        if self._failed:
            return
        share = 100.0 * progress.done / max(progress.allowed, 1)
        try:
            update_progress_artifact(self._artifact, progress=min(share, 100.0), description=progress.message)
        except Exception as error:  # noqa: BLE001 - Prefect's API: a server that does not answer must not cost the search
            self._failed = True
            log.warning("progress of %s is no longer shown: %s", self._engine, error)
