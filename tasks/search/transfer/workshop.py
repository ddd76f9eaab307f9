"""Where an engine's process fits, measures and exports: panels, embeddings, networks and trees that outlive a job.

A night's jobs differ in labels and rows and not in bars: what hangs on the bars alone (windows, embeddings of a
backbone) or on the network's sizes alone (its compiled step) is made once and serves them all.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from tasks.contracts import Backbone, EngineBudget
from tasks.errors import EngineError
from tasks.registry.serving.embedded import ENCODER, Encoder
from tasks.search.engine import Fitted, TrainingData
from tasks.search.keras_training import batch_rows
from tasks.search.transfer import boosted, export, networks, strategies
from tasks.search.transfer.adaptation import Adaptation
from tasks.search.transfer.channels import CHANNELS, MASKED, Rows, windows
from tasks.search.transfer.embeddings import Embeddings
from tasks.search.transfer.fitting import Fitting, Made, loaded_of, with_epochs
from tasks.search.transfer.panel import LEAST_EFFECTIVE, Panel
from tasks.search.transfer.strategies import Trial

NATIVE_ROWS = 2000
NOT_ADAPTED = {"method": "none"}
SERVED_BATCH = 1024
FOLD = "fit_fold_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """What a trial came to: its recipe with the epochs or trees found, its loss on the validation rows."""

    trial: Trial
    name: str
    recipe: dict[str, Any]
    loss: float
    late: bool = False
    notes: tuple[str, ...] = ()


class Workshop:
    """See the module. ``take`` the data before anything else; ``close`` may be called twice."""

    def __init__(self, budget: EngineBudget, scratch: Path) -> None:
        self._scratch = scratch
        self._forest = boosted.Forest(budget, scratch)
        self._data: TrainingData | None = None
        self._fittings: dict[int, Fitting] = {}
        self._embeddings: dict[int, Embeddings] = {}

    def close(self) -> None:
        """End the JVM, if one was started."""
        self._forest.close()

    def take(self, data: TrainingData) -> None:
        """The labels of a job; where the features are the same as before, what was made of them stays."""
        if self._data is None or self._data.X is not data.X:
            self._fittings, self._embeddings = {}, {}
        self._data = data
        for fitting in self._fittings.values():
            fitting.panel = fitting.panel.relabelled(data)

    def require_folds(self, length: int) -> None:
        """Raise EngineError if a fold's fit will have too few rows with a whole window: its labels are hidden yet."""
        panel = self._fitting(length).panel
        for name in (each for each in panel.data.fits if each.startswith(FOLD)):
            rows = np.flatnonzero(panel.data.fit(name) & panel.whole)
            if (effective := panel.effective(rows)) < LEAST_EFFECTIVE:
                raise EngineError(
                    f"{name}: {len(rows):,} rows end a whole window of {length} bars, worth {effective:.0f} labels "
                    f"that share no bar; a transfer needs {LEAST_EFFECTIVE:.0f} in each fold: use more history"
                )

    def measure(self, backbone: Backbone, train: Rows) -> Adaptation:
        """How far the backbone's source is from the train rows, and what is done about it."""
        fitting = self._fitting(backbone.length)
        return fitting.measured(backbone, fitting.panel.fitted(train, "the train window"))

    def frozen_loss(self, backbone: Backbone, train: Rows, watched: Rows, seed: int) -> float:
        """The validation loss of feature extraction from a backbone."""
        trial = Trial(strategy="features", number=1, settings=strategies.SETTINGS["features"])
        return self.tried(trial, backbone, "none", (train, watched), seed=seed, epochs=1).loss

    def tried(
        self,
        trial: Trial,
        backbone: Backbone,
        method: str,
        rows: tuple[Rows, Rows],
        *,
        seed: int,
        epochs: int,
        deadline: float = math.inf,
    ) -> Tried:
        """Fit a trial on train rows, watching validation rows: its recipe and its loss.

        method: of adaptation, used where the trial asks for it. Raises EngineError where it cannot be fitted.
        """
        fitting, (train, watched) = self._fitting(backbone.length), rows
        fit_rows = fitting.panel.fitted(train, "the train window")
        start = backbone if trial.transfers else None
        spec = loaded_of(backbone).spec
        recipe = strategies.recipe_of(
            self._settled(trial, fitting.panel, fit_rows),
            fitting.panel.data.target,
            self._columns(trial.strategy),
            start,
            asdict(spec),
            epochs=epochs if trial.strategy in strategies.TRAINED else 0,
            batch=batch_rows(len(fit_rows)),
            seed=seed,
            adaptation={"method": method} if trial.settings.get("adapt") and start is not None else NOT_ADAPTED,
        )
        if trial.strategy in strategies.GROWN:
            return self._grown(trial, recipe, start, (fit_rows, watched), deadline)
        made = fitting.fit(recipe, start, fit_rows, watched=watched, deadline=deadline)
        return Tried(
            trial=trial,
            name=trial.name if start is not None else f"transfer-scratch-{spec.architecture}",
            recipe=with_epochs(made),
            loss=fitting.loss(made, watched),
            late=made.late,
            notes=self._forgot(fitting, made, start),
        )

    def fitted(
        self, name: str, recipe: dict[str, Any], backbone: Backbone | None, rows: Rows, folder: Path, *, what: str
    ) -> Fitted:
        """A recipe fitted on rows for exactly its epochs or trees, exported and compared with what fitted it."""
        fitting = self._fitting(int(recipe["architecture"]["length"]))
        kept = fitting.panel.fitted(rows, what)
        if recipe["strategy"] in strategies.GROWN:
            return self._trees(name, recipe, backbone, kept, folder)
        return _exported(name, fitting, fitting.fit(recipe, backbone, kept), kept, folder)

    def _fitting(self, length: int) -> Fitting:
        assert self._data is not None
        if length not in self._fittings:
            panel = Panel.of(self._data, length)
            self._embeddings[length] = Embeddings(panel.bars, length)
            self._fittings[length] = Fitting(panel, self._embeddings[length])
        return self._fittings[length]

    def _columns(self, strategy: str) -> list[str]:
        assert self._data is not None
        if strategy in strategies.GROWN:
            return list(self._data.columns)
        return [name for name in CHANNELS if name in self._data.columns]

    @staticmethod
    def _settled(trial: Trial, panel: Panel, rows: Rows) -> Trial:
        """The trial with what its head's level is standardised by: of the train rows, fixed from then on."""
        settings: Mapping[str, Any] = {**trial.settings, "level": list(panel.level(rows))}
        return Trial(strategy=trial.strategy, number=trial.number, settings=settings)

    @staticmethod
    def _forgot(fitting: Fitting, made: Made, backbone: Backbone | None) -> tuple[str, ...]:
        if backbone is None or made.outcome is None:
            return ()
        told = fitting.forgotten(backbone, made)
        return (f"change of the source's losses by the tuning: {told}",) if told else ()

    def _grown(
        self, trial: Trial, recipe: dict[str, Any], start: Backbone | None, rows: tuple[Rows, Rows], deadline: float
    ) -> Tried:
        panel, (train, watched) = self._fitting(int(recipe["architecture"]["length"])).panel, rows
        table = None if start is None else self._served(start)
        trees, loss, late = self._forest.searched(
            panel.data, recipe, table, train, watched[panel.whole[watched]], deadline
        )
        settings = {**recipe["hyperparameters"], "trees": trees}
        recipe = {**recipe, "hyperparameters": settings}
        return Tried(trial=trial, name=trial.name, recipe=recipe, loss=loss, late=late)

    def _trees(self, name: str, recipe: dict[str, Any], start: Backbone | None, rows: Rows, folder: Path) -> Fitted:
        began, data = time.perf_counter(), self._fitting(int(recipe["architecture"]["length"])).panel.data
        grown = self._forest.fitted(data, recipe, None if start is None else self._served(start), rows)
        self._forest.written(grown, recipe, None if start is None else self._graph(start), folder, _output(data))
        return Fitted(
            name=name,
            engine=strategies.ENGINE,
            recipe=recipe,
            model=folder,
            train_seconds=time.perf_counter() - began,
            native=grown.native,
            native_rows=grown.native_rows,
            tolerance=boosted.TOLERANCE * max(1.0, float(np.max(np.abs(grown.native)))),
        )

    def _graph(self, backbone: Backbone) -> Path:
        """The exported encoder of a backbone, below the process's scratch folder."""
        path = self._scratch / backbone.sha256[:16] / ENCODER
        if not path.is_file():
            loaded = loaded_of(backbone)
            encoder = networks.encoder(loaded.spec, 1)
            networks.load_weights(encoder, loaded.weights)
            export.write_encoder(keras.Model(encoder.input, encoder.output[0]), loaded.spec, path)
        return path

    def _served(self, backbone: Backbone) -> npt.NDArray[np.float32]:
        """What the exported encoder gives for every row, float32 (n, e)."""
        spec = loaded_of(backbone).spec
        bars = self._fitting(spec.length).panel.bars

        def embed(ends: Rows) -> npt.NDArray[np.float32]:
            graph = self._encoder(backbone, spec)
            parts = [
                graph.of_windows(windows(bars, ends[first : first + SERVED_BATCH], spec.length))
                for first in range(0, len(ends), SERVED_BATCH)
            ]
            return np.concatenate(parts).astype(np.float32)

        return self._embeddings[spec.length].every(f"{backbone.sha256} served", embed)

    def _encoder(self, backbone: Backbone, spec: networks.Spec) -> Encoder:
        known = [name for name in CHANNELS if name not in MASKED]
        path = self._graph(backbone)
        about = {"columns": known, "history": spec.length - 1, "output": "value", "files": {"onnx": ENCODER}}
        return Encoder(path.parent, {**about, **export.described(spec)})


def _exported(name: str, fitting: Fitting, made: Made, rows: Rows, folder: Path) -> Fitted:
    """The network as a serving folder, and keras's own predictions on the last of the rows."""
    panel, spec = fitting.panel, made.network.spec
    export.write_folder(made.network.single, spec, made.recipe["columns"], _output(panel.data), folder)
    last = rows[-NATIVE_ROWS:]
    return Fitted(
        name=name,
        engine=strategies.ENGINE,
        recipe=made.recipe,
        model=folder,
        train_seconds=made.seconds,
        native=made.network.predict(panel.bars, last),
        native_rows=last,
        tolerance=export.tolerance(panel.bars, last, spec.length, fitting.kind),
    )


def _output(data: TrainingData) -> str:
    return "value" if data.target.kind == "regression" else "probability"
