"""Errors that a recipe made out of sample, in units of what they are divided by, and the intervals made of them.

The walk-forward folds' fits had seen none of the rows that they were scored on. How well the intervals held afterwards
is ``coverage``'s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Candidate, Snapshot
from tasks.registry.records import Night
from tasks.registry.serving.intervals import KEPT, Intervals, Scaling, scaling_for
from tasks.storage import read_parquet

STAMP = "datetime64[ns]"
_NUMBERS = ("open", "high", "low", "close", "volume")

Floats = npt.NDArray[np.float64]


def intervals(night: Night, candidate: Candidate, measured: dict[str, Any] | None = None) -> Intervals | None:
    """Intervals from the candidate's walk-forward errors; None for probabilities, and without such errors.

    Raises IntegrityError for a damaged file.
    """
    if not has_errors(night, candidate.name):
        return None
    scores, dates = walked_scores(night, candidate.name)
    scores.sort()
    return Intervals(
        scaling=scaling_for(night.rows.target),
        scores=_kept(scores),
        residuals=len(scores),
        dates=dates,
        measured=measured or {},
    )


def has_errors(night: Night, name: str) -> bool:
    """Whether the night kept walk-forward predictions of a candidate that predicts values."""
    board = night.leaderboard
    ranked = any(score.candidate == name for score in board.scores)
    return night.rows.target.kind == "regression" and board.predictions is not None and ranked


def walked_scores(night: Night, name: str) -> tuple[Floats, int]:
    """The scores of a candidate's walk-forward rows, (n,), and on how many dates they lie; see ``has_errors``."""
    assert night.leaderboard.predictions is not None
    rows = read_parquet(night.leaderboard.predictions, ["symbol", "time", "label", name])
    rows = rows.rename(columns={name: "prediction"})
    scale = scales(scaling_for(night.rows.target), night.snapshot, night.features.spec.tick, rows)
    return errors(rows) / scale, int(rows["time"].nunique())


def errors(rows: pd.DataFrame) -> Floats:
    """|label - prediction|, (n,)."""
    return np.asarray(np.abs(rows["label"].to_numpy(np.float64) - rows["prediction"].to_numpy(np.float64)))


def scales(scaling: Scaling, snapshot: Snapshot, tick: float, rows: pd.DataFrame) -> Floats:
    """What the errors of rows (columns symbol, time) are divided by, (n,), by the code that serves.

    Raises IntegrityError if the snapshot's file is damaged.
    """
    found = np.ones(len(rows))
    if scaling.kind == "one":
        return found
    times = rows["time"].to_numpy(STAMP)
    bars = {str(name): part for name, part in read_parquet(snapshot.bars).groupby("symbol", sort=False)}
    for symbol, places in rows.groupby("symbol", sort=False).indices.items():
        part = bars[str(symbol)]
        at = np.searchsorted(part["time"].to_numpy(STAMP), times[places])
        arrays: dict[str, npt.NDArray[Any]] = {name: part[name].to_numpy(np.float64) for name in _NUMBERS}
        arrays["session"] = part["session"].to_numpy().astype("datetime64[D]")
        found[places] = scaling.at(arrays, at, tick)
    return found


def _kept(ascending: Floats) -> tuple[float, ...]:
    """Six digits of all of the scores, or of those at evenly spaced ranks."""
    count = min(len(ascending), KEPT)
    ranks = np.ceil(np.arange(1, count + 1) * len(ascending) / count).astype(np.int64)
    return tuple(float(f"{score:.6g}") for score in ascending[ranks - 1])
