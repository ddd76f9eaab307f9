"""Encoders of windows of bars, and heads on them: keras on JAX, small enough for two cores.

From a raw window (``channels.windows``), in this order:

1. the window is made free of its scale: its level is the mean of ``har_1``; returns and mid-prices are divided by
   exp(level), ``har_1`` has the level taken off, the masked body's share and volume stay as they are; all clipped;
2. a body of one of three architectures:
   ``tcn``      dilated causal convolutions over pairs of bars (Bai, Kolter and Koltun 2018),
   ``patches``  patches of four bars and attention among them (Nie and others 2023),
   ``image``    the window drawn as candles, and convolutions over the pixels (Jiang, Kelly and Xiu 2023);
3. the embedding: a linear map of what the body found and of the scaled window's means over the last 1, 5 and 22 bars,
   so that what a linear model of volatility (HAR) knows is there from the start.

Multiplying prices, or the window's volatility, by a constant changes the level and not the embedding. A head undoes the
scaling (``head``), so that one keras model maps a window to a prediction in the label's own unit.

Import it only after ``tasks.search.auto_keras.use_jax``: it imports keras.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import jax
import jax.numpy as jnp
import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from tasks.errors import ConfigurationError, IntegrityError
from tasks.registry.serving.candles import places
from tasks.search.transfer.allocation import keep_memory
from tasks.search.transfer.bodies import ATTENTION_HEADS, PAIR, PATCH, convolutions, patches
from tasks.search.transfer.channels import (
    BODY,
    BODY_KNOWN,
    CHANNELS,
    KNOWN,
    LOG_RANGE,
    MEDIAN,
    RETURN,
    STEP,
    VOLUME,
    Bars,
    Rows,
    windows,
)

Architecture = Literal["tcn", "patches", "image"]
HeadKind = Literal["volatility", "return", "probability"]
Floats = npt.NDArray[np.float32]
Arrays = Mapping[str, npt.NDArray[Any]]

CLIP = 8.0
MEANS = (1, 5, 22)
HEAD, STANDARD = "head", "standard_level"
BATCH = 256
"""Windows a call, always: another number would be compiled anew. What so few hold stays in the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """What fixes an encoder's graph. length: bars a window; width, depth: of the body; embedding: its numbers.

    body: for ``image``, what looks at the pixels (see ``images``); empty is its own. Raises
    ConfigurationError for sizes that cannot be built.
    """

    architecture: Architecture
    length: int = 64
    width: int = 32
    depth: int = 4
    embedding: int = 32
    dropout: float = 0.0
    body: str = ""

    def __post_init__(self) -> None:
        if self.architecture not in ("tcn", "patches", "image"):
            raise ConfigurationError(f"architecture must be tcn, patches or image, got {self.architecture!r}")
        if min(self.length, self.width, self.depth, self.embedding) < 1 or not 0.0 <= self.dropout < 1.0:
            raise ConfigurationError(f"an encoder's sizes must be at least 1 and its dropout in [0, 1), got {self}")
        if self.architecture == "tcn" and self.length < PAIR:
            raise ConfigurationError(f"convolutions need a length of at least {PAIR}, got {self}")
        if self.architecture == "patches" and (self.length % PATCH or self.width % ATTENTION_HEADS):
            raise ConfigurationError(
                f"patches need a length that is a multiple of {PATCH} and a width of {ATTENTION_HEADS}, got {self}"
            )


def encoder(spec: Spec, seed: int) -> keras.Model:
    """Windows as ``prepared`` gives them, (n, length, 7), to the embedding (n, embedding) and the level (n, 1).

    The same seed gives the same weights; keras's own seed is set by it. Layers are ordered from the lowest.
    """
    keep_memory()
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((spec.length, STEP), name="window")
    if spec.architecture == "image":
        from tasks.search.transfer.images import looked_at  # noqa: PLC0415 - sequences need no pixels

        found, level = looked_at(spec, inputs)
    else:
        found, level = _sequence(spec, inputs)
    embedding = layers.Dense(spec.embedding, name="embedding")(found)
    return keras.Model(inputs, [embedding, level], name=spec.architecture)


