"""The linear fits against NumPy's and scikit-learn's, and what is served against what was fitted."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge

from tasks.errors import EngineError
from tasks.registry.serving.scorers import load_scorer
from tasks.search import linear_fit, parts

RANDOM = np.random.default_rng(3)
X = RANDOM.standard_normal((400, 5)) * [1, 10, 0.01, 3, 1] + [0, 100, 0, -5, 2]
Y = X @ [1.0, 0.1, 30.0, -0.5, 0.0] + RANDOM.standard_normal(400)
WEIGHT = RANDOM.uniform(0.1, 1.0, 400)
WEIGHT /= WEIGHT.mean()
COLUMNS = ("a", "b", "c", "d", "e")


def test_without_a_penalty_it_is_least_squares() -> None:
    model = linear_fit.fit(COLUMNS, X, Y)
    A = np.column_stack([np.ones(len(X)), X])
    expected = A @ np.linalg.lstsq(A, Y, rcond=None)[0]
    np.testing.assert_allclose(model.predict(X), expected, rtol=0, atol=1e-10)


@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
def test_the_penalty_is_scikit_learns_on_standardised_columns(penalty: float) -> None:
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = Ridge(alpha=penalty * len(Y)).fit(Z, Y)
    model = linear_fit.fit(COLUMNS, X, Y, penalty=penalty)
    np.testing.assert_allclose(model.coefficients, expected.coef_, atol=1e-9)
    np.testing.assert_allclose(model.predict(X), expected.predict(Z), atol=1e-9)


@pytest.mark.parametrize("penalty", [1e-3, 0.1])
def test_logistic_regression_is_scikit_learns(penalty: float) -> None:
    up = (RANDOM.random(400) < 1 / (1 + np.exp(-Y / 10))).astype(float)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    expected = LogisticRegression(C=1 / (penalty * len(up)), tol=1e-10, max_iter=10_000).fit(Z, up)
    model = linear_fit.fit(COLUMNS, X, up, penalty=penalty, logistic=True)
    np.testing.assert_allclose(model.predict(X), expected.predict_proba(Z)[:, 1], atol=1e-5)


@pytest.mark.parametrize("penalty", [0.0, 0.1, 10.0])
def test_weighted_least_squares_is_scikit_learns(penalty: float) -> None:
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    oracle = Ridge(alpha=penalty * len(Y)) if penalty else LinearRegression()
    expected = oracle.fit(Z, Y, sample_weight=WEIGHT).predict(Z)
    np.testing.assert_allclose(
        linear_fit.fit(COLUMNS, X, Y, weight=WEIGHT, penalty=penalty).predict(X), expected, atol=1e-9
    )


@pytest.mark.parametrize("penalty", [1e-3, 0.1])
def test_weighted_logistic_regression_is_scikit_learns(penalty: float) -> None:
    up = (RANDOM.random(400) < 1 / (1 + np.exp(-Y / 10))).astype(float)
    Z = (X - X.mean(axis=0)) / X.std(axis=0)
    oracle = LogisticRegression(C=1 / (penalty * len(up)), tol=1e-10, max_iter=10_000)
    expected = oracle.fit(Z, up, sample_weight=WEIGHT).predict_proba(Z)[:, 1]
    model = linear_fit.fit(COLUMNS, X, up, weight=WEIGHT, penalty=penalty, logistic=True)
    np.testing.assert_allclose(model.predict(X), expected, atol=1e-5)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("penalty", [0.0, 0.1])
def test_equal_weights_are_none(logistic: bool, penalty: float) -> None:
    y = (Y.mean() < Y).astype(float) if logistic else Y
    plain, weighted = (
        linear_fit.fit(COLUMNS, X, y, weight=weight, penalty=penalty, logistic=logistic)
        for weight in (None, np.ones(len(y)))
    )
    np.testing.assert_allclose(plain.coefficients, weighted.coefficients, rtol=1e-10)
    assert plain.intercept == pytest.approx(weighted.intercept)
    assert linear_fit.mean(y, None) == pytest.approx(linear_fit.mean(y, np.ones(len(y))))


def test_separable_classes_still_give_probabilities_inside_the_unit_interval() -> None:
    model = linear_fit.fit(("a",), X[:, :1], (X[:, 0] > 0).astype(float), logistic=True)
    p = model.predict(X[:, :1])
    assert np.isfinite(p).all()
    assert ((p > 0.5) == (X[:, 0] > 0)).all()


def test_a_wild_bar_counts_for_eight_deviations_at_most() -> None:
    model = linear_fit.fit(COLUMNS, X, Y, clip=8.0)
    wild = X[:1].copy()
    wild[0, 2] = 1e9
    at_the_edge = X[:1].copy()
    at_the_edge[0, 2] = model.center[2] + 8.0 * model.scale[2]
    np.testing.assert_allclose(model.predict(wild), model.predict(at_the_edge))


def test_columns_that_do_not_vary_or_repeat_do_no_harm() -> None:
    doubled = np.column_stack([X, X[:, 0], np.full(len(X), 7.3)])
    model = linear_fit.fit((*COLUMNS, "again", "constant"), doubled, Y)
    assert model.coefficients[-1] == 0.0
    np.testing.assert_allclose(model.predict(doubled), linear_fit.fit(COLUMNS, X, Y).predict(X), atol=1e-8)


def test_one_row_is_too_few() -> None:
    with pytest.raises(EngineError, match="1 rows are too few"):
        linear_fit.fit(COLUMNS, X[:1], Y[:1])


@given(logistic=st.booleans(), clip=st.sampled_from([None, 1.0, 8.0]), columns=st.integers(1, 5))
def test_what_is_served_is_what_was_fitted(
    tmp_path_factory: pytest.TempPathFactory, logistic: bool, clip: float | None, columns: int
) -> None:
    y = (Y.mean() < Y).astype(float) if logistic else Y
    model = linear_fit.fit(COLUMNS[:columns], X[:, :columns], y, penalty=0.1, clip=clip, logistic=logistic)
    folder = tmp_path_factory.mktemp("model")
    model.write(folder)
    scorer = load_scorer(folder)
    assert scorer.output == ("probability" if logistic else "value")
    np.testing.assert_allclose(scorer.predict(X[:, :columns]), model.predict(X[:, :columns]), atol=1e-12)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_several_penalties_at_once_give_what_each_alone_gives(logistic: bool, weight: Any) -> None:
    """To the last bit: which of them is chosen, and the leaderboard's digest, must not depend on it."""
    y = (np.median(Y) < Y).astype(float) if logistic else Y
    options: Any = {"weight": weight, "clip": 8.0, "logistic": logistic}
    together = linear_fit.fit_each(COLUMNS, X.copy(), y, penalties=(0.0, 0.1, 3.0), **options)
    for penalty, model in zip((0.0, 0.1, 3.0), together, strict=True):
        alone = linear_fit.fit(COLUMNS, X, y, penalty=penalty, **options)
        assert model.intercept == alone.intercept
        np.testing.assert_array_equal(model.coefficients, alone.coefficients)


