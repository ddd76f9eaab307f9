"""The search space of the AutoKeras engine: its graph, the tuner that walks it, and a network rebuilt from a recipe.

Import it only after ``KERAS_BACKEND`` is set: it imports keras. What differs from AutoKeras 3.0.0 as it comes:

- columns are numerical because we say so: no inference (columns with few values would become categories), no encoder
  outside the network that an export would lose; scaling is done before, inside the fold;
- heads cast their width to ``int`` (keras >= 3.13 refuses the NumPy integer that AutoKeras hands over);
- the features also reach the head directly, past the dense layers, unless the search decides against it: with a few
  thousand noisy rows a network without that linear path loses to ridge regression;
- learning rates that cannot learn within a bounded number of epochs (1e-4 and below), one that diverges (0.1) and
  layers wider than the number of features warrants are left out;
- the decay of ``adam_weight_decay`` is told the true batch size (AutoKeras takes all rows as one batch, so the
  learning rate is zero after as many steps as there should be epochs);
- every trial draws from a seed of its own, so that a recipe holds all that its network depends on.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import autokeras as ak
import keras
import keras_tuner
import numpy as np
from autokeras.analysers import StructuredDataAnalyser
from autokeras.graph import Graph
from autokeras.tuners.greedy import Greedy

from tasks.errors import EngineError

Kind = Literal["regression", "classification"]
TrialEnd = Callable[[int, float | None], None]

BLOCK, HEAD = "structured_data", "target"
LAYERS = (1, 2, 3)
UNITS = (16, 32, 64, 128)
LEARNING_RATES = (1e-2, 3e-3, 1e-3, 3e-4)
PATIENCE = 10
FIRST_TRIAL: dict[str, Any] = {
    f"{BLOCK}/shortcut": True,
    f"{BLOCK}/num_layers": 1,
    f"{BLOCK}/num_units": 32,
    f"{BLOCK}/dense/use_batchnorm": False,
    f"{BLOCK}/dense/dropout": 0.5,
    f"{HEAD}/dropout": 0.5,
    "optimizer": "adam",
    "learning_rate": 3e-3,
}


class _NumericAnalyser(StructuredDataAnalyser):  # type: ignore[misc]
    """Takes the declared column types as given: counting distinct values costs minutes on a panel and decides badly."""

    def _update_column(self, column_data: Any, i: int) -> None:
        """Count nothing."""

    def infer_column_types(self) -> None:
        """Infer nothing."""


class NumericColumns(ak.StructuredDataInput):  # type: ignore[misc]
    """Float32 columns that reach the network as they are."""

    def __init__(self, columns: Sequence[str], batch_rows: int) -> None:
        super().__init__(list(columns), dict.fromkeys(columns, "numerical"), name="features")
        self._batch_rows = batch_rows

    def get_analyser(self) -> Any:
        """AutoKeras asks for this."""
        return _NumericAnalyser(self.column_names, self.column_types)

    def config_from_analyser(self, analyser: Any) -> None:
        """AutoKeras asks for this; the analyser believes that a batch holds all rows."""
        super().config_from_analyser(analyser)
        self.batch_size = self._batch_rows

    def get_hyper_preprocessors(self) -> list[Any]:
        """None: what would be outside the network would be lost on export."""
        return []


class ShortcutBlock(ak.StructuredDataBlock):  # type: ignore[misc]
    """AutoKeras's block for structured data within our bounds, the features themselves joined to what it computes."""

    def build(self, hp: Any, inputs: Any = None) -> Any:
        """The block's output for one choice of hyperparameters."""
        features = keras.tree.flatten(inputs)[0]
        # One width for all layers: had each its own, a trial could change that of a third layer where there are two.
        dense = ak.DenseBlock(
            num_layers=hp.Choice("num_layers", list(LAYERS), default=1),
            num_units=hp.Choice("num_units", list(UNITS), default=32),
            name="dense",
        ).build(hp, features)
        if not hp.Boolean("shortcut", default=True):
            return dense
        return keras.layers.Concatenate()([features, dense])


class ValueHead(ak.RegressionHead):  # type: ignore[misc]
    """One linear output, mean squared error."""

    def build(self, hp: Any, inputs: Any = None) -> Any:
        """The head's output."""
        _with_int_units(self)
        return super().build(hp, inputs)


class ProbabilityHead(ak.ClassificationHead):  # type: ignore[misc]
    """The probability of class 1 through a sigmoid, binary cross-entropy."""

    def build(self, hp: Any, inputs: Any = None) -> Any:
        """The head's output."""
        _with_int_units(self)
        return super().build(hp, inputs)


def _with_int_units(head: Any) -> None:
    """Keras takes the number of units from the shape, and since 3.13 wants it to be Python's own integer."""
    head.shape = tuple(int(size) for size in head.shape)


def nodes(kind: Kind, columns: Sequence[str], batch_rows: int) -> tuple[NumericColumns, Any]:
    """Input and output node of the space: features, block, head."""
    features = NumericColumns(columns, batch_rows)
    head = (
        ValueHead(name=HEAD, metrics=[])
        if kind == "regression"
        else ProbabilityHead(name=HEAD, num_classes=2, metrics=[])
    )
    return features, head(ShortcutBlock(normalize=False, name=BLOCK)(features))[0]