def _sequence(spec: Spec, inputs: Any) -> tuple[Any, Any]:
    steps, level = scale_free(inputs)
    body = convolutions(spec, steps) if spec.architecture == "tcn" else patches(spec, steps)
    means = [ops.mean(steps[:, -min(bars, spec.length) :, : len(CHANNELS)], axis=1) for bars in MEANS]
    return ops.concatenate([body, *means], axis=-1), level


def scale_free(inputs: Any) -> tuple[Any, Any]:
    """Raw windows (n, length, 7) to steps of the same shape without a scale, and the level (n, 1)."""
    level = ops.mean(inputs[:, :, LOG_RANGE], axis=1, keepdims=True)
    shift = ops.expand_dims(level, -1)
    unit = ops.exp(-shift)
    volume_known, body_known = inputs[:, :, KNOWN : KNOWN + 1], inputs[:, :, BODY_KNOWN : BODY_KNOWN + 1]
    steps = ops.concatenate(
        [
            inputs[:, :, RETURN : RETURN + 1] * unit,
            inputs[:, :, LOG_RANGE : LOG_RANGE + 1] - shift,
            inputs[:, :, MEDIAN : MEDIAN + 1] * unit,
            inputs[:, :, BODY : BODY + 1] * body_known,
            inputs[:, :, VOLUME : VOLUME + 1] * volume_known,
            volume_known,
            body_known,
        ],
        axis=-1,
    )
    return ops.clip(steps, -CLIP, CLIP), level


def prepared(architecture: str, raw: Floats) -> Floats:
    """What an encoder takes in for raw windows, float32 (n, length, 7): themselves, or the places of their pixels."""
    return places(raw) if architecture == "image" else raw


def inputs_of(spec: Spec, bars: Bars, ends: Rows) -> Floats:
    """The encoder's inputs for the windows that end at ``ends``: ``prepared`` of ``windows``."""
    return prepared(spec.architecture, windows(bars, ends, spec.length))


def head(
    base: keras.Model, kind: HeadKind, *, level: tuple[float, float] | None = None, name: str = HEAD
) -> keras.Model:
    """A dense layer on an encoder, sharing its layers: windows to predictions (n, 1) in the label's own unit.

    With s the dense layer's output, which starts at zero: ``volatility`` gives level + s (the log of a volatility),
    ``return`` exp(level) · s, ``probability`` the logistic function of s. ``level`` (center, scale) hands the dense
    layer the standardised level too, as its last input; without it s is free of the window's scale. (0, 1) is the raw
    level, as the closed forms of ``heads`` take it.
    """
    embedding, raw = base.output
    found = embedding if level is None else ops.concatenate([embedding, _Standard(level)(raw)], axis=-1)
    free = layers.Dense(1, kernel_initializer="zeros", name=name)(found)
    return keras.Model(base.input, _in_own_unit(free, raw, kind), name=f"{name}_{kind}")


class _Standard(layers.Layer):  # type: ignore[misc]
    """A level less its center over its scale, both weights that nothing trains: another pair compiles nothing anew."""

    def __init__(self, level: tuple[float, float]) -> None:
        super().__init__(name=STANDARD, trainable=False)
        self._level = level

    def build(self, _: Any) -> None:
        """The two numbers, whatever the shape."""
        self.pair = self.add_weight(shape=(2,), initializer="zeros", trainable=False, name="pair")
        self.pair.assign(np.array(self._level, dtype=np.float32))

    def call(self, x: Any) -> Any:
        """The level in standard units."""
        return (x - self.pair[0]) / self.pair[1]


def standardise(model: keras.Model, level: tuple[float, float]) -> None:
    """Have a head that was made with a level take it with another center and scale."""
    model.get_layer(STANDARD).pair.assign(np.array(level, dtype=np.float32))


def _in_own_unit(free: Any, level: Any, kind: HeadKind) -> Any:
    if kind == "volatility":
        return level + free
    if kind == "return":
        return ops.exp(level) * free
    if kind == "probability":
        return ops.sigmoid(free)
    raise ConfigurationError(f"a head predicts volatility, return or probability, not {kind!r}")


