"""The gradient steps of a pre-training: Adam on windows drawn from the seed, the best weights by a watched loss.

The rate is warmed up and lowered along a cosine, the gradient's norm is at most one, and it ends where the watched loss
no longer improves, or with the budget. What is kept of the best are the weights that learn, the heads, and what a
network counts beside them (the moving statistics of an application's normalisations).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from tasks.search.transfer import objectives
from tasks.search.transfer.objectives import Batch, Task, at_once
from tasks.search.transfer.source import TRAIN, WATCHED, Rows, Source, thinned

if TYPE_CHECKING:
    from tasks.search.transfer.networks import Spec
    from tasks.search.transfer.steps import Anchor

Arrays = dict[str, npt.NDArray[Any]]
Report = Callable[[int, int, float | None, str], object]
"""Called with (steps done, steps allowed, best watched loss, what is happening), as an engine's ``Progress``."""

CHECK, PATIENCE, WATCH = 50, 12, 1024
WARM_UP = 50
BETA_1, BETA_2, EPSILON, CLIP_NORM = 0.9, 0.999, 1e-7, 1.0
LACKING = 0.2
"""In this share of the windows that are learned from the volume is left out, in as many the body: one backbone is then
for bars with and without volumes, with and without true opens. What is measured is of the windows as they are."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """At most so many gradient steps and seconds; windows a step; the highest rate; the share of replayed windows; how
    strongly weights are held where they were (elastic weight consolidation), 0 for not at all.
    """

    steps: int = 3000
    seconds: float = 600.0
    batch: int = 128
    rate: float = 1e-3
    replay: float = 0.5
    elastic: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a training does not change. ``feeds``: sources with the windows that each gives to a step. ``anchor``: where
    the weights are held, if anywhere.
    """

    encoder: Any
    spec: Spec
    tasks: tuple[Task, ...]
    naive: dict[Task, Any]
    feeds: tuple[tuple[Source, int], ...]
    budget: Budget
    seed: int
    anchor: Anchor | None = None


class Best(NamedTuple):
    """The weights that learn and the others, in the encoder's order, and the heads by name."""

    trainable: list[Any]
    others: list[Any]
    heads: dict[str, Any]


def descend(
    setting: Setting, heads: Arrays, deadline: float, progress: Report
) -> tuple[Best, tuple[tuple[int, float], ...], bool]:
    """The best by the watched loss, its history, and whether the clock (``deadline``, monotonic) stayed out of it.

    Where no window that is new is to choose by (an update's of a week), it is the last: the replayed ones, by which an
    earlier version was chosen, would always choose that one.
    """
    step, watch = _compiled(setting), _watcher(setting)
    state = _started(setting, heads)
    best = _best(state)
    history, waited = [(0, watch(best))], 0
    unwatched = not len(setting.feeds[0][0].rows(WATCHED))
    random = np.random.default_rng([setting.seed, 3])
    for done in range(1, setting.budget.steps + 1):
        state = step(state, _rate(setting.budget, done), _batch(setting, random))
        state["made"].block_until_ready()  # the clock is to count steps that are done
        late = time.monotonic() > deadline
        if done % CHECK and done != setting.budget.steps and not late:
            continue
        found = _best(state)
        loss = watch(found)
        better = loss < min(known for _, known in history) or (unwatched and math.isfinite(loss))
        waited = 0 if better else waited + 1
        best = best if waited else found
        history.append((done, loss))
        progress(done, setting.budget.steps, min(known for _, known in history), "training the backbone")
        if late:
            return best, tuple(history), False
        if waited >= PATIENCE:
            break
    return best, tuple(history), True


def put(encoder: Any, best: Best) -> None:
    """Give the encoder these weights and statistics."""
    for variables, values in (
        (encoder.trainable_variables, best.trainable),
        (encoder.non_trainable_variables, best.others),
    ):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)


def _best(state: dict[str, Any]) -> Best:
    return Best(state["variables"][0], state["others"], state["variables"][1])


def _batch(setting: Setting, random: np.random.Generator) -> Batch:
    parts = []
    for source, size in setting.feeds:
        rows = source.rows(TRAIN)
        parts.append(
            objectives.draw(
                source, rows[random.integers(0, len(rows), size)], setting.spec, setting.tasks, random, LACKING
            )
        )
    return parts[0] if len(parts) == 1 else objectives.joined(parts)


