"""What a backbone forgets while it is tuned to a target, and what can be done about it.

- ``measured``: the source tasks' losses before and after, on the source's held-out windows, with the heads it was
  pre-trained with; paired, with an interval over dates.
- ``elastic``: elastic weight consolidation (Kirkpatrick and others 2017, PNAS 114): a weight is held the more, the more
  the source's loss depends on it (the diagonal of Fisher's information, kept with the backbone).
- ``towards_start``: all weights are held alike (L2-SP; Li, Grandvalet and Davoine 2018).

Both give the step of a training (``steps.py``) an ``Anchor``. Replay (Robins 1995), source rows beside the target's in
every step, is ``mix`` in ``adaptation.py``, and what weekly updates do (``continual.py``).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tasks.errors import IntegrityError
from tasks.search.transfer.objectives import SUPERVISED
from tasks.search.transfer.source import HELD, Rows, Source, of_sample, thinned
from tasks.search.transfer.steps import Anchor
from tasks.statistics.bootstrap import interval, skill

Arrays = Mapping[str, npt.NDArray[Any]]
Floats = npt.NDArray[np.float64]

MOST = 4_096
"""Windows that the losses are measured on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forgetting:
    """A source task's mean loss before and after, on the same windows, averaged by date first; horizon 0 where the task
    has none.

    increase: after / before - 1, with its 95 % interval over dates (NaN on fewer than 20).
    naive: what the backbone's evidence says of a naive forecast, beyond which nothing is left to forget (NaN: nothing).
    """

    task: str
    horizon: int
    before: float
    after: float
    naive: float
    increase: float
    interval: tuple[float, float]
    rows: int


def measured(loaded: Any, encoder: Any, part: int = HELD) -> tuple[Forgetting, ...]:
    """What an encoder that began as a backbone has forgotten of each supervised source task and horizon.

    loaded: the backbone (``backbone.Loaded``); encoder: of the same spec, as the training left it. Empty for a backbone
    whose tasks have no labels, or whose sample holds no window of that part.
    """
    from tasks.search.transfer import networks  # noqa: PLC0415 - it imports keras

    source = of_sample(loaded.source, loaded.spec.length)
    rows = thinned(source.rows(part), MOST)
    if not len(rows):
        return ()
    start = networks.encoder(loaded.spec, 1)
    networks.load_weights(start, loaded.weights)
    before, after = (networks.embed(each, source.bars, rows).astype(np.float64) for each in (start, encoder))
    return tuple(
        _line(loaded, task, column, source, (rows, *_both(loaded, task, column, source, (rows, before, after))))
        for task in SUPERVISED
        if task in loaded.backbone.tasks
        for column in range(len(source.horizons))
    )


def elastic(encoder: Any, fisher: Arrays, strength: float) -> Anchor:
    """A pull of each weight back to where it is now, in proportion to its Fisher information.

    fisher: by the names of ``networks.weights``, squares; they are divided by their mean over all the encoder's weights
    that may learn, so that ``strength`` means the same for every backbone. Call it before the training begins. Raises
    IntegrityError where the information of a weight is missing or of another shape.
    """
    variables = encoder.trainable_variables
    for variable in variables:
        found = fisher.get(variable.path)
        if found is None or found.shape != tuple(variable.shape):
            has = "nothing" if found is None else str(found.shape)
            raise IntegrityError(
                f"Fisher information that does not match: '{variable.path}' has {has}, the network {variable.shape}"
            )
    squares = [np.asarray(fisher[variable.path], dtype=np.float32) for variable in variables]
    mean = sum(float(each.sum()) for each in squares) / max(sum(each.size for each in squares), 1)
    scale = 1.0 / mean if mean > 0 else 0.0
    return Anchor(strength=strength, start=_values(encoder), importance=tuple(each * scale for each in squares))


def towards_start(encoder: Any, strength: float) -> Anchor:
    """A pull of every weight that may learn back to where it is now."""
    start = _values(encoder)
    return Anchor(strength=strength, start=start, importance=tuple(np.ones_like(each) for each in start))


def _values(encoder: Any) -> tuple[npt.NDArray[np.float32], ...]:
    return tuple(np.array(variable.value, dtype=np.float32) for variable in encoder.trainable_variables)


def _losses(loaded: Any, task: str, column: int, source: Source, rows: Rows, embedded: Floats) -> Floats:  # noqa: PLR0917
    """A task's loss on each row, with the head it was pre-trained with: squared error or log loss, float64 (m,)."""
    kernel, bias = loaded.heads[f"{task}/kernel"][:, column], loaded.heads[f"{task}/bias"][column]
    said = embedded[:, :-1] @ kernel.astype(np.float64) + float(bias)
    if task == "volatility":
        return np.asarray((said + embedded[:, -1] - source.volatility[rows, column]) ** 2, dtype=np.float64)
    return np.asarray(np.logaddexp(0.0, said) - source.direction[rows, column] * said, dtype=np.float64)


def _both(
    loaded: Any, task: str, column: int, source: Source, found: tuple[Rows, Floats, Floats]
) -> tuple[Floats, Floats]:
    rows, before, after = found
    return _losses(loaded, task, column, source, rows, before), _losses(loaded, task, column, source, rows, after)


def _line(loaded: Any, task: str, column: int, source: Source, found: tuple[Rows, Floats, Floats]) -> Forgetting:
    rows, before, after = found
    place = np.unique(source.times[rows], return_inverse=True)[1]
    count = np.bincount(place)
    daily = np.column_stack([np.bincount(place, weights=each) / count for each in (after, before)])
    later, earlier = (float(each) for each in daily.mean(axis=0))
    horizon = source.horizons[column]
    low, high = interval(daily, skill, overlap=horizon - 1)  # 1 - after / before: the increase is less that
    return Forgetting(
        task=task,
        horizon=horizon,
        before=earlier,
        after=later,
        naive=_naive(loaded, task, horizon),
        increase=later / earlier - 1.0 if earlier > 0 else 0.0,
        interval=(-high, -low),
        rows=len(rows),
    )


def _naive(loaded: Any, task: str, horizon: int) -> float:
    told = loaded.manifest.get("evidence", [])
    found = (each["naive"] for each in told if (each["task"], each["horizon"]) == (task, horizon))
    return float(next(found, np.nan))
