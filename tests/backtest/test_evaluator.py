"""The economic evaluator against sums done by hand, an account kept in currency, and laws that hold whatever comes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.backtest.costs import BASIS_POINT, Costs, impact
from tasks.backtest.evaluator import Ground, buy_and_hold, run
from tasks.backtest.market import (
    DELISTING_RETURN,
    Events,
    Fill,
    FloatArray,
    Liquidity,
    Market,
    filled_forward,
    legs,
    market_of,
)
from tests.backtest.markets import ground, made, random_weights

DEAR = Costs(commission=3.0, spread=10.0, impact=0.5, borrow=200.0, capital=1e7)


def account(where: Ground, weights: FloatArray, fill: Fill) -> FloatArray:
    """The same rules as an account in currency: shares, prices, cash; no gaps, splits or endings. Value by bar."""
    market, costs = where.market, where.costs
    shares, cash, values = np.zeros(weights.shape[1]), 1.0, []
    for bar in range(1, len(market.times)):
        price = market.open[bar] if fill == "open" else market.close[bar]
        # Borrow is for the position that was held at the last close, on its worth then.
        worth = shares * market.close[bar - 1]
        owed = np.maximum(-worth, 0.0).sum() * costs.borrow * BASIS_POINT / market.periods
        cash -= owed
        value = cash + shares @ price
        wanted = weights[bar - 1] * value
        traded = np.abs(wanted - shares * price * value / (value + owed)) / value
        # Drifted weights are told before borrow; what is traded is measured against those.
        fees = costs.unit * traded.sum()
        known = where.known
        part = np.sqrt(traded * costs.capital / known.value[bar - 1])
        fees += (costs.impact * np.nan_to_num(known.volatility[bar - 1]) * part * traded).sum()
        value *= 1.0 - fees
        shares, cash = weights[bar - 1] * value / price, value * (1.0 - weights[bar - 1].sum())
        values.append(cash + shares @ market.close[bar])
    return np.array(values)


@pytest.mark.parametrize("fill", ["open", "close"])
@pytest.mark.parametrize(
    "costs", [Costs(), DEAR, dataclasses.replace(DEAR, borrow=0.0)], ids=["free", "dear", "no borrow"]
)
def test_the_evaluator_agrees_with_an_account_in_currency(fill: Fill, costs: Costs) -> None:
    market = made(bars=200, symbols=4)
    where, weights = ground(market, costs, fill), random_weights(market)
    equity = np.cumprod(run(where, weights).growth())
    np.testing.assert_allclose(equity, account(where, weights, fill), rtol=1e-10)


def test_a_round_trip_by_hand() -> None:
    """100 at the decision; bought at 101, closes at 103; sold at 102: half of it was bought."""
    days = pd.bdate_range("2020-01-01", periods=4).to_numpy(dtype="datetime64[ns]")
    opens, close = np.array([[100.0], [101.0], [102.0], [90.0]]), np.array([[100.0], [103.0], [104.0], [95.0]])
    market = Market(
        times=days, sessions=days, symbols=("A",), open=opens, close=close, volume=np.ones((4, 1)),
        ended=np.zeros((4, 1), dtype=bool),
    )  # fmt: skip
    told = run(ground(market, Costs(commission=10.0)), np.array([[0.5], [0.0], [0.0], [0.0]]))
    bought = 1.0 - 0.5 * 0.001
    held = 0.5 * 103 / 101 + 0.5
    weight = 0.5 * 102 / 101 / (0.5 * 102 / 101 + 0.5)
    sold = (0.5 * 102 / 101 + 0.5) / held * (1.0 - weight * 0.001)
    np.testing.assert_allclose(told.growth(), [bought * held, sold, 1.0], rtol=1e-14)


@given(st.integers(0, 1000), st.sampled_from(["open", "close"]), st.floats(0, 0.3))
def test_without_costs_net_is_gross(seed: int, fill: Fill, gaps: float) -> None:
    market = made(bars=60, seed=seed, gaps=gaps)
    told = run(ground(market, Costs(), fill), random_weights(market, seed))
    np.testing.assert_array_equal(told.growth(), told.gross)


@given(
    st.integers(0, 1000),
    st.sampled_from(["commission", "spread", "impact", "borrow"]),
    st.floats(0, 50),
    st.floats(0.01, 50),
)
def test_dearer_is_never_better(seed: int, name: str, low: float, more: float) -> None:
    market = made(bars=60, seed=seed)
    weights = random_weights(market, seed)
    cheap = run(ground(market, dataclasses.replace(DEAR, **{name: low})), weights).growth()
    dear = run(ground(market, dataclasses.replace(DEAR, **{name: low + more})), weights).growth()
    assert (dear <= cheap).all()


@given(st.integers(0, 1000), st.integers(2, 58))
def test_bars_after_a_fill_change_nothing_before_it(seed: int, now: int) -> None:
    """Neither equity nor costs up to bar ``now`` depend on any later bar."""
    market = made(bars=60, seed=seed)
    weights = random_weights(market, seed)
    before = run(ground(market, DEAR), weights).growth()[:now]
    later = np.arange(60)[:, None] > now
    changed = dataclasses.replace(
        market,
        open=np.where(later, market.open * 3.0, market.open),
        close=np.where(later, market.close / 2.0, market.close),
        volume=np.where(later, 1.0, market.volume),
    )
    np.testing.assert_array_equal(before, run(ground(changed, DEAR), weights).growth()[:now])


@given(st.integers(0, 1000))
def test_opposite_positions_earn_the_opposite(seed: int) -> None:
    """From fill to close on the same equity, without costs: the account earns what the opposite one loses."""
    market = made(bars=60, seed=seed)
    weights = random_weights(market, seed)
    one, other = run(ground(market), weights), run(ground(market), -weights)
    np.testing.assert_allclose(one.after - 1.0, 1.0 - other.after, atol=1e-14)


@pytest.mark.parametrize("fill", ["open", "close"])
@pytest.mark.parametrize("costs", [Costs(), DEAR], ids=["free", "dear"])
def test_always_long_one_name_is_buy_and_hold(fill: Fill, costs: Costs) -> None:
    market = made(bars=250, symbols=1)
    where = ground(market, costs, fill)
    mine = np.cumprod(run(where, np.ones((250, 1))).growth())
    hold = np.cumprod(buy_and_hold(where).growth())
    np.testing.assert_allclose(mine, hold, rtol=1e-12)
    first = market.open[1, 0] if fill == "open" else market.close[1, 0]
    paid = float(run(where, np.ones((250, 1))).taken[0])
    np.testing.assert_allclose(hold[-1], market.close[-1, 0] / first * (1.0 - paid), rtol=1e-12)


def test_buy_and_hold_of_a_panel_is_the_mean_of_its_names() -> None:
    market = made(bars=100, symbols=5, gaps=0.1)
    close = filled_forward(market.close)
    expected = (close[1:] / market.open[1]).mean(axis=1)
    np.testing.assert_allclose(np.cumprod(buy_and_hold(ground(market)).gross), expected, rtol=1e-12)


def test_raw_prices_with_events_earn_what_adjusted_prices_do() -> None:
    """A split of 4 and a dividend of 2 % in raw prices against the same series with both taken out."""
    whole = made(bars=80, symbols=1, seed=5)
    factor = np.ones((80, 1))
    factor[30:] /= 4.0
    dividends, splits = np.zeros((80, 1)), np.ones((80, 1))
    splits[30] = 4.0
    opens, close = whole.open * factor, whole.close * factor
    dividends[50] = 0.02 * close[49]
    opens[50:] *= 0.98  # the price falls by the dividend, in proportion
    close[50:] *= 0.98
    raw = dataclasses.replace(whole, open=opens, close=close, events=Events(dividends=dividends, splits=splits))
    earned, adjusted = legs(raw, "open"), legs(whole, "open")
    np.testing.assert_allclose(earned.after, adjusted.after, atol=1e-14)
    apart = np.flatnonzero(np.abs(earned.before - adjusted.before)[:, 0] > 1e-12)
    # On the ex-date the dividend is cash and earns nothing overnight: the one difference.
    np.testing.assert_array_equal(apart, [50])
    expected = 0.98 * (1.0 + adjusted.before[50, 0]) + 0.02 - 1.0
    assert earned.before[50, 0] == pytest.approx(expected, abs=1e-12)


def test_shorts_pay_dividends() -> None:
    days = pd.bdate_range("2020-01-01", periods=4).to_numpy(dtype="datetime64[ns]")
    flat, nothing = np.full((4, 1), 50.0), np.zeros((4, 1))
    dividends = nothing.copy()
    dividends[2] = 1.0
    market = Market(
        times=days, sessions=days, symbols=("A",), open=flat, close=flat, volume=nothing,
        ended=nothing.astype(bool), events=Events(dividends=dividends, splits=nothing + 1.0),
    )  # fmt: skip
    np.testing.assert_allclose(run(ground(market), -np.ones((4, 1))).gross, [1.0, 0.98, 1.0])
    np.testing.assert_allclose(run(ground(market), np.ones((4, 1))).gross, [1.0, 1.02, 1.0])


def ending(quarantined: tuple[str, ...] = ()) -> Market:
    """Two names at constant prices, of which the first ends after the third bar."""
    days = pd.bdate_range("2020-01-01", periods=6)
    parts = [pd.DataFrame({"symbol": name, "session": days[:n]}) for name, n in (("A", 3), ("B", 6))]
    bars = pd.concat(parts, ignore_index=True)
    bars["time"] = bars["session"].dt.tz_localize("UTC")
    return market_of(bars.assign(open=10.0, close=10.0, volume=0.0), quarantined=quarantined)


def test_a_name_that_ends_is_paid_out_at_a_loss_and_shorts_are_not_credited() -> None:
    weights = np.zeros((6, 2))
    weights[:, 0] = 0.5
    np.testing.assert_allclose(run(ground(ending()), weights).gross, [1.0, 1.0, 1.0 + 0.5 * DELISTING_RETURN, 1.0, 1.0])
    np.testing.assert_allclose(run(ground(ending()), -weights).gross, np.ones(5))
    told = run(ground(ending(), Costs(commission=10.0)), weights)
    assert not told.traded[2:].any(), "what has ended is not traded"
    assert buy_and_hold(ground(ending())).gross[2] == pytest.approx(1.0 + 0.5 * DELISTING_RETURN)


def test_a_quarantined_name_ends_without_a_loss() -> None:
    weights = np.full((6, 2), 0.5)
    np.testing.assert_allclose(run(ground(ending(("A",))), weights).gross, np.ones(5))


def test_a_name_without_a_bar_keeps_its_weight_and_is_not_traded() -> None:
    market = made(bars=6, symbols=1)
    close, opens = market.close.copy(), market.open.copy()
    close[3], opens[3] = np.nan, np.nan
    told = run(ground(dataclasses.replace(market, close=close, open=opens)), np.array([[1.0], [1], [0], [0], [0], [0]]))
    assert told.traded[2] == 0
    assert told.gross[2] == 1.0
    assert told.traded[3] == pytest.approx(1.0), "sold at the next bar there is"


def test_lost_equity_stays_lost() -> None:
    days = pd.bdate_range("2020-01-01", periods=5).to_numpy(dtype="datetime64[ns]")
    price = np.array([[10.0], [10.0], [25.0], [5.0], [5.0]])
    market = Market(
        times=days, sessions=days, symbols=("A",), open=price, close=price, volume=price, ended=np.zeros((5, 1), bool)
    )
    told = np.cumprod(run(ground(market, DEAR), -np.ones((5, 1))).growth())
    np.testing.assert_array_equal(told[1:], np.zeros(3))


def test_cash_earns_its_rate() -> None:
    market = made(bars=253, symbols=1)
    idle = run(ground(market, cash=0.05), np.zeros((253, 1)))
    np.testing.assert_allclose(idle.gross[1:], 1.0 + 0.05 / 252)


def test_impact_is_the_square_root_law() -> None:
    known = Liquidity(volatility=np.array([[0.02, np.nan]]), value=np.array([[1e8, 1e8]]))
    traded = np.array([[0.25, 0.25]])
    costs = Costs(impact=0.1, capital=4e6)
    assert impact(traded, known, costs)[0] == pytest.approx(0.25 * 0.1 * 0.02 * 0.1)
    assert impact(traded, dataclasses.replace(known, value=np.zeros((1, 2))), costs)[0] == 0


@pytest.mark.parametrize("name", ["commission", "spread", "impact", "borrow"])
def test_negative_costs_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must not be negative, got -1"):
        Costs(**{name: -1.0})


def test_weights_must_be_finite() -> None:
    market = made(bars=5)
    with pytest.raises(ValueError, match="finite"):
        run(ground(market), np.full((5, 3), np.nan))
