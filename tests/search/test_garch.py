"""GARCH against arch's own filter and forecasts, and what is served against what was fitted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from arch import arch_model

from tasks.errors import EngineError
from tasks.registry.serving.scorers import load_scorer
from tasks.search.garch import SCALE, GarchModel, fit_garch
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


def test_a_tail_as_long_as_the_history_gives_the_same_forecast() -> None:
    model = fit_garch(RETURNS, LABELS, ROWS, leverage=False, horizon=1)
    assert isinstance(model, GarchModel)
    assert model.predict(RETURNS[-757:])[-1] == pytest.approx(model.predict(RETURNS)[-1], abs=1e-9)


def test_leading_missing_returns_are_skipped_and_inner_ones_refused() -> None:
    late = RETURNS.copy()
    late[:30] = np.nan
    assert np.isfinite(fit_garch(late, LABELS, ROWS, leverage=False, horizon=1).predict(late[30:])).all()
    holed = RETURNS.copy()
    holed[500] = np.nan
    with pytest.raises(EngineError, match="consecutive returns"):
        fit_garch(holed, LABELS, ROWS, leverage=False, horizon=1)
