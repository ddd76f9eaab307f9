"""The licence to refresh: non-inferiority of refits inside the gate, each scored on what came after its origin."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.contracts import Target
from tasks.registry.evidence import GateRows
from tasks.registry.power import critical_value
from tasks.registry.refresh import LIMIT, Refits, license_refresh, loss_increase
from tasks.statistics.diebold_mariano import diebold_mariano, p_value

TARGET = Target(name="return", horizon=1, kind="regression", loss="mse")
GATE, STEP = 504, 63


def gate_of(label: Any) -> GateRows:
    frame = pd.DataFrame(
        {"symbol": "A", "session": pd.bdate_range("2017-01-02", periods=len(label)), "label": label, "window": "gate"}
    )
    return GateRows.of(frame, TARGET)


def refits(label: Any, improvement: float, noise: float = 0.05, seed: int = 3) -> Refits:
    """A frozen fit with an error of 0.5, and refits at 7 origins whose squared error is smaller by ``improvement``."""
    rng = np.random.default_rng(seed)
    error = 0.5 * np.sign(rng.normal(size=len(label)))
    place = np.arange(len(label)) // STEP
    scored_by = np.array(["fit_gate", *(f"fit_origin_{k}" for k in range(1, 9))], dtype=object)[np.minimum(place, 8)]
    scale = math.sqrt(1 - improvement)
    origins = {
        f"fit_origin_{k}": label + error * scale + rng.normal(0, noise, len(label))
        for k in range(1, 9)
        if (scored_by == f"fit_origin_{k}").any()
    }
    return Refits(recipe_sha256="r", frozen=label + error, origins=origins, scored_by=scored_by)


LABEL = np.random.default_rng(1).normal(size=GATE)


@pytest.mark.parametrize(
    ("improvement", "granted"), [(0.05, True), (0.011, True), (0.0, False), (-0.02, False), (-0.5, False)]
)
def test_a_licence_needs_the_upper_bound_below_one_per_cent(improvement: float, granted: bool) -> None:
    """At ``0.0`` the noise of the refits alone costs 1 % (0.05² of 0.25): no better than the limit."""
    found = license_refresh(gate_of(LABEL), refits(LABEL, improvement), "2018-12-12")
    assert found.granted is granted
    assert (found.upper < LIMIT) is granted
    assert found.increase < found.upper
    assert (found.origins, found.dates, found.limit, found.term) == (7, GATE - STEP, 0.01, "2018-12-12")
    assert found.recipe_sha256 == "r"


def test_identical_refits_are_licensed_without_any_uncertainty() -> None:
    found = license_refresh(gate_of(LABEL), refits(LABEL, 0.0, noise=0.0), "t")
    assert (found.granted, found.increase, found.upper) == (True, 0.0, 0.0)


def test_every_refit_is_scored_only_on_what_came_after_its_origin() -> None:
    given_ = refits(LABEL, 0.05)
    absurd = {
        name: np.where(given_.scored_by == name, predictions, 1e6) for name, predictions in given_.origins.items()
    }
    plain = license_refresh(gate_of(LABEL), given_, "t")
    assert license_refresh(gate_of(LABEL), dataclasses.replace(given_, origins=absurd), "t") == plain
    before = np.where(given_.scored_by == "fit_gate", 1e6, given_.frozen)
    assert license_refresh(gate_of(LABEL), dataclasses.replace(given_, frozen=before), "t") == plain


def test_rows_without_a_prediction_refuse_the_licence() -> None:
    given_ = refits(LABEL, 0.05)
    holes = {name: np.where(np.arange(GATE) == 200, np.nan, p) for name, p in given_.origins.items()}
    found = license_refresh(gate_of(LABEL), dataclasses.replace(given_, origins=holes), "t")
    assert not found.granted
    assert math.isnan(found.upper)
    nothing = license_refresh(gate_of(LABEL), dataclasses.replace(given_, origins={}), "t")
    assert (nothing.granted, nothing.dates) == (False, 0)


def series(values: Any) -> pd.Series:
    return pd.Series(values, index=pd.bdate_range("2018-01-01", periods=len(values)))


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32 - 1), st.sampled_from([60, 250, 441]), st.sampled_from([0, 4]))
def test_the_bound_is_the_increase_that_a_test_at_five_per_cent_would_just_not_reject(
    seed: int, n: int, overlap: int
) -> None:
    rng = np.random.default_rng(seed)
    frozen, refitted = series(rng.exponential(size=n)), series(rng.exponential(size=n))
    increase, upper = loss_increase(frozen, refitted, overlap)
    assert increase == pytest.approx(refitted.mean() / frozen.mean() - 1)
    at_bound = upper * frozen.mean() - (refitted - frozen).to_numpy()
    assert diebold_mariano(at_bound, overlap).p_value == pytest.approx(0.05, abs=1e-6)


def test_the_bound_covers() -> None:
    """Over simulated losses with autocorrelation, the true increase lies above the bound about 5 % of the time."""
    rng = np.random.default_rng(5)
    missed = 0
    for _ in range(400):
        shocks = rng.normal(size=445)
        d = shocks[4:] + 0.5 * shocks[3:-1] + 0.25 * shocks[2:-2]
        frozen = series(np.full(441, 10.0) + rng.normal(0, 0.01, 441))
        missed += loss_increase(frozen, frozen + d, 0)[1] < 0.0
    assert 6 <= missed <= 34, "binomial(400, 0.05) lies there with a probability of 99.8 %"


def test_nothing_to_compare_with_is_not_a_number() -> None:
    assert all(map(math.isnan, loss_increase(series([0.0] * 9), series([0.1] * 9), 0)))
    assert all(map(math.isnan, loss_increase(series([1.0]), series([1.0]), 0)))


@pytest.mark.parametrize("level", [0.05, 0.025, 0.05 / 650])
@pytest.mark.parametrize(("dates", "lag"), [(60, 4), (504, 5), (504, 21)])
def test_a_critical_value_is_where_the_test_rejects(level: float, dates: int, lag: int) -> None:
    assert p_value(critical_value(level, dates, lag), dates, lag) == pytest.approx(level, rel=1e-6)


def test_no_critical_value_without_a_law() -> None:
    assert math.isnan(critical_value(0.05, 1, 0))
    assert math.isnan(critical_value(0.0, 504, 5))
    assert math.isnan(critical_value(0.7, 504, 5))
