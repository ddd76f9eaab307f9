"""GARCH against arch's own filter and forecasts, and what is served against what was fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from arch import arch_model

from tasks.errors import EngineError
from tasks.registry.serving.scorers import load_scorer
from tasks.search.garch import LARGEST_BETA, SCALE, Floats, fit_garch
from tests.search.conftest import bars_of, label_of

COLUMNS = bars_of(11)
RETURNS = COLUMNS["return_1"]
LABELS = label_of("volatility", COLUMNS)
ROWS = np.arange(60, 900)


@pytest.mark.parametrize("leverage", [False, True])
@pytest.mark.parametrize("horizon", [1, 5])
def test_forecasts_are_archs(leverage: bool, horizon: int) -> None:
    model = fit_garch(RETURNS, LABELS, ROWS, leverage=leverage, horizon=horizon)
    oracle = arch_model(SCALE * RETURNS, mean="Constant", vol="GARCH", p=1, o=int(leverage), q=1, rescale=False)
    parameters = [model.mu, model.omega, model.alpha, *([model.gamma] if leverage else []), model.beta]
    forecast = oracle.fix(parameters).forecast(horizon=horizon, start=800, reindex=False, method="analytic")
    expected = 0.5 * np.log(forecast.variance.to_numpy().mean(axis=1))
    # Eight hundred bars on, nothing is left of where either filter started.
    np.testing.assert_allclose(model.raw(RETURNS)[800:], expected, atol=1e-6)


def test_the_recalibration_is_the_regression_on_the_fitting_rows() -> None:
    model = fit_garch(RETURNS, LABELS, ROWS, leverage=True, horizon=1)
    slope, intercept = np.polyfit(model.raw(RETURNS)[ROWS], LABELS[ROWS], 1)
    assert model.slope == pytest.approx(slope, rel=1e-8)
    assert model.intercept == pytest.approx(intercept, rel=1e-8)


@pytest.mark.parametrize("horizon", [1, 22])
def test_what_is_served_is_what_was_fitted(tmp_path: Path, horizon: int) -> None:
    model = fit_garch(RETURNS, LABELS, ROWS, leverage=True, horizon=horizon)
    model.write(tmp_path)
    served = load_scorer(tmp_path).predict(RETURNS[:, None])
    np.testing.assert_allclose(served, model.predict(RETURNS), atol=1e-10)


def slow_to_forget(beta: float, bars: int = 2400) -> Floats:
    """Log returns of a GARCH with this beta, float64 (bars,), that begin in a storm of a hundred times the variance."""
    shocks, variance = np.random.default_rng(3).standard_normal(bars), 100.0
    returns = np.empty(bars)
    for t in range(bars):
        returns[t] = np.sqrt(variance) * shocks[t]
        variance = 0.99 - beta + 0.01 * returns[t] ** 2 + beta * variance
    return returns / SCALE


@pytest.mark.parametrize("leverage", [False, True])
@pytest.mark.parametrize("beta", [0.9, 0.96, 0.985])
def test_a_tail_as_long_as_the_history_gives_the_same_forecast(tmp_path: Path, beta: float, leverage: bool) -> None:
    returns = slow_to_forget(beta)
    labels = np.append(np.log(np.abs(returns[1:]) + 1e-3), np.nan)
    model = fit_garch(returns, labels, np.arange(300, 2300), leverage=leverage, horizon=5)
    model.write(tmp_path)
    scorer = load_scorer(tmp_path)
    assert model.slope > 0.1
    # The rows shortly after the storm are those whose tails leave most behind.
    for row in (scorer.history + 1, scorer.history + 50, 2000):
        full = scorer.predict(returns[: row + 1, None])[-1]
        tail = scorer.predict(returns[row - scorer.history : row + 1, None])[-1]
        assert tail == pytest.approx(full, abs=1e-9)


def test_a_beta_that_remembers_too_long_is_bounded_and_the_rest_fitted_to_it() -> None:
    returns = slow_to_forget(0.985)[300:2300]
    oracle = arch_model(SCALE * returns, mean="Constant", vol="GARCH", p=1, o=0, q=1, rescale=False)
    free = oracle.fit(disp="off").params
    assert free["beta[1]"] > LARGEST_BETA
    labels = np.append(np.log(np.abs(returns[1:]) + 1e-3), np.nan)
    model = fit_garch(returns, labels, np.arange(len(returns) - 1), leverage=False, horizon=1)
    assert model.beta == pytest.approx(LARGEST_BETA, abs=1e-12)

    def likelihood(*parameters: float) -> float:
        return float(oracle.fix(list(parameters)).loglikelihood)

    bounded = likelihood(model.mu, model.omega, model.alpha, model.beta)
    assert bounded > likelihood(free["mu"], free["omega"], free["alpha[1]"], LARGEST_BETA) + 1
    assert bounded < oracle.fit(disp="off").loglikelihood


def test_leading_missing_returns_are_skipped_and_inner_ones_refused() -> None:
    late = RETURNS.copy()
    late[:30] = np.nan
    assert np.isfinite(fit_garch(late, LABELS, ROWS, leverage=False, horizon=1).predict(late[30:])).all()
    holed = RETURNS.copy()
    holed[500] = np.nan
    with pytest.raises(EngineError, match="consecutive returns"):
        fit_garch(holed, LABELS, ROWS, leverage=False, horizon=1)
