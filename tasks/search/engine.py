"""What every search engine is, and how one runs: a process of its own, bounded, watched, its failure its own.

Child side: an engine module implements ``Engine`` and ends with ``if __name__ == "__main__": run_engine(MyEngine())``
(``tasks.search.child``). Parent side: ``tasks.search.process.execute(request, out)`` starts
``python -m tasks.search.<module>`` and returns an EngineResult.

What an engine may see is the harness's business, not its own: while a search runs, ``y`` is NaN on the selection and
gate rows; while a recipe is fitted again, it is NaN on every row that the job does not mark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from tasks.contracts import EngineBudget, RefitJob, Target, WindowName
from tasks.errors import EngineError

Progress = Callable[[int, int, float | None, str], None]
"""Called with (models done, models allowed, best validation loss so far or None, what is happening)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """All rows of the panel in (symbol, time) order, as arrays an engine may slice.

    X: float64 (n, features), NaN only where ``window`` is empty and both masks are False.
    y: float64 (n,), NaN where there is no label or the engine must not know it. window: WindowName or "" per row.
    """

    X: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    columns: tuple[str, ...]
    symbols: npt.NDArray[np.object_]
    times: npt.NDArray[np.datetime64]
    window: npt.NDArray[np.object_]
    fit_gate: npt.NDArray[np.bool_]
    fit_all: npt.NDArray[np.bool_]
    target: Target

    def rows(self, *windows: WindowName) -> npt.NDArray[np.int64]:
        """Indices (ascending) of the labelled rows in these windows, in (symbol, time) order."""
        wanted = np.isin(self.window.astype(str), windows) & np.isfinite(self.y)
        return np.flatnonzero(wanted).astype(np.int64)

    def job_rows(self, mask: Literal["fit_gate", "fit_all"]) -> npt.NDArray[np.int64]:
        """Indices (ascending) of the labelled rows that a refit may learn from."""
        marked = self.fit_gate if mask == "fit_gate" else self.fit_all
        return np.flatnonzero(marked & np.isfinite(self.y)).astype(np.int64)

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
    held_out_smearing: float | None = None
    notes: tuple[str, ...] = field(default=())


class Engine(Protocol):
    """One way of finding recipes. Instances live for one process and one request.

    An attribute ``notes`` (a list of strings), where an engine has one, ends in ``EngineResult.notes``.
    """

    name: str

    def start(self, budget: EngineBudget, seed: int, scratch: Path) -> None:
        """Bring up what the engine needs (a JVM, a backend); counted as start, not as work."""

    def search(self, data: TrainingData, out: Path, progress: Progress) -> list[Fitted]:
        """Fit on train (and validation, blending) rows only; several leading candidates, best first."""

    def refit(self, data: TrainingData, job: RefitJob, out: Path) -> Fitted:
        """Fit a recipe again on the rows that ``job.rows`` marks, with trees and epochs as the recipe fixed them.

        An EngineError costs this job alone, unless it says that a second try of the whole process may succeed.
        """

    def close(self) -> None:
        """End whatever ``start`` brought up; must be safe to call twice."""
