"""AutoKeras: a greedy search over dense networks on keras and JAX, its leading trials exported to ONNX.

Search, on train rows, watching validation rows:

1. scale the features (and a value to be predicted) by statistics of the train rows;
2. try networks, each stopped early by its validation loss, until the trials or the seconds are spent;
3. for each of the leading trials: write its recipe, rebuild its network from that recipe alone, give it the weights
   of the trial's best epoch and find the search's own score again;
4. fit the recipe again on all rows before the selection window, scaled by those, for its epochs with nothing held
   out: the same rows as the baselines', and what a later refit will do;
5. export that network to ONNX and compare it with keras.

AutoKeras's own last step, another fit of the winner, is left out. Where the clock leaves no time for step 4, the
trial's own network is exported, and says so.

Not done here: choosing among engines (the leaderboard's).
"""

from __future__ import annotations

import gc
import logging
import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple

from tasks.contracts import EngineBudget, RefitJob, Target
from tasks.errors import ConfigurationError, EngineError
from tasks.search import keras_export, keras_search
from tasks.search.engine import Fitted, Progress, TrainingData
from tasks.search.fold_scaling import FoldScaling
from tasks.search.keras_training import Fold, Rows, batch_rows, fit_fold, fold, loss, outputs, train_network

if TYPE_CHECKING:
    from tasks.search.keras_space import Tuner

