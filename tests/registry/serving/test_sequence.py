"""Windows of rows through a graph: against NumPy, alone and in a batch, from bars, from a tail and bar by bar."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tasks.errors import IntegrityError, ModelInputError
from tasks.registry.serving import sequence
from tasks.registry.serving.candles import places
from tasks.registry.serving.model_folder import write_model
from tasks.registry.serving.predictor import Predictor
from tasks.registry.serving.scorers import Scorer, load_scorer
from tasks.registry.serving.streaming import Streaming
from tests.registry.conftest import features_of, make_bars, raw
from tests.registry.serving.bundles import bare_bundle

CHANNELS = ("return_1", "har_1", "medprice", "bop", "relative_volume_20")
WITHOUT_VOLUME = CHANNELS[:4]
MASKED = ("relative_volume_20", "bop")
STEP = len(CHANNELS) + len(MASKED)
LENGTH = 16
Array = npt.NDArray[np.float64]
TOLERANCE = 1e-6


def weights(length: int = LENGTH) -> tuple[Array, Array]:
    rng = np.random.default_rng(2)
    return rng.normal(size=(length * STEP, 8)) / 10, rng.normal(size=(8, 1))


def sequence_model(folder: Path, columns: tuple[str, ...] = CHANNELS, **changes: Any) -> Path:
    """A window laid flat, a rectified dense layer and one output."""
    from onnx import TensorProto, helper, numpy_helper  # noqa: PLC0415

    W, v = weights()
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], axis=1),
        helper.make_node("MatMul", ["flat", "W"], ["a"]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "v"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", LENGTH, STEP])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 1])],
        [numpy_helper.from_array(value.astype(np.float32), name) for name, value in {"W": W, "v": v}.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(made.SerializeToString())
    document = {
        "kind": "sequence",
        "output": "value",
        "columns": list(columns),
        "history": LENGTH - 1,
        "length": LENGTH,
        "channels": list(CHANNELS),
        "masked": list(MASKED),
        "image": False,
        "target_center": -4.0,
        "target_scale": 0.5,
        "files": {"onnx": "model.onnx"},
    }
    write_model(folder, document | changes)
    return folder


def expected(X: Array, *, known: bool = True, opens: bool = True, image: bool = False) -> Array:
    """The same in NumPy, a row at a time."""
    W, v = weights()
    steps = np.zeros((len(X), STEP), dtype=np.float32)
    steps[:, : X.shape[1]], steps[:, 5], steps[:, 6] = X, known, opens
    found = np.empty(len(X))
    for row in range(len(X)):
        window = steps[[max(at, 0) for at in range(row - LENGTH + 1, row + 1)]]
        fed = places(window[None])[0] if image else window
        found[row] = -4.0 + 0.5 * float((np.maximum(fed.reshape(-1).astype(float) @ W, 0.0) @ v)[0])
    return found


@pytest.fixture(scope="module")
def history() -> pd.DataFrame:
    return make_bars(sessions=400)


@pytest.fixture(scope="module")
def rows(history: pd.DataFrame) -> Array:
    return features_of(history, CHANNELS)[21:]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory: pytest.TempPathFactory) -> Scorer:
    return load_scorer(sequence_model(tmp_path_factory.mktemp("sequence")))


@pytest.mark.parametrize("image", [False, True])
def test_what_is_served_is_the_graph_on_every_rows_window(tmp_path: Path, rows: Array, image: bool) -> None:
    """Also where there are fewer rows than a window: the first is repeated."""
    found = load_scorer(sequence_model(tmp_path, image=image)).predict(rows[:80])
    np.testing.assert_allclose(found, expected(rows[:80], image=image), rtol=1e-5, atol=1e-5)
    assert np.ptp(found) > 0.01


def test_columns_come_in_the_models_order_and_steps_in_the_channels(tmp_path: Path, rows: Array) -> None:
    turned = tuple(reversed(CHANNELS))
    found = load_scorer(sequence_model(tmp_path, turned)).predict(rows[:40, ::-1])
    np.testing.assert_allclose(found, expected(rows[:40]), rtol=1e-5, atol=1e-5)


def test_an_unknown_volume_is_no_volume_of_zero(tmp_path: Path, rows: Array, scorer: Scorer) -> None:
    without = load_scorer(sequence_model(tmp_path, WITHOUT_VOLUME)).predict(rows[:60, :4])
    np.testing.assert_allclose(without, expected(rows[:60, :4], known=False), rtol=1e-5, atol=1e-5)
    zeros = rows[:60].copy()
    zeros[:, 4] = 0.0
    assert np.abs(scorer.predict(zeros) - without).min() > 1e-4


def test_an_unknown_body_is_no_body_of_zero(tmp_path: Path, rows: Array, scorer: Scorer) -> None:
    """A source whose opens repeat the previous close has no such column."""
    columns = tuple(name for name in CHANNELS if name != "bop")
    zeros = rows[:60].copy()
    zeros[:, 3] = 0.0
    without = load_scorer(sequence_model(tmp_path, columns)).predict(np.delete(zeros, 3, axis=1))
    np.testing.assert_allclose(without, expected(zeros, opens=False), rtol=1e-5, atol=1e-5)
    assert np.abs(scorer.predict(zeros) - without).min() > 1e-4


def test_a_row_is_predicted_alike_alone_with_its_history_and_in_a_batch(rows: Array, scorer: Scorer) -> None:
    batch = scorer.predict(rows)
    for last in (LENGTH, LENGTH + 7, 200, len(rows)):
        alone = scorer.predict(rows[last - LENGTH : last])[-1]
        assert abs(alone - batch[last - 1]) <= TOLERANCE


def test_batches_of_any_size_give_the_same(rows: Array, scorer: Scorer, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = scorer.predict(rows)
    monkeypatch.setattr(sequence, "BATCH", 37)
    np.testing.assert_allclose(scorer.predict(rows), whole, rtol=0, atol=TOLERANCE)


def test_no_prediction_depends_on_a_later_row(rows: Array, scorer: Scorer) -> None:
    changed = rows.copy()
    changed[100:] *= 3.0
    np.testing.assert_allclose(scorer.predict(changed)[:100], scorer.predict(rows)[:100], rtol=0, atol=TOLERANCE)
    assert abs(scorer.predict(changed)[100] - scorer.predict(rows)[100]) > 1e-3


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_what_is_not_finite_is_refused_although_a_rectifier_swallows_it(
    rows: Array, scorer: Scorer, value: float
) -> None:
    broken = rows[:60].copy()
    broken[30, 3] = value
    with pytest.raises(ModelInputError, match=rf"{LENGTH} of 60 predictions are not finite \(first: row 30\)"):
        scorer.predict(broken)


def test_history_from_the_tail_and_bar_by_bar_are_one_prediction(tmp_path: Path, history: pd.DataFrame) -> None:
    predictor = Predictor(bare_bundle(tmp_path / "bundle", sequence_model(tmp_path / "model")))
    bars = raw(history)
    assert predictor.bars_needed == 21 + LENGTH - 1
    every = predictor.predict(bars, rows="all").set_index("time")["prediction"]
    straight = predictor.scorer.predict(features_of(history, CHANNELS)[20:])[LENGTH - 1 :]
    np.testing.assert_allclose(every, straight, rtol=0, atol=TOLERANCE)
    stream = Streaming(predictor)
    stream.warm(bars.iloc[:300])
    assert stream.predict() == pytest.approx(every.loc[bars["time"].iloc[299]], abs=TOLERANCE)
    for at, bar in enumerate(bars.iloc[300:].itertuples(index=False, name=None), start=301):
        stream.update((bar[0], *bar[1:]))
        assert stream.predict() == pytest.approx(every.loc[bar[0]], abs=TOLERANCE)
        if at % 20 == 0:
            tail = bars.iloc[at - predictor.bars_needed : at]
            assert predictor.predict(tail)["prediction"].iloc[0] == pytest.approx(every.loc[bar[0]], abs=TOLERANCE)


def test_a_stream_without_volume(tmp_path: Path, history: pd.DataFrame) -> None:
    model = sequence_model(tmp_path / "model", WITHOUT_VOLUME)
    predictor = Predictor(bare_bundle(tmp_path / "bundle", model, has_volume=False))
    bars = raw(history).drop(columns="volume")
    stream = Streaming(predictor)
    stream.warm(bars.iloc[:-1])
    stream.update(tuple(bars.iloc[-1]))
    assert stream.predict() == pytest.approx(predictor.predict(bars)["prediction"].iloc[0], abs=TOLERANCE)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"history": 3}, "history is 3, a window of 16 needs one row less"),
        ({"columns": ["return_1", "medprice", "bop"]}, "channel 'har_1' is neither a column nor masked"),
        ({"columns": [*CHANNELS, "rsi_14"]}, "column 'rsi_14' is no channel"),
        ({"length": 8, "history": 7}, r"the graph takes \[\['n', 16, 7\]\], .*windows of \[8, 7\]"),
        ({"channels": [*CHANNELS[:4]], "masked": []}, "column 'relative_volume_20' is no channel"),
        ({"length": None}, "malformed sequence model"),
    ],
)
def test_a_document_that_contradicts_itself_is_refused(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        load_scorer(sequence_model(tmp_path, **changes))


def test_an_altered_graph_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    folder = sequence_model(tmp_path)
    data = bytearray((folder / "model.onnx").read_bytes())
    data[-7] ^= 1
    (folder / "model.onnx").write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=r"model\.onnx: SHA-256"):
        load_scorer(folder)


def test_a_consumer_needs_neither_keras_nor_jax(tmp_path: Path, rows: Array, scorer: Scorer) -> None:
    folder = sequence_model(tmp_path / "model", image=True)
    np.save(tmp_path / "rows.npy", rows[:40])
    code = (
        "import sys\n"
        "for name in ('keras', 'jax', 'autokeras', 'h2o', 'mlflow', 'scipy'): sys.modules[name] = None\n"
        "import numpy as np; from pathlib import Path; from tasks.registry.serving.scorers import load_scorer\n"
        "print(load_scorer(Path(sys.argv[1])).predict(np.load(sys.argv[2])).tolist()[-1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder), str(tmp_path / "rows.npy")],
        capture_output=True,
        text=True,
        check=True,
    )
    assert float(done.stdout) == pytest.approx(load_scorer(folder).predict(rows[:40])[-1], abs=TOLERANCE)
