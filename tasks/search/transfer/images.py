"""What looks at candles drawn as pixels (``registry.serving.candles``): the bodies of the architecture ``image``.

``Spec.body`` chooses one:

- empty: a small network of its own: convolutions over cells of four by three pixels, the first eight pixels high and
  one bar wide, then five by three cells as in Jiang, Kelly and Xiu (2023);
- ``autokeras``: AutoKeras's ConvBlock and SpatialReduction over the same cells, without pooling (onnxruntime refuses
  MaxPooling2D);
- an application of keras by name (``MobileNetV2``), or by name and size in pixels (``MobileNetV2@96``): the ink
  repeated to three channels and to whole multiples of its size, blank around it, scaled as that application was
  trained. ``load_application`` puts its weights (ImageNet's, from keras's own files without the top) into it, from a
  file on disk: nothing is downloaded.

Import it only after ``tasks.search.auto_keras.use_jax``.
"""

from __future__ import annotations

import io
import re
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import h5py  # type: ignore[import-untyped]
import keras
import numpy as np
import numpy.typing as npt
from keras import layers, ops

from tasks.errors import ConfigurationError, IntegrityError, StorageError
from tasks.registry.serving import candles

if TYPE_CHECKING:
    from tasks.search.transfer.networks import Spec

AUTOKERAS, APPLICATION = "autokeras", "application"
INK = 255.0
ROWS_A_CELL = 4
PICTURES, DEEP_PICTURES = 64 << 20, 8 << 20
"""Bytes of pictures that one pass may take: a training keeps some hundred times as much of an application's."""

_CAPITALS = re.compile(r"(?<=[a-z])(?=[A-Z])")
_Layer = tuple[str, list[npt.NDArray[Any]]]
_BODY = re.compile(r"(?P<name>\w+)(?:@(?P<size>\d+))?")


class _Application(NamedTuple):
    """smallest and wanted: pixels a side. centered: whether it takes -1..1 (else 0..255)."""

    make: Callable[..., Any]
    smallest: int
    wanted: int
    centered: bool


APPLICATIONS: Mapping[str, _Application] = {
    "MobileNet": _Application(keras.applications.MobileNet, 32, 224, True),
    "MobileNetV2": _Application(keras.applications.MobileNetV2, 32, 224, True),
    "EfficientNetB0": _Application(keras.applications.EfficientNetB0, 32, 224, False),
    "ResNet50V2": _Application(keras.applications.ResNet50V2, 32, 224, True),
    "Xception": _Application(keras.applications.Xception, 71, 299, True),
}


def looked_at(spec: Spec, inputs: Any) -> tuple[Any, Any]:
    """The window's places (n, length, 7) to what the body found (n, features) and the level (n, 1).

    Raises ConfigurationError for a body that does not exist or a size that its application cannot take.
    """
    level = inputs[:, 0, candles.LEVEL : candles.LEVEL + 1]
    pixels = inked(inputs, spec.length)
    if not spec.body:
        return _own(spec, pixels), level
    if spec.body == AUTOKERAS:
        return _autokeras(spec, pixels), level
    return _application(spec.body, pixels), level


