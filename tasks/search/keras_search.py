"""AutoKeras's trials, from a task in plain values: alone, or as the chief of several processes (``keras_crew.py``).

A worker, in another process or on another machine, does its part from the same task: what is tried, and how it is
fitted, is written here once. Imports no keras: it is given the module ``keras_space``.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tasks.errors import EngineError
from tasks.search.keras_training import Fold, batch_rows

if TYPE_CHECKING:
    from tasks.search.keras_space import Tuner

EVALUATION_ROWS = 4096
Task = Mapping[str, Any]
Arrays = Mapping[str, Any]
log = logging.getLogger("nocturne.search.keras")


def task_of(train: Fold, **values: Any) -> dict[str, Any]:
    """The task: ``kind, columns, trials, epochs, seed, threads, workers, folder`` and ``until`` (Unix seconds)."""
    return {**values, "batch_rows": batch_rows(len(train.rows)), "folder": str(values["folder"])}


def arrays_of(train: Fold, watched: Fold) -> dict[str, Any]:
    """The rows of a task, as networks see them; ``weight`` is None where all count the same."""
    return {"x": train.x, "y": train.y, "weight": train.weight, "watched_x": watched.x, "watched_y": watched.y}


def auto_model(space: ModuleType, task: Task, *, overwrite: bool, **settings: Any) -> Any:
    """AutoKeras on the task's space; ``settings`` are the tuner's and which one it is."""
    return space.auto_model(
        task["kind"],
        task["columns"],
        batch_rows=task["batch_rows"],
        trials=task["trials"],
        folder=Path(task["folder"]) / "autokeras",
        overwrite=overwrite,
        deadline=time.monotonic() + task["until"] - time.time(),
        seed=task["seed"],
        **settings,
    )


def fit(space: ModuleType, auto: Any, task: Task, arrays: Arrays) -> None:
    """Try networks until trials or seconds are spent."""
    weight = arrays.get("weight")
    auto.fit(
        arrays["x"],
        arrays["y"],
        batch_size=task["batch_rows"],
        epochs=task["epochs"],
        callbacks=[space.early_stopping()],
        validation_data=(arrays["watched_x"], arrays["watched_y"]),
        validation_batch_size=EVALUATION_ROWS,
        verbose=0,
        **({} if weight is None else {"sample_weight": weight}),
    )


def run_trials(
    space: ModuleType, task: Task, arrays: Arrays, on_trial: Callable[[int, float | None], None], notes: list[str]
) -> Tuner:
    """The tuner once its trials are over; with ``workers`` above 1, others took part.

    Raises EngineError if no trial completed.
    """
    crew = _crew(task, arrays)
    chief = {} if crew is None else {"tuner": _chief(), "crew": crew}
    auto = auto_model(space, task, overwrite=True, on_trial=on_trial, **chief)
    try:
        fit(space, auto, task, arrays)
    except Exception as error:  # keras-tuner gives up with whatever the third failure in a row was: keep the rest
        if not auto.tuner.completed():
            raise EngineError(f"no AutoKeras trial gave a finite validation loss: {error}") from error
        log.exception("AutoKeras gave up")
        notes.append(f"AutoKeras gave up before its budget was spent: {type(error).__name__}")
    finally:
        if crew is not None:
            crew.close()
    tuner: Tuner = auto.tuner
    return tuner


def _crew(task: Task, arrays: Arrays) -> Any:
    if task["workers"] < 2:
        return None
    from tasks.search.keras_crew import Crew  # noqa: PLC0415 - gRPC, and keras's backend is settled by now

    return Crew(Path(task["folder"]) / "workers", task["workers"] - 1, dict(task), dict(arrays))


def _chief() -> Any:
    from tasks.search.keras_crew import Chief  # noqa: PLC0415 - as above

    return Chief
