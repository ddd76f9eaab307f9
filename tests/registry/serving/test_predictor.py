"""From raw bars to predictions: the features room's matrix and the scorer, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Candidate
from tasks.errors import ConfigurationError, IntegrityError, ModelInputError, RegistryError, StorageError
from tasks.registry.bundle import entry_facts, write_bundle
from tasks.registry.records import Entry, Night
from tasks.registry.serving.model_folder import write_model
from tasks.registry.serving.predictor import Predictor
from tasks.registry.serving.scorers import load_scorer
from tests.registry.conftest import COLUMNS, features_of, linear_model, make_bars, make_entry, make_night, raw
from tests.registry.serving.test_scorers import garch


@pytest.fixture
def bundle(tmp_path: Path, night: Night, entry: Entry) -> Path:
    write_bundle(tmp_path / "bundle", night, entry.shipped, entry_facts(entry, "shipped"))
    return tmp_path / "bundle"


def bundle_of(folder: Path, night: Night, model: Path) -> Path:
    entry = make_entry(night)
    changed: Candidate = replace(entry.gated, model=str(model))
    write_bundle(folder, night, changed, entry_facts(entry, "gated"))
    return folder


def test_predictions_are_the_matrix_through_the_scorer(bundle: Path, bars: pd.DataFrame, entry: Entry) -> None:
    said = Predictor(bundle).predict(raw(bars), rows="all")
    X = features_of(bars, COLUMNS)
    expected = load_scorer(Path(entry.shipped.model)).predict(X[np.isfinite(X).all(axis=1)])
    assert said["prediction"].tolist() == expected.tolist()
    assert list(said.columns) == ["time", "prediction"]
    assert said["time"].tolist() == bars["time"].iloc[-len(said) :].tolist()


def test_the_last_bar_from_the_shortest_tail_equals_the_full_history(bundle: Path, bars: pd.DataFrame) -> None:
    predictor = Predictor(bundle)
    everything = predictor.predict(raw(bars), rows="all")["prediction"]
    for end in (len(bars), 100, predictor.bars_needed):
        tail = raw(bars.iloc[end - predictor.bars_needed : end])
        last = predictor.predict(tail)
        assert len(last) == 1
        assert last["prediction"].iloc[0] == pytest.approx(everything.iloc[end - predictor.bars_needed], rel=1e-12)


def test_too_few_bars_says_how_many_are_needed(bundle: Path, bars: pd.DataFrame) -> None:
    predictor = Predictor(bundle)
    needed = predictor.bars_needed
    for rows in ("last", "all"):
        with pytest.raises(ModelInputError, match=f"needs at least {needed} bars of SPX, got {needed - 1}"):
            predictor.predict(raw(bars.iloc[: needed - 1]), rows=rows)
    assert len(predictor.predict(raw(bars.iloc[:needed]), rows="all")) == 1


def test_old_damage_outside_the_tail_does_not_matter_and_inside_it_does(bundle: Path, bars: pd.DataFrame) -> None:
    predictor = Predictor(bundle)
    sound = predictor.predict(raw(bars))["prediction"].iloc[0]
    damaged = raw(bars).assign(close=bars["close"].where(bars.index > 10))
    assert predictor.predict(damaged)["prediction"].iloc[0] == sound
    with pytest.raises(ModelInputError, match="'close' missing"):
        predictor.predict(damaged, rows="all")


@pytest.mark.parametrize("rows", ["last", "all"])
@pytest.mark.parametrize(
    "given",
    [
        lambda time: time,
        lambda time: time.dt.as_unit("ms"),
        lambda time: time.dt.tz_convert("America/New_York"),
        lambda time: time.dt.tz_convert(None),
        lambda time: time.astype(object),
        lambda time: time.map(pd.Timestamp.isoformat),
    ],
    ids=["ns", "ms", "New York", "naive", "objects", "text"],
)
def test_times_come_back_as_they_were_given(
    given: Callable[[pd.Series], pd.Series], rows: str, bundle: Path, bars: pd.DataFrame
) -> None:
    asked = bars.assign(time=given(bars["time"])).set_axis(np.arange(100, 100 + len(bars)))
    said = Predictor(bundle).predict(asked, rows=rows)
    pd.testing.assert_series_equal(said["time"], asked["time"].iloc[-len(said) :].reset_index(drop=True))


def test_rows_must_be_last_or_all(bundle: Path, bars: pd.DataFrame) -> None:
    with pytest.raises(ModelInputError, match="'last' or 'all', got 'first'"):
        Predictor(bundle).predict(raw(bars), rows="first")


def test_garch_is_given_its_history(tmp_path: Path, bars: pd.DataFrame, night: Night) -> None:
    model = tmp_path / "garch"
    model.mkdir()
    predictor = Predictor(bundle_of(tmp_path / "bundle", night, garch(model, history=200, beta=0.85)))
    everything = predictor.predict(raw(bars), rows="all")
    assert len(everything) == len(bars) - predictor.bars_needed + 1
    last = predictor.predict(raw(bars.iloc[-predictor.bars_needed :]))
    assert last["prediction"].iloc[0] == pytest.approx(everything["prediction"].iloc[-1], rel=1e-12)


def test_a_constant_needs_one_bar(tmp_path: Path, bars: pd.DataFrame, night: Night) -> None:
    predictor = Predictor(bundle_of(tmp_path / "bundle", night, linear_model(tmp_path / "constant", columns=())))
    assert predictor.predict(raw(bars.iloc[:1]))["prediction"].tolist() == [-0.3]


def test_a_panel_is_predicted_symbol_by_symbol(tmp_path: Path) -> None:
    bars = make_bars(("BBB", "AAA"), sessions=120)
    night = make_night(tmp_path, bars)
    predictor = Predictor(bundle_of(tmp_path / "bundle", night, Path(make_entry(night).shipped.model)))
    mixed = bars.drop(columns="session").sort_values("time", kind="stable")
    said = predictor.predict(mixed, rows="all")
    for symbol in ("BBB", "AAA"):
        alone = predictor.predict(mixed[mixed["symbol"] == symbol], rows="all")
        pd.testing.assert_frame_equal(said[said["symbol"] == symbol].reset_index(drop=True), alone)
    assert predictor.predict(mixed)["symbol"].tolist() == ["BBB", "AAA"]


def test_threads_share_a_predictor(bundle: Path, bars: pd.DataFrame) -> None:
    predictor = Predictor(bundle)
    expected = predictor.predict(raw(bars), rows="all")["prediction"].to_numpy()

    def last(end: int) -> float:
        return float(predictor.predict(raw(bars.iloc[:end]))["prediction"].iloc[0])

    ends = range(len(bars) - len(expected) + 1, len(bars) + 1)
    with ThreadPoolExecutor(4) as pool:
        np.testing.assert_allclose(list(pool.map(last, ends)), expected, rtol=1e-12)


def test_every_flipped_byte_of_a_bundle_is_found_before_it_is_used(bundle: Path) -> None:
    sound = Predictor(bundle).manifest
    refused = (IntegrityError, StorageError, ConfigurationError)  # the last where a package gets another name
    for path in sorted(path for path in bundle.rglob("*") if path.is_file()):
        data = path.read_bytes()
        step = max(1, len(data) // 40)
        for position in range(0, len(data), step):
            flipped = bytearray(data)
            flipped[position] ^= 4
            path.write_bytes(flipped)
            try:
                changed = Predictor(bundle).manifest
            except refused:
                continue
            # The manifest has no digest of its own inside the bundle: a flip there may only change its own words.
            assert path.name == "manifest.json"
            assert changed != sound
        path.write_bytes(data)
    assert Predictor(bundle).manifest == sound


@pytest.mark.parametrize("change", ["added", "removed", "manifest removed"])
def test_a_bundle_with_other_files_is_refused(bundle: Path, change: str) -> None:
    if change == "added":
        (bundle / "model" / "extra.py").write_text("import os")
    elif change == "removed":
        (bundle / "model" / "model.json").unlink()
    else:
        (bundle / "manifest.json").unlink()
    with pytest.raises((IntegrityError, StorageError), match=r"extra\.py|missing|incomplete"):
        Predictor(bundle)


def test_the_manifest_says_what_shaped_the_model(bundle: Path, night: Night, entry: Entry) -> None:
    manifest = Predictor(bundle).manifest
    assert (manifest.problem, manifest.candidate, manifest.role) == (night.problem.name, "ridge-0", "shipped")
    assert manifest.training_end == entry.shipped_training_end
    assert manifest.spec.columns == COLUMNS
    assert manifest.snapshot_sha256 == night.snapshot.sha256
    assert manifest.versions["TA-Lib"] == "0.8.2"
    assert manifest.evidence["gate_metrics"] == {"mse": 0.2, "r2": 0.55}
    assert manifest.evidence["walk_forward"]["metrics"]["qlike"] is None, "JSON has no NaN"
    assert "Not itself gated" in manifest.notes[0]


def test_a_model_with_columns_that_were_not_computed_is_not_bundled(tmp_path: Path, night: Night) -> None:
    model = linear_model(tmp_path / "other", columns=("har_1", "ewma_94"))
    with pytest.raises(RegistryError, match="'ewma_94'"):
        bundle_of(tmp_path / "bundle", night, model)


def test_a_manifest_that_disagrees_with_its_model_is_refused(bundle: Path) -> None:
    document: dict[str, Any] = json.loads((bundle / "manifest.json").read_bytes())
    document["spec"]["columns"] = ["har_1"]
    (bundle / "manifest.json").write_text(json.dumps(document))
    with pytest.raises(IntegrityError, match="disagree on the feature columns"):
        Predictor(bundle)


def test_a_damaged_candidate_is_not_bundled(tmp_path: Path, night: Night) -> None:
    model = tmp_path / "net"
    model.mkdir()
    (model / "net.onnx").write_bytes(b"network")
    write_model(model, {"kind": "onnx", "output": "value", "columns": ["har_1"], "files": {"onnx": "net.onnx"}})
    (model / "net.onnx").write_bytes(b"netwerk")
    with pytest.raises(IntegrityError, match=r"net\.onnx"):
        bundle_of(tmp_path / "bundle", night, model)
    assert not (tmp_path / "bundle").exists()
