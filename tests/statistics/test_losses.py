"""The ranking loss of a row: figures worked out by hand, scikit-learn's means, and one figure wherever it is used."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from tasks.contracts import Target
from tasks.registry.gate import losses_by_date
from tasks.search.importance import loss
from tasks.statistics.losses import row_losses


def test_a_row_costs_its_squared_error_or_what_its_outcome_was_thought_unlikely() -> None:
    label, p = np.array([1.0, 0.0]), np.array([0.8, 0.4])
    np.testing.assert_allclose(row_losses("mse", label, p), [0.04, 0.16])
    np.testing.assert_allclose(row_losses("log_loss", label, p), [-math.log(0.8), -math.log(0.6)])


@pytest.mark.parametrize("wrong", [[0.0, 1.0], [1e-9, 1 - 1e-9]])
def test_a_sure_mistake_costs_13_8_nats(wrong: list[float]) -> None:
    np.testing.assert_allclose(row_losses("log_loss", np.array([1.0, 0.0]), np.array(wrong)), -math.log(1e-6))


@pytest.mark.parametrize("name", ["mse", "log_loss"])
def test_what_is_not_known_has_no_loss(name: str) -> None:
    known, not_known = np.array([1.0, 1.0]), np.array([0.5, np.nan])
    for found in (row_losses(name, known, not_known), row_losses(name, not_known, known)):  # type: ignore[arg-type]
        assert np.isnan(found).tolist() == [False, True]


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 1)), min_size=2, max_size=50))
def test_search_leaderboard_and_gate_mean_the_same(rows: list[tuple[bool, float]]) -> None:
    y, p = np.array([float(up) for up, _ in rows]), np.array([value for _, value in rows])
    sessions = np.arange(len(rows)).astype("datetime64[D]").astype("datetime64[ns]")
    sure = np.clip(p, 1e-6, 1 - 1e-6)
    for name, oracle in (
        ("mse", sk.mean_squared_error(y, p)),
        ("log_loss", sk.log_loss(y, sure, labels=[0, 1])),
    ):
        target = Target(name="direction", horizon=1, kind="classification", loss=name)  # type: ignore[arg-type]
        assert row_losses(target.loss, y, p).mean() == pytest.approx(oracle, rel=1e-9)
        assert loss(target, y, p) == pytest.approx(oracle, rel=1e-9)
        assert losses_by_date(sessions, y, p, target.loss).mean() == pytest.approx(oracle, rel=1e-9)