LEADING = 3
REFIT_SHARE, REFIT_SECONDS = 0.25, 60.0
NATIVE_ROWS = 2000
SCORE_TOLERANCE = 1e-4
log = logging.getLogger("nocturne.search.keras")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A trained network, where it came from and what it cost."""

    name: str
    recipe: dict[str, Any]
    network: Any
    scaling: FoldScaling
    seconds: float
    notes: tuple[str, ...] = field(default=())


class _Folds(NamedTuple):
    """The train rows, the validation rows scaled like them, and all rows before the selection window."""

    train: Fold
    watched: Fold
    every: Fold


class AutoKerasEngine:
    """See the module. One instance a process: keras holds state of its own."""

    name = "autokeras"

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._budget = EngineBudget(models=1, seconds=1)
        self._seed = 1
        self._scratch = Path()
        self._refit_deadline = 0.0
        self._space: Any = None

    def start(self, budget: EngineBudget, seed: int, scratch: Path) -> None:
        """Import keras on JAX. Raises ConfigurationError for another backend, seed 0 or a budget without epochs."""
        if seed < 1:
            raise ConfigurationError(f"seed must be at least 1, got {seed}: AutoKeras ignores a seed of 0")
        if budget.epochs < 1 or budget.models < 1:
            raise ConfigurationError(f"AutoKeras needs at least one trial and one epoch a trial, got {budget}")
        self._space = use_jax(budget.threads)
        keep_compiled(scratch / "compiled")
        self._budget, self._seed, self._scratch = budget, seed, scratch

    def limit(self, budget: EngineBudget, seed: int) -> None:
        """What is left to search with, and the seed for it."""
        self._budget, self._seed = budget, seed

    def search(self, data: TrainingData, out: Path, progress: Progress) -> list[Fitted]:
        """The leading trials, lowest validation loss first (see the module). Raises EngineError if none completed."""
        deadline = time.monotonic() + self._budget.seconds
        self._refit_deadline = deadline + REFIT_SHARE * self._budget.seconds + REFIT_SECONDS
        train = fit_fold(data, data.rows("train"), data.columns)
        watched = fold(data, data.rows("validation"), data.columns, train.scaling)
        tuner = self._run_trials(data, train, watched, deadline, progress)
        trials = tuner.completed()
        self._note_outcome(tuner, len(trials))
        tried, best = len(tuner.oracle.trials), float(trials[0].score)
        progress(tried, self._budget.models, best, "fitting the leading networks on all search rows")
        folds = _Folds(train, watched, fit_fold(data, data.rows("train", "validation", "blending"), data.columns))
        return self._leading(data, folds, tuner, out)

    def refit(self, data: TrainingData, job: RefitJob, out: Path) -> Fitted:
        """Fit a recipe on the job's rows for exactly its epochs, scaled by those rows.

        Raises EngineError if the recipe is not of this engine, target kind and feature matrix.
        """
        _require_recipe(job.recipe, data.target)
        rows = fit_fold(data, data.job_rows(job.rows), job.recipe["columns"])
        return export(data, self._fit(job.name, job.recipe, rows), out / "model", rows.rows)

    def _fit(self, name: str, recipe: dict[str, Any], rows: Fold, notes: tuple[str, ...] = ()) -> Trained:
        began = time.perf_counter()
        network = train_network(self._space, recipe, rows)
        seconds = time.perf_counter() - began
        return Trained(name=name, recipe=recipe, network=network, scaling=rows.scaling, seconds=seconds, notes=notes)

    def close(self) -> None:
        """Nothing to end: keras and JAX live in this process."""

    def _run_trials(self, data: TrainingData, train: Fold, watched: Fold, deadline: float, progress: Progress) -> Tuner:
        allowed, workers = self._budget.models, self._budget.workers
        progress(0, allowed, None, "trying the first network")
        task = keras_search.task_of(
            train,
            kind=data.target.kind,
            columns=list(data.columns),
            trials=allowed,
            epochs=self._budget.epochs,
            seed=self._seed,
            threads=max(self._budget.threads // workers, 1),
            workers=workers,
            folder=self._scratch,
            until=time.time() + deadline - time.monotonic(),
        )

        def on_trial(done: int, best: float | None) -> None:
            progress(done, allowed, best, f"trial {done} of at most {allowed}")

        if workers > 1:
            self.notes.append(f"{workers} processes tried networks: not reproducible")
        return keras_search.run_trials(self._space, task, keras_search.arrays_of(train, watched), on_trial, self.notes)

    def _leading(self, data: TrainingData, folds: _Folds, tuner: Tuner, out: Path) -> list[Fitted]:
        """The first trials that can be rebuilt, exported and served; one that cannot makes room for the next."""
        found: list[Fitted] = []
        trials = tuner.completed()
        for trial in trials:
            try:
                found.append(self._candidate(data, folds, tuner, trial, out))
            except EngineError as error:
                log.warning("%s", error)
                self.notes.append(str(error))
            if len(found) == LEADING:
                break
        if not found:
            raise EngineError(f"none of the {len(trials)} completed trials could be exported: {self.notes[-1]}")
        return found

    def _candidate(self, data: TrainingData, folds: _Folds, tuner: Tuner, trial: Any, out: Path) -> Fitted:
        """A leading trial's recipe, fitted again if there is time. Raises EngineError if it cannot be served."""
        searched = self._trained(data.target, folds, tuner, trial)
        folder = out / searched.name
        # The trial ran its epochs and some more on fewer rows: this many seconds are enough.
        needed = searched.seconds * len(folds.every.rows) / len(folds.train.rows)
        if time.monotonic() + needed > self._refit_deadline:
            late = replace(searched, notes=(*searched.notes, "fitted on train rows alone: the time budget is used up"))
            return export(data, late, folder, folds.watched.rows)
        again = self._fit(searched.name, searched.recipe, folds.every, searched.notes)
        return export(data, again, folder, folds.every.rows)

    def _why_not_again(self, tuner: Tuner) -> tuple[str, ...]:
        """Reasons for which the same search might find something else."""
        late = ("the search met its time limit",) if tuner.met_limit else ()
        return (*late, *(("found by several processes at once",) if self._budget.workers > 1 else ()))

    def _note_outcome(self, tuner: Tuner, completed: int) -> None:
        tried, allowed = len(tuner.oracle.trials), self._budget.models
        if completed < tried:
            self.notes.append(f"{tried - completed} of {tried} AutoKeras trials failed or diverged")
        if tuner.met_limit:
            self.notes.append(f"AutoKeras met its limit of {self._budget.seconds} s in trial {tried} of {allowed}")

    def _trained(self, target: Target, folds: _Folds, tuner: Tuner, trial: Any) -> Trained:
        """The trial's own network, rebuilt. Raises EngineError if it does not score what the search recorded."""
        rows = len(folds.train.rows)
        recipe = {
            "engine": self.name,
            "kind": target.kind,
            "columns": list(tuner.columns),
            "hyperparameters": dict(sorted(trial.hyperparameters.values.items())),
            "epochs": int(trial.best_step) + 1,
            "schedule_epochs": self._budget.epochs,
            "batch_size": batch_rows(rows),
            "seed": tuner.seed_of(trial.trial_id),
        }
        weights = tuner.load_model(trial).get_weights()
        network = self._space.network(recipe, rows)
        network.set_weights(weights)
        _require_score(loss(target, network, folds.watched), trial)
        return Trained(
            name=f"autokeras_{int(trial.trial_id) + 1}",
            recipe=recipe,
            network=network,
            scaling=folds.train.scaling,
            seconds=tuner.seconds[trial.trial_id],
            notes=self._why_not_again(tuner),
        )


