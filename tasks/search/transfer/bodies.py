"""The bodies of the sequence encoders: what looks at a window's scaled steps, (n, length, 7) to (n, features).

Convolutions and attention are written as products of matrices, which a processor is quick at in both directions.
Import it only after ``tasks.search.auto_keras.use_jax``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import keras
from keras import layers, ops

from tasks.search.transfer.channels import STEP

if TYPE_CHECKING:
    from tasks.search.transfer.networks import Spec

PAIR, PATCH = 2, 4
KERNEL = 3
ATTENTION_HEADS = 4


def convolutions(spec: Spec, steps: Any) -> Any:
    """Pairs of bars, residual blocks of dilation 1, 2, 4, … twice each; the last state, which saw all, and the mean."""
    count = spec.length // PAIR
    x = layers.Dense(spec.width, name="stem")(ops.reshape(steps[:, -count * PAIR :], (-1, count, PAIR * STEP)))
    for block in range(spec.depth):
        inner = x
        for part in "ab":
            shifted = _shifted(inner, 2**block, count)
            inner = layers.Dense(spec.width, activation="relu", name=f"block_{block}_{part}")(shifted)
        x = x + _dropped(inner, spec.dropout, f"block_{block}_dropout")
    return ops.concatenate([x[:, -1], ops.mean(x, axis=1)], axis=-1)


def _shifted(x: Any, dilation: int, length: int) -> Any:
    """Each step beside those ``dilation`` and twice that before, zeros before the first: a causal kernel's input."""
    backs = [step * dilation for step in range(1, KERNEL) if step * dilation < length]
    return ops.concatenate([x, *(ops.pad(x[:, :-back], ((0, 0), (back, 0), (0, 0))) for back in backs)], axis=-1)


def patches(spec: Spec, steps: Any) -> Any:
    """Pre-norm transformer blocks over patches; the last patch's state and the mean of all."""
    count = spec.length // PATCH
    x = layers.Dense(spec.width, name="stem")(ops.reshape(steps, (-1, count, PATCH * STEP)))
    x = _Positions(name="positions")(x)
    for block in range(spec.depth):
        at = f"block_{block}"
        inner = layers.LayerNormalization(epsilon=1e-5, name=f"{at}_norm_a")(x)
        x = x + _dropped(_attention(spec, inner, at), spec.dropout, f"{at}_dropout_a")
        inner = layers.LayerNormalization(epsilon=1e-5, name=f"{at}_norm_b")(x)
        inner = layers.Dense(2 * spec.width, activation="relu", name=f"{at}_wide")(inner)
        inner = layers.Dense(spec.width, name=f"{at}_narrow")(inner)
        x = x + _dropped(inner, spec.dropout, f"{at}_dropout_b")
    x = layers.LayerNormalization(epsilon=1e-5, name="norm")(x)
    return ops.concatenate([x[:, -1], ops.mean(x, axis=1)], axis=-1)


def _attention(spec: Spec, x: Any, at: str) -> Any:
    """Attention of every patch to every other, four heads; what is asked for, by and with is one product."""
    count, size = spec.length // PATCH, spec.width // ATTENTION_HEADS
    asked = ops.reshape(layers.Dense(3 * spec.width, name=f"{at}_asked")(x), (-1, count, 3, ATTENTION_HEADS, size))
    query, key, value = (ops.transpose(asked[:, :, part], (0, 2, 1, 3)) for part in range(3))
    likeness = ops.matmul(query, ops.transpose(key, (0, 1, 3, 2))) / math.sqrt(size)
    seen = ops.matmul(ops.softmax(likeness, axis=-1), value)
    together = ops.reshape(ops.transpose(seen, (0, 2, 1, 3)), (-1, count, spec.width))
    return layers.Dense(spec.width, name=f"{at}_told")(together)


class _Positions(layers.Layer):  # type: ignore[misc]
    """A learned vector for each place, added."""

    def build(self, shape: Any) -> None:
        """One vector a place."""
        self.vectors = self.add_weight(
            shape=(1, *shape[1:]), initializer=keras.initializers.RandomNormal(stddev=0.02), name="vectors"
        )

    def call(self, x: Any) -> Any:
        """The places' vectors on top."""
        return x + self.vectors


def _dropped(x: Any, rate: float, name: str) -> Any:
    return layers.Dropout(rate, name=name)(x) if rate else x
