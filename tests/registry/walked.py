"""A night whose leader was walked over folds: what intervals are made of."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.contracts import Target
from tasks.registry.records import Night
from tasks.storage import read_parquet, read_predictions, write_parquet
from tests.registry.conftest import make_night

RETURNS = Target(name="return", horizon=1, kind="regression", loss="mse")
FOLDS = 160
"""So many rows of each symbol, before the gate, are the folds."""


def walked_night(folder: Path, bars: pd.DataFrame, target: Target | None = None) -> Night:
    """``make_night`` with walk-forward predictions on the last rows before the gate: those of ``ridge-0``, for all.

    For returns the labels are returns, and the predictions nil.
    """
    night = make_night(folder, bars)
    rows = read_parquet(night.rows.ref)
    leader = next(found for found in night.results[0].candidates if found.name == "ridge-0")
    predictions = read_predictions(leader.predictions)
    if target is not None:
        ahead = np.log(bars["close"]).groupby(bars["symbol"]).diff().groupby(bars["symbol"]).shift(-target.horizon)
        rows, predictions = rows.assign(label=ahead), np.zeros(len(rows))
        leader = replace(
            leader, predictions=write_parquet(folder / "nil.parquet", pd.DataFrame({"prediction": predictions}))
        )
        night = replace(
            night, rows=replace(night.rows, ref=write_parquet(folder / "rows.parquet", rows), target=target)
        )
    ranked = {score.candidate: predictions for score in night.leaderboard.scores}
    before = rows.assign(**ranked, fold=1)[(rows["window"] == "train") & rows["fit_gate"]]
    folds = before.groupby("symbol", sort=False).tail(FOLDS)
    kept = folds[["symbol", "time", "session", "label", "label_end", "fold", *ranked]].reset_index(drop=True)
    board = replace(night.leaderboard, predictions=write_parquet(folder / "board.parquet", kept))
    others = tuple(found for found in night.results[0].candidates if found.name != "ridge-0")
    results = (replace(night.results[0], candidates=(leader, *others)),)
    return replace(night, leaderboard=board, results=results)
