"""Only what the model looks at is computed: predictions are the same to the last bit, whatever stands in the rest."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.errors import ModelInputError
from tasks.registry.serving.model_folder import write_model
from tasks.registry.serving.predictor import Predictor
from tasks.registry.serving.scorers import LinearScorer, load_scorer
from tasks.registry.serving.tail import Tail, used_columns
from tests.registry.conftest import COLUMNS, Mojos, features_of, linear_model, make_bars, mojo_model, raw
from tests.registry.serving.bundles import bare_bundle
from tests.registry.train_mojos import SPARSE

SPLIT = ("ema_20", "obv_10")


def sparse_model(folder: Path, mojos: Mojos, columns: tuple[str, ...] = SPARSE) -> Path:
    """A serving folder around trees that split on two of twelve columns."""
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(__file__).parents[1] / "mojos" / "sparse.zip", folder / "model.zip")
    shutil.copyfile(mojos.folder / "h2o-genmodel.jar", folder / "h2o-genmodel.jar")
    files = {"mojo": "model.zip", "genmodel": "h2o-genmodel.jar"}
    write_model(folder, {"kind": "mojo", "output": "value", "columns": list(columns), "files": files})
    return folder


@pytest.mark.needs_java
@pytest.mark.parametrize("columns", [SPARSE, SPARSE[::-1]])
def test_unused_columns_of_a_mojo_change_no_bit(tmp_path: Path, mojos: Mojos, columns: tuple[str, ...]) -> None:
    scorer = load_scorer(sparse_model(tmp_path, mojos, columns))
    used = used_columns(scorer)
    assert sorted(used) == sorted(SPLIT)
    rng = np.random.default_rng(4)
    X = rng.normal(0.0, 2.0, (400, len(columns)))
    expected = scorer.predict(X)
    unused = [i for i, name in enumerate(columns) if name not in used]
    for filling in (0.0, -1e300, rng.normal(0.0, 1e6, (400, len(unused)))):
        X[:, unused] = filling
        assert scorer.predict(X).tobytes() == expected.tobytes()
    for name in used:
        changed = X.copy()
        changed[:, columns.index(name)] *= -1.0
        assert (scorer.predict(changed) != expected).any(), name


@pytest.mark.needs_java
def test_a_mojo_that_is_no_trees_uses_all_that_it_takes(tmp_path: Path, mojos: Mojos) -> None:
    scorer = load_scorer(mojo_model(tmp_path, mojos, "probability", columns=[*mojos.columns, "weekday"]))
    assert used_columns(scorer) == mojos.columns


@pytest.mark.needs_java
def test_a_prediction_from_bars_is_that_of_all_the_features(tmp_path: Path, mojos: Mojos) -> None:
    bars = make_bars(sessions=700)
    predictor = Predictor(bare_bundle(tmp_path / "bundle", sparse_model(tmp_path / "model", mojos)))
    everything = predictor.predict_batch(features_of(bars, SPARSE)[predictor.bars_needed - 1 :])
    for end in (len(bars), predictor.bars_needed + 40):
        tail = raw(bars.iloc[end - predictor.bars_needed : end])
        assert predictor.predict(tail)["prediction"].iloc[0] == everything[end - predictor.bars_needed]


def test_coefficients_of_zero_are_not_computed(tmp_path: Path) -> None:
    scorer = load_scorer(linear_model(tmp_path, coefficients=[0.5, 0.0, 0.1, 0.0]))
    assert isinstance(scorer, LinearScorer)
    assert used_columns(scorer) == (COLUMNS[0], COLUMNS[2])
    row = Tail(scorer, 0.01).row(arrays_of(make_bars(), "session"))
    assert row.shape == (1, 4)
    assert row[0, [1, 3]].tolist() == [0.0, 0.0]
    full = features_of(make_bars(), COLUMNS)[-1:]
    assert scorer.predict(row)[0] == pytest.approx(scorer.predict(full)[0], rel=1e-12)


def arrays_of(bars: Any, *also: str) -> dict[str, Any]:
    """Bars as arrays, with times in UTC."""
    names = ("open", "high", "low", "close", "volume")
    arrays = {name: bars[name].to_numpy(float) for name in names}
    arrays["time"] = bars["time"].dt.tz_convert(None).to_numpy()
    return arrays | {name: bars[name].to_numpy().astype("datetime64[D]") for name in also}


def test_arrays_give_what_frames_give(tmp_path: Path) -> None:
    bars = make_bars(sessions=700)
    columns = (*COLUMNS, "weekday", "ema_20", "days_since_previous")
    predictor = Predictor(bare_bundle(tmp_path / "bundle", linear_model(tmp_path / "model", columns)))
    frame = predictor.predict(raw(bars))["prediction"].iloc[0]
    assert predictor.predict_last(arrays_of(bars)) == frame
    assert predictor.predict_last(arrays_of(bars.iloc[-predictor.bars_needed :]), "SPX") == frame
    labels = bars.assign(time=bars["session"].dt.tz_localize("UTC"))
    assert predictor.predict_last(arrays_of(labels)) == frame
    X = features_of(bars, columns)[-50:]
    assert predictor.predict_batch(X)[-1] == pytest.approx(frame, rel=1e-12)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"close": None}, r"lack the arrays \['close'\]"),
        ({"close": np.ones(3)}, "arrays of one length"),
        ({"time": np.arange(320)}, "must hold datetime64"),
        ({"time": np.full(320, "NaT", dtype="datetime64[ns]")}, "must hold datetime64"),
        ({"low": np.full(320, np.nan)}, "'low' missing or infinite"),
        ({"time": np.full(320, "2020-01-02", dtype="datetime64[ns]")}, "not later than the one before"),
    ],
)
def test_arrays_are_refused_as_frames_are(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    predictor = Predictor(bare_bundle(tmp_path / "bundle", linear_model(tmp_path / "model")))
    arrays = {name: values for name, values in (arrays_of(make_bars()) | change).items() if values is not None}
    with pytest.raises(ModelInputError, match=message):
        predictor.predict_last(arrays)


def test_too_few_arrays_say_how_many_are_needed(tmp_path: Path) -> None:
    predictor = Predictor(bare_bundle(tmp_path / "bundle", linear_model(tmp_path / "model")))
    with pytest.raises(ModelInputError, match=f"needs at least {predictor.bars_needed} bars of SPX, got 5"):
        predictor.predict_last(arrays_of(make_bars().iloc[:5]))
    with pytest.raises(ModelInputError, match="not trained on QQQ"):
        predictor.predict_last(arrays_of(make_bars()), "QQQ")
