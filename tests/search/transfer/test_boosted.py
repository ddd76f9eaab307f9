"""How many trees are best, told by H2O's scoring history; what is grown is tested with the engine."""

from __future__ import annotations

import importlib.util

import pandas as pd
import pytest

from tasks.search.auto_keras import use_jax

if importlib.util.find_spec("keras") is None or importlib.util.find_spec("h2o") is None:
    pytest.skip("the engines extra is not installed", allow_module_level=True)


def history(*losses: float) -> pd.DataFrame:
    """As H2O tells it: from no tree on, every ten trees."""
    return pd.DataFrame({"number_of_trees": [10 * k for k in range(len(losses))], "validation_rmse": losses})


@pytest.mark.parametrize(
    ("losses", "trees"),
    [
        ((1.0, 0.9, 0.8, 0.85, 0.9, 0.95), 20),
        ((1.0, 0.9, 0.8, 0.8), 20),
        ((1.0, 0.9, 0.8, 0.7), 30),
        ((0.5, 0.9, 0.95), 10),
        ((1.0, float("nan"), 0.8), 20),
        ((1.0,), 1),
    ],
)
def test_the_best_number_of_trees_and_not_the_one_where_the_growing_stopped(
    losses: tuple[float, ...], trees: int
) -> None:
    use_jax(1)
    from tasks.search.transfer.boosted import WATCHED, best_of  # noqa: PLC0415 - it imports keras

    assert best_of(history(*losses), WATCHED["regression"]) == trees
