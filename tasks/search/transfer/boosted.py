"""Embeddings as columns: H2O's boosted trees on the catalogue's columns and a frozen encoder's embedding beside them.

The control is the same trees on the same rows without the embedding: what the catalogue is worth is in both.

A tree asks on which side of a number a value lies, so the embeddings that it learned from must be those that it will be
asked about. They come out of the exported graph, through what serves it, rounded to ``DECIMALS``: two machines whose
last digits differ then give a tree the same number but for the rarest of cases.
"""

from __future__ import annotations

import dataclasses
import math
import time
from pathlib import Path
from typing import Any

import h2o
import numpy as np
import numpy.typing as npt
from h2o.estimators import H2OGradientBoostingEstimator

from tasks.contracts import EngineBudget
from tasks.registry.serving.embedded import DECIMALS, ENCODER, INNER, embedding_names
from tasks.registry.serving.model_folder import DOCUMENT, write_model
from tasks.search.engine import TrainingData
from tasks.search.h2o_automl import TOLERANCE, export
from tasks.search.h2o_frames import LABEL, Sample, free_models, predictions
from tasks.search.h2o_recipes import fit
from tasks.search.h2o_server import H2OServer, connect
from tasks.search.transfer.channels import CHANNELS
from tasks.search.transfer.export import described
from tasks.search.transfer.networks import Spec
from tasks.search.transfer.training import loss_of

__all__ = ["TOLERANCE", "Boosted", "Forest"]
LONGEST = 86_400.0
LATER = 0.1
"""The share of the dates on whose rows the exported trees are compared with the cluster's."""

STOPPING = {"stopping_rounds": 3, "score_tree_interval": 10, "stopping_tolerance": 1e-4}
WATCHED = {"regression": "validation_rmse", "classification": "validation_logloss"}
Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Table = npt.NDArray[Any] | None
"""Embeddings of every row, float32 (n, e); None for the control, which has none."""


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Boosted:
    """Fitted trees: the model in the cluster, the cluster's own predictions on some rows, trees, seconds."""

    model: Any
    columns: tuple[str, ...]
    native: Floats
    native_rows: Rows
    trees: int
    seconds: float


