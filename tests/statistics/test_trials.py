"""Independent trials: what is the same counts once, what is not counts apart, whatever the order."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.statistics.trials import clusters, correlations, independent_trials

FloatArray = npt.NDArray[np.float64]


def families(sizes: list[int], rho: float, seed: int, n: int = 400) -> FloatArray:
    """Groups of series: within a group every pair is correlated at rho, across groups not at all."""
    rng = np.random.default_rng(seed)
    parts = [np.sqrt(rho) * rng.normal(size=(n, 1)) + np.sqrt(1 - rho) * rng.normal(size=(n, size)) for size in sizes]
    return np.concatenate(parts, axis=1)


@pytest.mark.parametrize("rho", [0.75, 0.9, 0.99])
def test_families_of_related_candidates_are_as_many_trials(rho: float) -> None:
    assert independent_trials(families([3, 7, 1, 5], rho, 1)) == 4


def test_independent_series_count_each() -> None:
    assert independent_trials(np.random.default_rng(2).normal(size=(500, 60))) == 60


def test_weakly_related_series_count_apart() -> None:
    assert independent_trials(families([12], 0.2, 3)) == 12


def test_a_series_turned_around_is_another_trial() -> None:
    x = np.random.default_rng(3).normal(size=(100, 1))
    assert independent_trials(np.column_stack([x, -x])) == 2


def test_identical_series_count_once_and_scale_does_not_matter() -> None:
    x = np.random.default_rng(4).normal(size=(100, 3))
    assert independent_trials(np.column_stack([x, x, 5 * x + 1])) == 3


def test_identical_series_with_the_same_gaps_count_once() -> None:
    x = np.random.default_rng(5).normal(size=(100, 1))
    x[:90] = np.nan
    assert independent_trials(np.column_stack([x, x, x])) == 1


def test_series_without_spread_are_one_trial() -> None:
    x = np.random.default_rng(6).normal(size=(100, 1))
    assert independent_trials(np.column_stack([np.zeros(100), x, np.ones(100), np.full(100, 3.0)])) == 2


def test_none_and_one() -> None:
    assert independent_trials(np.empty((50, 0))) == 0
    assert independent_trials(np.zeros((50, 1))) == 1
    assert independent_trials(np.arange(3.0)[:, None]) == 1


@given(order=st.permutations(range(11)))
@settings(max_examples=25, deadline=None)
def test_the_order_of_candidates_does_not_matter(order: list[int]) -> None:
    series = families([4, 2, 5], 0.7, 7)
    assert independent_trials(series[:, order]) == independent_trials(series)
    found, moved = clusters(series), clusters(series[:, order])
    assert ((found[:, None] == found)[np.ix_(order, order)] == (moved[:, None] == moved)).all()


def test_clusters_are_numbered_as_they_appear() -> None:
    series = families([1, 1, 1], 0.0, 8)[:, [2, 0, 2, 1]]
    assert clusters(series).tolist() == [0, 1, 0, 2]


def test_more_of_the_same_never_lowers_the_count() -> None:
    series = families([4, 2, 5], 0.8, 9)
    assert independent_trials(np.column_stack([series, series[:, :6]])) == independent_trials(series)


def test_correlations_are_pandas_over_shared_dates() -> None:
    rng = np.random.default_rng(10)
    series = families([5], 0.5, 10) + 1e3
    series[rng.random(series.shape) < 0.2] = np.nan
    expected = pd.DataFrame(series).corr(min_periods=20).to_numpy()
    np.testing.assert_allclose(correlations(series), expected, atol=1e-9)


def test_candidates_that_hardly_share_dates_count_apart() -> None:
    x = np.random.default_rng(11).normal(size=60)
    early, late = x.copy(), x.copy()
    early[35:], late[:20] = np.nan, np.nan
    assert independent_trials(np.column_stack([early, late])) == 2


def test_infinities_are_refused() -> None:
    with pytest.raises(ValueError, match="infinite"):
        clusters(np.array([[1.0, np.inf], [0.0, 1.0]]))
