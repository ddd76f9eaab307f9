"""H2O AutoML as an engine: it searches on windows in time order, and its leading recipes are fitted again and exported.

1. AutoML trains on the train rows, stops early and ranks on the validation rows, blends ensembles on the blending
   rows. No cross-validation and no frame left out: either would make H2O split at random and see the future. It ranks
   on the validation rows, which no metalearner has seen; that only orders the recipes that are handed on.
2. The leading recipes, the best of each kind among them, are fitted again on all rows before the selection window, with
   trees and penalties as found: the same rows as the baselines', and what a later refit will do.
3. Each is exported as a MOJO with H2O's scoring library.

Jobs that learn from the same rows one after the other share one frame in the cluster. It holds those rows and no
others, so that what a job gives depends neither on the jobs beside it nor on bars that came since. Models go when
they are exported.

DeepLearning is left out because it is not reproducible, XGBoost because its memory lies outside the JVM's limit.
With a number of models as the limit a search is reproducible; one that the clock ended says that it is not.
"""

from __future__ import annotations

import contextlib
import dataclasses
import re
import threading
import time
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import h2o
import numpy as np
import numpy.typing as npt
from h2o.automl import H2OAutoML
from h2o.exceptions import H2OResponseError

from tasks.contracts import EngineBudget, RefitJob
from tasks.errors import EngineError, EngineKilledError
from tasks.registry.serving.model_folder import write_model
from tasks.search.child import run_engine
from tasks.search.engine import Fitted, Progress, TrainingData
from tasks.search.h2o_cluster import H2OCluster, configured
from tasks.search.h2o_frames import LABEL, WEIGHT, Sample, free_models, predictions
from tasks.search.h2o_progress import ProgressPoll
from tasks.search.h2o_recipes import ENSEMBLE, fit, recipe_of
from tasks.search.h2o_server import H2OServer, connect, h2o_jar

LEADING = 5
EXCLUDED = ["DeepLearning", "XGBoost"]
TOLERANCE = 1e-9


