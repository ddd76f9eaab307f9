"""A model of rows behind an encoder's graph: against NumPy, and refused where the two do not fit together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.errors import IntegrityError, ModelInputError
from tasks.registry.serving.embedded import INNER, embedding_names
from tasks.registry.serving.model_folder import DOCUMENT, write_model
from tasks.registry.serving.scorers import load_scorer

CHANNELS = ("return_1", "har_1", "medprice", "bop", "relative_volume_20")
MASKED = ("relative_volume_20", "bop")
STEP = len(CHANNELS) + len(MASKED)
COLUMNS = (*CHANNELS[:4], "rsi_14")
LENGTH, WIDTH = 6, 3
INNER_COLUMNS = ("rsi_14", "har_1", *embedding_names(WIDTH))


def encoder(path: Path) -> np.ndarray[Any, np.dtype[np.float64]]:
    """A graph that lays the window flat and multiplies; returns its matrix."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    matrix = np.random.default_rng(4).normal(size=(LENGTH * STEP, WIDTH)).astype(np.float32)
    nodes = [helper.make_node("Flatten", ["x"], ["flat"], axis=1), helper.make_node("MatMul", ["flat", "W"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", LENGTH, STEP])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", WIDTH])],
        [numpy_helper.from_array(matrix, "W")],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(made.SerializeToString())
    return matrix.astype(np.float64)


def embedded(
    folder: Path, inner: tuple[str, ...] = ("rsi_14", "har_1", *embedding_names(WIDTH)), **changes: Any
) -> Any:
    """The encoder and a linear model behind it; returns the encoder's matrix."""
    (folder / INNER).mkdir(parents=True)
    matrix = encoder(folder / "encoder.onnx")
    count = len(inner)
    linear = {
        "kind": "linear", "output": "value", "columns": list(inner), "intercept": 0.5, "link": "identity",
        "coefficients": list(range(1, count + 1)), "center": [0.0] * count, "scale": [1.0] * count, "clip": None,
    }  # fmt: skip
    write_model(folder / INNER, linear)
    document = {
        "kind": "embedded", "output": "value", "columns": list(COLUMNS), "history": LENGTH - 1, "length": LENGTH,
        "channels": list(CHANNELS), "masked": list(MASKED), "image": False, "decimals": 2,
        "files": {"onnx": "encoder.onnx", "inner": f"{INNER}/{DOCUMENT}"},
    }  # fmt: skip
    write_model(folder, document)
    return matrix


def test_it_says_what_numpy_says(tmp_path: Path) -> None:
    """Ordinary columns as they are, embeddings of the last bars rounded; a missing volume has a mask of 0."""
    matrix = embedded(tmp_path / "m")
    X = np.random.default_rng(1).normal(size=(40, 5))
    scorer = load_scorer(tmp_path / "m")
    steps = np.column_stack([X[:, :4], np.zeros((40, 2)), np.ones(40)])
    windows = np.stack([steps[t - LENGTH + 1 : t + 1].ravel() for t in range(LENGTH - 1, 40)])
    embedding = np.round(windows @ matrix, 2)
    expected = 0.5 + X[LENGTH - 1 :, 4] + 2 * X[LENGTH - 1 :, 1] + embedding @ [3.0, 4.0, 5.0]
    assert scorer.history == LENGTH - 1
    said = scorer.predict(X)[LENGTH - 1 :]
    assert np.mean(np.abs(said - expected) < 1e-9) > 0.9, "but where float32 rounds to the other side"
    assert np.abs(said - expected).max() < 0.06
    np.testing.assert_array_equal(scorer.predict(X[10:])[LENGTH - 1 :], scorer.predict(X)[10 + LENGTH - 1 :])


def test_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    embedded(tmp_path / "m")
    X = np.ones((20, 5))
    X[8, 1] = np.nan
    with pytest.raises(ModelInputError, match="not finite"):
        load_scorer(tmp_path / "m").predict(X)


@pytest.mark.parametrize(
    ("inner", "reason"),
    [
        (("sma_5", *embedding_names(WIDTH)), "inner model wants 'sma_5'"),
        (("har_1", "embedding_0", "embedding_2"), "numbered from 0"),
    ],
)
def test_parts_that_do_not_fit_together_are_refused(tmp_path: Path, inner: tuple[str, ...], reason: str) -> None:
    embedded(tmp_path / "m", inner)
    with pytest.raises(IntegrityError, match=reason):
        load_scorer(tmp_path / "m")


def test_an_encoder_of_another_width_is_refused(tmp_path: Path) -> None:
    embedded(tmp_path / "m", ("har_1", "embedding_0"))
    with pytest.raises(IntegrityError, match="gives 3 numbers, the inner model wants 1"):
        load_scorer(tmp_path / "m").predict(np.ones((20, 5)))


def test_an_altered_inner_model_is_refused(tmp_path: Path) -> None:
    embedded(tmp_path / "m")
    path = tmp_path / "m" / INNER / DOCUMENT
    path.write_text(json.dumps({**json.loads(path.read_text()), "intercept": 9.0}))
    with pytest.raises(IntegrityError, match=rf"{INNER}/{DOCUMENT}"):
        load_scorer(tmp_path / "m")
