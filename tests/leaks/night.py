"""A night without processes: bars through the real stages, recipes walked over the real folds, judged by the real gate.

Engines here are functions. They are given what the harness gives an engine (``training.for_job``), or, to see what a
defence is worth, everything.
"""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.describe import from_problem
from tasks.bars.ingest import ingest_source
from tasks.contracts import EngineRequest, FeatureMatrix, RefitJob, Rows, Snapshot, Target
from tasks.evaluation import Decision, Evidence
from tasks.features.task import build_features
from tasks.leaderboard import alarm
from tasks.leaderboard.joined import Joined, Walked, join
from tasks.problem import Problem
from tasks.registry import gate
from tasks.search import training
from tasks.search.baselines import fit_linear
from tasks.search.engine import TrainingData
from tasks.splits.task import build_rows
from tasks.storage import StageStore, home, read_parquet, write_parquet

Floats = npt.NDArray[np.float64]
Fit = Callable[[TrainingData, RefitJob], Floats]
"""From what an engine sees and its job to predictions of all rows (n,), NaN where a row has no features."""

FOLDS = 5


@dataclass(frozen=True, kw_only=True)
class Night:
    """Everything that comes before the search. ``frame`` holds the rows' file, ``data`` what the harness loads."""

    problem: Problem
    snapshot: Snapshot
    features: FeatureMatrix
    rows: Rows
    frame: pd.DataFrame
    data: TrainingData

    @property
    def target(self) -> Target:
        """What is predicted."""
        return self.rows.target

    @property
    def fits(self) -> list[str]:
        """The walk-forward fits, in time order."""
        return [name for name in self.rows.fits if name.startswith("fit_fold_")]

    def with_labels(self, label: Floats) -> Night:
        """The same night with other labels (n,), NaN where the true ones are."""
        values = np.where(np.isfinite(self.data.y), label, np.nan)
        return dataclasses.replace(
            self, data=dataclasses.replace(self.data, y=values), frame=self.frame.assign(label=values)
        )

    def with_columns(self, **columns: Floats) -> Night:
        """The same night with more feature columns (n,)."""
        X = np.column_stack([self.data.X, *columns.values()])
        names = (*self.data.columns, *columns)
        return dataclasses.replace(self, data=dataclasses.replace(self.data, X=X, columns=names))

    def only_columns(self, **columns: Floats) -> Night:
        """The same night with these feature columns (n,) and no others."""
        data = dataclasses.replace(self.data, X=np.column_stack(list(columns.values())), columns=tuple(columns))
        return dataclasses.replace(self, data=data)


def night(target: str, horizon: int = 1, *, source: str = "builtin:sp500", **changes: object) -> Night:
    """The stages before the search, below the state folder of the moment."""
    problem = Problem.model_validate(
        {"name": "leaks", "source": source, "target": target, "horizon": horizon, "folds": FOLDS, **changes}
    )
    snapshot = ingest_source(from_problem(problem), pd.Timestamp.now("UTC"))
    features = build_features.fn(problem, snapshot)
    rows = build_rows(problem, snapshot, features, StageStore())
    request = EngineRequest(
        engine="linear", mode="search", features=features, rows=rows, budget=problem.budget("linear"), seed=1
    )
    return Night(
        problem=problem,
        snapshot=snapshot,
        features=features,
        rows=rows,
        frame=read_parquet(rows.ref),
        data=training.load(request),
    )


def source_of(bars: pd.DataFrame) -> str:
    """A Parquet file of canonical bars, below the state folder, that a problem may name as its source."""
    (home() / "sources").mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=home() / "sources"))
    daily = bars["session"].is_unique or not bars.duplicated(["symbol", "session"]).any()
    frame = bars.drop(columns=["time"]).rename(columns={"session": "date"}) if daily else bars.drop(columns=["session"])
    return write_parquet(folder / "bars.parquet", frame).path


