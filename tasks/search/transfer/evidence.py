"""What a backbone can do on bars that nothing of it was fitted to or chosen by, against a naive forecast of each task.

| task | naive forecast | loss |
|---|---|---|
| masked | the mean of each channel at that place in a window, on the training bars | squared error, scale-free |
| contrastive | chance: one of the batch | nats |
| volatility | HAR (Corsi 2009) on the mean variance of 1, 5 and 22 bars, fitted on the training bars | squared error |
| direction | the base rate on the training bars | log loss |

Skill is 1 - loss / naive loss, with a 95 % interval over dates (stationary bootstrap, overlapping labels allowed for).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from tasks.search.transfer import objectives
from tasks.search.transfer.channels import CHANNELS, windows
from tasks.search.transfer.objectives import SUPERVISED, Task
from tasks.search.transfer.source import HELD, TRAIN, Rows, Source, har, iso, thinned
from tasks.statistics.bootstrap import skill_interval

MOST, BATCH, FITTED = 20_480, 256, 100_000
NAIVE = {"masked": "mean", "contrastive": "chance", "volatility": "HAR", "direction": "base rate"}
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A task's loss on held-out windows beside a naive forecast's, averaged by date and then over dates, as the
    interval is; horizon 0 where the task has none.

    low, high: the 95 % interval of the skill, None on fewer than 20 dates. first, last: the windows' last bars, ISO.
    of: "held out", or "before it learned of them": of an update's new bars, all of which it learned from.
    """

    task: str
    horizon: int
    loss: float
    naive: float
    against: str
    skill: float
    low: float | None
    high: float | None
    rows: int
    first: str
    last: str
    of: str = "held out"


def naive_losses(source: Source, spec: Any, tasks: Sequence[Task]) -> dict[Task, Any]:
    """Each task's naive loss on training rows, (outputs,): the unit in which losses are added."""
    rows = thinned(source.rows(TRAIN), 4096)
    found: dict[Task, Any] = {}
    for task in tasks:
        if task == "volatility":
            found[task] = np.mean((_har_forecast(source, source, rows) - source.volatility[rows]) ** 2, axis=0)
        elif task == "direction":
            rate = source.direction[rows].mean(axis=0).clip(0.01, 0.99)
            found[task] = -(rate * np.log(rate) + (1 - rate) * np.log(1 - rate))
        elif task == "masked":
            found[task] = np.array([np.mean(_steps(source, rows[:1024], spec).var(axis=0))])
        else:
            found[task] = np.array([np.log(BATCH)])
    return {task: jnp.asarray(np.maximum(value, 1e-6), dtype=jnp.float32) for task, value in found.items()}


def measured(  # noqa: PLR0917 - a network is measured with all that it was trained with
    encoder: Any, source: Source, spec: Any, heads: objectives.Heads, tasks: Sequence[Task], seed: int, fitted: Source
) -> tuple[Evidence, ...]:
    """Each task and horizon on the held-out windows (at most 20,480, evenly chosen); ``fitted`` as ``row_losses``.

    Of windows whose label over a horizon is not there yet, nothing is said of that horizon.
    """
    if not tasks or not len(source.rows(HELD)):
        return ()
    rows, ours, naive = row_losses(encoder, source, spec, heads, tasks, seed, fitted)
    return tuple(
        _evidence(task, column, source, rows[known], ours[task][known, column], naive[task][known, column])
        for task in tasks
        for column in range(ours[task].shape[1])
        if (known := _labelled(source, task, column, rows)).any()
    )


def _labelled(source: Source, task: Task, column: int, rows: Rows) -> npt.NDArray[np.bool_]:
    """Which rows have the label of a supervised task's horizon; the others' tasks need none: (m,)."""
    values = {"volatility": source.volatility, "direction": source.direction}.get(task)
    return np.ones(len(rows), dtype=np.bool_) if values is None else np.isfinite(values[rows, column])


