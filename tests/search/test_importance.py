"""Permutation importance: what carries the forecast leads, what is noise does not, and a seed settles it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import log_loss, mean_squared_error

from tasks.contracts import Target
from tasks.search import linear_fit, training
from tasks.search.garch import fit_garch
from tasks.search.importance import loss, permutation_importance
from tests.search.conftest import Ask, execute


@pytest.fixture
def model(ask: Ask, tmp_path: Path) -> Path:
    data = training.load(ask("linear"))
    rows = data.rows("train")
    columns = ("har_1", "har_5", "noise_0", "noise_1")
    linear_fit.fit(columns, data.take(rows, columns), data.y[rows]).write(tmp_path / "model")
    return tmp_path / "model"


def test_the_column_that_carries_the_forecast_leads(ask: Ask, model: Path) -> None:
    shares = permutation_importance(training.load(ask("linear")), model, seed=1)
    assert shares[0][0] in ("har_1", "har_5")
    assert dict(shares).get("noise_0", 0.0) < 0.05
    assert sum(share for _, share in shares) == pytest.approx(1.0)
    assert [share for _, share in shares] == sorted((share for _, share in shares), reverse=True)


def test_the_same_seed_gives_the_same_shares_through_the_process(ask: Ask, model: Path, tmp_path: Path) -> None:
    result = execute(ask("linear", "explain", explain=str(model)), tmp_path / "out")
    assert not result.error
    data = training.load(ask("linear"))
    assert result.importance == permutation_importance(data, model, seed=1)
    assert result.importance != permutation_importance(data, model, seed=2)


def test_models_without_columns_or_with_history_are_not_measured(ask: Ask, tmp_path: Path) -> None:
    data = training.load(ask("baseline"))
    linear_fit.constant(1.0).write(tmp_path / "constant")
    assert permutation_importance(data, tmp_path / "constant", seed=1) == ()
    returns = data.take(np.arange(len(data.y)), ("return_1",))[:, 0]
    fit_garch(returns, data.y, data.rows("train"), leverage=False, horizon=1).write(tmp_path / "garch")
    assert permutation_importance(data, tmp_path / "garch", seed=1) == (), "no share is made up"


def test_losses_are_scikit_learns() -> None:
    y, p = np.array([0.0, 1.0, 1.0, 0.0]), np.array([0.2, 0.9, 0.4, 0.5])
    mse = Target(name="return", horizon=1, kind="regression", loss="mse")
    cross_entropy = Target(name="direction", horizon=1, kind="classification", loss="log_loss")
    assert loss(mse, y, p) == pytest.approx(mean_squared_error(y, p))
    assert loss(cross_entropy, y, p) == pytest.approx(log_loss(y, p))
    assert np.isfinite(loss(cross_entropy, y, np.array([1.0, 1.0, 1.0, 0.0])))
