"""H2O AutoML for real: what it returns, that a seed settles it, and that a recipe is everything."""

from __future__ import annotations

import stat
from pathlib import Path

import numpy as np
import pytest

from tasks.contracts import EngineResult, RefitJob
from tasks.registry.serving.scorers import load_scorer
from tasks.search import training
from tasks.search.h2o_progress import best_loss, models_done
from tasks.search.process import EngineProgress, execute
from tasks.storage import read_parquet
from tests.search.conftest import Ask

pytestmark = [pytest.mark.needs_java, pytest.mark.slow]


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
    def parts(recipe: dict[str, object]) -> list[dict[str, object]]:
        base = recipe.get("base", [])
        assert isinstance(base, list)
        return [recipe, *(part for item in base for part in parts(item))]

    singles = [part for item in found.candidates for part in parts(item.recipe) if "params" in part]
    assert {str(part["algorithm"]) for part in singles} >= {"gbm", "glm"}
    for part in singles:
        params = part["params"]
        assert isinstance(params, dict)
        if part["algorithm"] == "glm":
            assert len(params["lambda"]) == len(params["alpha"]) == 1
        else:
            assert params["ntrees"] < 10_000
            assert not any("stopping" in name for name in params)


def test_the_recipes_alone_give_the_same_predictions(ask: Ask, found: EngineResult, tmp_path: Path) -> None:
    # The ensemble's recipe holds those of its base models; one single model is enough beside it.
    ensemble = next(item for item in found.candidates if "ensemble" in item.name)
    single = next(item for item in found.candidates if "gbm" in item.name)
    jobs = tuple(RefitJob(name=item.name, recipe=item.recipe, rows="fit_gate") for item in (ensemble, single))
    again = execute(ask("h2o", "refit", jobs=jobs), tmp_path)
    assert not again.error
    assert _digests(again) == {name: _digests(found)[name] for name in (ensemble.name, single.name)}


def test_the_same_seed_gives_the_same_predictions(ask: Ask, found: EngineResult, tmp_path: Path) -> None:
    again = execute(ask("h2o"), tmp_path)
    assert _digests(again) == _digests(found)
    assert [item.recipe for item in again.candidates] == [item.recipe for item in found.candidates]


def test_direction_gives_probabilities_of_a_rise(ask: Ask, tmp_path: Path) -> None:
    request = ask("h2o", target="direction", models=2)
    result = execute(request, tmp_path)
    assert not result.error
    data = training.load(request)
    rise = data.rows("train")
    for item in result.candidates:
        assert load_scorer(Path(item.model)).output == "probability"
        predictions = read_parquet(item.predictions)["prediction"].to_numpy()
        fitted = predictions[rise]
        assert ((fitted > 0) & (fitted < 1)).all()
        # On its own rows even a weak model leans the right way: class "1" and not "0" is what is returned.
        assert fitted[data.y[rise] == 1].mean() >= fitted[data.y[rise] == 0].mean(), item.name


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