def row_losses(  # noqa: PLR0917 - as above
    encoder: Any, source: Source, spec: Any, heads: objectives.Heads, tasks: Sequence[Task], seed: int, fitted: Source
) -> tuple[Rows, dict[Task, Floats], dict[Task, Floats]]:
    """The held-out windows, and by task the losses and the naive losses of each, (m, horizons) or (m, 1): NaN where
    the label is.

    fitted: the source whose training rows the naive forecasts are fitted on: whatever the network has learned from.
    """
    rows = thinned(source.rows(HELD), MOST)
    size = min(BATCH, len(rows), objectives.at_once(spec, tasks))
    rows = np.random.default_rng([seed, 11]).permutation(rows)[: len(rows) // size * size]
    trainable = [jnp.asarray(variable.value) for variable in encoder.trainable_variables]
    others = [jnp.asarray(variable.value) for variable in encoder.non_trainable_variables]
    told = jax.jit(partial(_both, encoder, tuple(tasks)))
    dull = _dull_heads(fitted, spec, tasks)
    random = np.random.default_rng([seed, 13])
    parts = [
        told(trainable, others, heads, dull, objectives.draw(source, rows[at : at + size], spec, tasks, random))
        for at in range(0, len(rows), size)
    ]
    ours, naive = (
        {task: np.concatenate([np.asarray(each[which][task], np.float64) for each in parts]) for task in tasks}
        for which in (0, 1)
    )
    if "volatility" in tasks:
        naive["volatility"] = (_har_forecast(fitted, source, rows) - source.volatility[rows]) ** 2
    if "contrastive" in tasks:
        naive["contrastive"] = np.full((len(rows), 1), np.log(size))
    return rows, ours, naive


def _both(  # noqa: PLR0917 - compiled, with only its last arguments left open
    encoder: Any, tasks: tuple[Task, ...], trainable: Any, others: Any, heads: Any, dull: Any, batch: Any
) -> Any:
    embeddings, levels, _ = objectives.forward(encoder, trainable, others, batch, training=False)
    return tuple(objectives.losses(tasks, each, embeddings, levels, batch) for each in (heads, dull))


def _dull_heads(source: Source, spec: Any, tasks: Sequence[Task]) -> objectives.Heads:
    """Heads that look at no embedding and say the training bars' mean; those of tasks with another naive are unused."""
    made = {
        name: np.zeros_like(value) for name, value in objectives.heads(tasks, spec, len(source.horizons), 1).items()
    }
    rows = thinned(source.rows(TRAIN), 4096)
    if "direction" in tasks:
        rate = source.direction[rows].mean(axis=0).clip(0.01, 0.99)
        made["direction/bias"] = np.log(rate / (1 - rate)).astype(np.float32)
    if "masked" in tasks:
        made["masked/bias"] = _steps(source, rows, spec).mean(axis=0).reshape(-1)
    return made


def _steps(source: Source, rows: Rows, spec: Any) -> npt.NDArray[np.float32]:
    """Scale-free channels of windows, float32 (m, length, 5)."""
    from tasks.search.transfer.networks import scale_free  # noqa: PLC0415 - it imports keras

    steps, _ = scale_free(jnp.asarray(windows(source.bars, rows, spec.length)))
    return np.asarray(steps)[:, :, : len(CHANNELS)]


def _har_forecast(fitted: Source, source: Source, rows: Rows) -> Floats:
    """HAR fitted on the training rows of one source by least squares, for rows of another: float64 (m, horizons)."""
    known = thinned(fitted.rows(TRAIN), FITTED)
    coefficients, *_ = np.linalg.lstsq(har(fitted.bars, known), fitted.volatility[known].astype(np.float64))
    return np.asarray(har(source.bars, rows) @ coefficients, dtype=np.float64)


def _evidence(task: Task, column: int, source: Source, rows: Rows, ours: Floats, naive: Floats) -> Evidence:  # noqa: PLR0917
    horizon = source.horizons[column] if task in SUPERVISED else 0
    dates, place = np.unique(source.times[rows], return_inverse=True)
    count = np.bincount(place)
    daily = [np.bincount(place, weights=each) / count for each in (ours, naive)]
    loss, known = (float(each.mean()) for each in daily)
    low, high = skill_interval(*daily, overlap=max(horizon, 1) - 1) if len(dates) >= 20 else (np.nan, np.nan)
    return Evidence(
        task=task,
        horizon=horizon,
        loss=loss,
        naive=known,
        against=NAIVE[task],
        skill=1.0 - loss / known,
        low=float(low) if np.isfinite(low) else None,
        high=float(high) if np.isfinite(high) else None,
        rows=len(rows),
        first=iso(int(dates[0])),
        last=iso(int(dates[-1])),
    )