class Forest:
    """H2O's JVM, started when it is first needed; ``close`` ends it and may be called twice."""

    def __init__(self, budget: EngineBudget, scratch: Path) -> None:
        self._budget, self._scratch = budget, scratch
        self._server: H2OServer | None = None

    def close(self) -> None:
        """Kill the JVM if there is one."""
        if self._server is not None:
            self._server.close()

    def searched(  # noqa: PLR0917 - what a trial is, and until when
        self,
        data: TrainingData,
        recipe: dict[str, Any],
        table: Table,
        train: Rows,
        watched: Rows,
        deadline: float = math.inf,
    ) -> tuple[int, float, bool]:
        """How many trees are best on the watched rows, the ranking loss with them there, and whether the clock cut it.

        deadline: on the monotonic clock. The growing goes some rounds beyond the best before it stops: the model with
        the best number of trees is grown once more where that is another.
        """
        server = self._up()
        with server.blamed():
            both = np.concatenate([train, watched])
            beside, columns = _beside(data, both, recipe, table)
            upload = Sample(beside, np.arange(len(both)), columns, LATER, self._scratch)
            order = np.argsort(beside.times, kind="stable")
            cut = h2o.H2OFrame((order < len(train)).astype(int).tolist(), column_names=["train"])
            every = upload.every.cbind(cut)
            earlier, later = (every[every["train"] == part, :] for part in (1, 0))

            def grown(**settings: Any) -> Any:
                model = H2OGradientBoostingEstimator(**settings, weights_column=upload.weights)
                model.train(x=list(columns), y=LABEL, training_frame=earlier, validation_frame=later)
                return model

            seconds = min(max(deadline - time.monotonic(), 1.0), LONGEST)
            model = grown(**_params(recipe), **STOPPING, max_runtime_secs=seconds)
            late = time.monotonic() > deadline
            trees = best_of(model.scoring_history(), WATCHED[data.target.kind])
            if trees != int(model.params["ntrees"]["actual"]):
                model = grown(**{**_params(recipe), "ntrees": trees})
            labels = beside.y[order[order >= len(train)]]
            loss = loss_of(data.target.kind, predictions(model, later), labels)
            upload.free()
            free_models()
            return trees, loss, late

    def fitted(self, data: TrainingData, recipe: dict[str, Any], table: Table, rows: Rows) -> Boosted:
        """The recipe's trees on these rows, for exactly as many trees as it says."""
        server = self._up()
        with server.blamed():
            beside, columns = _beside(data, rows, recipe, table)
            sample = Sample(beside, np.arange(len(rows)), columns, LATER, self._scratch)
            model, seconds = fit({"algorithm": "gbm", "params": _params(recipe)}, sample)
            return Boosted(
                model=model,
                columns=columns,
                native=predictions(model, sample.later),
                native_rows=rows[sample.later_rows],
                trees=int(model.params["ntrees"]["actual"]),
                seconds=seconds,
            )

    def written(
        self, boosted: Boosted, recipe: dict[str, Any], encoder: Path | None, folder: Path, output: str
    ) -> None:
        """The serving folder: the encoder's graph, the trees in a folder of their own, and how they fit together.

        Without an encoder, the trees alone.
        """
        if encoder is None:
            export(boosted.model, boosted.columns, folder, classify=output == "probability")
            return
        export(boosted.model, boosted.columns, folder / INNER, classify=output == "probability")
        (folder / ENCODER).write_bytes(encoder.read_bytes())
        spec = Spec(**recipe["architecture"])
        channels = [name for name in CHANNELS if name in recipe["columns"]]
        ordinary = [name for name in recipe["columns"] if name not in channels]
        write_model(
            folder,
            {
                "kind": "embedded",
                "output": output,
                "columns": [*channels, *ordinary],
                "history": spec.length - 1,
                **described(spec),
                "decimals": DECIMALS,
                "files": {"onnx": ENCODER, "inner": f"{INNER}/{DOCUMENT}"},
            },
        )

    def _up(self) -> H2OServer:
        if self._server is None:
            self._server = H2OServer(self._scratch / "h2o", self._budget.threads, self._budget.memory_mb)
            h2o.no_progress()
            with self._server.blamed():
                connect(self._server.url, self._server.user, self._server.password)
        return self._server


def best_of(history: Any, watched: str) -> int:
    """The number of trees with the lowest watched metric in H2O's scoring history, the fewest of equals; at least 1."""
    scored = history[(history["number_of_trees"] > 0) & history[watched].notna()]
    return max(int(scored["number_of_trees"].iloc[int(np.argmin(scored[watched].to_numpy()))]) if len(scored) else 1, 1)


def _beside(
    data: TrainingData, rows: Rows, recipe: dict[str, Any], table: Table
) -> tuple[TrainingData, tuple[str, ...]]:
    """The rows alone, the recipe's columns and then the embedding's."""
    X, columns = data.take(rows, recipe["columns"]), tuple(recipe["columns"])
    if table is not None:
        columns = (*columns, *embedding_names(table.shape[1]))
        X = np.column_stack([X, np.round(table[rows].astype(np.float64), DECIMALS)])
    parts = {name: getattr(data, name)[rows] for name in ("y", "symbols", "times", "window", "sessions", "weight")}
    return dataclasses.replace(data, X=X, columns=columns, fits={}, **parts), columns


def _params(recipe: dict[str, Any]) -> dict[str, Any]:
    settings = recipe["hyperparameters"]
    classify = recipe["kind"] == "classification"
    return {
        "ntrees": settings["trees"],
        "max_depth": settings["depth"],
        "learn_rate": settings["rate"],
        "min_rows": 20,
        "sample_rate": 0.8,
        "col_sample_rate": 0.7,
        "distribution": "bernoulli" if classify else "gaussian",
        "seed": recipe["seed"],
    }
