"""The figures of a run: units, and the costs and capital at which nothing is left."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.backtest.costs import BASIS_POINT, Costs
from tasks.backtest.evaluator import Run, buy_and_hold, run
from tasks.backtest.figures import About, backtest, break_even, capacity, daily
from tasks.backtest.market import FloatArray, Market
from tests.backtest.markets import ground, made, random_weights

COSTS = Costs(commission=1.0, spread=2.0, impact=0.3, borrow=50.0, capital=1e6)
ABOUT = About(candidate="c", rule="sign", rows="folds", capital=1e6, illustrative="")


def clairvoyant(market: Market) -> FloatArray:
    """Weights that know half of the next bar's session: profitable before costs."""
    after = np.nan_to_num(np.vstack([(market.close / market.open - 1.0)[1:], np.zeros((1, len(market.symbols)))]))
    noise = np.random.default_rng(2).normal(0, 0.03, after.shape)
    return np.asarray(np.sign(after + noise) / len(market.symbols))


def profitable(seed: int = 0, costs: Costs = COSTS) -> Run:
    market = made(bars=300, symbols=5, seed=seed)
    return run(ground(market, costs), clairvoyant(market))


@given(st.integers(0, 500))
def test_the_break_even_cost_takes_the_excess_return(seed: int) -> None:
    told = profitable(seed)
    unit = break_even(told)
    assert np.prod(told.growth(unit, impact_scale=0.0)) == pytest.approx(1.0, abs=1e-9)
    assert np.prod(told.growth(unit + 1e-5, impact_scale=0.0)) < 1.0 < np.prod(told.growth(unit - 1e-5, 0.0))


def test_break_even_is_over_cash_where_cash_earns() -> None:
    market = made(bars=300, symbols=5)
    told = run(ground(market, COSTS, cash=0.04), clairvoyant(market))
    left = np.prod(told.growth(break_even(told), impact_scale=0.0))
    assert left == pytest.approx(1.04 ** (299 / 252), abs=1e-9)


def test_break_even_of_a_loser_is_negative_and_of_idleness_undefined() -> None:
    market = made(bars=300, symbols=5)
    assert break_even(run(ground(market), -clairvoyant(market))) < 0
    assert np.isnan(break_even(run(ground(market), np.zeros(market.close.shape))))


def test_at_capacity_impact_takes_what_is_left() -> None:
    told = profitable()
    room = capacity(told, COSTS.capital)
    assert room > COSTS.capital
    market = made(bars=300, symbols=5)
    at_capacity = run(ground(market, dataclasses.replace(COSTS, capital=room)), clairvoyant(market))
    assert np.prod(at_capacity.growth()) == pytest.approx(1.0, abs=1e-6)


def test_no_capacity_without_impact_or_return() -> None:
    assert np.isnan(capacity(profitable(costs=Costs()), 1e6))
    market = made(bars=300, symbols=5)
    assert np.isnan(capacity(run(ground(market, COSTS), -clairvoyant(market)), 1e6))


def test_figures_are_a_year_and_in_shares() -> None:
    market = made(bars=253, symbols=1)
    where = ground(market, Costs(commission=10.0))
    weights = np.where(np.arange(253) % 2 == 0, 1.0, 0.0)[:, None]
    told = backtest(ABOUT, run(where, weights), buy_and_hold(where))
    assert told.dates == 252
    assert told.turnover == pytest.approx(252)  # bought and sold on alternate bars
    assert told.costs == pytest.approx(252 * 10 * BASIS_POINT)
    growth = np.prod(1.0 + daily(run(where, weights)).net)
    assert told.annual_return == pytest.approx(growth - 1.0)
    assert told.excess_return == told.annual_return


def test_buy_and_hold_beside_itself_has_no_alpha() -> None:
    where = ground(made(bars=300, symbols=4), COSTS)
    hold = buy_and_hold(where)
    told = backtest(ABOUT, hold, hold)
    assert told.alpha == pytest.approx(0.0, abs=1e-12)
    assert told.beta == pytest.approx(1.0)
    assert np.isnan(told.alpha_t)


def test_bars_of_a_session_are_one_return() -> None:
    sessions = np.repeat(np.array(["2020-01-02", "2020-01-03"], dtype="datetime64[ns]"), [1, 3])
    ones = np.ones(4)
    told = Run(
        sessions=sessions, before=np.array([1.1, 1.0, 1.0, 1.2]), after=ones, traded=ones, impact=0 * ones,
        borrow=0 * ones, unit=0.01, periods=252,
    )  # fmt: skip
    days = daily(told)
    np.testing.assert_allclose(days.gross, [0.1, 0.2])
    np.testing.assert_allclose(days.net, [1.1 * 0.99 - 1, 1.2 * 0.99**3 - 1])


@given(st.integers(0, 300))
def test_costs_taken_explain_the_difference_of_gross_and_net(seed: int) -> None:
    market = made(bars=80, seed=seed)
    told = run(ground(market, COSTS), random_weights(market, seed))
    np.testing.assert_allclose(1.0 - told.growth() / told.gross, told.taken, rtol=0.05, atol=1e-7)
