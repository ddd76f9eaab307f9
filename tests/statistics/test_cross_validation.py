"""Combinatorial purged cross-validation against skfolio, and what no split may ever do."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tasks.statistics import cross_validation as cv

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]


@pytest.mark.parametrize(
    ("n", "groups", "tested", "horizon", "embargo"),
    [(120, 6, 2, 0, 0), (120, 6, 2, 5, 0), (125, 6, 3, 1, 4), (131, 10, 2, 3, 2), (60, 3, 2, 4, 1), (200, 8, 4, 2, 0)],
)
def test_splits_and_paths_are_skfolios(n: int, groups: int, tested: int, horizon: int, embargo: int) -> None:
    from skfolio.model_selection import CombinatorialPurgedCV  # noqa: PLC0415 - takes seconds

    oracle = CombinatorialPurgedCV(n_folds=groups, n_test_folds=tested, purged_size=horizon, embargo_size=embargo)
    ours = cv.splits(np.arange(n) + horizon, groups=groups, tested=tested, embargo=embargo)
    theirs = list(oracle.split(np.zeros((n, 1))))
    assert len(ours) == len(theirs) == math.comb(groups, tested)
    for mine, (train, tests) in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine.train, train)
        for rows, expected in zip(mine.tests, tests, strict=True):
            np.testing.assert_array_equal(rows, expected)
    np.testing.assert_array_equal(cv.paths(groups, tested).T, oracle.recombined_paths)


@given(
    n=st.integers(12, 60),
    groups=st.integers(3, 6),
    tested=st.integers(1, 4),
    embargo=st.integers(0, 4),
    data=st.data(),
)
@settings(max_examples=60, deadline=None)
def test_no_training_label_shares_a_bar_with_a_tested_one(
    n: int, groups: int, tested: int, embargo: int, data: st.DataObject
) -> None:
    assume(tested < groups)
    horizon = np.array(data.draw(st.lists(st.integers(0, 7), min_size=n, max_size=n)), dtype=np.int64)
    end = np.arange(n) + horizon
    for split in cv.splits(end, groups=groups, tested=tested, embargo=embargo):
        tests = np.concatenate(split.tests)
        assert not set(split.train) & set(tests)
        i, j = split.train[:, None], tests[None, :]
        assert not ((i <= end[j]) & (j <= end[i])).any()
        for rows in split.tests:
            open_until = end[rows].max()
            assert not ((split.train > open_until) & (split.train <= open_until + embargo)).any()


@given(groups=st.integers(2, 9), tested=st.integers(1, 5))
@settings(max_examples=30, deadline=None)
def test_every_path_takes_every_group_once_and_every_test_once(groups: int, tested: int) -> None:
    assume(tested < groups)
    route = cv.paths(groups, tested)
    assert route.shape == (math.comb(groups - 1, tested - 1), groups)
    used = {(int(split), group) for path in route for group, split in enumerate(path)}
    assert len(used) == route.size == math.comb(groups, tested) * tested


def test_nothing_more_is_dropped_than_must_be() -> None:
    split = cv.splits(np.arange(30) + 2, groups=3, tested=1, embargo=1)[1]
    assert split.groups == (1,)
    assert split.train.tolist() == [*range(8), *range(23, 30)]


def test_ridge_is_scikit_learns() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(3.0, 2.0, (90, 4)), rng.normal(size=90)
    train, rows = np.arange(60), np.arange(60, 90)
    ours = cv.ridge(x, y, 0.3)(train)(rows)
    oracle = make_pipeline(StandardScaler(), Ridge(alpha=0.3 * 60)).fit(x[train], y[train])
    np.testing.assert_allclose(ours, oracle.predict(x[rows]), rtol=1e-10)


def test_a_feature_without_spread_has_no_effect() -> None:
    rng = np.random.default_rng(2)
    x, y, train = rng.normal(size=(50, 2)), rng.normal(size=50), np.arange(40)
    flat = np.column_stack([x, np.full(50, 7.0)])
    flat[45:, 2] = 9.0
    rows = np.arange(40, 50)
    np.testing.assert_allclose(cv.ridge(flat, y, 0.1)(train)(rows), cv.ridge(x, y, 0.1)(train)(rows), atol=1e-12)


def test_every_row_is_predicted_on_every_path_by_fits_that_did_not_see_it() -> None:
    n, groups, tested = 60, 6, 2
    seen: list[IntArray] = []

    def fit(train: IntArray) -> Callable[[IntArray], FloatArray]:
        place = float(len(seen))
        seen.append(train)
        return lambda rows: np.full(len(rows), place)

    found = cv.path_predictions(fit, np.arange(n) + 3, groups=groups, tested=tested)
    assert found.shape == (5, n)
    for path in found:
        for row, which in enumerate(path):
            assert row not in seen[int(which)]


def test_paths_find_a_signal_and_no_noise() -> None:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(600, 3))
    for strength, low, high in ((0.5, 0.1, 0.3), (0.0, -0.06, 0.01)):
        y = strength * x[:, 0] + rng.normal(size=600)
        found = cv.path_predictions(cv.ridge(x, y, 0.01), np.arange(600), groups=10, tested=2)
        r2 = 1 - ((y - found) ** 2).mean(axis=1) / y.var()
        assert len(r2) == 9
        assert (r2 > low).all()
        assert (r2 < high).all()


@pytest.mark.parametrize(("groups", "tested", "n"), [(5, 0, 50), (5, 5, 50), (5, 2, 4)])
def test_a_plan_that_cannot_be_is_refused(groups: int, tested: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"cannot test {tested} of {groups} groups of {n} rows"):
        cv.splits(np.arange(n), groups=groups, tested=tested)


def test_a_label_that_ends_before_it_begins_is_refused() -> None:
    end = np.arange(20)
    end[7] = 3
    with pytest.raises(ValueError, match="row 7 ends before it begins, at 3"):
        cv.splits(end, groups=4, tested=2)
