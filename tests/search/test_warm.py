"""Warm start in an engine's process: what is fitted first, what is left to explore with, what counts once."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.contracts import EngineBudget, WarmRecipe
from tasks.documents import digest
from tasks.search import process, task, training, warm
from tasks.storage import read_predictions
from tests.search.conftest import Ask, execute

RIDGES = tuple(
    WarmRecipe(
        name=f"ridge-warm-{place}",
        recipe={"algorithm": "ridge", "penalty": penalty, "clip": 8.0, "columns": ["har_1", "har_5"]},
        night="2014-06-30",
    )
    for place, penalty in enumerate((0.5, 0.7))
)


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setitem(process.MODULES, "toy", "tests.search.toy_engine")
    return monkeypatch


def recipe(**values: object) -> WarmRecipe:
    return WarmRecipe(name="kept-warm-1", recipe=dict(values), night="2014-06-30")


def test_earlier_recipes_come_first_unchanged_and_say_their_night(ask: Ask, tmp_path: Path) -> None:
    result = execute(ask("linear", warm=RIDGES), tmp_path)
    assert [item.name for item in result.candidates] == ["ridge-warm-0", "ridge-warm-1", "ridge"]
    assert [item.night for item in result.candidates] == ["2014-06-30", "2014-06-30", ""]
    assert [digest(item.recipe) for item in result.candidates[:2]] == [digest(each.recipe) for each in RIDGES]
    assert not any(item.rows for item in result.candidates)


def test_a_recipe_is_fitted_as_the_search_would_have_fitted_it(ask: Ask, tmp_path: Path) -> None:
    (own,) = execute(ask("linear"), tmp_path / "cold").candidates
    other = dataclasses.replace(RIDGES[0], recipe={**own.recipe, "clip": 7.999999})
    warmed, _ = execute(ask("linear", warm=(other,)), tmp_path / "warm").candidates
    data = training.load(ask("linear"))
    rows = data.rows("selection")
    cold, hot = (read_predictions(item.predictions)[rows] for item in (own, warmed))
    np.testing.assert_allclose(hot, cold, atol=1e-4)


def test_a_recipe_that_is_found_again_is_one_candidate_under_the_searchs_name(ask: Ask, tmp_path: Path) -> None:
    (own,) = execute(ask("linear"), tmp_path / "cold").candidates
    again = WarmRecipe(name="ridge-warm-3", recipe=own.recipe, night="2014-06-30")
    (once,) = execute(ask("linear", warm=(again,)), tmp_path / "warm").candidates
    assert (once.name, once.night) == ("ridge", "2014-06-30")
    assert once.predictions.sha256 == own.predictions.sha256


def test_a_recipe_that_differs_in_words_alone_is_no_second_candidate(ask: Ask, tmp_path: Path) -> None:
    (own,) = execute(ask("linear"), tmp_path / "cold").candidates
    older = WarmRecipe(name="ridge-warm-3", recipe={**own.recipe, "seed": 7}, night="2014-06-30")
    (once,) = execute(ask("linear", warm=(older,)), tmp_path / "warm").candidates
    assert (once.name, once.recipe) == ("ridge-warm-3", older.recipe)


def test_earlier_recipes_learn_nothing_of_selection_folds_and_gate(
    toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path
) -> None:
    result = execute(ask("toy", warm=(recipe(kept=1),)), tmp_path)
    seen = next(item.recipe["seen"] for item in result.candidates if item.night)
    assert seen == ["blending", "train", "validation"]


def test_the_engine_is_told_what_is_left_and_another_seed(toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path) -> None:
    cold = execute(ask("toy", models=10), tmp_path / "cold")
    assert not any(note.startswith("left") for note in cold.notes)
    result = execute(ask("toy", models=10, seconds=50, warm=(recipe(kept=1),)), tmp_path / "warm")
    (told,) = [note for note in result.notes if note.startswith("left")]
    _, models, seconds, seed = told.split()
    assert models == "9"
    assert 25 <= int(seconds) <= 50
    assert int(seed) == warm.seed_of(1, (recipe(kept=1),)) != 1


def test_a_recipe_that_is_refused_is_noted_and_the_search_goes_on(
    toy: pytest.MonkeyPatch, ask: Ask, tmp_path: Path
) -> None:
    result = execute(ask("toy", warm=(recipe(flaw="fails"), recipe(kept=1))), tmp_path)
    assert "kept-warm-1: the fit did not converge" in result.notes
    assert result.whole
    assert [item.name for item in result.candidates] == ["kept-warm-1"]  # what the toy finds predicts the same


def test_other_recipes_are_another_answer_and_the_same_ones_are_the_same(toy: pytest.MonkeyPatch, ask: Ask) -> None:
    first = task.answered(ask("toy", warm=(recipe(kept=2),)))
    toy.setenv("NOCTURNE_TOY", "raise")
    again = task.answered(ask("toy", warm=(recipe(kept=2),)))
    assert again == dataclasses.replace(first, work_seconds=0.0, start_seconds=0.0)
    assert task.answered(ask("toy", warm=(recipe(kept=3),))).error


def test_half_of_the_budget_is_the_most_that_goes_into_earlier_recipes() -> None:
    recipes = tuple(recipe(kept=number) for number in range(8))
    assert warm.affordable(recipes, EngineBudget(models=6, seconds=60)) == recipes[:3]
    assert warm.affordable(recipes, EngineBudget(models=1, seconds=60)) == ()


@given(st.integers(1, 500), st.integers(1, 1000), st.integers(0, 600), st.floats(0, 2000))
def test_something_is_always_left(models: int, seconds: int, spent: int, took: float) -> None:
    rest = warm.left(EngineBudget(models=models, seconds=seconds), spent, took)
    assert 1 <= rest.models <= models
    assert 1 <= rest.seconds <= seconds


@given(st.lists(st.integers(0, 50), max_size=6, unique=True), st.integers(1, 2**31 - 1))
def test_the_seed_follows_from_the_recipes_whatever_their_order(kept: list[int], seed: int) -> None:
    recipes = [recipe(kept=number) for number in kept]
    found = warm.seed_of(seed, recipes)
    assert found == warm.seed_of(seed, reversed(recipes))
    assert 1 <= found <= 2**31 - 1
    assert (found == seed) or kept
