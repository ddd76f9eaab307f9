"""A registered model, pulled, checked and asked why; in the terminal, and as JSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from flows import cli, cli_explained
from tasks.errors import ConfigurationError, ModelInputError
from tasks.registry import asking, mlflow_store
from tasks.registry.bundle import entry_facts
from tasks.registry.explaining import explain
from tasks.registry.records import Entry, Night
from tests.registry.conftest import NAME, linear_model, make_bars
from tests.registry.servers import register


@pytest.fixture
def registered(store: mlflow_store.Store, night: Night, entry: Entry) -> mlflow_store.Store:
    register(store, night, entry.shipped, entry_facts(entry, "shipped"), NAME)
    return store


def test_a_registered_model_explains_itself(registered: mlflow_store.Store, bars: pd.DataFrame) -> None:
    document = explain(f"models:/{NAME}@champion", bars, 2, registered.tracking_uri)
    json.dumps(document, allow_nan=False)
    (said,) = document["explained"]
    assert document["version"] == "1"
    assert [line["feature"] for line in said["contributions"]][2:] == ["2 other features"]
    assert said["contributions"][2]["value"] is None
    total = said["base"] + sum(line["contribution"] for line in said["contributions"])
    assert total == pytest.approx(said["prediction"], abs=1e-12)
    asked = asking.predict(registered, f"models:/{NAME}@champion", bars, "last")
    assert said["prediction"] == asked[0]["prediction"]
    assert explain(f"models:/{NAME}/1", bars, 2, registered.tracking_uri)["explained"] == document["explained"]


def test_refusals_are_ours_and_name_the_model(registered: mlflow_store.Store, bars: pd.DataFrame) -> None:
    uri = registered.tracking_uri
    with pytest.raises(ModelInputError, match=f"{NAME} version 1: the model needs at least"):
        explain(f"models:/{NAME}@champion", bars.iloc[:5], 2, uri)
    for wrong in ("models:/m-0123", "runs:/1/model", "models:/"):
        with pytest.raises(ConfigurationError, match="only registered models are explained"):
            explain(wrong, bars, 2, uri)
    with pytest.raises(ConfigurationError, match="no alias 'fallback'"):
        explain(f"models:/{NAME}@fallback", bars, 2, uri)


def test_the_command_tells_it_in_eighty_columns(
    registered: mlflow_store.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    asked = ["predict", NAME, "--bars", "builtin:sp500", "--explain"]
    said = CliRunner().invoke(cli.app, asked)
    assert said.exit_code == 0, said.output
    lines = said.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    document = json.loads(CliRunner().invoke(cli.app, [*asked, "--json"]).stdout)
    for line in document["explained"][0]["contributions"]:
        (shown,) = [text for text in lines if text.startswith(line["feature"] + " ")]
        assert f"{line['contribution']:+.4f}" in shown
    assert f"{document['explained'][0]['prediction']:.6g}" in said.stdout


def test_long_names_probabilities_and_many_symbols_fit(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    line = {"feature": "a_feature_whose_name_is_far_too_long_for_it", "value": -1.23456e-7}
    item: dict[str, Any] = {
        "symbol": "AAA", "time": "2016-03-24", "link": "log-odds", "method": "sampled", "prediction": 0.61, "base": 0.1,
        "contributions": [{**line, "contribution": -0.3, "error": 0.01}, {**line, "contribution": 0.1, "error": 0.02}],
    }  # fmt: skip
    cli_explained.render({"model": "models:/x@champion", "version": "3", "explained": [item] * 7})
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80
    assert "a probability; what follows are log-odds" in said
    assert "-0.3000 ± 0.0100" in said
    assert "… and 2 more symbols" in said


def test_a_panel_model_is_told_by_symbol(store: mlflow_store.Store, tmp_path: Path, night: Night, entry: Entry) -> None:
    from tests.registry.conftest import make_entry, make_night  # noqa: PLC0415

    bars = make_bars(("AAA", "BBB"), sessions=100)
    two = make_night(tmp_path / "two", bars)
    candidate = replace(make_entry(two).shipped, model=str(linear_model(tmp_path / "model")))
    register(store, two, candidate, entry_facts(entry, "shipped"), "two-names")
    document = explain("models:/two-names@champion", bars, 3, store.tracking_uri)
    assert [item["symbol"] for item in document["explained"]] == ["AAA", "BBB"]
    assert np.isfinite([item["prediction"] for item in document["explained"]]).all()
