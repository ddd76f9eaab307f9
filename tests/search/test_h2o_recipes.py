"""What tells two recipes of H2O apart, for whoever counts how often each was read: what changes the model, no more."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from tasks.documents import digest
from tasks.registry.families import Family, term_of
from tasks.registry.ledger import Asked, Ledger

pytest.importorskip("h2o", reason="the engines extra is not installed")
from tasks.search.h2o_recipes import recipe_of


def model(algorithm: str, seed: int, **changes: Any) -> Any:
    """A trained model, as H2O's client tells of it."""
    params = {
        "family": "gaussian", "link": "identity", "solver": "COORDINATE_DESCENT", "standardize": True,
        "non_negative": False, "max_iterations": 300, "objective_epsilon": 1e-4, "ntrees": 30, "max_depth": 5,
        "min_rows": 10.0, "nbins": 20, "sample_rate": 0.8, "col_sample_rate_per_tree": 0.8, "mtries": -1,
        "col_sample_rate_change_per_level": 1.0, "min_split_improvement": 1e-5, "histogram_type": "UniformAdaptive",
        "learn_rate": 0.1, "learn_rate_annealing": 1.0, "col_sample_rate": 0.8, "distribution": "gaussian",
    }  # fmt: skip
    output = {"alpha_best": 0.5, "lambda_best": 0.01}
    return SimpleNamespace(
        algo=algorithm,
        params={name: {"actual": value} for name, value in {**params, "seed": seed, **changes}.items()},
        _model_json={"output": output},
    )


def test_a_linear_model_that_another_nights_seed_found_again_is_the_same_recipe_and_waits() -> None:
    """It was read on Monday; on Tuesday the search explores with another seed, and finds it again."""
    monday, tuesday = (recipe_of(model("glm", seed)) for seed in (1, 1_804_289_383))
    term = term_of(pd.Timestamp("2018-12-17"))
    family = Family(predicts="vol", symbols=frozenset({"X"}), series=frozenset(), term=term, problem="toy")
    asked = Asked(
        problem="toy",
        family=family,
        recipe=digest(monday),
        evidence="monday",
        dates=("2018-12-14", "2018-12-17"),
        alpha=0.05,
    )
    with Ledger.in_memory() as ledger:
        assert ledger.spend(asked).k == 1
        again = dataclasses.replace(
            asked, recipe=digest(tuesday), evidence="tuesday", dates=(*asked.dates, "2018-12-18")
        )
        assert "this recipe was read on the gate through 2018-12-17" in ledger.spend(again).not_read


def test_a_linear_model_with_another_setting_is_another_recipe() -> None:
    assert recipe_of(model("glm", 1)) != recipe_of(model("glm", 1, non_negative=True))


@pytest.mark.parametrize("algorithm", ["gbm", "drf"])
def test_trees_of_another_seed_are_another_recipe(algorithm: str) -> None:
    assert recipe_of(model(algorithm, 1)) != recipe_of(model(algorithm, 2))
    assert recipe_of(model(algorithm, 1)) == recipe_of(model(algorithm, 1))
