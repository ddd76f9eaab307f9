"""Predictions to weights: the rules, and that no later bar matters."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.backtest.positions import LEVERAGE, NAMES, TARGET_VOLATILITY, Rule, base_rate, signals, sleeves

RULES: tuple[Rule, ...] = ("sign", "proportional", "decile", "volatility_target")


def drawn(seed: int, bars: int = 30, names: int = 25) -> tuple[np.ndarray, np.ndarray]:
    """Edges with missing ones, and past volatilities."""
    rng = np.random.default_rng(seed)
    edge = rng.normal(size=(bars, names))
    edge[rng.random(edge.shape) < 0.1] = np.nan
    return edge, rng.uniform(0.05, 0.6, edge.shape)


def test_sign_gives_every_name_an_equal_share() -> None:
    edge = np.array([[0.2, -3.0, 0.0, np.nan], [np.nan, np.nan, np.nan, 1e-9]])
    np.testing.assert_allclose(signals(edge, "sign"), np.array([[1 / 3, -1 / 3, 0, 0], [0, 0, 0, 1]]))


def test_proportional_is_scaled_by_the_spread_of_edges_so_far() -> None:
    edge = np.array([[3.0], [4.0], [-1.0]])
    spread = np.sqrt(np.array([9.0, 25 / 2, 26 / 3]))
    np.testing.assert_allclose(signals(edge, "proportional")[:, 0], np.clip(edge[:, 0] / spread, -1, 1))


def test_proportional_does_not_depend_on_the_unit() -> None:
    edge, _ = drawn(3)
    np.testing.assert_allclose(signals(edge, "proportional"), signals(edge * 1e-4, "proportional"), atol=1e-12)


def test_deciles_are_dollar_neutral_and_take_a_tenth_each_side() -> None:
    edge = np.arange(30.0)[None, :]
    weights = signals(edge, "decile")[0]
    assert weights.sum() == pytest.approx(0)
    assert np.abs(weights).sum() == pytest.approx(1)
    np.testing.assert_array_equal(np.flatnonzero(weights > 0), [27, 28, 29])
    np.testing.assert_array_equal(np.flatnonzero(weights < 0), [0, 1, 2])


def test_deciles_need_twenty_names_and_differences() -> None:
    few = np.where(np.arange(30) < NAMES - 1, np.arange(30.0), np.nan)[None, :]
    assert not signals(few, "decile").any()
    assert signals(np.where(np.arange(30) < NAMES, np.arange(30.0), np.nan)[None, :], "decile").any()
    assert not signals(np.ones((1, 30)), "decile").any()
    assert not signals(np.full((1, 30), np.nan), "decile").any()


def test_tied_names_share_a_leg_whatever_their_order() -> None:
    edge = np.array([[5.0] * 5 + [0.0] * 20 + [-5.0] * 5])
    weights = signals(edge, "decile")[0]
    np.testing.assert_allclose(weights[:5], 0.1)
    np.testing.assert_allclose(weights[-5:], -0.1)


def test_volatility_target_takes_less_of_what_moves_more() -> None:
    weights = signals(np.array([[1.0, -1.0, 1.0]]), "volatility_target", np.array([[0.2, 0.4, 0.001]]))
    np.testing.assert_allclose(weights, [[TARGET_VOLATILITY / 0.2 / 3, -TARGET_VOLATILITY / 0.4 / 3, LEVERAGE / 3]])


def test_volatility_target_holds_nothing_while_volatility_is_unknown() -> None:
    assert not signals(np.ones((1, 2)), "volatility_target", np.array([[np.nan, 0.0]])).any()
    with pytest.raises(ValueError, match="past volatility"):
        signals(np.ones((1, 2)), "volatility_target")


def test_sleeves_hold_each_signal_for_the_horizon() -> None:
    signal = np.array([[1.0], [0.0], [0.0], [-1.0], [0.0]])
    np.testing.assert_allclose(sleeves(signal, 3)[:, 0], [1 / 3, 1 / 3, 1 / 3, -1 / 3, -1 / 3])
    np.testing.assert_array_equal(sleeves(signal, 1), signal)


def test_base_rate_counts_labels_once_they_have_ended() -> None:
    days = np.array(["2020-01-01", "2020-01-02", "2020-01-03", "2020-01-04"], dtype="datetime64[ns]")
    ends = np.array([days[2], days[1], days[3], np.datetime64("NaT")])
    rate = base_rate(days, np.array([1.0, 0.0, 1.0, np.nan]), ends)
    np.testing.assert_allclose(rate, [np.nan, 0.0, 0.5, 2 / 3])


@given(st.integers(0, 10_000), st.sampled_from(RULES), st.integers(1, 10), st.integers(1, 29))
def test_later_bars_change_no_earlier_position(seed: int, rule: Rule, horizon: int, now: int) -> None:
    edge, volatility = drawn(seed)
    before = sleeves(signals(edge, rule, volatility), horizon)
    other, _ = drawn(seed + 1)
    edge[now:], volatility[now:] = 7.0 * other[now:], 0.3
    after = sleeves(signals(edge, rule, volatility), horizon)
    np.testing.assert_array_equal(before[:now], after[:now])


@given(st.integers(0, 10_000), st.sampled_from(RULES), st.integers(1, 10))
def test_opposite_edges_take_opposite_positions(seed: int, rule: Rule, horizon: int) -> None:
    edge, volatility = drawn(seed)
    one = sleeves(signals(edge, rule, volatility), horizon)
    other = sleeves(signals(-edge, rule, volatility), horizon)
    np.testing.assert_allclose(one, -other, atol=1e-15)


@given(st.integers(0, 10_000), st.sampled_from(RULES))
def test_exposure_has_its_limit(seed: int, rule: Rule) -> None:
    edge, volatility = drawn(seed)
    limit = LEVERAGE if rule == "volatility_target" else 1.0
    assert np.abs(signals(edge, rule, volatility)).sum(axis=1).max() <= limit + 1e-12


@given(st.integers(0, 10_000))
def test_labels_that_end_later_change_no_base_rate(seed: int) -> None:
    rng = np.random.default_rng(seed)
    days = np.arange("2020-01-01", "2020-03-01", dtype="datetime64[D]").astype("datetime64[ns]")
    label, ends = rng.integers(0, 2, len(days)).astype(float), np.roll(days, -5)
    ends[-5:] = np.datetime64("NaT")
    other = np.where(ends > days[30], 1.0 - label, label)
    np.testing.assert_array_equal(base_rate(days, label, ends)[:31], base_rate(days, other, ends)[:31])