def use_jax(threads: int) -> ModuleType:
    """The search space (module ``keras_space``), keras on JAX; ``threads`` count if JAX comes in with it.

    JAX is on the CPU unless JAX_PLATFORMS says otherwise; empty: on whatever it finds.

    Raises ConfigurationError if keras already runs on another backend.
    """
    os.environ["KERAS_BACKEND"] = "jax"
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    os.environ.setdefault("NPROC", str(threads))
    from tasks.search import keras_space  # noqa: PLC0415 - it imports keras, whose backend must be chosen first

    backend = keras_space.backend()
    if backend != "jax":
        raise ConfigurationError(f"keras runs on {backend}: set KERAS_BACKEND=jax before it is imported")
    # Every trial collects garbage several times; the objects of imported modules need not be looked at each time.
    gc.collect()
    gc.freeze()
    return keras_space


def device() -> str:
    """What JAX computes on, for example ``cpu`` or ``gpu (NVIDIA H100)``. Call ``use_jax`` first."""
    import jax  # noqa: PLC0415 - after its settings

    found = jax.devices()[0]
    kind = "" if found.device_kind == found.platform else f" ({found.device_kind})"
    return f"{found.platform}{kind}"


def keep_compiled(folder: Path) -> None:
    """Have JAX look in this folder before it compiles: a recipe on another fold has the same training step.

    Compiling is most of what a small network's fit costs. What is found there is what would have been compiled: the
    numbers stay the same to the last bit.
    """
    import jax  # noqa: PLC0415 - after its settings
    from jax.experimental.compilation_cache import compilation_cache  # noqa: PLC0415

    compilation_cache.reset_cache()  # the folder of an engine before this one in the same process may be gone
    settings: Any = jax.config
    settings.update("jax_compilation_cache_dir", str(folder))
    settings.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    settings.update("jax_persistent_cache_min_entry_size_bytes", -1)


def export(data: TrainingData, trained: Trained, folder: Path, rows: Rows) -> Fitted:
    """Write the serving folder and compare it with keras on the last of ``rows``.

    The tolerance is 1e-5 on the network's own scale: standard deviations of the target, or probability.
    """
    columns, rows = trained.recipe["columns"], rows[-NATIVE_ROWS:]
    output = "value" if data.target.kind == "regression" else "probability"
    keras_export.write_folder(trained.network, trained.scaling, columns, output, folder)
    X = data.take(rows, columns)
    native = trained.scaling.original(outputs(trained.network, trained.scaling.features(X)))
    tolerance = keras_export.TOLERANCE * trained.scaling.target_scale
    keras_export.require_same(folder, X, native, tolerance)
    return Fitted(
        name=trained.name,
        engine=AutoKerasEngine.name,
        recipe=trained.recipe,
        model=folder,
        train_seconds=trained.seconds,
        native=native,
        native_rows=rows,
        tolerance=tolerance,
        reproducible=not trained.notes,
        notes=trained.notes,
    )


def _require_recipe(recipe: dict[str, Any], target: Target) -> None:
    found = (recipe.get("engine"), recipe.get("kind"))
    if found != (AutoKerasEngine.name, target.kind):
        raise EngineError(f"a recipe for {found} cannot be fitted here: wanted {(AutoKerasEngine.name, target.kind)}")


def _require_score(found: float, trial: Any) -> None:
    """The rebuilt network must score what the search recorded, or the recipe or its weights are not the trial's."""
    if not abs(found - trial.score) <= SCORE_TOLERANCE * (1 + abs(trial.score)):
        raise EngineError(
            f"trial {trial.trial_id} rebuilt from its recipe has validation loss {found:.6g}, "
            f"the search recorded {trial.score:.6g}: refused"
        )


if __name__ == "__main__":
    from tasks.search.child import run_engine

    run_engine(AutoKerasEngine())
