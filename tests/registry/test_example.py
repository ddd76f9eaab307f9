"""The bars that are logged with a model: what one prediction takes, and the model predicts from them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.errors import RegistryError
from tasks.features.matrix import panel
from tasks.registry import example, mlflow_store, model_log
from tasks.registry.bundle import entry_facts
from tasks.registry.client.loading import Loaded, read_example
from tasks.registry.client.pulling import pull
from tasks.registry.records import Entry, Night
from tasks.registry.serving.folder import folder_digest
from tasks.registry.serving.scorers import load_scorer
from tasks.storage import write_parquet
from tests.registry.conftest import NAME, make_bars, make_entry, make_night

NAMES = tuple(f"S{i:02d}" for i in range(25))


def compared(folder: Path, bars: pd.DataFrame) -> tuple[Night, Entry]:
    """A night whose models rank names within each date, and one of its entries."""
    night = make_night(folder, bars)
    spec = replace(night.features.spec, cross_section="rank", universe=NAMES)
    night = replace(night, features=replace(night.features, spec=spec))
    entry = make_entry(night)
    scorer = load_scorer(Path(entry.shipped.model))
    X = panel(bars, replace(spec, columns=scorer.columns))
    said, known = np.full(len(X), np.nan), np.isfinite(X).all(axis=1)
    said[known] = scorer.predict(X[known])
    predictions = write_parquet(folder / "ranked.parquet", pd.DataFrame({"prediction": said}))
    return night, replace(entry, shipped=replace(entry.shipped, predictions=predictions))


def logged(folder: Path, night: Night, entry: Entry, store: mlflow_store.Store) -> Path:
    """The model's folder as a consumer has it."""
    import mlflow  # noqa: PLC0415

    run = mlflow_store.new_run(store, mlflow_store.experiment(store, "x"), "run", {})
    uri = model_log.log_model(run, "panel", night, entry.shipped, entry_facts(entry, "shipped"))
    return Path(mlflow.artifacts.download_artifacts(uri, dst_path=str(folder)))


def register(folder: Path, store: mlflow_store.Store) -> None:
    """As version 1, sealed."""
    store.client.create_registered_model(NAME)
    store.client.create_model_version(NAME, str(folder))
    store.client.set_model_version_tag(NAME, "1", "model_sha256", folder_digest(folder))


def test_without_comparison_it_is_one_symbol_and_named(tmp_path: Path) -> None:
    night = make_night(tmp_path, make_bars(("AAA", "BBB"), sessions=100))
    found = example.example_bars(night, make_entry(night).shipped)
    assert found is not None
    assert (set(found["symbol"]), len(found)) == ({"AAA"}, 22)


def test_it_is_of_a_symbol_that_has_enough(tmp_path: Path) -> None:
    bars = make_bars(("AAA", "BBB"), sessions=100)
    night = make_night(tmp_path, bars.drop(range(90)).reset_index(drop=True))
    found = example.example_bars(night, make_entry(night).shipped)
    assert found is not None
    assert (set(found["symbol"]), len(found)) == ({"BBB"}, 22)


def test_a_model_that_compares_names_is_given_all_that_reach_the_last_date_with_enough(tmp_path: Path) -> None:
    bars = make_bars(NAMES, sessions=60)
    ended = (bars["symbol"] == "S03") & (bars["session"] >= bars["session"].max())
    begun = (bars["symbol"] == "S07") & (bars["session"] < bars["session"].unique()[-21])
    night, entry = compared(tmp_path, bars[~ended & ~begun].reset_index(drop=True))
    found = example.example_bars(night, entry.shipped)
    assert found is not None
    assert set(found["symbol"]) == set(NAMES) - {"S03", "S07"}
    assert (found.groupby("symbol").size() == 22).all()


def test_what_would_be_too_long_is_left_out_with_what_was_said_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    night, entry = compared(tmp_path, make_bars(NAMES, sessions=60))
    monkeypatch.setattr(example, "MOST_ROWS", 25 * 22)
    assert example.example_bars(night, entry.shipped) is not None
    monkeypatch.setattr(example, "MOST_ROWS", 25 * 22 - 1)
    assert example.example_bars(night, entry.shipped) is None
    assert example.example_predictions(night, entry.shipped) == []


def test_a_client_finds_a_model_that_compares_names_healthy_and_an_altered_one_not(
    tmp_path: Path, store: mlflow_store.Store
) -> None:
    night, entry = compared(tmp_path, make_bars(NAMES, sessions=60))
    register(logged(tmp_path / "out", night, entry, store), store)
    pulled = pull(NAME, version="1", tracking_uri=store.tracking_uri, cache=tmp_path / "cache")
    loaded = Loaded(pulled)
    assert len(loaded.predict(read_example(pulled.model / "input_example.json"))) == 25
    loaded.require_healthy()
    health = pulled.model / "artifacts" / "bundle" / "health.json"
    said = json.loads(health.read_bytes())
    assert len(said["predictions"]) == 25
    said["predictions"][13] += 0.01
    health.write_text(json.dumps(said))
    with pytest.raises(RegistryError, match="fails its health check: it says"):
        loaded.require_healthy()
