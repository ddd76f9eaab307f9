"""The night as a whole: what is said of all candidates together."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import EngineName
from tasks.evaluation import NightStatistics
from tests.leaderboard.walks import FloatArray, around, board, rows_of, walked


def statistics(rows: pd.DataFrame, spreads: dict[str, float], seed: int = 0) -> NightStatistics:
    predictions = {name: around(rows, s, seed + i) for i, (name, s) in enumerate(spreads.items())}
    return of(rows, predictions)


def of(rows: pd.DataFrame, predictions: dict[str, FloatArray]) -> NightStatistics:
    engines: dict[str, EngineName] = {"har": "baseline", "last": "baseline"}
    found = board(rows, [walked(rows, name, f, engines.get(name, "h2o")) for name, f in predictions.items()])
    assert found.statistics is not None
    return found.statistics


def test_one_that_is_clearly_better_is_found_by_every_test(rows: pd.DataFrame) -> None:
    found = statistics(rows, {"har": 0.4, "last": 0.6, "gbm": 0.2, "net": 0.42})
    assert found.spa_p < 0.01
    assert found.superior == ("gbm",)
    assert found.confidence_set == ("gbm",)
    assert found.overfitting == 0.0


def test_nothing_is_found_where_all_are_alike(rows: pd.DataFrame) -> None:
    found = statistics(rows, {"har": 0.4, "last": 0.4, "gbm": 0.4, "net": 0.4}, seed=20)
    assert found.spa_p > 0.1
    assert found.superior == ()
    assert set(found.confidence_set) == {"gbm", "har", "last", "net"}


@pytest.mark.slow
def test_where_nothing_is_known_the_tests_seldom_reject() -> None:
    rows = rows_of(1000)
    found = [statistics(rows, {"har": 0.4, "a": 0.4, "b": 0.4, "c": 0.4}, seed=100 * k) for k in range(25)]
    # The best of the baselines is one here, so that SPA is of its nominal size.
    assert sum(each.spa_p < 0.05 for each in found) <= 4
    assert 0.2 < np.mean([each.overfitting for each in found]) < 0.8


def test_calibrated_forecasts_pass_and_shrunken_ones_do_not(rows: pd.DataFrame) -> None:
    rng = np.random.default_rng(3)
    forecast = np.asarray(rng.normal(-4.8, 0.4, len(rows)))
    real = rows.assign(label=np.where(rows["label"].isna(), np.nan, forecast + rng.normal(0, 0.3, len(rows))))
    found = of(real, {"har": forecast, "gbm": -4.8 + 0.5 * (forecast + 4.8)}).mincer_zarnowitz
    assert found["har"][1] == pytest.approx(1.0, abs=0.1)
    assert found["har"][2] > 0.05
    assert found["gbm"][1] == pytest.approx(2.0, abs=0.2)
    assert found["gbm"][2] < 1e-6
    # Names that share their surprise are no more evidence than one of them.
    three = pd.concat([real.assign(symbol=name) for name in "abc"], ignore_index=True)
    assert of(three, {"har": np.tile(forecast, 3)}).mincer_zarnowitz["har"] == pytest.approx(found["har"], rel=1e-6)


def test_a_lone_baseline_is_compared_with_nothing(rows: pd.DataFrame) -> None:
    found = statistics(rows, {"har": 0.4})
    assert (found.spa_p, found.superior, found.confidence_set) == (1.0, (), ("har",))
    assert math.isnan(found.overfitting)


def test_twins_of_the_best_baseline_are_no_discovery(rows: pd.DataFrame) -> None:
    same = around(rows, 0.4)
    found = of(rows, {"har": same, "gbm": same.copy()})
    assert (found.spa_p, found.superior) == (1.0, ())
    assert found.confidence_set == ("gbm", "har")
