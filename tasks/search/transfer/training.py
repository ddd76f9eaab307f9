"""Training a network on windows of bars by gradient: which layers learn when, how fast, and for how many epochs.

```
lowest layer                                                       highest layer   head
├── frozen: kept as it was ──┤├─ rate · decay² ── rate · decay ── rate ──┤         rate
                               from the highest down, one more every ``unfreeze_every`` epochs
```

Gradual unfreezing and discriminative learning rates are those of Howard and Ruder (2018). The step (``steps.py``) takes
a rate for each variable, zero where a layer does not learn yet: so one compiled step serves every schedule, and a layer
that joins later starts with moments of its own. Windows are cut out of the bars inside the step: a panel's rows never
lie in memory window by window.

Everything is drawn from the seed: the same recipe on the same rows gives the same network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from tasks.errors import EngineError
from tasks.search.transfer.channels import Bars
from tasks.search.transfer.networks import BATCH, lowest_first
from tasks.search.transfer.steps import (
    EDGE,
    Anchor,
    Companion,
    Feed,
    Floats,
    Inputs,
    Kind,
    Rows,
    Sample,
    State,
    Told,
    compiled,
    started,
)

__all__ = ["Anchor", "Companion", "Outcome", "Sample", "Schedule", "Trainer", "depths", "loss_of", "spread"]
PATIENCE = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Which layers learn when and how fast; see the module. ``unfreeze_every`` 0: all that may learn do so at once."""

    learning_rate: float
    decay: float = 1.0
    unfreeze_every: int = 0

    def rates(self, depths: Sequence[int], epoch: int) -> npt.NDArray[np.float32]:
        """The learning rate of each variable in an epoch (from 0): float32 (variables,).

        depths: how far below the highest layer each variable's layer lies: 0 the highest, -1 the head.
        """
        return np.array([self._rate(depth, epoch) for depth in depths], dtype=np.float32)

    def last_joins(self, depths: Sequence[int]) -> int:
        """The epoch in which the lowest layer that may learn begins to."""
        return self.unfreeze_every * (max(depths, default=-1) + 1)

    def _rate(self, depth: int, epoch: int) -> float:
        joined = not self.unfreeze_every or epoch >= self.unfreeze_every * (depth + 1)
        return self.learning_rate * self.decay ** max(depth, 0) if joined else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a training came to. ``epochs``: until the best watched loss, all of them where nothing was watched.

    losses: the watched loss after each epoch; loss: the best of them (NaN without); late: the clock ended it.
    """

    epochs: int
    loss: float
    losses: tuple[float, ...]
    seconds: float
    late: bool = False


class Trainer:
    """A network with its compiled step. ``network`` maps raw windows to the prediction (and further heads' outputs).

    encoder: raw windows to (embedding, level); it shares its variables with the network. inputs: what both take in for
    windows. Layers that are to keep their weights are frozen before this is made, and stay so. After ``fit`` both
    models hold the best epoch's weights.
    """

    def __init__(self, network: Any, encoder: Any, kind: Kind, inputs: Inputs) -> None:
        import keras  # noqa: PLC0415 - its backend is chosen by who makes one

        self.network, self.encoder, self.kind = network, encoder, kind
        self._inputs = inputs
        self._joint = keras.Model(network.input, [*network.outputs, encoder.output[0]])
        self.depths = depths(self._joint.trainable_variables, encoder)
        self._forward = jax.jit(self._predicted)
        self._steps: dict[Any, Any] = {}

    def fit(
        self,
        sample: Sample,
        schedule: Schedule,
        *,
        epochs: int,
        batch: int,
        seed: int,
        watched: Sample | None = None,
        anchor: Anchor | None = None,
        companion: Companion | None = None,
        deadline: float = math.inf,
    ) -> Outcome:
        """Train for ``epochs`` with nothing held out, or until ``watched`` has not improved for ten epochs.

        deadline: on the monotonic clock; an epoch that was begun is ended. Raises EngineError where there is nothing to
        learn from, or no epoch leaves finite weights and, where rows are watched, a finite loss on them.
        """
        if not len(sample.ends):
            raise EngineError("no row has a whole window to learn from: widen the train window")
        began = time.perf_counter()
        best = _Best(math.inf if watched is None else PATIENCE + schedule.last_joins(self.depths))
        state, late = self._values(companion, seed), False
        one_epoch = self._epochs(sample, batch, seed, anchor, companion)
        for epoch in range(epochs):
            state = one_epoch(state, schedule.rates(self.depths, epoch))
            best.take(state, self._watched(state, watched), epoch)
            if best.over:
                break
            late = time.monotonic() > deadline and epoch + 1 < epochs
            if late:
                break
        if best.state is None:
            raise EngineError(f"training diverged: the watched loss is {best.losses[-1]:g}; lower the learning rate")
        self._assign(best.state)
        seconds = time.perf_counter() - began
        return Outcome(epochs=best.epochs, loss=best.loss, losses=tuple(best.losses), seconds=seconds, late=late)

    def predict(self, bars: Bars, ends: Rows) -> Floats:
        """What the network predicts for windows that end at ``ends`` (m,), float64 (m,), in the label's own unit."""
        return self._outputs(self._values(None, 0), bars, ends)

    def loss(self, sample: Sample) -> float:
        """The ranking loss on a sample, a plain mean over rows: squared error or cross-entropy."""
        return loss_of(self.kind, self.predict(sample.bars, sample.ends), sample.y)

    def _epochs(
        self, sample: Sample, size: int, seed: int, anchor: Anchor | None, companion: Companion | None
    ) -> Callable[[State, npt.NDArray[np.float32]], State]:
        """What takes a state through an epoch at the given rates."""
        random, step = np.random.default_rng(seed), self._step(companion)
        feed = Feed(sample, self._inputs, size)
        beside = repeat(()) if companion is None else Feed(companion.sample, self._inputs, size).endless(random)
        pull = (0.0, (), ()) if anchor is None else (anchor.strength, anchor.start, anchor.importance)
        scale = spread(sample.y, self.kind)

        def epoch(state: State, rates: npt.NDArray[np.float32]) -> State:
            for batch, source in zip(feed.epoch(random), beside, strict=False):
                state = step(state, rates, Told(batch, source, scale, pull))
            return state

        return epoch

    def _step(self, companion: Companion | None) -> Any:
        """The compiled step: one for every kind of companion."""
        kind = companion and (companion.mixed, companion.strength, companion.alignment, companion.adversarial)
        if kind not in self._steps:
            self._steps[kind] = compiled(self._joint, self.kind, companion)
        return self._steps[kind]

    def _watched(self, state: State, sample: Sample | None) -> float:
        if sample is None:
            return math.nan
        return loss_of(self.kind, self._outputs(state, sample.bars, sample.ends), sample.y)

    def _outputs(self, state: State, bars: Bars, ends: Rows) -> Floats:
        found = np.empty(len(ends))
        for start in range(0, len(ends), BATCH):
            part = ends[start : start + BATCH]
            x = self._inputs(bars, np.resize(part, BATCH))
            found[start : start + len(part)] = np.asarray(self._forward(state.trainable, state.others, x))[: len(part)]
        return found

    def _predicted(self, trainable: Any, others: Any, x: Any) -> Any:
        outputs, _ = self._joint.stateless_call(trainable, others, x, training=False)
        return outputs[0].reshape(-1)

    def _values(self, companion: Companion | None, seed: int) -> State:
        # Copies: what a keras variable holds may be given up when it is assigned anew.
        trainable = [jnp.array(variable.value) for variable in self._joint.trainable_variables]
        others = [_other(variable, seed) for variable in self._joint.non_trainable_variables]
        return started(trainable, others, companion, int(self.encoder.output[0].shape[-1]), seed)

    def _assign(self, state: State) -> None:
        _require_finite(state)
        for variable, value in zip(self._joint.trainable_variables, state.trainable, strict=True):
            variable.assign(value)
        for variable, value in zip(self._joint.non_trainable_variables, state.others, strict=True):
            variable.assign(value)


class _Best:
    """The state with the lowest watched loss so far; with an infinite patience nothing is watched, and it is the last.

    A watched loss that is not finite is worse than any other, and ends the training: what diverged stays so.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self.losses: list[float] = []
        self.loss, self.epochs, self.over = math.nan, 0, False
        self.state: Any = None

    def take(self, state: State, loss: float, epoch: int) -> None:
        """The state after an epoch, and its watched loss (NaN where nothing is watched)."""
        self.losses.append(loss)
        if math.isinf(self._patience):
            self.epochs, self.state = epoch + 1, state
            return
        if math.isfinite(loss) and (not self.epochs or loss < self.loss):
            self.loss, self.epochs, self.state = loss, epoch + 1, state
        self.over = not math.isfinite(loss) or epoch + 1 - self.epochs >= self._patience


def depths(variables: Sequence[Any], encoder: Any) -> tuple[int, ...]:
    """How far below the encoder's highest layer each variable's layer lies: 0 the highest, -1 where it is a head's.

    Only layers that may learn are counted.
    """
    learning = [layer for layer in lowest_first(encoder) if layer.trainable_weights]
    places = {
        id(variable): len(learning) - 1 - place
        for place, layer in enumerate(learning)
        for variable in layer.trainable_weights
    }
    return tuple(places.get(id(variable), -1) for variable in variables)


def loss_of(kind: Kind, predicted: Floats, y: Floats) -> float:
    """The ranking loss, a plain mean over rows (m,): squared error or cross-entropy."""
    if kind == "regression":
        return float(np.mean((predicted - y) ** 2))
    p = np.clip(predicted, EDGE, 1 - EDGE)
    return float(-np.mean(y * np.log(p) + (1 - y) * np.log(1 - p)))


def spread(y: Floats, kind: Kind) -> float:
    """What squared errors are divided by: the labels' variance, 1 for a constant and for probabilities."""
    return 1.0 if kind == "classification" else float(np.var(y)) or 1.0


def _other(variable: Any, seed: int) -> Any:
    """What a variable that is not learned begins with: a dropout's generator with the seed, others as they are."""
    if "seed_generator" in variable.path:
        return jnp.array([seed, 0], dtype=variable.dtype)
    return jnp.array(variable.value)


def _require_finite(state: State) -> None:
    if not all(bool(jnp.isfinite(value).all()) for value in state.trainable):
        raise EngineError("training diverged: a weight is not finite; lower the learning rate")