def linear(columns: Sequence[str] | None = None, penalty: float = 0.1) -> Fit:
    """A ridge or logistic regression on these columns, all if None: the project's own engine."""

    def fit(data: TrainingData, job: RefitJob) -> Floats:
        algorithm = "logistic" if data.target.kind == "classification" else "ridge"
        chosen = data.columns if columns is None else tuple(columns)
        recipe = {"algorithm": algorithm, "penalty": penalty, "clip": 8.0, "columns": list(chosen)}
        model = fit_linear(recipe, data, data.job_rows(job.rows))
        return on_all_rows(data, model.columns, model.predict)

    return fit


def constant() -> Fit:
    """The mean of the labels that the fit may know, or a return of zero: the baseline."""

    def fit(data: TrainingData, job: RefitJob) -> Floats:
        known = data.y[data.job_rows(job.rows)]
        return np.full(len(data.y), 0.0 if data.target.name == "return" else known.mean())

    return fit


def on_all_rows(data: TrainingData, columns: Sequence[str], predict: Callable[[Floats], Floats]) -> Floats:
    """Predictions (n,), NaN on rows without features."""
    X = data.take(np.arange(len(data.y)), columns)
    whole = np.isfinite(X).all(axis=1)
    values = np.full(len(X), np.nan)
    values[whole] = predict(X[whole])
    return values


def walk(tonight: Night, fits: dict[str, Fit], *, defended: bool = True) -> Joined:
    """Refit each on every fold, as the harness would (or with all labels in sight), and join what they predict."""
    walked = {
        name: Walked(
            name=name,
            engine="baseline" if name == "baseline" else "h2o",
            fits={job: fit(_seen(tonight.data, RefitJob(name=name, recipe={}, rows=job), defended),
                           RefitJob(name=name, recipe={}, rows=job)) for job in tonight.fits},
            lost={},
        )
        for name, fit in fits.items()
    }  # fmt: skip
    return join(tonight.frame, walked, tonight.target)


def _seen(data: TrainingData, job: RefitJob, defended: bool) -> TrainingData:
    return training.for_job(data, job) if defended else data


def looked_at(joined: Joined, target: Target) -> tuple[str, ...]:
    """What the alarm says of joined predictions, ``baseline`` among them."""
    names = list(joined.predictions)
    return alarm.alarms(alarm.bounds(joined.table(names), names, ["baseline"], target), target)


def figure(joined: Joined, target: Target, name: str, which: str) -> tuple[float, float]:
    """A candidate's figure and its lower 99 % bound."""
    found = alarm.bounds(joined.table(list(joined.predictions)), list(joined.predictions), ["baseline"], target)
    mine = next(each for each in found if each.candidate == name and each.figure == which)
    return mine.value, mine.lower


def judged(joined: Joined, target: Target, name: str, alarms: tuple[str, ...] = ()) -> Decision:
    """The gate's decision about a candidate, were the joined rows its gate, with or without alarms."""
    sessions, label = joined.frame["session"].to_numpy(), joined.frame["label"].to_numpy(np.float64)
    mine, theirs = (
        gate.losses_by_date(sessions, label, joined.predictions[each], target.loss) for each in (name, "baseline")
    )
    test = gate.compare(mine, theirs, name="baseline", role="baseline", overlap=target.horizon - 1)
    evidence = Evidence(
        challenger=name,
        challenger_engine="h2o",
        challenger_recipe_sha256="",
        best_baseline="baseline",
        comparisons=(test,),
        dates=len(mine),
        alarms=alarms,
    )
    return gate.decide(evidence, gate.Policy())


def worse_rate(joined: Joined, target: Target, name: str) -> float:
    """One-sided p that the candidate is no better than the baseline."""
    sessions, label = joined.frame["session"].to_numpy(), joined.frame["label"].to_numpy(np.float64)
    mine, theirs = (
        gate.losses_by_date(sessions, label, joined.predictions[each], target.loss) for each in (name, "baseline")
    )
    return gate.compare(mine, theirs, name="baseline", role="baseline", overlap=target.horizon - 1).p_value
