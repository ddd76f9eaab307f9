"""Each kind of scorer against a calculation made another way."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import IntegrityError, ModelInputError
from tasks.registry.serving.model_folder import write_model
from tasks.registry.serving.scorers import load_scorer
from tests.registry.conftest import Mojos, linear_model, mojo_model

GARCH: dict[str, Any] = {
    "kind": "garch",
    "output": "value",
    "columns": ["return_1"],
    "history": 60,
    "mu": 0.03,
    "omega": 0.02,
    "alpha": 0.03,
    "gamma": 0.12,
    "beta": 0.88,
    "scale": 100.0,
    "horizon": 5,
    "intercept": -0.2,
    "slope": 0.9,
    "initial_variance": 1.1,
}


def returns(rows: int, seed: int = 1) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).normal(0, 0.01, (rows, 1))


def garch(folder: Path, **changes: Any) -> Path:
    write_model(folder, GARCH | changes)
    return folder


def test_linear_is_the_formula_row_by_row(tmp_path: Path) -> None:
    scorer = load_scorer(linear_model(tmp_path))
    X = np.random.default_rng(0).normal(-4, 6, (50, 4))
    expected = []
    for row in X:
        z = [min(8.0, max(-8.0, (row[i] - (-5.0 + i)) / (0.7 + 0.1 * i))) for i in range(4)]
        expected.append(-0.3 + math.fsum(0.5 / (i + 1) * z[i] for i in range(4)))
    assert np.max(np.abs(scorer.predict(X) - expected)) < 1e-14


def test_a_row_is_the_same_alone_and_among_many(tmp_path: Path) -> None:
    scorer = load_scorer(linear_model(tmp_path))
    X = np.random.default_rng(0).normal(-4, 1, (1000, 4))
    assert [scorer.predict(X[i : i + 1])[0] for i in range(1000)] == scorer.predict(X).tolist()


@given(st.floats(-1000, 1000))
def test_logistic_link_is_a_probability_that_never_overflows(tmp_path_factory: Any, f: float) -> None:
    folder = tmp_path_factory.mktemp("logistic")
    scorer = load_scorer(linear_model(folder, columns=(), intercept=f, link="logistic", output="probability"))
    probability = scorer.predict(np.empty((3, 0)))
    expected = math.exp(-math.log1p(math.exp(-f))) if f > -700 else 0.0
    assert probability.tolist() == [probability[0]] * 3
    assert probability[0] == pytest.approx(expected, rel=1e-12, abs=1e-15)


def test_garch_repeats_the_recursion_written_out(tmp_path: Path) -> None:
    r = returns(300)
    said = load_scorer(garch(tmp_path)).predict(r)
    variance = 1.1
    for t in range(300):
        e = 100 * r[t, 0] - 0.03
        variance = 0.02 + 0.03 * e * e + (0.12 * e * e if e < 0 else 0.0) + 0.88 * variance
        path = [variance]
        for _ in range(4):
            path.append(0.02 + (0.03 + 0.06 + 0.88) * path[-1])
        assert said[t] == pytest.approx(-0.2 + 0.9 * 0.5 * math.log(sum(path) / 5), rel=1e-12)


def test_garch_filters_as_the_arch_package_does(tmp_path: Path) -> None:
    from arch import arch_model  # noqa: PLC0415

    r = returns(500)
    model = arch_model(100 * r[:, 0], mean="Constant", vol="GARCH", p=1, o=1, q=1, rescale=False)
    fixed = model.fix([0.03, 0.02, 0.03, 0.12, 0.88])
    forecast = fixed.forecast(horizon=5, start=499).variance.to_numpy()[-1]
    said = load_scorer(garch(tmp_path)).predict(r)
    assert said[-1] == pytest.approx(-0.2 + 0.9 * 0.5 * math.log(forecast.mean()), rel=1e-9)


def test_garch_forgets_its_start_within_its_history(tmp_path: Path) -> None:
    r = returns(500)
    scorer = load_scorer(garch(tmp_path, history=400, beta=0.9))
    assert scorer.predict(r[-401:])[-1] == pytest.approx(scorer.predict(r)[-1], rel=1e-12)


def test_not_finite_predictions_are_refused_with_row_and_column(tmp_path: Path) -> None:
    scorer = load_scorer(linear_model(tmp_path))
    X = np.zeros((3, 4))
    X[1, 2] = np.nan
    with pytest.raises(ModelInputError, match=r"1 of 3 .*\(first: row 1\), features not finite there: har_22"):
        scorer.predict(X)
    X[1, 2] = np.inf
    assert np.isfinite(scorer.predict(X)).all(), "clipped"
    with pytest.raises(ModelInputError, match="although every feature is finite"):
        load_scorer(linear_model(tmp_path / "large", coefficients=[1e308] * 4, clip=None)).predict(
            np.full((1, 4), 1e300)
        )


def test_another_shape_is_refused(tmp_path: Path) -> None:
    scorer = load_scorer(linear_model(tmp_path))
    for shape in ((3, 3), (4,), (1, 1, 4)):
        with pytest.raises(ModelInputError, match="takes 4 feature columns"):
            scorer.predict(np.zeros(shape))
    assert scorer.predict(np.zeros((0, 4))).shape == (0,)


@pytest.mark.needs_java
@pytest.mark.parametrize("output", ["value", "probability"])
def test_mojo_repeats_h2o_row_by_row_and_in_batch(tmp_path: Path, mojos: Mojos, output: str) -> None:
    scorer = load_scorer(mojo_model(tmp_path, mojos, output))
    expected = getattr(mojos, output)
    batch = scorer.predict(mojos.X)
    single = np.array([scorer.predict(mojos.X[i : i + 1])[0] for i in range(len(mojos.X))])
    assert batch.tolist() == single.tolist(), "the loop in Java is the loop in Python"
    assert np.max(np.abs(batch - expected)) < 1e-15


@pytest.mark.needs_java
def test_mojo_finds_columns_by_name(tmp_path: Path, mojos: Mojos) -> None:
    order = [3, 1, 0, 2]
    columns = [mojos.columns[i] for i in order]
    scorer = load_scorer(mojo_model(tmp_path, mojos, columns=[*columns, "unused"]))
    X = np.column_stack([mojos.X[:, order], np.full(len(mojos.X), 1e9)])
    assert np.max(np.abs(scorer.predict(X) - mojos.value)) < 1e-15


@pytest.mark.needs_java
@pytest.mark.parametrize(
    ("output", "changes", "message"),
    [
        ("value", {"columns": ["har_1", "har_5"]}, "columns that model.json does not list"),
        ("value", {"output": "probability"}, "the MOJO is a Regression model"),
        ("probability", {"output": "value"}, "the MOJO is a Binomial model"),
    ],
)
def test_a_mojo_that_is_not_what_its_document_says_is_refused(
    tmp_path: Path, mojos: Mojos, output: str, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(IntegrityError, match=message):
        load_scorer(mojo_model(tmp_path, mojos, output, **changes))


@pytest.mark.needs_java
def test_a_mojo_with_a_flipped_bit_is_not_parsed_and_garbage_is_named(tmp_path: Path, mojos: Mojos) -> None:
    folder = mojo_model(tmp_path, mojos)
    data = bytearray((folder / "model.zip").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / "model.zip").write_bytes(data)
    with pytest.raises(IntegrityError, match="SHA-256"):
        load_scorer(folder)
    (folder / "model.zip").write_bytes(b"not a zip archive")
    write_model(folder, {**_document(folder), "digests": {}})
    with pytest.raises(IntegrityError, match="cannot read this MOJO"):
        load_scorer(folder)


def _document(folder: Path) -> dict[str, Any]:
    import json  # noqa: PLC0415

    document: dict[str, Any] = json.loads((folder / "model.json").read_bytes())
    return document


@pytest.mark.needs_java
def test_threads_share_a_mojo(tmp_path: Path, mojos: Mojos) -> None:
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415

    scorer = load_scorer(mojo_model(tmp_path, mojos))

    def single_and_batch(seed: int) -> bool:
        rows = np.random.default_rng(seed).integers(0, len(mojos.X), 100)
        batch = scorer.predict(mojos.X[rows])
        singles = [scorer.predict(mojos.X[row : row + 1])[0] for row in rows]
        return bool(np.allclose(batch, mojos.value[rows], rtol=0, atol=1e-15)) and batch.tolist() == singles

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(single_and_batch, range(16)))


def onnx_model(folder: Path, *, classify: bool = False, **changes: Any) -> tuple[Path, Any]:
    """A dense layer of tanh and one output, and the same network in float64."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    rng = np.random.default_rng(5)
    W, b, v = rng.normal(size=(3, 8)), rng.normal(size=8), rng.normal(size=(8, 1))
    weights = {"W": W, "b": b, "v": v}
    nodes = [
        helper.make_node("MatMul", ["x", "W"], ["a"]),
        helper.make_node("Add", ["a", "b"], ["c"]),
        helper.make_node("Tanh", ["c"], ["d"]),
        helper.make_node("MatMul", ["d", "v"], ["e"]),
        helper.make_node("Sigmoid" if classify else "Identity", ["e"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in weights.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    document = {
        "kind": "onnx",
        "output": "probability" if classify else "value",
        "columns": ["har_1", "har_5", "har_22"],
        "center": [-4.0, -4.1, -4.2],
        "scale": [0.5, 0.4, 0.3],
        "clip": 8.0,
        "files": {"onnx": "model.onnx"},
        "target_center": -4.4,
        "target_scale": 0.6,
    }
    write_model(folder, document | changes)

    def network(X: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        z = np.clip((X - [-4.0, -4.1, -4.2]) / [0.5, 0.4, 0.3], -8, 8)
        y = (np.tanh(z @ W + b) @ v)[:, 0]
        return 1 / (1 + np.exp(-y)) if classify else -4.4 + 0.6 * y

    return folder, network


@pytest.mark.parametrize("classify", [False, True])
def test_onnx_repeats_the_network_within_float32(tmp_path: Path, classify: bool) -> None:
    folder, network = onnx_model(tmp_path, classify=classify)
    X = np.random.default_rng(2).normal(-4, 1, (200, 3))
    scorer = load_scorer(folder)
    assert np.max(np.abs(scorer.predict(X) - network(X))) < 5e-6
    assert scorer.predict(X[:1])[0] == pytest.approx(scorer.predict(X)[0], rel=1e-6)


def test_an_onnx_file_that_is_no_network_is_named(tmp_path: Path) -> None:
    folder, _ = onnx_model(tmp_path)
    document = _document(folder)
    (folder / "model.onnx").write_bytes(b"no network")
    write_model(folder, document)
    with pytest.raises(IntegrityError, match=r"model\.onnx: onnxruntime refuses the model"):
        load_scorer(folder)