def scale_of(
    levels: npt.NDArray[np.float64], kind: HeadKind
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """(shift, unit), float64 (n,): (label - shift) / unit is free of each window's scale, as ``head``'s s is."""
    nothing, one = np.zeros(len(levels)), np.ones(len(levels))
    return (levels, one) if kind == "volatility" else (nothing, np.exp(levels)) if kind == "return" else (nothing, one)


def head_kind(target: str) -> HeadKind:
    """The head for a target's name: volatility and return have their own, the others are probabilities."""
    if target == "volatility":
        return "volatility"
    return "return" if target == "return" else "probability"


def lowest_first(model: keras.Model) -> list[Any]:
    """The layers that have weights, from the lowest to the highest, a head's own last."""
    found: list[Any] = []
    for layer in model.layers:
        found.extend(lowest_first(layer) if isinstance(layer, keras.Model) else [layer] if layer.weights else [])
    return found


def freeze(base: keras.Model, share: float) -> list[str]:
    """Make the lowest ``share`` (0 to 1) of an encoder's layers fixed and the rest trainable; the names of the fixed.

    Counted in layers that have weights, rounded to the nearest. Heads on the encoder share its layers, hence this.
    """
    if not 0.0 <= share <= 1.0:
        raise ConfigurationError(f"the frozen share must be between 0 and 1, got {share}")
    ordered = lowest_first(base)
    fixed = math.floor(share * len(ordered) + 0.5)
    for number, layer in enumerate(ordered):
        layer.trainable = number >= fixed
    return [layer.name for layer in ordered[:fixed]]


def weights(model: keras.Model) -> dict[str, npt.NDArray[np.float32]]:
    """Copies of all weights by name (layer/variable), from the lowest layer to the highest; ready for ``np.savez``."""
    return {name: np.array(ops.convert_to_numpy(variable)) for name, variable in _variables(model).items()}


def load_weights(model: keras.Model, arrays: Arrays) -> None:
    """Give a model weights that ``weights`` took from one like it. All or nothing.

    Raises IntegrityError naming the first, in the model's order, that is missing, of another shape or not finite, or
    the first that the model does not have.
    """
    variables = _variables(model)
    for name, variable in variables.items():
        _require_fits(name, tuple(variable.shape), arrays)
    if strange := [name for name in arrays if name not in variables]:
        raise IntegrityError(f"weights that do not match: '{strange[0]}' is not in this network, {len(strange)} in all")
    for name, variable in variables.items():
        variable.assign(np.asarray(arrays[name], dtype=np.float32))


def _require_fits(name: str, shape: tuple[int, ...], arrays: Arrays) -> None:
    if name not in arrays:
        raise IntegrityError(f"weights that do not match: '{name}' {shape} is missing")
    if arrays[name].shape != shape:
        raise IntegrityError(f"weights that do not match: '{name}' is {arrays[name].shape}, the network has {shape}")
    if not np.isfinite(arrays[name]).all():
        raise IntegrityError(f"weights that do not match: '{name}' holds numbers that are not finite")


def _variables(model: keras.Model) -> dict[str, Any]:
    return {
        variable.path: variable for layer in lowest_first(model) for variable in layer.weights if not _is_seed(variable)
    }


def _is_seed(variable: Any) -> bool:
    """A dropout's generator state is no weight."""
    return "seed_generator" in str(variable.path)


def embed(base: keras.Model, bars: Bars, ends: Rows, batch: int = BATCH) -> Floats:
    """Embedding and level of the windows that end at ``ends``, float32 (m, embedding + 1), the level last.

    Every batch is padded to the one size, so that the graph is compiled once a model, however many rows there are.
    """
    length = base.input_shape[1]
    parts = np.empty((len(ends), base.output_shape[0][1] + 1), dtype=np.float32)
    values = [[each.value for each in kind] for kind in (base.trainable_variables, base.non_trainable_variables)]
    for first in range(0, len(ends), batch):
        rows = ends[first : first + batch]
        found = _embedded(base)(*values, prepared(base.name, windows(bars, np.resize(rows, batch), length)))
        parts[first : first + len(rows)] = np.asarray(found)[: len(rows)]
    return parts


def _embedded(base: keras.Model) -> Any:
    """An encoder as one compiled function of its variables and inputs: keras's own takes twice as long a batch.

    It is kept with the encoder: what a cache of a few put out would be compiled again.
    """
    if not hasattr(base, "compiled_embedding"):

        def embedded(trainable: Any, others: Any, x: Any) -> Any:
            (embedding, level), _ = base.stateless_call(trainable, others, x, training=False)
            return jnp.concatenate([embedding, level], axis=1)

        base.compiled_embedding = jax.jit(embedded)
    return base.compiled_embedding
