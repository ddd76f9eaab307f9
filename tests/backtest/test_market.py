"""Bars to arrays, and what is known of liquidity at a bar's close."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.backtest.market import MEMORY, filled_forward, liquidity, market_of
from tasks.errors import DataError
from tests.backtest.markets import built_in, made


def hourly() -> pd.DataFrame:
    days = pd.bdate_range("2020-01-01", periods=30)
    times = pd.DatetimeIndex([day + pd.Timedelta(hours=h) for day in days for h in range(15, 22)])
    close = 100.0 * np.exp(np.cumsum(np.random.default_rng(0).normal(0, 0.002, len(times))))
    frame = pd.DataFrame({"symbol": "A", "time": times.tz_localize("UTC"), "session": times.normalize()})
    return frame.assign(open=close, close=close, volume=10.0)


def test_two_symbols_become_two_columns() -> None:
    bars = built_in()
    bars = bars[~((bars["symbol"] == "^IXIC") & (bars["session"] == "2008-10-10"))].reset_index(drop=True)
    market = market_of(bars)
    assert market.symbols == ("^GSPC", "^IXIC")
    assert market.close.shape == (5031, 2)
    assert np.isnan(market.close).sum() == 1
    assert not market.ended.any()
    assert market.periods == 252
    assert market.bars_per_session == 1


def test_volatility_and_value_are_of_a_day_whatever_the_bar() -> None:
    market = market_of(hourly(), "24/7")
    known = liquidity(market)
    returns = np.diff(np.log(market.close[:, 0]))
    assert market.bars_per_session == 7
    assert market.periods == 365
    expected = np.sqrt(np.mean(returns[-MEMORY:] ** 2) * 7)
    assert known.volatility[-1, 0] == pytest.approx(expected)
    assert known.value[-1, 0] == pytest.approx(np.mean(10.0 * market.close[-MEMORY:, 0]) * 7)


def test_liquidity_looks_at_no_later_bar() -> None:
    market = made(bars=60, gaps=0.2)
    whole, early = liquidity(market), liquidity(market.between(0, 40))
    np.testing.assert_array_equal(whole.volatility[:41], early.volatility)
    np.testing.assert_array_equal(whole.value[:41], early.value)
    assert np.isnan(whole.volatility[0]).all()


def test_prices_are_carried_over_gaps_but_not_before_the_first() -> None:
    values = np.array([[np.nan, 1.0], [2.0, np.nan], [np.nan, np.nan]])
    np.testing.assert_array_equal(filled_forward(values), [[np.nan, 1.0], [2.0, 1.0], [2.0, 1.0]])


def test_an_event_without_a_bar_is_refused() -> None:
    day = pd.Timestamp("2020-01-04")
    events = pd.DataFrame({"symbol": ["A"], "session": [day], "dividend": [1.0], "split": [1.0]})
    with pytest.raises(DataError, match="A: an event on 2020-01-04"):
        market_of(hourly(), events=events)
