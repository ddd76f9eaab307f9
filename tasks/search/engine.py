"""What every search engine is, and how one runs: a process of its own, bounded, watched, its failure its own.

Child side: an engine module implements ``Engine`` and ends with ``if __name__ == "__main__": run_engine(MyEngine())``
(``tasks.search.child``). Parent side: ``tasks.search.process.run(request, out)`` starts
``python -m tasks.search.<module>`` and returns an EngineResult.

What an engine may see is the harness's business, not its own: while a search runs, ``y`` is NaN on the selection and
gate rows and in the folds; while a recipe is fitted again, it is NaN on every row that the job does not mark, and
permuted where the job is a canary.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tasks.contracts import EngineBudget, EngineRequest, RefitJob, Target, WindowName
from tasks.errors import EngineError

JOB_SECONDS, JOB_SHARE = 60.0, 0.1
Progress = Callable[[int, int, float | None, str], None]
"""Called with (models done, models allowed, best validation loss so far or None, what is happening)."""


def work_seconds(request: EngineRequest) -> float:
    """How long the work that is asked for may take: the budget, or for many jobs a minute and a tenth of it each."""
    seconds = float(request.budget.seconds)
    return max(seconds, len(request.jobs) * (JOB_SECONDS + JOB_SHARE * seconds))


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """All rows of the panel in (symbol, time) order, as arrays an engine may slice.

    X: float64 (n, features), NaN only where ``window`` is empty and no fit marks the row.
    y: float64 (n,), NaN where there is no label or the engine must not know it. window: WindowName or "" per row.
    weight: float64 (n,), what a row counts in a fit; used only where ``weighted``. fits: bool (n,) by name.
    sessions: the date of each row, naive midnights.
    """

    X: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    columns: tuple[str, ...]
    symbols: npt.NDArray[np.object_]
    times: npt.NDArray[np.datetime64]
    window: npt.NDArray[np.object_]
    sessions: npt.NDArray[np.datetime64]
    weight: npt.NDArray[np.float64]
    fits: dict[str, npt.NDArray[np.bool_]]
    target: Target
    weighted: bool = False

    def rows(self, *windows: WindowName) -> npt.NDArray[np.int64]:
        """Indices (ascending) of the labelled rows in these windows, in (symbol, time) order."""
        wanted = np.isin(self.window.astype(str), windows) & np.isfinite(self.y)
        return np.flatnonzero(wanted).astype(np.int64)

    def job_rows(self, name: str) -> npt.NDArray[np.int64]:
        """Indices (ascending) of the labelled rows that a fit may learn from. Raises EngineError for an unknown fit."""
        return np.flatnonzero(self.fit(name) & np.isfinite(self.y)).astype(np.int64)

    def fit(self, name: str) -> npt.NDArray[np.bool_]:
        """What a fit marks, bool (n,). Raises EngineError for an unknown fit."""
        if name not in self.fits:
            raise EngineError(f"no fit is called {name!r}; there are {', '.join(self.fits)}")
        return self.fits[name]

    def weights(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64] | None:
        """What these rows count in a fit, scaled to a mean of one, or None where all count the same.

        The mean is one so that a penalty or a least number of rows in a leaf means what it means without weights.
        """
        if not self.weighted:
            return None
        chosen = self.weight[rows]
        return np.asarray(chosen / chosen.mean(), dtype=np.float64)

    def take(self, rows: npt.NDArray[np.int64], columns: Sequence[str]) -> npt.NDArray[np.float64]:
        """The features of these rows and columns, float64 (rows, columns). Raises EngineError for unknown columns."""
        missing = [name for name in columns if name not in self.columns]
        if missing:
            raise EngineError(f"the feature matrix lacks {missing[:5]}; it has {len(self.columns)} columns")
        chosen = np.array([self.columns.index(name) for name in columns], dtype=np.int64)
        return self.X[np.ix_(rows, chosen)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What an engine returns for one recipe: its serving folder below ``out`` and the engine's own predictions.

    ``native`` holds the engine's own predictions for ``native_rows`` (indices): the exported model must repeat them
    within ``tolerance`` (absolute), or the candidate is refused.
    """

    name: str
    engine: str
    recipe: dict[str, Any]
    model: Path
    train_seconds: float
    native: npt.NDArray[np.float64]
    native_rows: npt.NDArray[np.int64]
    tolerance: float
    reproducible: bool = True
    notes: tuple[str, ...] = field(default=())


class Engine(Protocol):
    """One way of finding recipes. Instances live for one process and one request.

    An attribute ``notes`` (a list of strings), where an engine has one, ends in ``EngineResult.notes``; an attribute
    ``columns`` names the features that it looks at: others are not read. A method ``limit(budget, seed)``, where an
    engine has one, is called before a search that follows recipes of earlier nights (fitted by ``refit``): what they
    left of the budget, and the seed to explore with (``warm.py``). A method ``asked(request)``, where an engine has
    one, is called before anything else: it may refuse the request in words, before the data are read.
    """

    name: str

    def start(self, budget: EngineBudget, seed: int, scratch: Path) -> None:
        """Bring up what the engine needs (a JVM, a backend); counted as start, not as work."""

    def search(self, data: TrainingData, out: Path, progress: Progress) -> list[Fitted]:
        """Fit on train (and validation, blending) rows only; several leading candidates, best first."""

    def refit(self, data: TrainingData, job: RefitJob, out: Path) -> Fitted:
        """Fit a recipe again on the rows that ``job.rows`` marks, with trees and epochs as the recipe fixed them.

        Whatever it raises costs this job alone, unless it says that a second try of the whole process may succeed.
        Raises EngineError only where it refuses the recipe on these rows, as it would again: that answer is kept.
        After anything else the job counts as open, and is asked for again another night.
        """

    def close(self) -> None:
        """End whatever ``start`` brought up; must be safe to call twice."""
