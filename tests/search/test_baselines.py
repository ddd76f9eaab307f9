"""Baselines and linear models run as they do at night: in their processes, scored from what they export."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.contracts import EngineResult, RefitJob, TargetName
from tasks.search import training
from tasks.search.process import execute
from tasks.storage import read_parquet
from tests.search.conftest import Ask

EXPECTED = {
    "volatility": {"last_value", "ewma", "har", "lhar", "garch", "gjr_garch"},
    "return": {"zero", "historical_mean", "momentum"},
    "direction": {"base_rate", "momentum"},
}


@pytest.mark.parametrize("target", ["volatility", "return", "direction"])
def test_every_baseline_of_the_target_is_there(ask: Ask, tmp_path: Path, target: TargetName) -> None:
    result = execute(ask("baseline", target=target), tmp_path)
    assert not result.error
    assert {item.name for item in result.candidates} == EXPECTED[target]
    assert {item.engine for item in result.candidates} == {"baseline"}
    assert result.reproducible


def test_har_is_the_regression_of_the_label_on_three_columns(ask: Ask, tmp_path: Path) -> None:
    request = ask("baseline")
    data = training.load(request)
    rows = training.for_search(data).rows("train", "validation", "blending")
    A = np.column_stack([np.ones(len(data.y)), data.take(np.arange(len(data.y)), ("har_1", "har_5", "har_22"))])
    expected = A @ np.linalg.lstsq(A[rows], data.y[rows], rcond=None)[0]
    found = _predictions(execute(request, tmp_path))["har"]
    np.testing.assert_allclose(found[60:], expected[60:], atol=1e-9)


def test_the_base_rate_is_the_share_of_rises_before_the_selection_window(ask: Ask, tmp_path: Path) -> None:
    request = ask("baseline", target="direction")
    data = training.for_search(training.load(request))
    found = _predictions(execute(request, tmp_path))["base_rate"]
    np.testing.assert_allclose(found, np.nanmean(data.y), atol=1e-12)


def test_in_a_panel_garch_is_left_out_and_said_so(ask: Ask, tmp_path: Path) -> None:
    result = execute(ask("baseline", symbols=2), tmp_path)
    assert {item.name for item in result.candidates} == EXPECTED["volatility"] - {"garch", "gjr_garch"}
    assert sum("several symbols" in note for note in result.notes) == 2


@pytest.mark.parametrize("engine", ["baseline", "linear"])
def test_a_recipe_alone_gives_the_same_model_again(ask: Ask, tmp_path: Path, engine: str) -> None:
    found = execute(ask(engine), tmp_path / "search")
    jobs = tuple(RefitJob(name=item.name, recipe=item.recipe, rows="fit_gate") for item in found.candidates)
    again = execute(ask(engine, "refit", jobs=jobs), tmp_path / "refit")
    digests = [{item.name: item.predictions.sha256 for item in result.candidates} for result in (found, again)]
    assert digests[0] == digests[1]


def test_ridge_beats_the_mean_and_uses_every_column(ask: Ask, tmp_path: Path) -> None:
    request = ask("linear")
    (candidate,) = execute(request, tmp_path).candidates
    assert (candidate.name, candidate.engine) == ("ridge", "linear")
    assert tuple(candidate.recipe["columns"]) == request.features.spec.columns
    data = training.load(request)
    rows = data.rows("selection")
    predictions = read_parquet(candidate.predictions)["prediction"].to_numpy()[rows]
    assert np.mean((data.y[rows] - predictions) ** 2) < 0.8 * np.var(data.y[rows])


def test_the_linear_classifier_gives_probabilities(ask: Ask, tmp_path: Path) -> None:
    (candidate,) = execute(ask("linear", target="direction"), tmp_path).candidates
    predictions = read_parquet(candidate.predictions)["prediction"].dropna()
    assert candidate.name == "logistic"
    assert predictions.between(0, 1, inclusive="neither").all()


def test_two_searches_give_the_same_bytes(ask: Ask, tmp_path: Path) -> None:
    digests = [
        [item.predictions.sha256 for item in execute(ask("linear"), tmp_path / str(i)).candidates] for i in range(2)
    ]
    assert digests[0] == digests[1]


def _predictions(result: EngineResult) -> dict[str, np.ndarray]:
    assert not result.error
    return {item.name: read_parquet(item.predictions)["prediction"].to_numpy() for item in result.candidates}