class Tuner(Greedy):  # type: ignore[misc]
    """AutoKeras's greedy search with a first trial that suits few and noisy rows, and with a wall-clock limit."""

    def __init__(self, *, deadline: float, on_trial: TrialEnd, seed: int, **kwargs: Any) -> None:
        super().__init__(initial_hps=[FIRST_TRIAL], seed=seed, hyperparameters=_learning_rates(), **kwargs)
        self.columns: tuple[str, ...] = tuple(self.hypermodel.inputs[0].column_names)
        self.seconds: dict[str, float] = {}
        self.met_limit = False
        self._deadline, self._on_trial, self._first_seed = deadline, on_trial, seed

    def seed_of(self, trial_id: str) -> int:
        """The seed that a trial's weights, dropout and batches come from; never 0."""
        return (self._first_seed + int(trial_id)) % 2**31 or 2**31 - 1

    def pre_create_trial(self) -> None:
        """No new trial past the limit; the greedy choice draws from a known state of NumPy's generator."""
        self.end_if_late()
        keras.utils.set_random_seed(self.seed_of(str(len(self.oracle.trials))))

    def end_if_late(self) -> None:
        """Past the limit, the trials that were begun are all that there will be."""
        tried = len(self.oracle.trials)
        if tried and self._past_limit():
            self.met_limit |= tried < self.oracle.max_trials
            self.oracle.max_trials = tried

    def on_batch_end(self, trial: Any, model: Any, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        """Stop the trial under way at the limit; its best epoch so far still counts."""
        if self._past_limit():
            self.met_limit = True
            model.stop_training = True

    def on_trial_end(self, trial: Any) -> None:
        """Report the trial once the oracle has its score."""
        super().on_trial_end(trial)
        self.report()

    def report(self) -> None:
        """Tell how many trials there are and the best loss."""
        best = [float(item.score) for item in self.oracle.trials.values() if item.status == "COMPLETED"]
        self._on_trial(len(self.oracle.trials), min(best, default=None))

    def load_model(self, trial: Any) -> Any:
        """The trial's network with the weights of its best epoch; the optimizer's are of no use any more."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Skipping variable loading for optimizer")
            return super().load_model(trial)

    def completed(self) -> list[Any]:
        """Trials that ended with a score, best first; equal scores in the order tried."""
        done = [trial for trial in self.oracle.trials.values() if trial.status == "COMPLETED"]
        return sorted(done, key=lambda trial: (trial.score, int(trial.trial_id)))

    def _build_and_fit_model(self, trial: Any, *args: Any, **kwargs: Any) -> Any:
        keras.utils.set_random_seed(self.seed_of(trial.trial_id))
        begun = time.perf_counter()
        history = super()._build_and_fit_model(trial, *args, **kwargs)
        self.seconds[trial.trial_id] = time.perf_counter() - begun
        return history

    def _past_limit(self) -> bool:
        return time.monotonic() > self._deadline


def auto_model(
    kind: Kind,
    columns: Sequence[str],
    *,
    batch_rows: int,
    trials: int,
    folder: Path,
    overwrite: bool = True,
    tuner: type[Tuner] = Tuner,
    **settings: Any,
) -> ak.AutoModel:
    """AutoKeras, ready to ``fit``: at most ``trials`` trials, lowest validation loss, everything below ``folder``.

    ``settings`` are the tuner's.
    """
    keras.backend.clear_session()
    inputs, outputs = nodes(kind, columns, batch_rows)
    return ak.AutoModel(
        inputs=inputs,
        outputs=outputs,
        project_name="search",
        max_trials=trials,
        directory=folder,
        objective="val_loss",
        tuner=tuner,
        overwrite=overwrite,
        **settings,
    )


def network(recipe: Mapping[str, Any], rows: int) -> Any:
    """The compiled, untrained network of a recipe, weights drawn from its seed; ``rows`` it will be fitted on.

    Raises EngineError if the recipe leaves open something that this search space wants decided.
    """
    keras.backend.clear_session()
    keras.utils.set_random_seed(recipe["seed"])
    choices = keras_tuner.HyperParameters()
    choices.values = dict(recipe["hyperparameters"])
    built = _graph(recipe, rows).build(choices)
    missing = sorted(set(choices.values) - set(recipe["hyperparameters"]))
    if missing:
        raise EngineError(f"the recipe does not say {missing[:5]}: it is of another search space, search again")
    return built


def backend() -> str:
    """What keras computes with."""
    return str(keras.backend.backend())


def early_stopping() -> Any:
    """Stops a trial that no longer improves. As it is among the callbacks, AutoKeras leaves out its final fit."""
    return keras.callbacks.EarlyStopping(monitor="val_loss", patience=PATIENCE)


def _graph(recipe: Mapping[str, Any], rows: int) -> Graph:
    """The space as AutoKeras holds it once it has seen ``rows`` rows."""
    columns, batch = recipe["columns"], recipe["batch_size"]
    inputs, output = nodes(recipe["kind"], columns, batch)
    graph = Graph(inputs=inputs, outputs=output)
    graph.set_io_shapes((np.array([rows, len(columns)]), np.array([rows, 1])))
    inputs.dtype, inputs.num_samples, inputs.batch_size = "float32", rows, batch
    graph.set_fit_args(0, epochs=recipe["schedule_epochs"])
    return graph


def _learning_rates() -> Any:
    parameters = keras_tuner.HyperParameters()
    parameters.Choice("learning_rate", list(LEARNING_RATES), default=1e-3)
    return parameters