@pytest.mark.parametrize("logistic", [False, True])
@pytest.mark.parametrize("weight", [None, WEIGHT])
def test_by_blocks_it_is_what_it_is_at_once(logistic: bool, weight: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    y = (np.median(Y) < Y).astype(float) if logistic else Y
    options: Any = {"weight": weight, "clip": 2.0, "logistic": logistic, "penalty": 0.1}
    at_once = linear_fit.fit(COLUMNS, X, y, **options)
    for module in (parts, linear_fit):
        monkeypatch.setattr(module, "BLOCK", 64)
    by_blocks = linear_fit.fit(COLUMNS, X, y, **options)
    np.testing.assert_allclose(by_blocks.coefficients, at_once.coefficients, rtol=1e-10)
    np.testing.assert_allclose(by_blocks.predict(X), at_once.predict(X), rtol=1e-12)


def test_some_rows_and_columns_are_fitted_as_a_copy_of_them_would_be() -> None:
    rows, columns = np.arange(0, 400, 3), np.array([3, 0])
    part, copy = parts.Part(X, rows, columns), X[np.ix_(rows, columns)]
    ours = linear_fit.fit(("d", "a"), part, Y[rows], penalty=0.1)
    theirs = linear_fit.fit(("d", "a"), copy, Y[rows], penalty=0.1)
    np.testing.assert_array_equal(ours.coefficients, theirs.coefficients)
    np.testing.assert_array_equal(ours.predict(part), theirs.predict(copy))


def test_a_ridge_needs_no_second_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parts, "BLOCK", 2_000)
    large = RANDOM.standard_normal((40_000, 50))
    before, y = large.copy(), large[:, 0]
    tracemalloc.start()
    model = linear_fit.fit(tuple(map(str, range(50))), large, y, penalty=0.1)
    model.predict(large)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.5 * large.nbytes
    np.testing.assert_array_equal(large, before)
