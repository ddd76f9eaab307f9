"""Candles in a graph: the pixels that NumPy draws, AutoKeras's blocks, and applications with weights from a file."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import h5py  # type: ignore[import-untyped]
import numpy as np
import pytest

from tasks.errors import ConfigurationError, IntegrityError, StorageError
from tasks.registry.serving.candles import draw, places
from tasks.registry.serving.scorers import load_scorer
from tasks.search.auto_keras import use_jax
from tasks.search.transfer.channels import CHANNELS, from_matrix, usable, windows
from tests.search.transfer.windows import KERAS_WARNING, candles, disturbed, matrix_of

if importlib.util.find_spec("autokeras") is None:
    pytest.skip("the engines extra is not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings(KERAS_WARNING)
LENGTH = 10
SIZES: dict[str, Any] = {"architecture": "image", "length": LENGTH, "width": 8, "depth": 2, "embedding": 4}
VALUES = matrix_of(candles(120, 6))
BARS = from_matrix(VALUES, CHANNELS, np.full(120, "A", dtype=object))
ENDS = np.flatnonzero(usable(BARS, LENGTH))
ENDS = ENDS[ENDS >= 21 + LENGTH]  # earlier windows are served nothing: the volume's lookback


@pytest.fixture(scope="module")
def networks() -> ModuleType:
    use_jax(2)
    from tasks.search.transfer import networks  # noqa: PLC0415 - keras's backend is settled by now

    return networks


@pytest.fixture(scope="module")
def export(networks: ModuleType) -> ModuleType:
    from tasks.search.transfer import export  # noqa: PLC0415

    return export


@pytest.fixture(scope="module")
def images(networks: ModuleType) -> ModuleType:
    from tasks.search.transfer import images  # noqa: PLC0415

    return images


@pytest.fixture(scope="module")
def mobile(networks: ModuleType) -> Any:
    """What an encoder with an application looks like to the loader, with the first layers of MobileNet, narrower."""
    import keras  # noqa: PLC0415

    inputs = x = keras.Input((32, 32, 3))
    for name, layer in {
        "conv1": keras.layers.Conv2D(8, 3, strides=2, name="conv1"),
        "conv_dw_1": keras.layers.DepthwiseConv2D(3, use_bias=False, name="conv_dw_1"),
        "conv_pw_1": keras.layers.Conv2D(16, 1, use_bias=False, name="conv_pw_1"),
    }.items():
        x = keras.layers.ReLU(6.0)(keras.layers.BatchNormalization(name=f"{name}_bn")(layer(x)))
    network = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x), name="application")
    rng = np.random.default_rng(1)
    for weight in network.non_trainable_weights:
        weight.assign(np.exp(0.1 * rng.normal(size=weight.shape)))
    picture = keras.Input((32, 32, 3))
    return keras.Model(picture, network(picture))


def published(network: Any, path: Path) -> Path:
    """A file as keras's older format has it: layers in order, each with its weights by name."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in network.layers]
        for layer in network.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, weight in zip(names, layer.weights, strict=True):
                group[name] = np.asarray(weight)
    return path


@pytest.mark.parametrize("length", [5, 20, 40])
def test_the_graph_draws_the_very_pixels_that_numpy_draws(images: ModuleType, length: int) -> None:
    ends = np.flatnonzero(usable(BARS, length))
    placed = places(windows(BARS, ends, length))
    drawn = np.asarray(images.inked(placed, length))
    np.testing.assert_array_equal(drawn[..., 0], draw(placed))
    assert 0.02 < drawn.mean() < 0.4


def test_autokeras_blocks_see_and_are_served(networks: ModuleType, export: ModuleType, tmp_path: Path) -> None:
    """Its layers are named by place: whatever the process built before, weights find their layer again."""
    spec = networks.Spec(**SIZES, body="autokeras")
    encoder = networks.encoder(spec, 3)
    names = list(networks.weights(encoder))
    assert names == list(networks.weights(networks.encoder(spec, 4)))
    assert names[:2] == ["autokeras_0/kernel", "autokeras_0/bias"]
    assert networks.freeze(encoder, 0.5) == ["autokeras_0", "autokeras_1"]
    model = disturbed(networks.head(encoder, "volatility"))
    export.write_folder(model, spec, CHANNELS, "value", tmp_path)
    rows = VALUES[ENDS[0] - LENGTH + 1 :]
    served = load_scorer(tmp_path).predict(rows)[LENGTH - 1 :]
    native = export.native(model, spec, BARS, ENDS)
    np.testing.assert_allclose(served, native, rtol=0, atol=1e-5)
    assert np.ptp(native) > 1e-2


@pytest.mark.parametrize("how", ["published", "saved"])
def test_an_application_takes_its_weights_from_a_file(
    images: ModuleType, mobile: Any, tmp_path: Path, how: str
) -> None:
    network = mobile.get_layer("application")
    path = tmp_path / "weights.weights.h5"
    published(network, path) if how == "published" else network.save_weights(path)
    before = network.get_weights()
    for weight in network.weights:
        weight.assign(np.full(weight.shape, 0.5))
    images.load_application(mobile, path)
    for found, expected in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected)


