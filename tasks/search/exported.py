"""What an exported model says: the predictions that count come from what will serve, never from the engine.

Predictions are made symbol by symbol in time order. Rows with a missing feature get NaN, except that a model with
history is given each unbroken run of complete rows whole, so that its recursion sees no gap.
"""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from statistics import median

import numpy as np
import numpy.typing as npt

from tasks.errors import EngineError
from tasks.registry.serving.scorers import Scorer, load_scorer
from tasks.search.engine import Fitted, TrainingData

_TIMINGS = 5


def predict_all(scorer: Scorer, data: TrainingData) -> npt.NDArray[np.float64]:
    """Predictions for every row with complete features, NaN elsewhere; float64 (n,)."""
    predictions = np.full(len(data.y), np.nan)
    edges = [0, *(np.flatnonzero(data.symbols[1:] != data.symbols[:-1]) + 1).tolist(), len(data.y)]
    for first, last in pairwise(edges):
        features = data.take(np.arange(first, last), scorer.columns)
        complete = np.asarray(np.isfinite(features).all(axis=1), dtype=np.bool_)
        for start, stop in _runs(complete, unbroken=scorer.history > 0):
            rows = start + np.flatnonzero(complete[start:stop])
            predictions[first + rows] = scorer.predict(features[rows])
    return predictions


def microseconds_per_row(scorer: Scorer, data: TrainingData) -> float:
    """Time to predict the first symbol's selection rows in one batch, divided by their number; median of five."""
    rows = np.flatnonzero(data.window == "selection")
    if not len(rows):
        return 0.0
    rows = rows[data.symbols[rows] == data.symbols[rows[0]]]
    features = data.take(rows, scorer.columns)
    seconds = []
    for _ in range(_TIMINGS):
        begun = time.perf_counter()
        scorer.predict(features)
        seconds.append(time.perf_counter() - begun)
    return 1e6 * median(seconds) / len(rows)


def verified(fitted: Fitted, data: TrainingData) -> tuple[Scorer, npt.NDArray[np.float64]]:
    """Load the exported folder and predict; raises EngineError if it does not repeat the engine's own predictions."""
    scorer = load_scorer(Path(fitted.model))
    predictions = predict_all(scorer, data)
    distance = np.abs(predictions[fitted.native_rows] - fitted.native)
    worst = float(np.max(distance, initial=0.0))
    if not worst <= fitted.tolerance:
        raise EngineError(
            f"{fitted.name}: the exported model differs from the engine's own predictions by {worst:.3g} "
            f"(allowed {fitted.tolerance:.3g}): refused"
        )
    return scorer, predictions


def _runs(complete: npt.NDArray[np.bool_], *, unbroken: bool) -> list[tuple[int, int]]:
    """Half-open ranges of a symbol's rows: all of them, or cut before and after incomplete rows if ``unbroken``."""
    cuts = np.flatnonzero(complete[1:] != complete[:-1]) + 1 if unbroken else np.empty(0, dtype=np.int64)
    edges = [0, *cuts.tolist(), len(complete)]
    return [(a, b) for a, b in pairwise(edges) if complete[a:b].any()]