class H2OEngine:
    """AutoML on a JVM of its own, or on the cluster that the environment names."""

    name = "h2o"

    def __init__(self) -> None:
        self.notes: list[str] = []
        self._server: H2OServer | H2OCluster | None = None
        self._cluster: H2OCluster | None = None
        self._shared: tuple[tuple[Any, ...], Sample] | None = None

    def start(self, budget: EngineBudget, seed: int, scratch: Path) -> None:
        """Start the JVM, unless a cluster is named, and connect to it."""
        self._budget, self._seed, self._scratch = budget, seed, scratch
        cluster = configured()
        self._server = cluster or H2OServer(scratch / "h2o", budget.threads, budget.memory_mb)
        h2o.no_progress()
        with self._server.blamed():
            connect(self._server.url, self._server.user, self._server.password)
            if cluster is not None:
                cluster.connected()
                self._cluster = cluster
                self.notes.append(f"{cluster.told}; reproducible on the same nodes and cores alone")

    def limit(self, budget: EngineBudget, seed: int) -> None:
        """What is left to search with, and the seed for it."""
        self._budget, self._seed = budget, seed

    def search(self, data: TrainingData, out: Path, progress: Progress) -> list[Fitted]:
        """AutoML, then the leading recipes fitted again on all rows before the selection window."""
        assert self._server is not None
        with self._server.blamed():
            return self._search(data, out, progress)

    def _search(self, data: TrainingData, out: Path, progress: Progress) -> list[Fitted]:
        deadline = time.monotonic() + 1.25 * self._budget.seconds + 60
        windows = [data.rows(name) for name in ("train", "validation", "blending")]
        share = _dates(data, windows[2]) / _dates(data, np.concatenate(windows))
        self._forget()
        sample = self._upload(data, np.concatenate(windows), data.columns, share)
        frames = sample.cut([len(rows) for rows in windows])
        automl, in_time = self._automl(data, frames, progress)
        leading = {_name(model): model for model in _leading(automl)}

        def fit_again(name: str, number: int) -> Fitted:
            progress(self._budget.models, self._budget.models, None, f"fitting {name} on all search rows")
            recipe = {**recipe_of(leading[name]), "columns": list(data.columns), "later_share": share}
            return self._fit(name, recipe, sample, out / f"model-{number}", reproducible=in_time)

        return until(deadline, list(leading), fit_again, self.notes)

    def refit(self, data: TrainingData, job: RefitJob, out: Path) -> Fitted:
        """Fit a recipe on the job's rows."""
        assert self._server is not None
        with self._server.blamed():
            return self._refit(data, job, out)

    def _refit(self, data: TrainingData, job: RefitJob, out: Path) -> Fitted:
        sample = self._sample(data, job)
        try:
            return self._fit(job.name, job.recipe, sample, out, reproducible=True)
        except H2OResponseError as error:
            raise EngineError(_reason(error)) from error
        finally:
            free_models() if self._cluster is None else self._cluster.free_models()

    def _sample(self, data: TrainingData, job: RefitJob) -> Sample:
        """The job's rows in the cluster: those of the job before if they are the same, else they replace them."""
        columns, share = tuple(job.recipe["columns"]), job.recipe["later_share"]
        asked = (job.rows, job.shuffle, columns, share)
        if self._shared is not None and self._shared[0] == asked:
            return self._shared[1]
        self._forget()
        sample = self._upload(data, data.job_rows(job.rows), columns, share)
        self._shared = (asked, sample)
        return sample

    def _upload(
        self, data: TrainingData, rows: npt.NDArray[np.int64], columns: tuple[str, ...], share: float
    ) -> Sample:
        prefix = self._cluster.prefix if self._cluster is not None else ""
        return Sample(data, rows, columns, share, self._scratch, prefix=prefix)

    def _forget(self) -> None:
        """Take the rows of the jobs before out of the cluster."""
        if self._shared is not None:
            self._shared[1].free()
            self._shared = None

    def close(self) -> None:
        """Kill the JVM; the connection is given up first where that cannot block. Of a cluster, take what is ours."""
        if self._server is None:
            return
        if self._cluster is None and threading.current_thread() is threading.main_thread():
            with contextlib.suppress(Exception):  # the server may be gone already, which is what is wanted
                h2o.connection().close()
        self._server.close()

    def _automl(self, data: TrainingData, frames: list[Any], progress: Progress) -> tuple[Any, bool]:
        """The finished AutoML, and whether the number of models ended it rather than the clock."""
        assert self._server is not None
        metric = "logloss" if data.target.kind == "classification" else "MSE"
        automl = H2OAutoML(
            max_models=self._budget.models,
            max_runtime_secs=self._budget.seconds,
            seed=self._seed,
            nfolds=0,
            exclude_algos=EXCLUDED,
            sort_metric=metric,
            stopping_metric=metric,
            # A name used twice would append to the older leaderboard.
            project_name=f"{self._server.prefix or 'nocturne_'}{time.time_ns()}",
        )
        train, validation, blending = frames
        begun = time.monotonic()
        with ProgressPoll(self._server, automl.project_name, self._budget.models, progress):
            automl.train(
                x=list(data.columns),
                y=LABEL,
                training_frame=train,
                validation_frame=validation,
                blending_frame=blending,
                leaderboard_frame=validation,
                weights_column=WEIGHT if data.weighted else None,
            )
        in_time = time.monotonic() - begun < self._budget.seconds and not _out_of_time(automl)
        if not in_time:
            self.notes.append(f"the time limit of {self._budget.seconds} s ended AutoML: not reproducible")
        return automl, in_time

    def _fit(self, name: str, recipe: dict[str, Any], sample: Sample, folder: Path, *, reproducible: bool) -> Fitted:
        model, seconds = fit(recipe, sample)
        native = predictions(model, sample.later)
        export(model, sample.columns, folder, classify=sample.classify)
        return Fitted(
            name=name,
            engine=self.name,
            recipe=recipe,
            model=folder,
            train_seconds=seconds,
            native=native,
            native_rows=sample.later_rows,
            tolerance=TOLERANCE * max(1.0, float(np.max(np.abs(native)))),
            reproducible=reproducible and self._cluster is None,
        )


