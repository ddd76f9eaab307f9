"""What every engine must beat: the field's own forecasts, each fitted on all rows before the selection window.

volatility  last_value, ewma (RiskMetrics 1996, 0.94), har (Corsi 2009), lhar (HAR with signed returns, Corsi and
            Renò 2012), garch, gjr_garch; all regressed on the log scale, so that level and slope are never the issue
return      zero, historical_mean, momentum (regression on the last 22 bars' return); of several symbols as well
            reversal (on the last 5 bars' return: Jegadeesh 1990, Lehmann 1990)
direction, triple_barrier
            base_rate, momentum (logistic regression on the last 22 bars' return)

GARCH is a recursion of one symbol's parameters: a panel goes without it, and says so.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.contracts import EngineBudget, RefitJob, TargetName
from tasks.errors import EngineError
from tasks.search import linear_fit
from tasks.search.child import run_engine
from tasks.search.engine import Fitted, Progress, TrainingData
from tasks.search.garch import RETURN, fit_garch, prepare
from tasks.search.linear_fit import LinearModel
from tasks.search.parts import part

HAR = ("har_1", "har_5", "har_22")
SIGNED = ("return_1", "return_5", "return_22", "negative_return_1", "negative_return_5", "negative_return_22")
BASE_RATES: dict[str, dict[str, Any]] = {
    "base_rate": {"algorithm": "mean"},
    "momentum": {"algorithm": "logistic", "columns": ["return_22"], "penalty": 0.0},
}
PANEL: dict[TargetName, dict[str, dict[str, Any]]] = {
    "return": {"reversal": {"algorithm": "ols", "columns": ["return_5"]}},
}
"""What competes besides where there are several symbols."""
RECIPES: dict[TargetName, dict[str, dict[str, Any]]] = {
    "volatility": {
        "last_value": {"algorithm": "ols", "columns": ["har_1"]},
        "ewma": {"algorithm": "ols", "columns": ["ewma_94"]},
        "har": {"algorithm": "ols", "columns": [*HAR]},
        "lhar": {"algorithm": "ols", "columns": [*HAR, *SIGNED]},
        "garch": {"algorithm": "garch", "leverage": False},
        "gjr_garch": {"algorithm": "garch", "leverage": True},
    },
    "return": {
        "zero": {"algorithm": "zero"},
        "historical_mean": {"algorithm": "mean"},
        "momentum": {"algorithm": "ols", "columns": ["return_22"]},
    },
    "direction": BASE_RATES,
    "triple_barrier": BASE_RATES,
}
EVERY = (*RECIPES.values(), *PANEL.values())
COLUMNS = frozenset(name for recipes in EVERY for recipe in recipes.values() for name in recipe.get("columns", ()))
TOLERANCE = 1e-9
Rows = npt.NDArray[np.int64]


@dataclass(slots=True)
class Baselines:
    """The baselines of the problem's target."""

    name: str = "baseline"
    notes: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    columns: frozenset[str] = COLUMNS | {RETURN}

    def start(self, budget: EngineBudget, seed: int, scratch: Path) -> None:
        """Nothing to start: nothing here is random."""

    def search(self, data: TrainingData, out: Path, progress: Progress) -> list[Fitted]:
        """Every baseline of the target that the data allow; the others are noted, and missed by the gate.

        Only that a panel has no GARCH is a rule: its parameters are one symbol's.
        """
        rows = data.rows("train", "validation", "blending")
        recipes = recipes_of(data)
        fitted: list[Fitted] = []
        for name, recipe in recipes.items():
            progress(len(fitted), len(recipes), None, f"fitting {name}")
            try:
                fitted.append(fit_recipe(recipe, data, rows, engine=self.name, name=name, folder=out / name))
            except EngineError as error:
                self.notes.append(f"{name} is left out: {error}")
                if not (recipe["algorithm"] == "garch" and panel(data)):
                    self.missing.append(f"{name} ({error})")
        return fitted

    def refit(self, data: TrainingData, job: RefitJob, out: Path) -> Fitted:
        """Fit a baseline on the job's rows."""
        return fit_recipe(job.recipe, data, data.job_rows(job.rows), engine=self.name, name=job.name, folder=out)

    def close(self) -> None:
        """Nothing to end."""


def recipes_of(data: TrainingData) -> dict[str, dict[str, Any]]:
    """The baselines of the target, by name."""
    several = PANEL.get(data.target.name, {}) if panel(data) else {}
    return {**RECIPES[data.target.name], **several}


def panel(data: TrainingData) -> bool:
    """Whether there are several symbols."""
    return bool((data.symbols != data.symbols[0]).any())


def fit_recipe(
    recipe: dict[str, Any], data: TrainingData, rows: Rows, *, engine: str, name: str, folder: Path
) -> Fitted:
    """Fit one recipe on these rows and write its serving folder. Raises EngineError for an unknown algorithm."""
    if recipe["algorithm"] == "garch":
        prepare()
    begun = time.perf_counter()
    if recipe["algorithm"] == "garch":
        native, native_rows = _fit_garch(recipe, data, rows, folder)
    else:
        model = fit_linear(recipe, data, rows)
        model.write(folder)
        native, native_rows = model.predict(part(data, rows, model.columns)), rows
    return Fitted(
        name=name,
        engine=engine,
        recipe=recipe,
        model=folder,
        train_seconds=time.perf_counter() - begun,
        native=native,
        native_rows=native_rows,
        tolerance=TOLERANCE,
    )


def fit_linear(recipe: dict[str, Any], data: TrainingData, rows: Rows) -> LinearModel:
    """Fit a recipe whose model is linear or constant."""
    classify = data.target.kind == "classification"
    match recipe["algorithm"]:
        case "zero":
            return linear_fit.constant(0.0)
        case "mean":
            return _mean(data.y[rows], data.weights(rows), logistic=classify)
        case "ols" | "ridge" | "logistic":
            columns = tuple(recipe["columns"])
            return linear_fit.fit(
                columns,
                part(data, rows, columns),
                data.y[rows],
                weight=data.weights(rows),
                penalty=recipe.get("penalty", 0.0),
                clip=recipe.get("clip"),
                logistic=recipe["algorithm"] == "logistic",
            )
        case unknown:
            raise EngineError(f"no algorithm {unknown!r} among the baselines and linear models")


def _mean(y: npt.NDArray[np.float64], weight: npt.NDArray[np.float64] | None, *, logistic: bool) -> LinearModel:
    mean = linear_fit.mean(y, weight)
    if not logistic:
        return linear_fit.constant(mean)
    # A window of one class alone must not give an infinite log odds: half an observation of the other is added.
    mean = float(np.clip(mean, 0.5 / (len(y) + 1), 1 - 0.5 / (len(y) + 1)))
    return linear_fit.constant(float(np.log(mean / (1 - mean))), logistic=True)


def _fit_garch(
    recipe: dict[str, Any], data: TrainingData, rows: Rows, folder: Path
) -> tuple[npt.NDArray[np.float64], Rows]:
    if panel(data):
        raise EngineError("a GARCH model holds one symbol's parameters, and this problem has several symbols")
    returns = data.take(np.arange(len(data.y)), (RETURN,))[:, 0]
    model = fit_garch(returns, data.y, rows, leverage=recipe["leverage"], horizon=data.target.horizon)
    model.write(folder)
    first = int(np.flatnonzero(np.isfinite(returns))[0])
    return model.predict(returns[first:])[rows - first], rows


if __name__ == "__main__":
    run_engine(Baselines())
