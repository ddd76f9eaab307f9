"""What a backbone is trained to do: four tasks on the same windows, alone or several at once.

- ``masked``: a quarter of a window's bars is hidden, in stretches; out of the embedding alone they are to be told,
  but for channels that are not known.
- ``contrastive``: which of many windows is a neighbour in time of this one (InfoNCE, van den Oord and others 2018).
- ``volatility``: ½ log of the mean variance of the next h bars, for several h; relative to the window's own level.
- ``direction``: whether the next h bars end higher, for several h.

A task's loss is divided by a naive forecast's before tasks are added: so none outweighs the others by its unit, and 1
means that nothing was learned. Heads are linear maps of the embedding. JAX throughout; ``networks`` is imported late,
for it brings keras.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from tasks.search.transfer.channels import BODY, CHANNELS, LOG_RANGE, MASKS, MEDIAN, RETURN, VOLUME, windows
from tasks.search.transfer.source import Rows, Source

Task = Literal["masked", "contrastive", "volatility", "direction"]
TASKS: tuple[Task, ...] = ("masked", "contrastive", "volatility", "direction")
SUPERVISED: tuple[Task, ...] = ("volatility", "direction")
HIDDEN_SHARE, STRETCH = 0.25, 4
PROJECTED = 16
TEMPERATURE = 0.1
MOST_AT_ONCE = 4096
Heads = dict[str, Any]


class Batch(NamedTuple):
    """Windows as the encoder takes them (b, …), the same with bars hidden, and their neighbours in time; the raw
    windows (b, length, 7), which bars are hidden (b, length), the labels (b, horizons). What no task needs is empty.
    """

    plain: Any
    covered: Any
    later: Any
    raw: Any
    hidden: Any
    volatility: Any
    direction: Any


def at_once(spec: Any, tasks: Sequence[Task]) -> int:
    """How many windows one pass of the network may take: pictures are many numbers, bars are few."""
    if spec.architecture != "image":
        return MOST_AT_ONCE
    from tasks.search.transfer.images import most_pictures  # noqa: PLC0415 - it imports keras

    kinds = bool({"contrastive", *SUPERVISED} & set(tasks)) + ("masked" in tasks) + ("contrastive" in tasks)
    return max(most_pictures(spec) // kinds, 2)


def draw(  # noqa: PLR0917 - what a batch hangs on
    source: Source, rows: Rows, spec: Any, tasks: Sequence[Task], random: np.random.Generator, lacking: float = 0.0
) -> Batch:
    """A batch of the windows that end at ``rows`` (b,), with whatever the tasks want of them.

    lacking: in this share of the windows, drawn for each channel that has a mask, the channel is made unknown.
    """
    from tasks.search.transfer.networks import prepared  # noqa: PLC0415 - it imports keras

    raw = without(windows(source.bars, rows, spec.length), lacking, random)
    hidden = _hidden(raw.shape[:2], random)
    nothing = np.zeros((0, *raw.shape[1:]), dtype=np.float32)
    covered = _covered(raw, hidden) if "masked" in tasks else nothing
    later = nothing
    if "contrastive" in tasks:
        later = windows(source.bars, _neighbours(source, rows, spec.length, random), spec.length)
        later = without(later, lacking, random)
    wanted = {"contrastive", *SUPERVISED} & set(tasks)
    return Batch(
        plain=prepared(spec.architecture, raw if wanted else nothing),
        covered=prepared(spec.architecture, covered),
        later=prepared(spec.architecture, later),
        raw=raw,
        hidden=hidden,
        volatility=source.volatility[rows],
        direction=source.direction[rows],
    )


def without(raw: npt.NDArray[np.float32], share: float, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """The windows (b, length, 7), each channel that has a mask unknown in a ``share`` of them: volumes, bodies."""
    if not share:
        return raw
    raw = raw.copy()
    for places in MASKS:
        chosen = random.random(len(raw)) < share
        for place in places:
            raw[chosen, :, place] = 0.0
    return raw


def joined(batches: Sequence[Batch]) -> Batch:
    """Batches of several sources as one."""
    return Batch(*(np.concatenate(parts) for parts in zip(*batches, strict=True)))


def heads(tasks: Sequence[Task], spec: Any, horizons: int, seed: int) -> Heads:
    """New heads, ``<task>/kernel`` (embedding, outputs) and ``<task>/bias``; those of labels start at zero."""
    random = np.random.default_rng([seed, 29])
    sizes = {"masked": spec.length * len(CHANNELS), "contrastive": PROJECTED}
    made: Heads = {}
    for task in tasks:
        outputs = sizes.get(task, horizons)
        spread = 0.0 if task in SUPERVISED else 1.0 / np.sqrt(spec.embedding)
        made[f"{task}/kernel"] = random.normal(0.0, 1.0, (spec.embedding, outputs)).astype(np.float32) * np.float32(
            spread
        )
        made[f"{task}/bias"] = np.zeros(outputs, dtype=np.float32)
    return made


def forward(encoder: Any, trainable: Any, others: Any, batch: Batch, *, training: bool) -> tuple[Any, Any, Any]:
    """Embeddings and levels of a batch's three kinds of windows, in their order, in one pass; the encoder's state."""
    parts = [batch.plain, batch.covered, batch.later]
    (embedding, level), others = encoder.stateless_call(trainable, others, jnp.concatenate(parts), training=training)
    edges = [len(parts[0]), len(parts[0]) + len(parts[1])]
    return jnp.split(embedding, edges), jnp.split(level, edges), others


def losses(tasks: Sequence[Task], found: Heads, embeddings: Any, levels: Any, batch: Batch) -> dict[Task, Any]:
    """Each task's losses, (b, horizons) or (b, 1): squared error, log loss, or InfoNCE in nats."""
    told: dict[Task, Any] = {}
    plain, covered, later = embeddings
    for task in tasks:
        kernel, bias = found[f"{task}/kernel"], found[f"{task}/bias"]
        if task == "volatility":
            told[task] = (plain @ kernel + bias + levels[0] - batch.volatility) ** 2
        elif task == "direction":
            logits = plain @ kernel + bias
            told[task] = jax.nn.softplus(logits) - batch.direction * logits
        elif task == "masked":
            told[task] = _reconstruction(covered @ kernel + bias, batch)
        else:
            told[task] = _info_nce(plain @ kernel + bias, later @ kernel + bias)
    return told


