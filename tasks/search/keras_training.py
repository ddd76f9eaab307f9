"""What a keras network learns from, how one is trained on it from a recipe, and what it then predicts.

Knows networks by their methods alone and imports no keras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.contracts import Target
from tasks.errors import EngineError
from tasks.search.engine import TrainingData
from tasks.search.fold_scaling import FoldScaling

_PROBABILITY_EDGE = 1e-7
"""Keras's own, which is not the ranking loss's: the search's figures are to be found again."""
Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """Rows as a network sees them: x float32 (n, features) scaled, y float32 (n, 1) standardised or 0/1.

    ``weight``: float32 (n,) of mean one, what each row counts in a fit, None where all count the same.
    """

    rows: Rows
    scaling: FoldScaling
    x: npt.NDArray[np.float32]
    y: npt.NDArray[np.float32]
    weight: npt.NDArray[np.float32] | None = None

    @property
    def weighted(self) -> dict[str, Any]:
        """What keras's ``fit`` is told of the weights: nothing where there are none."""
        return {} if self.weight is None else {"sample_weight": self.weight}


def batch_rows(rows: int) -> int:
    """Rows a gradient step: a power of two near a sixteenth of the rows, 128 to 1024 (small ones waste the time)."""
    return int(min(max(2 ** round(np.log2(max(rows, 1) / 16)), 128), 1024))


def fit_fold(data: TrainingData, rows: Rows, columns: Sequence[str]) -> Fold:
    """Rows scaled by their own statistics. Raises EngineError if they are too few, or all of one class."""
    if len(rows) < 2:
        raise EngineError(f"{len(rows)} labelled rows to fit on: widen the train window")
    X, y = data.take(rows, columns), data.y[rows]
    classification = data.target.kind == "classification"
    if classification and not set(np.unique(y)) == {0.0, 1.0}:
        raise EngineError(f"labels must be both 0 and 1, got {np.unique(y)[:5].tolist()}: widen the train window")
    scaling = FoldScaling.fit(X, y, scale_target=not classification)
    weight = data.weights(rows)
    return Fold(
        rows=rows,
        scaling=scaling,
        x=scaling.features(X),
        y=scaling.targets(y),
        weight=None if weight is None else weight.astype(np.float32),
    )


def fold(data: TrainingData, rows: Rows, columns: Sequence[str], scaling: FoldScaling) -> Fold:
    """Rows scaled by the statistics of others. Raises EngineError if there are none."""
    if not len(rows):
        raise EngineError("no labelled validation rows to stop training by: widen the validation window")
    x, y = scaling.features(data.take(rows, columns)), scaling.targets(data.y[rows])
    return Fold(rows=rows, scaling=scaling, x=x, y=y)


def train_network(space: Any, recipe: dict[str, Any], rows: Fold) -> Any:
    """The network of a recipe, trained on these rows for the recipe's epochs with nothing held out."""
    network = space.network(recipe, len(rows.rows))
    network.fit(rows.x, rows.y, batch_size=recipe["batch_size"], epochs=recipe["epochs"], verbose=0, **rows.weighted)
    return network


def outputs(network: Any, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """What keras itself predicts for scaled features, float32 (n, 1)."""
    return np.asarray(network([x], training=False), dtype=np.float32).reshape(len(x), 1)


def loss(target: Target, network: Any, rows: Fold) -> float:
    """The loss that the search ranks by, computed apart from it: squared error or cross-entropy, a mean over rows."""
    predicted, y = outputs(network, rows.x).astype(np.float64), rows.y.astype(np.float64)
    if target.kind == "regression":
        return float(np.mean((predicted - y) ** 2))
    p = np.clip(predicted, _PROBABILITY_EDGE, 1 - _PROBABILITY_EDGE)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))
