"""One gradient step of a transfer, compiled: the target's rows, and beside them the source's where they help.

The loss of a step is

    mean(weight · error)  +  mixed · mean(weight · error) on source rows  +  strength · alignment of the embeddings
    +  the discriminator's loss, its gradient reversed below it  +  the pull back to where the weights started
    +  half the mean error of further heads

on the label's own scale (squared errors divided by the labels' variance), so that the parts can be weighed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from tasks.search.transfer.channels import Bars

CLIP_NORM = 1.0
EDGE = 1e-6
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-7
HIDDEN = 16
"""Units of the discriminator's one hidden layer."""

STEEP, QUICKER = 10.0, 10.0
"""What the discriminator's squared gradient costs it, and how many times as fast it learns as the encoder's quickest
layer. Without both the embeddings run ahead of it and end further apart than they began."""

EXTRA = 0.5
"""What further heads count together beside the target's."""

ROOM = 256 * 2**20
Kind = Literal["regression", "classification"]
Rows = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Inputs = Callable[[Bars, Rows], npt.NDArray[Any]]
Alignment = Callable[[Any, Any], Any]
"""JAX: target embeddings (b, e) and source embeddings (b, e) to a scalar, differentiable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Rows as a network sees them: windows of ``bars`` that end at ``ends``, int64 (m,).

    y: float64 (m,), in the label's own unit. weight: float64 (m,) of mean one, None where all count the same. extra:
    float64 (m, heads), labels of further heads about one in size, NaN where there is none.
    """

    bars: Bars
    ends: Rows
    y: Floats
    weight: Floats | None = None
    extra: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchor:
    """A pull back to where the weights started: strength / 2 · Σ importance · (w - start)².

    By the encoder's variables that learn, lowest first, arrays of their shapes. importance 1: L2-SP (Li, Grandvalet and
    Davoine 2018); the diagonal of Fisher's information: elastic weight consolidation (Kirkpatrick et al. 2017).
    """

    strength: float
    start: tuple[npt.NDArray[np.float32], ...]
    importance: tuple[npt.NDArray[np.float32], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Companion:
    """Source rows that stand beside the target's in every step.

    sample: rows of the source, their labels in the target's terms, their weights those of a density ratio where there
    is one. mixed: what their loss counts beside the target's, 0 for nothing. alignment: a penalty on both embeddings,
    times ``strength``. adversarial: a discriminator learns to tell the two apart, and its gradient is reversed below it
    (Ganin et al. 2016), times ``strength``.
    """

    sample: Sample
    mixed: float = 0.0
    alignment: Alignment | None = None
    adversarial: bool = False
    strength: float = 1.0


class State(NamedTuple):
    """What a step changes: variables, Adam's moments and its steps a variable; the discriminator's come last."""

    trainable: list[Any]
    others: list[Any]
    adversary: list[Any]
    first: list[Any]
    second: list[Any]
    steps: list[Any]


class Batch(NamedTuple):
    """Rows of one step: x as the encoder takes it, y, weight float32 (b,), extra float32 (b, heads).

    Rows that only fill the batch up have weight 0."""

    x: Any
    y: Any
    weight: Any
    extra: Any


class Told(NamedTuple):
    """What a step is told: the target's rows, the companion's (empty without one), the labels' variance, the anchor.

    anchor: strength, starts and importances by variable; none of them without one."""

    batch: Batch
    source: Any
    scale: Any
    anchor: Any


def started(trainable: list[Any], others: list[Any], companion: Companion | None, embedding: int, seed: int) -> State:
    """The state before the first step, a discriminator drawn from the seed where one is wanted."""
    adversary = _discriminator(embedding, seed) if companion is not None and companion.adversarial else []
    nothing = [jnp.zeros_like(each) for each in (*trainable, *adversary)]
    return State(trainable, others, adversary, nothing, nothing, [jnp.zeros(()) for _ in nothing])


def compiled(joint: Any, kind: Kind, companion: Companion | None) -> Any:
    """``step(state, rates, told)`` to the next state.

    joint: the model with the prediction first, the embedding last, further heads between. rates: float32, one a
    trainable variable of it.
    """
    mixed = companion.mixed if companion else 0.0
    strength = companion.strength if companion else 0.0
    alignment = companion.alignment if companion else None

    def loss(learnt: tuple[Any, Any], others: Any, told: Told) -> tuple[Any, Any]:
        trainable, adversary = learnt
        batch, source, scale = told.batch, told.source, told.scale
        x = batch.x if companion is None else jnp.concatenate([batch.x, source.x])
        outputs, others = joint.stateless_call(trainable, others, x, training=True)
        count = len(batch.y)
        total = _error(kind, outputs[0][:count], batch, scale)
        if len(outputs) > 2:
            total += EXTRA * _extra([each[:count] for each in outputs[1:-1]], batch)
        ours, theirs = outputs[-1][:count], outputs[-1][count:]
        if mixed:
            total += mixed * _error(kind, outputs[0][count:], source, scale)
        if alignment is not None:
            total += strength * alignment(ours, theirs)
        if adversary:
            total += _told_apart(adversary, _reversed(ours, strength), _reversed(theirs, strength))
            total += STEEP / 2 * sum(_steepness(adversary, jax.lax.stop_gradient(each)) for each in (ours, theirs))
        pull, starts, importances = told.anchor
        for value, start, importance in zip(trainable, starts, importances, strict=False):
            total += pull / 2 * jnp.sum(importance * (value - start) ** 2)
        return total, others

    def step(state: State, rates: Any, told: Told) -> State:
        learnt = (state.trainable, state.adversary)
        gradients, others = jax.grad(loss, has_aux=True)(learnt, state.others, told)
        return _adam(state, [*gradients[0], *gradients[1]], rates, others)

    return jax.jit(step)


class Feed:
    """Batches of a sample. ``inputs(bars, ends)`` gives what the encoder takes in for the windows that end there.

    Where all of it takes at most ``ROOM`` bytes it is made once, else batch by batch.
    """

    def __init__(self, sample: Sample, inputs: Inputs, size: int) -> None:
        self._sample, self._inputs, self._size = sample, inputs, size
        one = inputs(sample.bars, sample.ends[:1]).nbytes
        self._all = inputs(sample.bars, sample.ends) if one * len(sample.ends) <= ROOM else None

    def epoch(self, random: np.random.Generator) -> Iterator[Batch]:
        """Every row once, in an order drawn from ``random``."""
        order = random.permutation(len(self._sample.ends))
        for start in range(0, len(order), self._size):
            yield self._batch(order[start : start + self._size])

    def endless(self, random: np.random.Generator) -> Iterator[Batch]:
        """Whole batches of rows drawn from ``random``."""
        while True:
            yield self._batch(random.integers(0, len(self._sample.ends), self._size))

    def _batch(self, rows: Rows) -> Batch:
        sample, padded = self._sample, np.resize(rows, self._size)
        weight = np.zeros(self._size, dtype=np.float32)
        weight[: len(rows)] = 1.0 if sample.weight is None else sample.weight[rows]
        x = self._inputs(sample.bars, sample.ends[padded]) if self._all is None else self._all[padded]
        extra = np.zeros((self._size, 0)) if sample.extra is None else sample.extra[padded]
        return Batch(x, sample.y[padded].astype(np.float32), weight, extra.astype(np.float32))


def _error(kind: Kind, outputs: Any, batch: Batch, scale: Any) -> Any:
    """The mean weighted error, squared over ``scale`` or cross-entropy; weights have a mean of one over the sample."""
    predicted = outputs.reshape(-1)
    if kind == "regression":
        errors = (predicted - batch.y) ** 2 / scale
    else:
        p = jnp.clip(predicted, EDGE, 1 - EDGE)
        errors = -(batch.y * jnp.log(p) + (1 - batch.y) * jnp.log(1 - p))
    return jnp.sum(batch.weight * errors) / jnp.maximum(jnp.sum(batch.weight > 0), 1)


def _extra(outputs: list[Any], batch: Batch) -> Any:
    """The mean squared error of the further heads, where they have a label."""
    predicted = jnp.concatenate([each.reshape(len(batch.y), -1) for each in outputs], axis=1)
    known = jnp.isfinite(batch.extra) & (batch.weight[:, None] > 0)
    errors = jnp.where(known, (predicted - jnp.where(known, batch.extra, 0.0)) ** 2, 0.0)
    return jnp.sum(errors) / jnp.maximum(jnp.sum(known), 1)


def _discriminator(width: int, seed: int) -> list[Any]:
    random = np.random.default_rng([seed, 1])
    first = random.normal(0.0, 1 / math.sqrt(width), (width, HIDDEN)).astype(np.float32)
    second = random.normal(0.0, 1 / math.sqrt(HIDDEN), (HIDDEN, 1)).astype(np.float32)
    return [jnp.asarray(first), jnp.zeros(HIDDEN), jnp.asarray(second), jnp.zeros(1)]


def _reversed(embedding: Any, strength: float) -> Any:
    """The embedding itself, whose gradient is turned around on its way down."""
    return (1 + strength) * jax.lax.stop_gradient(embedding) - strength * embedding


def _told_apart(adversary: list[Any], ours: Any, theirs: Any) -> Any:
    """The discriminator's cross-entropy: how badly it tells target rows from source rows."""
    first, bias, second, last = adversary

    def logit(embedding: Any) -> Any:
        return (jnp.tanh(embedding @ first + bias) @ second + last).reshape(-1)

    return jnp.mean(jax.nn.softplus(-logit(ours))) + jnp.mean(jax.nn.softplus(logit(theirs)))


def _steepness(adversary: list[Any], embedding: Any) -> Any:
    """The mean squared gradient of the logit by the embedding (R1; Mescheder, Geiger and Nowozin 2018, ICML)."""
    first, bias, second, _ = adversary
    inner = 1.0 - jnp.tanh(embedding @ first + bias) ** 2
    return jnp.mean(jnp.sum(((inner * second[:, 0]) @ first.T) ** 2, axis=1))


def _adam(state: State, gradients: list[Any], rates: Any, others: list[Any]) -> State:
    """Adam (Kingma and Ba 2015) with a rate a variable; a rate of 0 leaves the variable and its moments alone."""
    norm = jnp.sqrt(sum(jnp.sum(each**2) for each in gradients))
    shrink = jnp.minimum(1.0, CLIP_NORM / jnp.maximum(norm, EPSILON))
    count, values = len(state.trainable), [*state.trainable, *state.adversary]
    paces = [*(rates[place] for place in range(count)), *([QUICKER * jnp.max(rates)] * len(state.adversary))]
    known = zip(state.first, state.second, state.steps, strict=True)
    moved = [
        _moved(value, gradient * shrink, moments, pace)
        for value, gradient, moments, pace in zip(values, gradients, known, paces, strict=True)
    ]
    values, first, second, steps = (list(each) for each in zip(*moved, strict=True))
    return State(values[:count], others, values[count:], first, second, steps)


def _moved(value: Any, gradient: Any, moments: tuple[Any, Any, Any], rate: Any) -> tuple[Any, ...]:
    first, second, steps = moments
    learns = rate > 0
    first = jnp.where(learns, BETA_1 * first + (1 - BETA_1) * gradient, first)
    second = jnp.where(learns, BETA_2 * second + (1 - BETA_2) * gradient**2, second)
    steps = jnp.where(learns, steps + 1, steps)
    made = jnp.maximum(steps, 1.0)
    change = first / (1 - BETA_1**made) / (jnp.sqrt(second / (1 - BETA_2**made)) + EPSILON)
    return jnp.where(learns, value - rate * change, value), first, second, steps