def most_pictures(spec: Spec) -> int:
    """How many pictures one pass may take, so that its memory is bounded: at least one."""
    if spec.body in ("", AUTOKERAS):
        a_picture = (sum(candles.heights(spec.length)) + 1) * candles.PIXELS_A_BAR * spec.length * 4
        return max(PICTURES // a_picture, 1)
    _, size = _wanted(spec.body)
    return max(DEEP_PICTURES // (size * size * 3 * 4), 1)


def inked(placed: Any, length: int) -> Any:
    """``candles.draw`` as part of a graph, the same pixels: (n, length, 7) to float32 (n, height, 3 · length, 1)."""
    rows, volume_rows = candles.heights(length)
    marks = ops.expand_dims(placed, 1)
    row = ops.reshape(ops.arange(rows - 1, -1, -1, dtype="float32"), (1, rows, 1))
    stroke = ops.logical_and(
        ops.greater_equal(row, marks[..., candles.LOW]), ops.less_equal(row, marks[..., candles.HIGH])
    )
    inks = (ops.equal(row, marks[..., candles.OPEN]), stroke, ops.equal(row, marks[..., candles.CLOSE]))
    price = ops.stack([ops.cast(ink, "float32") for ink in inks], axis=-1)
    low = ops.reshape(ops.arange(volume_rows - 1, -1, -1, dtype="float32"), (1, volume_rows, 1))
    middle = ops.cast(ops.less(low, marks[..., candles.VOLUME]), "float32")
    nothing = ops.zeros_like(middle)
    volume = ops.stack([nothing, middle, nothing], axis=-1)
    picture = ops.concatenate([price, ops.zeros_like(price[:, :1]), volume], axis=1)
    return ops.reshape(picture, (-1, rows + 1 + volume_rows, candles.PIXELS_A_BAR * length, 1))


def _cells(pixels: Any) -> Any:
    """Each bar's pixels, four rows of them, as channels: (n, height, width, 1) to (n, height / 4, bars, 12)."""
    height, width = pixels.shape[1] // ROWS_A_CELL, pixels.shape[2] // candles.PIXELS_A_BAR
    cells = ops.reshape(pixels, (-1, height, ROWS_A_CELL, width, candles.PIXELS_A_BAR))
    return ops.reshape(ops.transpose(cells, (0, 1, 3, 2, 4)), (-1, height, width, ROWS_A_CELL * candles.PIXELS_A_BAR))


def _own(spec: Spec, pixels: Any) -> Any:
    """At most three convolutions, then the mean over the height: what was seen when is kept."""
    x = _cells(pixels)
    for block in range(min(spec.depth, 3)):
        kernel, strides = ((2, 1), (1, 1)) if not block else ((5, 3), (2, 2))
        x = layers.Conv2D(
            max(spec.width // 2, 1), kernel, strides=strides, padding="same", activation="relu", name=f"block_{block}"
        )(x)
        if spec.dropout:
            x = layers.Dropout(spec.dropout, name=f"block_{block}_dropout")(x)
    return ops.reshape(ops.mean(x, axis=1), (-1, x.shape[2] * x.shape[3]))


def _autokeras(spec: Spec, pixels: Any) -> Any:
    import autokeras  # noqa: PLC0415 - only this body needs it, and it takes seconds
    import keras_tuner  # noqa: PLC0415

    cells = _cells(pixels)
    block = autokeras.ConvBlock(
        kernel_size=3,
        num_blocks=min(spec.depth, 3),
        num_layers=1,
        filters=max(spec.width // 2, 1),
        max_pooling=False,
        separable=False,
        dropout=spec.dropout,
    )
    choices, inputs = keras_tuner.HyperParameters(), keras.Input(cells.shape[1:])
    found = autokeras.SpatialReduction("flatten").build(choices, block.build(choices, inputs))
    return _renamed(keras.Model(inputs, found))(cells)


def _renamed(model: keras.Model) -> keras.Model:
    """The same network with names that do not depend on what the process built before it."""
    numbers = iter(range(len(model.layers)))

    def again(layer: Any) -> Any:
        return layer.__class__.from_config({**layer.get_config(), "name": f"{AUTOKERAS}_{next(numbers)}"})

    copied = keras.models.clone_model(model, clone_function=again)
    return keras.Model(copied.inputs[0], copied.outputs[0], name=AUTOKERAS)


def _application(body: str, pixels: Any) -> Any:
    found, size = _wanted(body)
    network = found.make(include_top=False, weights=None, input_shape=(size, size, 3), pooling="avg", name=APPLICATION)
    x = ops.repeat(fitted(pixels, size), 3, axis=-1) * INK
    return network(x / (INK / 2) - 1.0 if found.centered else x)


def _wanted(body: str) -> tuple[_Application, int]:
    match = _BODY.fullmatch(body)
    if match is None or match["name"] not in APPLICATIONS:
        names = ", ".join((AUTOKERAS, *APPLICATIONS))
        raise ConfigurationError(f"no body of an image is called {body!r}: leave it empty, or take one of {names}")
    found = APPLICATIONS[match["name"]]
    size = int(match["size"] or found.wanted)
    if size < found.smallest:
        raise ConfigurationError(f"{match['name']} takes images from {found.smallest} pixels a side, not {size}")
    return found, size


def fitted(pixels: Any, size: int) -> Any:
    """Pictures (n, height, width, 1) to (n, size, size, 1): ink repeated or averaged by whole numbers, blank around."""
    for axis in (1, 2):
        length = pixels.shape[axis]
        if length > size:
            pool = [1, 1]
            pool[axis - 1] = -(-length // size)
            pixels = layers.AveragePooling2D(tuple(pool), padding="same")(pixels)
        elif size // length > 1:
            pixels = ops.repeat(pixels, size // length, axis=axis)
        left = size - pixels.shape[axis]
        around = [(0, 0)] * 4
        around[axis] = (left // 2, left - left // 2)
        pixels = ops.pad(pixels, around)
    return pixels


def load_application(encoder: keras.Model, path: Path, content: bytes | None = None) -> None:
    """Give an encoder's application the weights of a file; all or nothing. content: its bytes, if they were read.

    The file: keras's own of an application without its top (``.h5``, layers in order, as they are published), or what
    ``Model.save_weights`` wrote (``.weights.h5``). Raises ConfigurationError for an encoder without an application,
    StorageError for a file that cannot be read, IntegrityError naming the first layer that does not match.
    """
    network = next((layer for layer in encoder.layers if layer.name == APPLICATION), None)
    if network is None:
        raise ConfigurationError(f"the encoder has no application to load {path.name} into: see Spec.body")
    try:
        with h5py.File(path if content is None else io.BytesIO(content), "r") as file:
            found = _published(file) if "layer_names" in file.attrs else _saved(file, network)
    except (OSError, KeyError) as error:
        raise StorageError(f"{path}: no weights of keras can be read from it: {error}") from error
    own = [layer for layer in network.layers if layer.weights]
    if refused := _mismatch(own, found):
        raise IntegrityError(f"{path}: weights that do not match: {refused}")
    for layer, (_, arrays) in zip(own, found, strict=True):
        layer.set_weights(arrays)


def _published(file: Any) -> list[_Layer]:
    """Layers with weights in the file's order, by their names: what keras's older format holds."""
    groups = [(_text(name), file[_text(name)]) for name in file.attrs["layer_names"]]
    read = [(name, [np.asarray(group[_text(each)]) for each in group.attrs["weight_names"]]) for name, group in groups]
    return [(name, arrays) for name, arrays in read if arrays]


def _saved(file: Any, network: keras.Model) -> list[_Layer]:
    """The network's layers with weights as ``Model.save_weights`` numbers them: by class, in order."""
    seen: Counter[str] = Counter()
    read: list[_Layer] = []
    for layer in network.layers:
        kind = _CAPITALS.sub("_", type(layer).__name__).lower()
        group = file["layers"].get(f"{kind}_{seen[kind]}" if seen[kind] else kind)
        seen[kind] += 1
        if layer.weights:
            values = {} if group is None or "vars" not in group else group["vars"]
            read.append((layer.name, [np.asarray(values[each]) for each in sorted(values, key=int)]))
    return read


def _mismatch(own: list[Any], found: list[_Layer]) -> str:
    """The first layer that the file has not got as the network has it, in words; empty where all match."""
    for place, layer in enumerate(own):
        if place >= len(found) or found[place][0] != layer.name:
            other = f"'{found[place][0]}'" if place < len(found) else "nothing"
            return f"layer '{layer.name}' is {other} in the file"
        theirs, ours = [array.shape for array in found[place][1]], [tuple(weight.shape) for weight in layer.weights]
        if theirs != ours:
            return f"layer '{layer.name}' is {theirs} in the file, {ours} in the network"
        if not all(np.isfinite(array).all() for array in found[place][1]):
            return f"layer '{layer.name}' holds numbers that are not finite"
    return f"layer '{found[len(own)][0]}' is not in the network" if len(found) > len(own) else ""


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)
