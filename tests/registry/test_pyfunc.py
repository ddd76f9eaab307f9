"""The logged model, through MLflow's own loader: types accepted, signature, example, and not one pickle."""

from __future__ import annotations

import json
import pickletools
import re
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.errors import ModelInputError
from tasks.registry import mlflow_store, model_log
from tasks.registry.bundle import entry_facts
from tasks.registry.records import Entry, Night
from tests.registry.conftest import make_bars, make_entry, make_night, raw
from tests.registry.serving.test_bars import ACCEPTED, Change, whole


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Path:
    """The folder of a logged model of one symbol."""
    folder = tmp_path_factory.mktemp("logged")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_TRACKING_URI", f"sqlite:///{empty_store}")
        store = mlflow_store.open_store()
        night = make_night(folder, make_bars())
        entry = make_entry(night)
        run = mlflow_store.new_run(store, mlflow_store.experiment(store, "pyfunc"), "run", {})
        uri = model_log.log_model(run, "model", night, entry.shipped, entry_facts(entry, "shipped"))
        return Path(download(uri))


def download(uri: str) -> str:
    import mlflow  # noqa: PLC0415

    return str(mlflow.artifacts.download_artifacts(uri))


def load(folder: Path) -> Any:
    import mlflow  # noqa: PLC0415

    return mlflow.pyfunc.load_model(str(folder))


@pytest.mark.parametrize("change", [*ACCEPTED.values()], ids=[*ACCEPTED])
def test_what_mlflow_would_refuse_without_need_is_accepted(logged: Path, change: Change) -> None:
    model = load(logged)
    expected = model.predict(whole())["prediction"].iloc[0]
    said = model.predict(change(whole()))
    assert said["prediction"].iloc[0] == expected
    assert len(said) == 1


def test_the_example_is_raw_bars_and_predicts(logged: Path) -> None:
    model = load(logged)
    example = model.input_example
    assert list(example.columns) == ["time", "open", "high", "low", "close", "volume"]
    said = model.predict(example)
    assert np.isfinite(said["prediction"]).all()
    assert model.predict(raw(make_bars()))["prediction"].tolist() == pytest.approx(
        said["prediction"].tolist(), rel=1e-9
    )


def test_the_signature_names_columns_and_the_parameter(logged: Path) -> None:
    signature = load(logged).metadata.signature
    assert signature.inputs.required_input_names() == ["time", "open", "high", "low", "close", "volume"]
    assert signature.inputs.optional_input_names() == ["symbol"]
    assert signature.outputs.required_input_names() == ["time", "prediction"]
    assert signature.outputs.optional_input_names() == ["symbol", "lower", "upper"]
    assert [(item.name, item.default) for item in signature.params.params] == [("rows", "last"), ("interval", 0.0)]
    assert load(logged).metadata.metadata["takes"] == "raw 1d bars in time order, at least 22 of each symbol"


def test_an_interval_that_the_model_does_not_have_is_refused_and_not_left_out(logged: Path) -> None:
    with pytest.raises(Exception, match="the model has no intervals"):
        load(logged).predict(raw(make_bars()), params={"interval": 0.9})


def test_a_panel_model_says_that_it_takes_the_whole_cross_section(tmp_path: Path, store: mlflow_store.Store) -> None:
    bars = make_bars(tuple(f"S{i:02d}" for i in range(25)), sessions=60)
    night = make_night(tmp_path, bars)
    spec = replace(night.features.spec, cross_section="rank", universe=tuple(bars["symbol"].unique()))
    night = replace(night, features=replace(night.features, spec=spec))
    run = mlflow_store.new_run(store, mlflow_store.experiment(store, "x"), "run", {})
    entry = make_entry(night)
    uri = model_log.log_model(run, "panel", night, entry.shipped, entry_facts(entry, "shipped"))
    model = load(Path(download(uri)))
    assert "symbol" in model.metadata.signature.inputs.required_input_names()
    params = {item.name: item.default for item in model.metadata.signature.params.params}
    assert params == {"rows": "last", "interval": 0.0, "cross_section": "whole"}
    assert model.metadata.metadata["takes"].endswith(
        "the whole cross-section of a date at once, at least 90% of the 25 symbols of its universe: the model compares "
        "names within a date"
    )
    given = bars.drop(columns="session")
    assert len(model.predict(given)) == len(model.predict(given, params={"cross_section": "whole"})) == 25
    with pytest.raises(Exception, match="cross_section must be 'whole', got 'S01'"):
        model.predict(given, params={"cross_section": "S01"})
    with pytest.raises(Exception, match=r"24 of the model's 25 symbols are missing on 2015-03-26"):
        model.predict(given[given["symbol"] == "S01"])


