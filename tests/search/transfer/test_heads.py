"""Closed forms against scikit-learn, their penalties against fits that leave blocks of dates out."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, Ridge

from tasks.errors import EngineError
from tasks.search.transfer.blocks import Block, blocks
from tasks.search.transfer.heads import PENALTIES, Dense, logistic, ridge

Array = npt.NDArray[np.float64]
ROWS, COLUMNS = 160, 6


def problem(*, classify: bool, seed: int = 1) -> tuple[Array, Array, Array]:
    """Correlated columns away from zero, labels of which half is noise, and weights."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(ROWS, COLUMNS)) @ rng.normal(size=(COLUMNS, COLUMNS)) + np.arange(COLUMNS) - 4.0
    f = (X - X.mean(axis=0)) @ rng.normal(size=COLUMNS) / 4
    y = (f + rng.logistic(size=ROWS) > 0).astype(float) if classify else f + rng.normal(size=ROWS) + 3.0
    return X, y, rng.uniform(0.2, 2.0, ROWS)


def scaled(X: Array, weight: Array) -> Array:
    center = np.average(X, axis=0, weights=weight)
    return (X - center) / np.sqrt(np.average((X - center) ** 2, axis=0, weights=weight))


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalty", [1e-4, 0.1, 10.0])
def test_ridge_is_scikit_learns(weighted: bool, penalty: float) -> None:
    X, y, weight = problem(classify=False)
    weight = weight / weight.mean() if weighted else np.ones(ROWS)
    found = ridge(X, y, weight, penalties=(penalty,))
    oracle = Ridge(alpha=penalty * ROWS).fit(scaled(X, weight), y, sample_weight=weight)
    np.testing.assert_allclose(found(X), oracle.predict(scaled(X, weight)), rtol=1e-9)
    assert found.penalty == penalty


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("penalty", [1e-3, 0.1, 10.0])
def test_logistic_is_scikit_learns(weighted: bool, penalty: float) -> None:
    X, y, weight = problem(classify=True)
    weight = weight / weight.mean() if weighted else np.ones(ROWS)
    found = logistic(X, y, weight, penalties=(penalty,))
    oracle = LogisticRegression(C=1 / (penalty * ROWS), tol=1e-10, max_iter=5000)
    oracle.fit(scaled(X, weight), y, sample_weight=weight)
    np.testing.assert_allclose(found(X), oracle.decision_function(scaled(X, weight)), rtol=1e-4, atol=1e-5)


def cut(rows: int = ROWS) -> tuple[Block, ...]:
    """Rows as dates, labels of the next date."""
    dates = np.arange(rows)
    return blocks(dates, dates, dates + 1)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("classify", [False, True])
def test_the_loss_is_that_of_blocks_left_out(classify: bool, weighted: bool) -> None:
    """Each block predicted by scikit-learn's fit of the rows outside it, scaled by these alone."""
    X, y, weight = problem(classify=classify)
    weight = weight / weight.mean() if weighted else np.ones(ROWS)
    penalty, total = 0.05, 0.0
    for block in cut():
        inside, center = weight[block.fit], np.average(X[block.fit], axis=0, weights=weight[block.fit])
        Z = (X - center) / np.sqrt(np.average((X[block.fit] - center) ** 2, axis=0, weights=inside))
        several, inside = len(block.fit), inside / inside.mean()
        if classify:
            oracle = LogisticRegression(C=1 / (penalty * several), tol=1e-10, max_iter=5000)
            p = oracle.fit(Z[block.fit], y[block.fit], sample_weight=inside).predict_proba(Z[block.left])[:, 1]
            errors = -np.where(y[block.left] == 1.0, np.log(p), np.log(1 - p))
        else:
            fit = Ridge(alpha=penalty * several).fit(Z[block.fit], y[block.fit], sample_weight=inside)
            errors = (y[block.left] - fit.predict(Z[block.left])) ** 2
        total += float(weight[block.left] @ errors)
    found = (logistic if classify else ridge)(X, y, weight, cut(), penalties=(penalty,))
    assert found.loss == pytest.approx(total / ROWS, rel=1e-5)


@pytest.mark.parametrize("classify", [False, True])
def test_the_penalty_is_the_one_with_the_least_error_left_out(classify: bool) -> None:
    X, y, weight = problem(classify=classify)
    fit = logistic if classify else ridge
    chosen = fit(X, y, weight, cut())
    each = {penalty: fit(X, y, weight, cut(), penalties=(penalty,)).loss for penalty in PENALTIES}
    assert each[chosen.penalty] == pytest.approx(min(each.values()), rel=1e-7)
    np.testing.assert_allclose(chosen(X), fit(X, y, weight, penalties=(chosen.penalty,))(X), rtol=1e-5, atol=1e-7)


def test_noise_is_shrunk_to_the_mean_and_a_signal_is_not() -> None:
    rng = np.random.default_rng(3)
    X = rng.normal(size=(200, 30))
    noise = ridge(X, rng.normal(size=200), None, cut(200))
    assert noise.penalty >= 1.0
    signal = ridge(X, X[:, 0] * 2.0 + 0.01 * rng.normal(size=200), None, cut(200))
    assert signal.penalty <= 1e-3
    assert signal.kernel[0] == pytest.approx(2.0, abs=0.01)


