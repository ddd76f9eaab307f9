"""Baselines and linear models run as they do at night: in their processes, scored from what they export."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import EngineResult, RefitJob, TargetName
from tasks.search import training
from tasks.storage import read_parquet
from tests.search.conftest import Ask, execute

EXPECTED = {
    "volatility": {"last_value", "ewma", "har", "lhar", "garch", "gjr_garch"},
    "return": {"zero", "historical_mean", "momentum"},
    "direction": {"base_rate", "momentum"},
    "triple_barrier": {"base_rate", "momentum"},
}
TARGETS: tuple[TargetName, ...] = ("volatility", "return", "direction", "triple_barrier")


@pytest.fixture(scope="module")
def found(ask: Ask, tmp_path_factory: pytest.TempPathFactory) -> dict[TargetName, EngineResult]:
    """The baselines of each target, searched once."""
    return {name: execute(ask("baseline", target=name), tmp_path_factory.mktemp("out")) for name in TARGETS}


@pytest.mark.parametrize("target", TARGETS)
def test_every_baseline_of_the_target_is_there(found: dict[TargetName, EngineResult], target: TargetName) -> None:
    result = found[target]
    assert not result.error
    assert {item.name for item in result.candidates} == EXPECTED[target]
    assert {item.engine for item in result.candidates} == {"baseline"}
    assert result.reproducible


def test_har_is_the_regression_of_the_label_on_three_columns(ask: Ask, found: dict[TargetName, EngineResult]) -> None:
    data = training.load(ask("baseline"))
    rows = training.for_search(data).rows("train", "validation", "blending")
    A = np.column_stack([np.ones(len(data.y)), data.take(np.arange(len(data.y)), ("har_1", "har_5", "har_22"))])
    expected = A @ np.linalg.lstsq(A[rows], data.y[rows], rcond=None)[0]
    har = _predictions(found["volatility"])["har"]
    np.testing.assert_allclose(har[60:], expected[60:], atol=1e-9)


def test_the_base_rate_is_the_share_of_rises_before_the_selection_window(
    ask: Ask, found: dict[TargetName, EngineResult]
) -> None:
    data = training.for_search(training.load(ask("baseline", target="direction")))
    base_rate = _predictions(found["direction"])["base_rate"]
    np.testing.assert_allclose(base_rate, np.nanmean(data.y), atol=1e-12)


def test_where_labels_have_weights_the_base_rate_counts_them(ask: Ask, found: dict[TargetName, EngineResult]) -> None:
    data = training.for_search(training.load(ask("baseline", target="triple_barrier")))
    known = np.isfinite(data.y)
    expected = np.average(data.y[known], weights=data.weight[known])
    assert expected != pytest.approx(data.y[known].mean(), abs=1e-6)
    base_rate = _predictions(found["triple_barrier"])["base_rate"]
    np.testing.assert_allclose(base_rate, expected, atol=1e-12)


def test_returns_of_a_panel_meet_reversal_as_well(ask: Ask, tmp_path: Path) -> None:
    request = ask("baseline", target="return", symbols=2)
    result = execute(request, tmp_path)
    assert {item.name for item in result.candidates} == EXPECTED["return"] | {"reversal"}
    data = training.load(request)
    rows = training.for_search(data).rows("train", "validation", "blending")
    week = data.take(np.arange(len(data.y)), ("return_5",))[:, 0]
    slope, intercept = np.polyfit(week[rows], data.y[rows], 1)
    complete = np.isfinite(week)
    np.testing.assert_allclose(
        _predictions(result)["reversal"][complete], (intercept + slope * week)[complete], atol=1e-9
    )


def test_in_a_panel_garch_is_left_out_and_said_so(ask: Ask, tmp_path: Path) -> None:
    result = execute(ask("baseline", symbols=2), tmp_path)
    assert {item.name for item in result.candidates} == EXPECTED["volatility"] - {"garch", "gjr_garch"}
    assert sum("several symbols" in note for note in result.notes) == 2


@pytest.mark.parametrize("target", TARGETS)
def test_a_recipe_alone_gives_the_same_model_again(
    ask: Ask, found: dict[TargetName, EngineResult], tmp_path: Path, target: TargetName
) -> None:
    jobs = tuple(RefitJob(name=item.name, recipe=item.recipe, rows="fit_gate") for item in found[target].candidates)
    again = execute(ask("baseline", "refit", target=target, jobs=jobs), tmp_path)
    assert not again.error
    assert _digests(again) == _digests(found[target])


def test_predictions_are_missing_exactly_where_a_feature_is(ask: Ask, found: dict[TargetName, EngineResult]) -> None:
    features = pd.read_parquet(ask("baseline").features.ref.path)
    predictions = _predictions(found["volatility"])
    for candidate in found["volatility"].candidates:
        columns = candidate.recipe.get("columns", ["return_1"])
        expected = features[columns].isna().any(axis=1).to_numpy()
        assert np.array_equal(np.isnan(predictions[candidate.name]), expected)


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


def test_a_linear_search_is_settled_by_its_input(ask: Ask, tmp_path: Path) -> None:
    first, again = (execute(ask("linear"), tmp_path / name) for name in ("first", "again"))
    jobs = tuple(RefitJob(name=item.name, recipe=item.recipe, rows="fit_gate") for item in first.candidates)
    refitted = execute(ask("linear", "refit", jobs=jobs), tmp_path / "refit")
    assert _digests(first) == _digests(again) == _digests(refitted) != {}


def _predictions(result: EngineResult) -> dict[str, np.ndarray]:
    assert not result.error
    return {item.name: read_parquet(item.predictions)["prediction"].to_numpy() for item in result.candidates}


def _digests(result: EngineResult) -> dict[str, str]:
    return {item.name: item.predictions.sha256 for item in result.candidates}


def test_a_baseline_whose_column_was_left_out_is_missed(ask: Ask, tmp_path: Path) -> None:
    request = ask("baseline")
    columns = tuple(name for name in request.features.spec.columns if name != "return_22")
    spec = dataclasses.replace(request.features.spec, columns=columns)
    lean = dataclasses.replace(request, features=dataclasses.replace(request.features, spec=spec))
    result = execute(lean, tmp_path)
    assert {item.name for item in result.candidates} == EXPECTED["volatility"] - {"lhar"}
    assert len(result.missing) == 1
    assert result.missing[0].startswith("lhar (")
    assert "return_22" in result.missing[0]


def test_a_panel_misses_no_garch(ask: Ask, tmp_path: Path) -> None:
    result = execute(ask("baseline", symbols=2), tmp_path)
    assert "garch" not in {item.name for item in result.candidates}
    assert result.missing == ()
    assert any("garch" in note for note in result.notes)