def until(deadline: float, names: list[str], fit_again: Callable[[str, int], Fitted], notes: list[str]) -> list[Fitted]:
    """The fits of the names in their order until the deadline (monotonic seconds), and in any case of the first.

    Which ones those are is the clock's doing, so that none counts as reproducible where one was left out. A recipe that
    H2O refuses is noted and left out: with the same input it is refused every time.
    """
    fitted: list[Fitted] = []
    for number, name in enumerate(names):
        if fitted and time.monotonic() > deadline:
            notes.append(f"{name} and what follows was not fitted again: the time budget is used up, not reproducible")
            return [dataclasses.replace(item, reproducible=False) for item in fitted]
        try:
            fitted.append(fit_again(name, number))
        except (H2OResponseError, EngineError) as error:
            if isinstance(error, EngineKilledError):
                raise
            notes.append(f"{name} could not be fitted again: {_reason(error)}")
    return fitted


def _reason(error: Exception) -> str:
    """H2O's own message out of a page of parameters."""
    document = error.args[0] if error.args else error
    return str(getattr(document, "msg", "") or document).splitlines()[0][:300]


def export(model: Any, columns: tuple[str, ...], folder: Path, *, classify: bool) -> None:
    """Write the serving folder: MOJO, H2O's scoring library and the description."""
    folder.mkdir(parents=True, exist_ok=True)
    downloaded = Path(model.download_mojo(str(folder)))
    downloaded.replace(folder / "model.zip")
    (folder / "h2o-genmodel.jar").write_bytes(scoring_library())
    document = {
        "kind": "mojo",
        "output": "probability" if classify else "value",
        "columns": list(columns),
        "files": {"mojo": "model.zip", "genmodel": "h2o-genmodel.jar"},
    }
    write_model(folder, document)


@cache
def scoring_library() -> bytes:
    """H2O's scoring library, out of the server's jar: the server hands it out only with its web interface.

    Read once: only to list what is in that jar takes the better part of a second.
    """
    with zipfile.ZipFile(h2o_jar()) as jar:
        return jar.read("www/3/h2o-genmodel.jar")


def _leading(automl: Any) -> list[Any]:
    """The best model of each kind (ensemble, trees, forest, linear), then the next best, in the leaderboard's order.

    The order comes from few and serially dependent rows: five gradient boostings in a row would be one bet, not five.
    """
    rows = h2o.as_list(automl.leaderboard[:, 0], use_pandas=False, header=False)
    models = [h2o.get_model(row[0]) for row in rows]
    if not models:
        raise EngineError("H2O AutoML built no model within its time limit: give it more seconds")
    first_of_kind = {model.algo: model for model in reversed(models)}
    chosen = {model.model_id for model in first_of_kind.values()}
    spare = [model for model in models if model.model_id not in chosen and model.algo != ENSEMBLE]
    chosen |= {model.model_id for model in spare[: max(LEADING - len(chosen), 0)]}
    return [model for model in models if model.model_id in chosen]


def _name(model: Any) -> str:
    """A name that is the same every night: the model's own, without the time that H2O puts in."""
    return "h2o-" + re.sub(r"_AutoML_\d+_\d+_\d+", "", model.model_id).lower().replace("_", "-")


def _dates(data: TrainingData, rows: npt.NDArray[np.int64]) -> int:
    return len(np.unique(data.times[rows]))


def _out_of_time(automl: Any) -> bool:
    messages = h2o.as_list(automl.event_log["message"], use_pandas=False, header=False)
    return any("out of time" in row[0] or "timed out" in row[0] for row in messages)


if __name__ == "__main__":
    run_engine(H2OEngine())
