"""The Prefect task of the features stage: load the bars, compute the matrix, save it, return a reference."""

from __future__ import annotations

import dataclasses
import logging
import os
from pathlib import Path

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.contracts import FeatureMatrix, FeatureSpec, Snapshot, resolved
from tasks.documents import from_json, to_json
from tasks.features import catalogue, parallel
from tasks.problem import Problem
from tasks.storage import StageStore, read_json, read_parquet, write_json, write_parquet

CODE = ("tasks/features", "tasks/contracts.py", "tasks/documents.py", "tasks/errors.py", "tasks/storage.py")
KEYS = ("symbol", "time", "session")
RESULT = "feature_matrix.json"
MATRIX = "matrix.parquet"
log = logging.getLogger("nocturne.features")


@task(name="features", cache_policy=NO_CACHE)
def build_features(problem: Problem, snapshot: Snapshot) -> FeatureMatrix:
    """The feature matrix of a snapshot, computed once for the same bars, columns, tick and code."""
    spec = specification(problem, snapshot)
    store = StageStore()
    key = store.key("features", {"snapshot": snapshot.sha256, "spec": to_json(spec)}, CODE)
    folder = store.get("features", key)
    if folder is None:
        with store.put("features", key) as staging:
            _write(staging, snapshot, spec)
        folder = store.folder("features", key)
    else:
        log.info("features: %d columns reused", len(spec.columns))
    return load(folder)


def specification(problem: Problem, snapshot: Snapshot) -> FeatureSpec:
    """The columns that have a meaning for the snapshot's source, at the problem's tick."""
    columns = catalogue.select(snapshot.has_volume, snapshot.true_opens)
    return FeatureSpec(columns=columns, tick=problem.tick, bar=problem.bar)


def load(folder: Path) -> FeatureMatrix:
    """The stage's result from its published folder, its references pointing there."""
    found: FeatureMatrix = resolved(from_json(FeatureMatrix, read_json(folder / RESULT)), str(folder))
    return found


def _write(folder: Path, snapshot: Snapshot, spec: FeatureSpec) -> None:
    bars = read_parquet(snapshot.bars)
    values = parallel.panel(bars, spec, workers=os.cpu_count() or 1)
    frame = pd.DataFrame(values, columns=list(spec.columns), copy=False)
    for place, name in enumerate(KEYS):
        frame.insert(place, name, bars[name])
    ref = write_parquet(folder / MATRIX, frame)
    result = FeatureMatrix(
        ref=dataclasses.replace(ref, path=MATRIX),
        spec=spec,
        lookback=catalogue.lookback(spec.columns),
        left_out=catalogue.left_out(snapshot.has_volume, snapshot.true_opens),
    )
    write_json(folder / RESULT, to_json(result))
    log.info("features: %d rows, %d columns", len(frame), len(spec.columns))
