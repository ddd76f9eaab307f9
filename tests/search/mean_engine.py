"""The engine of tasks/search/README.md, whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.contracts import EngineBudget, RefitJob
from tasks.search.child import run_engine
from tasks.search.engine import Fitted, Progress, TrainingData
from tasks.search.linear_fit import constant


class Mean:
    """Predicts the mean of what it may see."""

    name = "mean"

    def start(self, budget: EngineBudget, seed: int, scratch: Path) -> None:
        """Nothing to start."""

    def search(self, data: TrainingData, out: Path, progress: Progress) -> list[Fitted]:
        """One candidate."""
        progress(0, 1, None, "averaging")
        return [self._fit(data, data.rows("train", "validation", "blending"), "mean", out / "mean")]

    def refit(self, data: TrainingData, job: RefitJob, out: Path) -> Fitted:
        """The mean of the job's rows."""
        return self._fit(data, data.job_rows(job.rows), job.name, out)

    def close(self) -> None:
        """Nothing to end."""

    def _fit(self, data: TrainingData, rows: npt.NDArray[np.int64], name: str, folder: Path) -> Fitted:
        model = constant(float(data.y[rows].mean()))
        model.write(folder)
        return Fitted(
            name=name,
            engine="linear",
            recipe={"algorithm": "mean"},
            model=folder,
            train_seconds=0.0,
            native=np.full(len(rows), model.intercept),
            native_rows=rows,
            tolerance=1e-12,
        )


if __name__ == "__main__":
    run_engine(Mean())