def test_what_rows_of_a_date_have_in_common_is_no_knowledge_of_other_dates() -> None:
    """Columns and labels that hardly move within a stretch: single rows left out would be told by their neighbours."""
    rng = np.random.default_rng(4)
    stretches = 10
    X = np.repeat(rng.normal(size=(stretches, 8)), 30, axis=0) + 0.01 * rng.normal(size=(300, 8))
    y = np.repeat(rng.normal(size=stretches), 30) + 0.1 * rng.normal(size=300)
    assert ridge(X, y, None, cut(300)).penalty >= 1.0
    alone = tuple(Block(fit=np.delete(np.arange(300), row), left=np.array([row])) for row in range(0, 300, 7))
    assert ridge(X, y, None, alone).penalty <= 1e-3


@pytest.mark.parametrize("classify", [False, True])
@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), bias=st.floats(-2.0, 2.0))
def test_with_an_infinite_penalty_a_prediction_is_the_known_heads_own_but_for_a_constant(
    classify: bool, seed: int, bias: float
) -> None:
    rng = np.random.default_rng(seed)
    X, y, weight = problem(classify=classify, seed=seed % 1000)
    known = Dense(kernel=rng.normal(size=COLUMNS) / 4, bias=bias)
    found = (logistic if classify else ridge)(X, y, weight, cut(), toward=known, penalties=(math.inf,))
    np.testing.assert_array_equal(found.kernel, known.kernel)
    f = found(X)
    left = y - (1 / (1 + np.exp(-f)) if classify else f)
    assert weight @ left / weight.sum() == pytest.approx(0.0, abs=1e-6), "the constant is the rows' own"


@pytest.mark.parametrize("classify", [False, True])
def test_the_larger_the_penalty_the_nearer_the_known_head(classify: bool) -> None:
    X, y, weight = problem(classify=classify)
    known, fit = Dense(kernel=np.linspace(-0.5, 0.5, COLUMNS), bias=0.3), logistic if classify else ridge
    kernels = [fit(X, y, weight, toward=known, penalties=(penalty,)).kernel for penalty in (*PENALTIES[:-1], 1e9)]
    away = [float(np.linalg.norm((kernel - known.kernel) * X.std(axis=0))) for kernel in kernels]
    assert away == sorted(away, reverse=True)
    assert away[-1] < 1e-8
    free = fit(X, y, weight, penalties=(1e-9,)).kernel
    np.testing.assert_allclose(fit(X, y, weight, toward=known, penalties=(1e-9,)).kernel, free, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("weighted", [False, True])
def test_ridge_toward_a_head_is_scikit_learns_on_what_that_leaves_over(weighted: bool) -> None:
    X, y, weight = problem(classify=False)
    weight = weight / weight.mean() if weighted else np.ones(ROWS)
    known = Dense(kernel=np.linspace(-0.5, 0.5, COLUMNS), bias=0.3)
    oracle = Ridge(alpha=0.1 * ROWS).fit(scaled(X, weight), y - known(X), sample_weight=weight)
    found = ridge(X, y, weight, toward=known, penalties=(0.1,))
    np.testing.assert_allclose(found(X), known(X) + oracle.predict(scaled(X, weight)), rtol=1e-9)


def test_logistic_toward_a_head_has_the_least_penalised_loss() -> None:
    X, y, weight = problem(classify=True)
    weight, penalty = weight / weight.mean(), 0.05
    known, Z = Dense(kernel=np.linspace(-0.5, 0.5, COLUMNS), bias=0.3), scaled(X, weight)

    def loss(beta: Array) -> float:
        f = known(X) + Z @ beta[:-1] + beta[-1]
        return float(weight @ (np.logaddexp(0.0, f) - y * f) / ROWS + penalty / 2 * beta[:-1] @ beta[:-1])

    least = minimize(loss, np.zeros(COLUMNS + 1), tol=1e-12)
    found = logistic(X, y, weight, toward=known, penalties=(penalty,))
    np.testing.assert_allclose(found(X), known(X) + Z @ least.x[:-1] + least.x[-1], atol=1e-4)


@pytest.mark.parametrize("classify", [False, True])
def test_a_constant_column_and_one_that_repeats_another_do_no_harm(classify: bool) -> None:
    X, y, _ = problem(classify=classify)
    fit = logistic if classify else ridge
    plain = fit(X, y, None, penalties=(0.1,))
    spoilt = fit(np.column_stack([X, np.full(ROWS, -4.6)]), y, None, penalties=(0.1,))
    np.testing.assert_allclose(spoilt(np.column_stack([X, np.full(ROWS, -4.6)])), plain(X), rtol=1e-7)
    assert np.isfinite(fit(np.column_stack([X, X]), y, None, cut()).kernel).all()


def test_separable_classes_have_a_finite_head() -> None:
    X = np.linspace(-1, 1, 50)[np.random.default_rng(2).permutation(50), None]
    found = logistic(X, (X[:, 0] > 0).astype(float), None, cut(50))
    assert np.isfinite(found.kernel).all()
    assert ((found(X) > 0) == (X[:, 0] > 0)).all()


def test_what_cannot_be_fitted_is_refused() -> None:
    X, y, _ = problem(classify=False)
    with pytest.raises(EngineError, match="2 labelled rows"):
        ridge(X[:2], y[:2])
    with pytest.raises(EngineError, match="not finite"):
        ridge(np.where(np.arange(ROWS)[:, None] == 7, np.nan, X), y)
    with pytest.raises(EngineError, match="labels must be both 0 and 1"):
        logistic(X, np.ones(ROWS))
    with pytest.raises(EngineError, match="at least one penalty"):
        ridge(X, y, None, penalties=())


def test_a_dense_head_is_a_line() -> None:
    head = Dense(kernel=np.array([1.0, -2.0]), bias=0.5, penalty=0.0, loss=0.0)
    assert head(np.array([[3.0, 1.0]])).tolist() == [1.5]