def test_every_bar_is_predicted_on_request(logged: Path) -> None:
    model, bars = load(logged), make_bars()
    said = model.predict(bars.drop(columns="session"), params={"rows": "all"})
    assert len(said) == len(bars) - model.unwrap_python_model().predictor.bars_needed + 1
    assert set(said["symbol"]) == {"SPX"}
    assert np.isfinite(said["prediction"]).all()


def test_refusals_keep_their_words_through_mlflow(logged: Path) -> None:
    from mlflow.exceptions import MlflowException  # noqa: PLC0415

    model, bars = load(logged), raw(make_bars())
    with pytest.raises(Exception, match=r"needs at least 22 bars of SPX, got 5") as caught:
        model.predict(bars.iloc[:5])
    assert type(caught.value).__name__ == ModelInputError.__name__
    with pytest.raises(Exception, match="'close' missing"):
        model.predict(bars.assign(close=np.nan))
    with pytest.raises(MlflowException, match=r"missing inputs \['low'\]"):
        model.predict(bars.drop(columns="low"))


@pytest.fixture(scope="module", autouse=True)
def names(logged: Path) -> set[str]:
    """The files as they were logged: whoever loads a model from a local folder may leave bytecode in it."""
    return {path.relative_to(logged).as_posix() for path in logged.rglob("*") if path.is_file()}


def test_no_file_of_the_model_is_a_pickle(logged: Path, names: set[str]) -> None:
    assert "python_model.pkl" not in names
    assert not [name for name in names if Path(name).suffix in {".pkl", ".pickle", ".joblib", ".npy", ".npz", ".pyc"}]
    for name in names:
        data = (logged / name).read_bytes()
        assert not looks_like_a_pickle(data), name
        if zipfile.is_zipfile(logged / name):
            with zipfile.ZipFile(logged / name) as archive:
                assert not [member for member in archive.namelist() if looks_like_a_pickle(archive.read(member))]


def looks_like_a_pickle(data: bytes) -> bool:
    """Whether the bytes parse as a pickle program to its STOP with an opcode that finds or calls something."""
    calls = {"GLOBAL", "STACK_GLOBAL", "REDUCE", "INST", "OBJ", "NEWOBJ", "BUILD"}
    try:
        return bool(calls & {opcode.name for opcode, _, _ in pickletools.genops(data)})
    except ValueError:
        return False


def test_the_pickle_scan_finds_one() -> None:
    import pickle  # noqa: PLC0415

    assert looks_like_a_pickle(pickle.dumps(np.arange(3)))
    assert not looks_like_a_pickle(b"{}")


def test_the_environment_is_short_and_has_no_engine(logged: Path) -> None:
    needs = (logged / "requirements.txt").read_text().split()
    assert {re.split("[<>=]", line)[0] for line in needs} == {"mlflow-skinny", "pandas", "numpy", "TA-Lib"}


def test_the_package_is_in_the_model_and_named_by_its_digest(logged: Path) -> None:
    packages = [path.name for path in (logged / "code").iterdir()]
    assert len(packages) == 1
    script = next(logged.glob("*.py")).read_text()
    assert f"from {packages[0]}.registry.serving.pyfunc import BarsModel" in script
    assert "tasks" not in json.dumps(script)


def test_logging_leaves_nothing_importable_behind(night: Night, entry: Entry, store: mlflow_store.Store) -> None:
    import sys  # noqa: PLC0415

    run = mlflow_store.new_run(store, mlflow_store.experiment(store, "x"), "run", {})
    path, known = list(sys.path), set(sys.modules)  # other tests load models into this process
    model_log.log_model(run, "model", night, entry.shipped, entry_facts(entry, "shipped"))
    assert sys.path == path
    left = set(sys.modules) - known
    assert not [name for name in left if name.startswith("nocturne_model_") and "." not in name]


def test_frames_as_json_lists_are_predicted(logged: Path) -> None:
    """What ``mlflow models serve`` gives the model: columns of plain Python values."""
    bars = raw(make_bars()).assign(time=lambda frame: frame["time"].map(pd.Timestamp.isoformat))
    plain = pd.DataFrame(json.loads(bars.to_json(orient="split", double_precision=15))["data"], columns=bars.columns)
    model = load(logged)
    assert model.predict(plain)["prediction"].iloc[0] == pytest.approx(
        model.predict(bars)["prediction"].iloc[0], rel=1e-9
    )
