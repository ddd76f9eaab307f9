"""What every search engine is, and how one runs: a process of its own, bounded, watched, its failure its own.

Child side: an engine module implements ``Engine`` and ends with ``if __name__ == "__main__": run_engine(MyEngine())``.
Parent side: ``execute(request, out)`` starts ``python -m tasks.search.<module>`` and returns an EngineResult.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from tasks.contracts import EngineBudget, RefitJob, Target

Progress = Callable[[int, int, float | None, str], None]
"""Called with (models done, models allowed, best validation loss so far or None, what is happening)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingData:
    """All rows of the panel in (symbol, time) order, as arrays an engine may slice.

    X: float64 (n, features), NaN only where ``window`` is empty and both masks are False.
    y: float64 (n,), NaN where there is no label. window: WindowName or "" per row.
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
    """One way of finding recipes. Instances live for one process and one request."""

    name: str

    def start(self, budget: EngineBudget, seed: int, scratch: Path) -> None:
        """Bring up what the engine needs (a JVM, a backend); counted as start, not as work."""

    def search(self, data: TrainingData, out: Path, progress: Progress) -> list[Fitted]:
        """Fit on train (and validation, blending) rows only; several leading candidates, best first."""

    def refit(self, data: TrainingData, job: RefitJob, out: Path) -> Fitted:
        """Fit a recipe again on the rows that ``job.rows`` marks, with trees and epochs as the recipe fixed them."""

    def close(self) -> None:
        """End whatever ``start`` brought up; must be safe to call twice."""