def test_weights_that_do_not_match_are_refused_by_the_first_layer(
    images: ModuleType, mobile: Any, tmp_path: Path
) -> None:
    network = mobile.get_layer("application")
    before = network.get_weights()
    path = published(network, tmp_path / "published.h5")
    kernel, bias = "conv_pw_1/conv_pw_1/kernel:0", "conv_pw_1_bn/conv_pw_1_bn/beta:0"
    with h5py.File(path, "r+") as file:
        good = {name: np.asarray(file[name]) for name in (kernel, bias)}

    def refused(name: str, value: Any, message: str) -> None:
        with h5py.File(path, "r+") as file:
            del file[name]
            file[name] = value
        with pytest.raises(IntegrityError, match=message):
            images.load_application(mobile, path)
        with h5py.File(path, "r+") as file:
            del file[name]
            file[name] = good[name]

    refused(kernel, np.zeros((1, 1, 8, 7)), r"layer 'conv_pw_1' is \[\(1, 1, 8, 7\)\] in the file, \[\(1, 1, 8, 16\)")
    refused(bias, np.full(16, np.nan), "layer 'conv_pw_1_bn' holds numbers that are not finite")
    for without, message in (
        ("conv_dw_1", "is 'conv_dw_1_bn' in the file"),
        ("conv_pw_1_bn", "is nothing in the file"),
    ):
        names = [layer.name for layer in network.layers if layer.name != without]
        with h5py.File(path, "r+") as file:
            file.attrs["layer_names"] = [name.encode() for name in names]
        with pytest.raises(IntegrityError, match=f"layer '{without}' {message}"):
            images.load_application(mobile, path)
    with h5py.File(path, "r+") as file:
        file.attrs["layer_names"] = [name.encode() for name in (*names, "conv_pw_1_bn", "conv1")]
    with pytest.raises(IntegrityError, match="layer 'conv1' is not in the network"):
        images.load_application(mobile, path)
    for found, expected in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(found, expected, err_msg="nothing of a refused file is taken")


def test_what_is_no_file_of_weights_is_refused(
    images: ModuleType, networks: ModuleType, mobile: Any, tmp_path: Path
) -> None:
    with pytest.raises(StorageError, match=r"absent\.h5: no weights of keras can be read"):
        images.load_application(mobile, tmp_path / "absent.h5")
    (tmp_path / "page.h5").write_bytes(b"<html>not here</html>")
    with pytest.raises(StorageError, match=r"page\.h5: no weights of keras can be read"):
        images.load_application(mobile, tmp_path / "page.h5")
    h5py.File(tmp_path / "other.h5", "w").close()
    with pytest.raises(StorageError, match=r"other\.h5: no weights of keras can be read"):
        images.load_application(mobile, tmp_path / "other.h5")
    with pytest.raises(ConfigurationError, match="has no application to load"):
        images.load_application(networks.encoder(networks.Spec(**SIZES), 1), tmp_path / "absent.h5")


@pytest.mark.slow
def test_an_application_of_keras_from_a_file_to_its_embedding(
    networks: ModuleType, images: ModuleType, tmp_path: Path
) -> None:
    """MobileNet itself: built twice, its weights through a file, frozen layer by layer."""
    spec = networks.Spec(**SIZES, body="MobileNet@32")
    one, other = networks.encoder(spec, 3), networks.encoder(spec, 4)
    path = published(one.get_layer("application"), tmp_path / "mobilenet.h5")
    images.load_application(other, path)
    other.get_layer("embedding").set_weights(one.get_layer("embedding").get_weights())
    np.testing.assert_array_equal(networks.embed(other, BARS, ENDS), networks.embed(one, BARS, ENDS))
    fixed = networks.freeze(one, 0.8)
    assert fixed[:2] == ["conv1", "conv1_bn"]
    assert len(fixed) == round(0.8 * len(networks.lowest_first(one)))
    assert not one.get_layer("application").get_layer("conv1").trainable_weights


@pytest.mark.parametrize(("height", "width", "size"), [(32, 30, 96), (32, 30, 40), (32, 30, 32), (96, 192, 64)])
def test_pictures_are_fitted_by_whole_pixels(images: ModuleType, height: int, width: int, size: int) -> None:
    rng = np.random.default_rng(0)
    picture = (rng.random((2, height, width, 1)) < 0.2).astype(np.float32)
    found = np.asarray(images.fitted(picture, size))
    assert found.shape == (2, size, size, 1)
    if width <= size:
        times = (size // height, size // width)
        assert found.sum() == picture.sum() * times[0] * times[1]
        assert set(np.unique(found)) == {0.0, 1.0}
    else:
        assert 0.0 < found.mean() < picture.mean()


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("VGG99", "no body of an image is called 'VGG99'"),
        ("Xception@32", "from 71 pixels a side, not 32"),
        ("MobileNet@", "no body"),
    ],
)
def test_bodies_that_do_not_exist_are_refused(networks: ModuleType, body: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        networks.encoder(networks.Spec(**SIZES, body=body), 1)
