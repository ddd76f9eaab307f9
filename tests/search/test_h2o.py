"""H2O AutoML for real: what it returns, that a seed settles it, and that a recipe is everything."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.contracts import EngineResult, RefitJob
from tasks.registry.serving.scorers import load_scorer
from tasks.search import training
from tasks.search.h2o_progress import best_loss, models_done
from tasks.search.process import EngineProgress
from tasks.storage import read_parquet
from tests.search.conftest import Ask, execute

pytestmark = [pytest.mark.needs_java, pytest.mark.slow, pytest.mark.usefixtures("quick_java")]


@pytest.fixture(scope="module")
def progress() -> list[EngineProgress]:
    return []


@pytest.fixture(scope="module")
def found(ask: Ask, tmp_path_factory: pytest.TempPathFactory, progress: list[EngineProgress]) -> EngineResult:
    """One search of four models on 900 rows."""
    result = execute(ask("h2o"), tmp_path_factory.mktemp("h2o") / "out", progress.append)
    assert not result.error
    return result


def test_several_leading_models_are_returned_and_an_ensemble(found: EngineResult) -> None:
    names = [item.name for item in found.candidates]
    assert len(names) == 5
    assert sum("ensemble" in name for name in names) == 1
    assert not any("automl" in name or "2026" in name for name in names)
    assert {item.engine for item in found.candidates} == {"h2o"}
    assert {str(item.recipe["algorithm"]) for item in found.candidates} == {"gbm", "drf", "glm", "stackedensemble"}
    assert found.reproducible
    assert found.notes == ()


def test_every_model_beats_the_mean_on_rows_it_never_saw(ask: Ask, found: EngineResult) -> None:
    data = training.load(ask("h2o"))
    rows = data.rows("selection")
    for item in found.candidates:
        predictions = read_parquet(item.predictions)["prediction"].to_numpy()[rows]
        assert np.mean((data.y[rows] - predictions) ** 2) < 0.9 * np.var(data.y[rows]), item.name


def test_recipes_fix_their_trees_and_penalties(found: EngineResult) -> None:
    def parts(recipe: dict[str, Any]) -> list[dict[str, Any]]:
        return [recipe, *(part for item in recipe.get("base", []) for part in parts(item))]

    whole = [part for item in found.candidates for part in parts(item.recipe)]
    singles = [part for part in whole if "params" in part]
    singles += [metalearner for part in whole if isinstance(metalearner := part.get("metalearner"), dict)]
    assert {str(part["algorithm"]) for part in singles} >= {"gbm", "glm"}
    for part in singles:
        params = part["params"]
        # A seed where it changes the model: of the same linear model each night's would make another recipe.
        assert ("seed" in params) == (part["algorithm"] != "glm")
        if part["algorithm"] == "glm":
            assert len(params["lambda"]) == len(params["alpha"]) == 1
        else:
            assert params["ntrees"] < 10_000
            assert not any("stopping" in name for name in params)


def test_the_recipes_alone_give_the_same_predictions_whatever_is_fitted_beside_them(
    ask: Ask, found: EngineResult, tmp_path: Path
) -> None:
    # The ensemble's recipe holds those of its base models; one tree model and the linear one are enough beside it.
    ensemble = next(item for item in found.candidates if "ensemble" in item.name)
    single = next(item for item in found.candidates if "gbm" in item.name)
    linear = next(item for item in found.candidates if item.recipe["algorithm"] == "glm")
    broken = dict(single.recipe, params={**single.recipe["params"], "max_depth": -1})
    jobs = (
        RefitJob(name=single.name, recipe=single.recipe, rows="fit_fold_1"),
        RefitJob(name="broken", recipe=broken, rows="fit_gate"),
        RefitJob(name=ensemble.name, recipe=ensemble.recipe, rows="fit_gate"),
        RefitJob(name=single.name, recipe=single.recipe, rows="fit_gate"),
        RefitJob(name=linear.name, recipe=linear.recipe, rows="fit_gate"),
        # As earlier releases kept them, with a seed for what draws nothing.
        RefitJob(name="linear with a seed", recipe=_seeded(linear.recipe), rows="fit_gate"),
        RefitJob(name="ensemble with seeds", recipe=_seeded(ensemble.recipe), rows="fit_gate"),
        RefitJob(name=single.name, recipe=single.recipe, rows="fit_gate", shuffle=3),
    )
    again = execute(ask("h2o", "refit", jobs=jobs), tmp_path)
    assert not again.error
    assert again.whole  # what H2O refuses it would refuse again
    (note,) = again.notes
    assert note.startswith("broken (fit_gate): ")
    assert "max_depth must be >= 0" in note
    assert len(note) < 300
    fold, gated_ensemble, gated, gated_linear, seeded_linear, seeded_ensemble, canary = again.candidates
    assert (fold.rows, canary.shuffle) == ("fit_fold_1", 3)
    searched = _digests(found)
    for item in (gated_ensemble, seeded_ensemble):
        assert item.predictions.sha256 == searched[ensemble.name]
    for item in (gated_linear, seeded_linear):
        assert item.predictions.sha256 == searched[linear.name]
    assert gated.predictions.sha256 == searched[single.name]
    assert len({item.predictions.sha256 for item in (fold, gated, canary)}) == 3


def test_the_same_seed_gives_the_same_predictions(ask: Ask, found: EngineResult, tmp_path: Path) -> None:
    again = execute(ask("h2o"), tmp_path)
    assert _digests(again) == _digests(found)
    assert [item.recipe for item in again.candidates] == [item.recipe for item in found.candidates]


def test_barriers_give_probabilities_of_fits_in_which_labels_count_by_their_weight(ask: Ask, tmp_path: Path) -> None:
    request = ask("h2o", target="triple_barrier", models=2)
    result = execute(request, tmp_path)
    assert not result.error
    data = training.load(request)
    fitted_on = data.rows("train", "validation", "blending")
    y, weight = data.y[fitted_on], data.weights(fitted_on)
    assert weight is not None
    for item in result.candidates:
        scorer = load_scorer(Path(item.model))
        assert scorer.output == "probability"
        assert set(scorer.columns) == set(data.columns)
        p = read_parquet(item.predictions)["prediction"].to_numpy()[fitted_on]
        assert ((p > 0) & (p < 1)).all()
        # On its own rows even a weak model leans the right way: class "1" and not "0" is what is returned.
        assert p[y == 1].mean() >= p[y == 0].mean(), item.name
        if item.recipe["algorithm"] == "glm":  # a free intercept balances what counted in the fit, and only that
            assert np.mean(weight * (p - y)) == pytest.approx(0.0, abs=1e-4)
            assert abs(np.mean(p - y)) > 1e-3


def test_progress_counts_models_and_names_a_loss(found: EngineResult, progress: list[EngineProgress]) -> None:
    assert found.candidates
    assert any(item.message == "searching" and item.best for item in progress)
    assert all(item.done <= item.allowed == 4 for item in progress)


def test_ensembles_are_no_models_of_the_budget() -> None:
    board = {"models": [{"name": "GBM_1"}, {"name": "StackedEnsemble_All_1"}], "sort_metrics": [0.2, 0.1]}
    assert models_done(board) == 1
    assert best_loss(board) == 0.1
    assert best_loss({"models": None}) is None


def test_nothing_secret_is_left_behind(found: EngineResult) -> None:
    folder = Path(found.candidates[0].model).parent
    left = [path.name for path in folder.rglob("*") if path.is_file()]
    assert not [name for name in left if "realm" in name]
    assert all(stat.S_ISREG(path.stat().st_mode) for path in folder.rglob("*") if not path.is_dir())


def _digests(result: EngineResult) -> dict[str, str]:
    return {item.name: item.predictions.sha256 for item in result.candidates}


def _seeded(recipe: dict[str, Any]) -> dict[str, Any]:
    """The recipe with a seed for each linear model in it."""
    if "base" in recipe:
        base, meta = [_seeded(part) for part in recipe["base"]], recipe["metalearner"]
        return {**recipe, "base": base, "metalearner": {**meta, "params": {"seed": 77, **meta["params"]}}}
    return {**recipe, "params": {"seed": 77, **recipe["params"]}}
