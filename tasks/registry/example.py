"""The raw bars that are logged with a model, enough for one prediction, and what the model said of them.

A model that compares names within a date takes them all: an example with one of them is one that it refuses, and a
client takes a model that refuses its own example for broken.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Candidate
from tasks.registry.records import Night
from tasks.registry.serving.bars import NUMBERS
from tasks.registry.serving.model_folder import read_document
from tasks.registry.serving.predictor import bars_needed
from tasks.storage import read_parquet, read_predictions

MOST_ROWS = 50_000
"""Longer examples are left out: MLflow keeps them as JSON, twice, some 5 MB at this length."""


def needed(document: dict[str, Any]) -> int:
    """How many bars of a symbol one prediction of the model with this ``model.json`` takes."""
    return bars_needed(tuple(document["columns"]), int(document["history"]))


def example_bars(night: Night, candidate: Candidate) -> pd.DataFrame | None:
    """Bars as a consumer gives them; None where the model compares so many names that they would be too long.

    Of the symbol with the longest history; of a model that compares names, of all that have enough up to the last date.
    """
    bars, daily = read_parquet(night.snapshot.bars), night.snapshot.bar == "1d"
    chosen = bars.iloc[_rows(night, candidate, bars)].reset_index(drop=True)
    if chosen.empty:
        return None
    when = chosen["session"].dt.strftime("%Y-%m-%d") if daily else chosen["time"].map(pd.Timestamp.isoformat)
    columns: dict[str, Any] = {} if len(night.snapshot.symbols) == 1 else {"symbol": chosen["symbol"]}
    return pd.DataFrame(columns | {"time": when} | {number: chosen[number] for number in NUMBERS})


def example_predictions(night: Night, candidate: Candidate) -> list[float]:
    """What the candidate said of the example's last bars, in the order of its symbols, without those of no value."""
    bars = read_parquet(night.snapshot.bars, ["symbol", "session", "time"])
    rows = _rows(night, candidate, bars)
    symbols = bars["symbol"].to_numpy()[rows]
    last = rows[np.append(symbols[1:] != symbols[:-1], True)] if len(rows) else rows
    said = read_predictions(candidate.predictions)[last]
    return [float(value) for value in said if np.isfinite(value)]


def _rows(night: Night, candidate: Candidate, bars: pd.DataFrame) -> npt.NDArray[np.intp]:
    """The places of the example's bars among all."""
    count = needed(read_document(Path(candidate.model)))
    spec = night.features.spec
    grouped = bars.groupby("symbol", sort=False)
    behind = grouped.cumcount(ascending=False)
    if spec.cross_section == "none":
        chosen = bars["symbol"] == grouped.size().idxmax()
    else:
        date = bars["session" if spec.bar == "1d" else "time"]
        reaches = date.groupby(bars["symbol"]).transform("max") == date.max()
        chosen = reaches & (grouped["symbol"].transform("size") >= count)
        if chosen.groupby(bars["symbol"]).any().sum() * count > MOST_ROWS:
            chosen[:] = False
    return np.flatnonzero(chosen & (behind < count))
