"""From stored feature and label files to what an engine may see.

Reads are verified; rows must agree; labels that the mode forbids are blanked here, once, so that no engine can learn
from them by mistake.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import EngineRequest, RefitJob
from tasks.errors import EngineError
from tasks.search.engine import TrainingData
from tasks.statistics.shuffle import shuffled_labels
from tasks.storage import read_matrix, read_parquet

_SEARCH_LABELS = ("train", "validation", "blending")


def load(request: EngineRequest, only: Collection[str] | None = None) -> TrainingData:
    """All rows with all labels; of the features those in ``only`` (None: all) and in the recipes that are asked for.

    Raises IntegrityError for a damaged file, EngineError for rows that disagree."""
    features = read_parquet(request.features.ref, ["symbol", "time"])
    rows = read_parquet(request.rows.ref)
    _check_aligned(features, rows)
    columns = _wanted(request, only)
    data = TrainingData(
        X=read_matrix(request.features.ref, columns),
        y=rows["label"].to_numpy(np.float64),
        columns=columns,
        symbols=features["symbol"].astype(str).to_numpy(object),
        times=features["time"].to_numpy("datetime64[ns]"),
        window=rows["window"].astype(object).fillna("").astype(str).to_numpy(object),
        sessions=rows["session"].to_numpy("datetime64[ns]"),
        weight=rows["weight"].to_numpy(np.float64),
        fits={name: rows[name].to_numpy(bool) for name in request.rows.fits},
        target=request.rows.target,
        weighted=request.rows.weighted,
    )
    _check_finite(data)
    return data


def _wanted(request: EngineRequest, only: Collection[str] | None) -> tuple[str, ...]:
    every = request.features.spec.columns
    if only is None:
        return every
    asked = {*only, *(name for job in request.jobs for name in job.recipe.get("columns", ()))}
    return tuple(name for name in every if name in asked)


def for_search(data: TrainingData) -> TrainingData:
    """The data with labels on train, validation and blending rows alone."""
    return _only(data, np.isin(data.window.astype(str), _SEARCH_LABELS))


def for_job(data: TrainingData, job: RefitJob) -> TrainingData:
    """The data with labels on the rows alone that the job marks; all labels permuted before that if it is a canary.

    Raises EngineError for an unknown fit, or where there are too few dates to permute.
    """
    known = data.fit(job.rows)
    if not job.shuffle:
        return _only(data, known)
    try:
        permuted = shuffled_labels(data.y, data.sessions, data.symbols, job.shuffle)
    except ValueError as error:
        raise EngineError(str(error)) from error
    return _only(dataclasses.replace(data, y=permuted), known)


def _only(data: TrainingData, known: npt.NDArray[np.bool_]) -> TrainingData:
    return dataclasses.replace(data, y=np.where(known, data.y, np.nan))


def _check_aligned(features: pd.DataFrame, rows: pd.DataFrame) -> None:
    if len(features) != len(rows):
        raise EngineError(f"features have {len(features)} rows and labels {len(rows)}: they must be of one snapshot")
    differ = (features["symbol"].astype(str) != rows["symbol"].astype(str)) | (features["time"] != rows["time"])
    if differ.any():
        row = int(np.flatnonzero(differ)[0])
        raise EngineError(f"features and labels differ in symbol or time from row {row} on: not of one snapshot")


def _check_finite(data: TrainingData) -> None:
    used = np.logical_or.reduce([data.window != "", *data.fits.values()])
    bad = {}
    for column in range(len(data.columns)):  # one by one: on a panel a mask of all of them takes room
        rows = np.flatnonzero(used & ~np.isfinite(data.X[:, column]))
        if len(rows):
            bad[column] = rows
    if bad:
        row, column = min((int(rows[0]), column) for column, rows in bad.items())
        raise EngineError(
            f"feature {data.columns[column]} is {data.X[row, column]} for {data.symbols[row]} at {data.times[row]} "
            f"(row {row}), {sum(map(len, bad.values()))} values in all, in rows that belong to a window: shorten the "
            "windows"
        )