def _rate(budget: Budget, step: int) -> float:
    """Warmed up over the first steps, then lowered to a hundredth along a cosine."""
    warm = min(step / min(WARM_UP, max(budget.steps // 5, 1)), 1.0)
    return budget.rate * warm * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * step / budget.steps)))


def _started(setting: Setting, heads: Arrays) -> dict[str, Any]:
    trainable = [jnp.asarray(variable.value) for variable in setting.encoder.trainable_variables]
    others = [jnp.asarray(variable.value) for variable in setting.encoder.non_trainable_variables]
    variables = (trainable, {name: jnp.asarray(value) for name, value in heads.items()})
    nothing = jax.tree.map(jnp.zeros_like, variables)
    return {"variables": variables, "others": others, "first": nothing, "second": nothing, "made": jnp.zeros(())}


def _loss(setting: Setting, variables: Any, others: Any, batch: Batch, *, training: bool) -> tuple[Any, Any]:
    embeddings, levels, others = objectives.forward(setting.encoder, variables[0], others, batch, training=training)
    told = objectives.losses(setting.tasks, variables[1], embeddings, levels, batch)
    held = _held(setting.anchor, variables[0]) if training else 0.0
    return objectives.total(told, setting.naive) + held, others


def _held(anchor: Anchor | None, values: Sequence[Any]) -> Any:
    """What it costs to be elsewhere than where the weights are held."""
    if anchor is None:
        return 0.0
    held = zip(values, anchor.start, anchor.importance, strict=True)
    return anchor.strength / 2 * sum(jnp.sum(weight * (value - start) ** 2) for value, start, weight in held)


def _compiled(setting: Setting) -> Any:
    """``step(state, rate, batch)`` to the next state: Adam (Kingma and Ba 2015), the gradient's norm at most one."""

    @jax.jit
    def step(state: dict[str, Any], rate: Any, batch: Batch) -> dict[str, Any]:
        loss = partial(_loss, setting, training=True)
        gradient, others = jax.grad(loss, has_aux=True)(state["variables"], state["others"], batch)
        norm = jnp.sqrt(sum(jnp.sum(each**2) for each in jax.tree.leaves(gradient)))
        gradient = jax.tree.map(lambda each: each * jnp.minimum(1.0, CLIP_NORM / jnp.maximum(norm, EPSILON)), gradient)
        first = jax.tree.map(lambda m, g: BETA_1 * m + (1 - BETA_1) * g, state["first"], gradient)
        second = jax.tree.map(lambda v, g: BETA_2 * v + (1 - BETA_2) * g**2, state["second"], gradient)
        made = state["made"] + 1.0
        pace = rate * jnp.sqrt(1 - BETA_2**made) / (1 - BETA_1**made)
        variables = jax.tree.map(
            lambda w, m, v: w - pace * m / (jnp.sqrt(v) + EPSILON), state["variables"], first, second
        )
        return {"variables": variables, "others": others, "first": first, "second": second, "made": made}

    return step


def _watcher(setting: Setting) -> Callable[[Best], float]:
    """The loss on the windows to choose by (the same every time), of every source in equal parts."""
    random = np.random.default_rng([setting.seed, 5])
    each = max(WATCH // len(setting.feeds), 2)
    parts = [
        [objectives.draw(source, piece, setting.spec, setting.tasks, random) for piece in _pieces(setting, rows)]
        for source, _ in setting.feeds
        if len(rows := thinned(source.rows(WATCHED), each))
    ]
    loss = jax.jit(partial(_loss, setting, training=False))

    def watch(found: Best) -> float:
        variables = (found.trainable, found.heads)
        told = [np.mean([float(loss(variables, found.others, batch)[0]) for batch in batches]) for batches in parts]
        return float(np.mean(told))

    return watch


def _pieces(setting: Setting, rows: Rows) -> list[Rows]:
    """The rows in pieces of one size, none with more windows than one pass may take."""
    size = min(at_once(setting.spec, setting.tasks), len(rows))
    return [rows[at : at + size] for at in range(0, len(rows) - size + 1, size)]
