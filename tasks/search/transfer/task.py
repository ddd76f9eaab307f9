"""Pre-training as a Prefect task: a process of its own, bounded by seconds, computed once for the same input."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.backbones import backbone_of, contents, described
from tasks.contracts import Backbone, FeatureMatrix, Snapshot
from tasks.documents import to_json
from tasks.errors import EngineKilledError
from tasks.masking import at_the_edge
from tasks.pretraining import Pretraining
from tasks.search.process import Child, attend
from tasks.search.transfer.pretrainer import CODE, FOLDER
from tasks.search.transfer.source import LEAST_NEW
from tasks.storage import StageStore, read_parquet

STAGE = "pretrain"
MODULE = "tasks.search.transfer.pretrainer"
GRACE_SECONDS = 300.0
"""For starting JAX, compiling, and what follows the training: evidence, and how much each weight matters."""

log = logging.getLogger("nocturne.search.transfer")


async def _a_retry_can_help(_task: Any, _run: Any, state: Any) -> bool:
    found = await state.aresult(raise_on_failure=False)
    return isinstance(found, EngineKilledError)


@task(
    name="pretrain",
    task_run_name="pretrain-{pretraining.name}",
    cache_policy=NO_CACHE,
    retries=1,
    retry_delay_seconds=5,
    retry_condition_fn=_a_retry_can_help,
)
@at_the_edge
def pretrain_backbone(
    pretraining: Pretraining, snapshot: Snapshot, features: FeatureMatrix, parent: Backbone | None = None
) -> Backbone:
    """The backbone that the bars, the description and the version to go on from make, in the stage store.

    Raises EngineError with the reason where it cannot be trained (too few bars, weights from a file that do not match),
    EngineKilledError where its process died, IntegrityError where the parent's folder is not what it was,
    ConfigurationError where there is no file of weights.
    """
    store, weights = StageStore(), "" if parent else pretraining.weights_sha256()
    key, kept = _kept(store, _inputs(pretraining, snapshot, features, parent, weights))
    if kept is not None:
        log.info("%s: reused", STAGE)
        return kept
    with store.put(STAGE, key) as staging:
        attend(_child(pretraining, snapshot, features, parent, weights), staging)
    return described(store.folder(STAGE, key) / FOLDER)


def _kept(store: StageStore, inputs: dict[str, Any]) -> tuple[str, Backbone | None]:
    """What is stored of a training that ended by itself, and its key; without one, None and the key for the next.

    One that the clock ended keeps its place and serves nobody again: another run may have the time.
    """
    answer = 0
    while True:
        key = store.key(STAGE, {**inputs, "answer": answer}, CODE)
        if (folder := store.get(STAGE, key)) is None:
            return key, None
        found = contents(folder / FOLDER)
        if found.document["reproducible"]:
            return key, backbone_of(folder / FOLDER, found)
        answer += 1


@task(name="what is new", cache_policy=NO_CACHE)
@at_the_edge
def nothing_new(features: FeatureMatrix, parent: Backbone) -> str:
    """Why the bars since a backbone's end are too few to go on with; empty where they are not."""
    times = read_parquet(features.ref, ["time"])["time"].to_numpy("datetime64[ns]").astype(np.int64)
    end = int(datetime.fromisoformat(parent.end).timestamp()) * 10**9
    new, least = int((times > end).sum()), sum(LEAST_NEW.values())
    if new >= least:
        return ""
    return (
        f"backbone {parent.name} version {parent.version} saw bars up to {parent.end}; {new} are new, and an update "
        f"needs {least}: it stays as it is"
    )


def _child(
    pretraining: Pretraining, snapshot: Snapshot, features: FeatureMatrix, parent: Backbone | None, weights: str
) -> Child:
    return Child(
        name=STAGE,
        module=MODULE,
        asked={
            "pretraining": pretraining.model_dump(mode="json"),
            "snapshot": to_json(snapshot),
            "features": to_json(features),
            "parent": to_json(parent) if parent else None,
            "weights": weights,
        },
        budget=float(pretraining.seconds),
        limit=pretraining.seconds * 1.5 + GRACE_SECONDS,
        threads=pretraining.threads,
        platforms="",
    )


def _inputs(
    pretraining: Pretraining, snapshot: Snapshot, features: FeatureMatrix, parent: Backbone | None, weights: str
) -> dict[str, Any]:
    """Everything that the backbone depends on, by value: no paths. Its manifest holds the description itself."""
    return {
        "features": features.ref.sha256,
        "snapshot": snapshot.sha256,
        "pretraining": pretraining.model_dump(mode="json"),
        "parent": [parent.name, parent.version, parent.sha256] if parent else [],
        "weights": weights,
    }