def total(told: Mapping[Task, Any], naive: Mapping[Task, Any]) -> Any:
    """The mean over tasks and horizons of each loss in units of its naive forecast's."""
    return sum(jnp.mean(jnp.mean(loss, axis=0) / naive[task]) for task, loss in told.items()) / len(told)


def _reconstruction(predicted: Any, batch: Batch) -> Any:
    """Mean squared error over a window's hidden bars and the channels that are known there, scale-free: (b, 1)."""
    from tasks.search.transfer.networks import scale_free  # noqa: PLC0415

    steps, _ = scale_free(jnp.asarray(batch.raw))
    counts = jnp.repeat(batch.hidden[:, :, None], len(CHANNELS), axis=2).astype(jnp.float32)
    for channel, mask in MASKS:
        counts = counts.at[:, :, channel].multiply(batch.raw[:, :, mask])
    errors = (predicted.reshape(len(predicted), -1, len(CHANNELS)) - steps[:, :, : len(CHANNELS)]) ** 2
    return (jnp.sum(errors * counts, axis=(1, 2)) / jnp.maximum(jnp.sum(counts, axis=(1, 2)), 1.0))[:, None]


def _info_nce(ours: Any, theirs: Any) -> Any:
    """Cross-entropy of finding each window's neighbour among all of the batch's, both ways: (b, 1)."""
    unit = [each / jnp.maximum(jnp.linalg.norm(each, axis=1, keepdims=True), 1e-6) for each in (ours, theirs)]
    alike = unit[0] @ unit[1].T / TEMPERATURE
    own = jnp.diagonal(alike)
    both = jax.nn.logsumexp(alike, axis=1) + jax.nn.logsumexp(alike, axis=0) - 2.0 * own
    return (both / 2.0)[:, None]


def _hidden(shape: tuple[int, int], random: np.random.Generator) -> npt.NDArray[np.bool_]:
    rows, length = shape
    stretches = random.random((rows, -(-length // STRETCH))) < HIDDEN_SHARE
    return np.repeat(stretches, STRETCH, axis=1)[:, :length]


def _covered(raw: npt.NDArray[np.float32], hidden: npt.NDArray[np.bool_]) -> npt.NDArray[np.float32]:
    """Hidden bars become bars that say nothing: no return, no body, the visible bars' mean range and volume."""
    covered, seen = raw.copy(), np.maximum((~hidden).sum(axis=1), 1)
    for channel in (LOG_RANGE, VOLUME):
        mean = np.where(hidden, 0.0, raw[:, :, channel]).sum(axis=1) / seen
        covered[:, :, channel] = np.where(hidden, mean[:, None], raw[:, :, channel])
    for channel in (RETURN, MEDIAN, BODY):
        covered[:, :, channel] = np.where(hidden, 0.0, raw[:, :, channel])
    return covered


def _neighbours(source: Source, rows: Rows, length: int, random: np.random.Generator) -> Rows:
    """For each row one at most a quarter of a window away, of the same symbol and part; itself where there is none."""
    away = random.integers(1, max(length // 4, 1) + 1, len(rows)) * random.choice([-1, 1], len(rows))
    found = rows.copy()
    for shift in (-away, away):
        there = np.clip(rows + shift, 0, len(source.times) - 1)
        same = (source.part[there] == source.part[rows]) & (source.bars.first(there) == source.bars.first(rows))
        found = np.where(same, there, found)
    return found
