"""Ridge and logistic regression on all features: a candidate like any other, and often the one to beat.

The penalty is chosen by the loss on the validation rows of a fit on the train rows, then the model is fitted again on
all rows before the selection window. Features are standardised and clipped at eight standard deviations of the rows
they are fitted on, so that one wild bar cannot carry a forecast away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tasks.contracts import EngineBudget, RefitJob
from tasks.errors import EngineError
from tasks.search.baselines import fit_recipe
from tasks.search.child import run_engine
from tasks.search.engine import Fitted, Progress, TrainingData
from tasks.search.importance import loss
from tasks.search.linear_fit import CLIP, fit_each
from tasks.search.parts import part

PENALTIES = {
    "ridge": (1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0),
    "logistic": (1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 100.0),
}


@dataclass(slots=True)
class Linear:
    """The linear model of the problem's target on all features."""

    name: str = "linear"
    notes: list[str] = field(default_factory=list)

    def start(self, budget: EngineBudget, seed: int, scratch: Path) -> None:
        """Nothing to start: nothing here is random."""

    def search(self, data: TrainingData, out: Path, progress: Progress) -> list[Fitted]:
        """One candidate: the penalty with the least validation loss, fitted on all rows before the selection window."""
        algorithm = "logistic" if data.target.kind == "classification" else "ridge"
        losses: dict[float, float] = {}
        for penalty, found in self._validation_losses(algorithm, data):
            losses[penalty] = found
            progress(len(losses), len(PENALTIES[algorithm]), min(losses.values()), f"penalty {penalty:g}")
        best = min(losses, key=lambda penalty: (losses[penalty], penalty))
        rows = data.rows("train", "validation", "blending")
        recipe = self._recipe(algorithm, best, data)
        return [fit_recipe(recipe, data, rows, engine=self.name, name=algorithm, folder=out / algorithm)]

    def refit(self, data: TrainingData, job: RefitJob, out: Path) -> Fitted:
        """Fit a linear recipe on the job's rows, with the penalty it names."""
        return fit_recipe(job.recipe, data, data.job_rows(job.rows), engine=self.name, name=job.name, folder=out)

    def close(self) -> None:
        """Nothing to end."""

    def _recipe(self, algorithm: str, penalty: float, data: TrainingData) -> dict[str, Any]:
        return {"algorithm": algorithm, "penalty": penalty, "clip": CLIP, "columns": list(data.columns)}

    def _validation_losses(self, algorithm: str, data: TrainingData) -> Iterator[tuple[float, float]]:
        """Each penalty with its loss on the validation rows; the train rows are gone over once for all."""
        train, validation = data.rows("train"), data.rows("validation")
        if not len(train) or not len(validation):
            raise EngineError("the penalty is chosen on validation rows, and there are none")
        models = fit_each(
            data.columns,
            part(data, train, data.columns),
            data.y[train],
            weight=data.weights(train),
            penalties=PENALTIES[algorithm],
            clip=CLIP,
            logistic=algorithm == "logistic",
        )
        features, labels = data.take(validation, data.columns), data.y[validation]
        for penalty, model in zip(PENALTIES[algorithm], models, strict=True):
            yield penalty, loss(data.target, labels, model.predict(features))


if __name__ == "__main__":
    run_engine(Linear())
