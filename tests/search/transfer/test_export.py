"""Every architecture and head in onnxruntime as in keras, and a closed-form head as one network."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from tasks.errors import EngineError
from tasks.registry.serving.model_folder import read_document
from tasks.registry.serving.scorers import load_scorer
from tasks.search.auto_keras import use_jax
from tasks.search.keras_export import require_same
from tasks.search.transfer import heads
from tasks.search.transfer.channels import CHANNELS, from_matrix, usable
from tests.search.transfer.windows import KERAS_WARNING, candles, disturbed, matrix_of

if importlib.util.find_spec("autokeras") is None:
    pytest.skip("the engines extra is not installed", allow_module_level=True)
pytestmark = pytest.mark.filterwarnings(KERAS_WARNING)
LENGTH = 24
ROWS = 400
SIZES: dict[str, Any] = {"length": LENGTH, "width": 16, "depth": 1, "embedding": 8}
ARCHITECTURES = ("tcn", "patches", "image")
VALUES = matrix_of(candles(ROWS, 6))
SYMBOL = np.full(ROWS, "A", dtype=object)
BARS = from_matrix(VALUES, CHANNELS, SYMBOL)
ENDS = np.flatnonzero(usable(BARS, LENGTH))


@pytest.fixture(scope="module")
def networks() -> ModuleType:
    use_jax(2)
    from tasks.search.transfer import networks  # noqa: PLC0415 - keras's backend is settled by now

    return networks


@pytest.fixture(scope="module")
def export(networks: ModuleType) -> ModuleType:
    from tasks.search.transfer import export  # noqa: PLC0415

    return export


@pytest.mark.parametrize(
    ("name", "kind"),
    [*((name, "volatility") for name in ARCHITECTURES), ("patches", "return"), ("tcn", "probability")],
)
def test_what_is_served_is_what_keras_predicts(
    networks: ModuleType, export: ModuleType, tmp_path: Path, name: str, kind: Any
) -> None:
    spec = networks.Spec(architecture=name, **SIZES)
    model = disturbed(networks.head(networks.encoder(spec, 2), kind, level=(-4.6, 0.5)))
    output = "probability" if kind == "probability" else "value"
    export.write_folder(model, spec, ("rsi_14", *CHANNELS), output, tmp_path / "model")
    scorer = load_scorer(tmp_path / "model")
    assert (scorer.columns, scorer.history, scorer.output) == (CHANNELS, LENGTH - 1, output)
    native = export.native(model, spec, BARS, ENDS)
    assert np.ptp(native) > (1e-4 if kind == "return" else 1e-2)
    tolerance = export.tolerance(BARS, ENDS, LENGTH, kind)
    assert tolerance <= 1e-5
    first = int(ENDS[0]) - LENGTH + 1
    served = scorer.predict(VALUES[first:])
    np.testing.assert_allclose(served[ENDS - first], native, rtol=0, atol=tolerance)
    for end in ENDS[[0, 100, -1]]:
        alone = scorer.predict(VALUES[end - LENGTH + 1 : end + 1])[-1]
        assert alone == pytest.approx(served[end - first], rel=0, abs=tolerance / 10)


def test_a_network_that_differs_is_refused(networks: ModuleType, export: ModuleType, tmp_path: Path) -> None:
    spec = networks.Spec(architecture="tcn", **SIZES)
    model = disturbed(networks.head(networks.encoder(spec, 2), "volatility"))
    export.write_folder(model, spec, CHANNELS, "value", tmp_path / "model")
    rows = VALUES[ENDS[0] - LENGTH + 1 :]
    native = load_scorer(tmp_path / "model").predict(rows)
    require_same(tmp_path / "model", rows, native, 1e-9)
    with pytest.raises(EngineError, match=r"differs from keras by 0\.001"):
        require_same(tmp_path / "model", rows, native + 1e-3, 1e-5)


def test_a_model_without_volume_serves_what_keras_predicts_without_it(
    networks: ModuleType, export: ModuleType, tmp_path: Path
) -> None:
    spec = networks.Spec(architecture="patches", **SIZES)
    model = disturbed(networks.head(networks.encoder(spec, 2), "volatility"))
    export.write_folder(model, spec, CHANNELS[:4], "value", tmp_path / "model")
    document = read_document(tmp_path / "model")
    assert (document["columns"], document["channels"]) == (list(CHANNELS[:4]), list(CHANNELS))
    bars = from_matrix(VALUES[:, :4], CHANNELS[:4], SYMBOL)
    first = int(ENDS[0]) - LENGTH + 1
    served = load_scorer(tmp_path / "model").predict(VALUES[first:, :4])
    np.testing.assert_allclose(served[ENDS - first], export.native(model, spec, bars, ENDS), rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", ["volatility", "probability"])
def test_a_closed_form_head_and_its_encoder_are_one_network(
    networks: ModuleType, export: ModuleType, tmp_path: Path, kind: Any
) -> None:
    spec = networks.Spec(architecture="tcn", **SIZES)
    encoder = disturbed(networks.encoder(spec, 2))
    found = networks.embed(encoder, BARS, ENDS)
    ahead = np.append(VALUES[1:, 1], VALUES[-1, 1])[ENDS]
    if kind == "volatility":
        shift, unit = networks.scale_of(found[:, -1].astype(float), kind)
        dense = heads.ridge(found, (ahead - shift) / unit)
        expected = shift + unit * dense(found)
    else:
        dense = heads.logistic(found, (ahead > np.median(ahead)).astype(float))
        expected = 1 / (1 + np.exp(-dense(found)))
    model = networks.head(encoder, kind, level=(0.0, 1.0))
    heads.into(model, dense)
    np.testing.assert_allclose(export.native(model, spec, BARS, ENDS), expected, rtol=0, atol=1e-5)
    export.write_folder(model, spec, CHANNELS, "value" if kind == "volatility" else "probability", tmp_path)
    first = int(ENDS[0]) - LENGTH + 1
    served = load_scorer(tmp_path).predict(VALUES[first:])[ENDS - first]
    np.testing.assert_allclose(served, expected, rtol=0, atol=1e-5)


def test_a_head_of_another_width_is_refused(networks: ModuleType) -> None:
    encoder = networks.encoder(networks.Spec(architecture="tcn", **SIZES), 2)
    dense = heads.Dense(kernel=np.ones(9), bias=0.0, penalty=1.0, loss=1.0)
    with pytest.raises(EngineError, match=r"takes 8 columns, the head was fitted on 9: .*level=\(0\.0, 1\.0\)"):
        heads.into(networks.head(encoder, "volatility"), dense)


def test_an_encoder_alone_is_exported_with_both_its_outputs(
    networks: ModuleType, export: ModuleType, tmp_path: Path
) -> None:
    import onnxruntime  # noqa: PLC0415

    spec = networks.Spec(architecture="patches", **SIZES)
    encoder = disturbed(networks.encoder(spec, 2))
    export.write_encoder(encoder, spec, tmp_path / "encoder.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "encoder.onnx", providers=["CPUExecutionProvider"])
    fed = {session.get_inputs()[0].name: networks.inputs_of(spec, BARS, ENDS)}
    embedding, level = session.run(None, fed)
    found = networks.embed(encoder, BARS, ENDS)
    np.testing.assert_allclose(np.concatenate([embedding, level], axis=1), found, rtol=0, atol=1e-5)


def test_nothing_to_predict_is_nothing(networks: ModuleType, export: ModuleType) -> None:
    spec = networks.Spec(architecture="tcn", **SIZES)
    model = networks.head(networks.encoder(spec, 2), "volatility")
    assert export.native(model, spec, BARS, ENDS[:0]).shape == (0,)
    assert export.tolerance(BARS, ENDS[:0], LENGTH, "return") == 1e-5
