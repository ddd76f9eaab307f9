"""Every network that the search space can choose gives the same predictions in onnxruntime as in keras."""

from __future__ import annotations

import importlib.util
import itertools
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

from tasks.errors import EngineError
from tasks.registry.serving.model_folder import write_model
from tasks.search import keras_export
from tasks.search.auto_keras import use_jax
from tasks.search.fold_scaling import FoldScaling
from tasks.search.keras_training import outputs

if importlib.util.find_spec("autokeras") is None:  # importing it here would settle keras's backend
    pytest.skip("the engines extra is not installed", allow_module_level=True)
# keras 3.15's variables and JAX's arrays lack NumPy 2's copy argument.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)

COLUMNS = [f"f{i}" for i in range(12)]
GENERATOR = np.random.default_rng(11)
ROWS = GENERATOR.normal(size=(300, 12)) * 3


@pytest.fixture(scope="module")
def space() -> Any:
    return use_jax(2)


def recipe(kind: str, layers: int, units: int, **choices: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "columns": COLUMNS,
        "seed": 5,
        "batch_size": 128,
        "schedule_epochs": 60,
        "hyperparameters": {
            "structured_data/num_layers": layers,
            "structured_data/num_units": units,
            "structured_data/dense/use_batchnorm": choices["batchnorm"],
            "structured_data/dense/dropout": choices["dropout"],
            "structured_data/shortcut": choices["shortcut"],
            "target/dropout": choices["head_dropout"],
            "optimizer": choices.get("optimizer", "adam"),
            "learning_rate": 1e-3,
        },
    }


def disturbed(network: Any) -> Any:
    """As if trained: random biases, batch means and variances instead of the zeros and ones of the start."""
    for weight in network.weights:
        value, noise = np.asarray(weight), GENERATOR.normal(size=weight.shape)
        weight.assign(np.exp(noise / 2) if "moving_variance" in weight.path else value + noise / 10)
    return network


def scaling(kind: str) -> FoldScaling:
    y = (ROWS[:, 0] > 0).astype(float) if kind == "classification" else 4 + 0.1 * ROWS[:, 0]
    return FoldScaling.fit(ROWS, y, scale_target=kind == "regression")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["regression", "classification"])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_every_block_of_the_space_survives_export(space: Any, tmp_path: Path, kind: str, layers: int) -> None:
    assert layers in space.LAYERS
    fold, output = scaling(kind), "value" if kind == "regression" else "probability"
    flags = itertools.product((False, True), (0.0, 0.5), (False, True), (0.0, 0.25))
    widths = itertools.cycle(space.UNITS)
    for number, (batchnorm, dropout, shortcut, head_dropout) in enumerate(flags):
        choices = {"batchnorm": batchnorm, "dropout": dropout, "shortcut": shortcut, "head_dropout": head_dropout}
        network = disturbed(space.network(recipe(kind, layers, next(widths), **choices), len(ROWS)))
        folder = tmp_path / str(number)
        keras_export.write_folder(network, fold, COLUMNS, output, folder)
        native = fold.original(outputs(network, fold.features(ROWS)))
        assert np.std(native) > 0.02 * fold.target_scale
        keras_export.require_same(folder, ROWS, native, keras_export.TOLERANCE * fold.target_scale)


def test_an_export_that_differs_is_refused(space: Any, tmp_path: Path) -> None:
    chosen = recipe("regression", 1, 16, batchnorm=False, dropout=0.0, shortcut=True, head_dropout=0.0)
    network, fold = space.network(chosen, len(ROWS)), scaling("regression")
    keras_export.write_folder(network, fold, COLUMNS, "value", tmp_path / "model")
    native = fold.original(outputs(network, fold.features(ROWS)))
    with pytest.raises(EngineError, match=r"differs from keras by 0\.00\d+ \(allowed 1e-05\)"):
        keras_export.require_same(tmp_path / "model", ROWS, native + 1e-3, 1e-5)


def test_max_pooling_2d_is_left_out_of_the_space_for_a_reason(space: Any, tmp_path: Path) -> None:
    layers, inputs = space.keras.layers, space.keras.Input((8, 8, 3))
    network = space.keras.Model([inputs], [layers.Dense(1)(layers.Flatten()(layers.MaxPooling2D()(inputs)))])
    image = np.zeros((1, 8, 8, 3), np.float32)
    keras_export.write_graph(network, [image], tmp_path / "model.onnx")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx", options, providers=["CPUExecutionProvider"])
    with pytest.raises(InvalidArgument, match="Unsupported pooling size"):
        session.run(None, {session.get_inputs()[0].name: image})


def test_a_graph_that_onnxruntime_refuses_is_a_refused_candidate(tmp_path: Path) -> None:
    fold = scaling("regression")
    (tmp_path / "model.onnx").write_bytes(b"not a graph")
    document = {"kind": "onnx", "output": "value", "columns": COLUMNS, "files": {"onnx": "model.onnx"}}
    write_model(tmp_path, {**document, "center": fold.center.tolist(), "scale": fold.scale.tolist()})
    with pytest.raises(EngineError, match="cannot be served"):
        keras_export.require_same(tmp_path, ROWS, ROWS[:, 0], 1e-5)


def test_a_network_depends_on_its_recipe_alone(space: Any) -> None:
    chosen = recipe("regression", 2, 32, batchnorm=True, dropout=0.25, shortcut=True, head_dropout=0.5)
    first = space.network(chosen, 500).get_weights()
    np.random.default_rng().normal(size=10)
    again = space.network(chosen, 9000).get_weights()
    other = space.network({**chosen, "seed": 6}, 500).get_weights()
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0], other[0])


def test_weight_decay_lasts_for_all_epochs_not_for_as_many_steps(space: Any) -> None:
    choices = {"batchnorm": False, "dropout": 0.0, "shortcut": True, "head_dropout": 0.0}
    network = space.network(recipe("regression", 1, 16, **choices, optimizer="adam_weight_decay"), 1280)
    assert network.optimizer._learning_rate.decay_steps == 60 * 1280 // 128
    assert float(network.optimizer.learning_rate) == pytest.approx(1e-3)
