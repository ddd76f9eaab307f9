"""The evaluator's zipline mode makes Zipline's trades and has its equity, to rounding."""

from __future__ import annotations

import ast
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tasks.backtest import market as market_module
from tasks.backtest.child import run_child
from tasks.backtest.costs import Costs
from tasks.backtest.evaluator import run
from tasks.backtest.market import Events, Market, market_of
from tasks.backtest.zipline_mode import on_sessions, simulate
from tasks.backtest.zipline_run import compare, run_zipline
from tasks.errors import EngineError
from tests.backtest.markets import built_in, exchange_sessions, ground, made, pay_dates, random_weights, raw

COSTS = Costs(commission=1.0, spread=2.0, capital=1e6)
EQUAL = 1e-9


def eventful() -> tuple[Market, dict[tuple[int, int], int]]:
    """Two years of two built-in series with everything that can happen put in: gaps, an ending, splits, dividends."""
    bars = built_in()
    bars = bars[bars["session"].between("2010-01-04", "2011-12-30")].reset_index(drop=True)
    bars[["open", "close"]] /= 10.0
    third = bars[bars["symbol"] == "^IXIC"].assign(symbol="ENDS")
    bars = pd.concat([bars, third[third["session"] < "2011-03-01"]], ignore_index=True).sort_values(["symbol", "time"])
    bars = bars[np.random.default_rng(0).random(len(bars)) > 0.02].reset_index(drop=True)
    market = on_sessions(market_of(bars), exchange_sessions("2010-01-04", "2011-12-30"))
    dividends, splits = np.zeros(market.close.shape), np.ones(market.close.shape)
    for bar in (40, 130, 220, 310, 400):
        dividends[bar] = np.where(market.trades[bar], 0.37, 0.0)
    splits[90, 1], splits[200, 1], splits[300, 2] = 7.0, 0.1, 1.5
    assert market.trades[[90, 200, 300], [1, 1, 2]].all()
    shares = np.cumprod(splits, axis=0)  # raw prices fall where a share is split
    events = Events(dividends=dividends / shares, splits=splits)
    market = dataclasses.replace(market, open=market.open / shares, close=market.close / shares, events=events)
    market = on_sessions(market, market.sessions)
    return market, pay_dates(market)


def test_zipline_mode_trades_as_zipline_does() -> None:
    market, pay = eventful()
    weights = random_weights(market, hold=10)
    mine = simulate(market, weights, COSTS, pay)
    theirs, _ = run_zipline(market, weights, COSTS, pay)
    apart = compare(mine, theirs)
    assert apart.unmatched == 0
    assert apart.trades > 500
    assert apart.equity < EQUAL


def test_a_split_cuts_to_whole_shares_and_settles_the_rest_in_cash() -> None:
    market = flat(10.0, bars=8)
    splits = np.ones((8, 1))
    splits[4] = 1.5
    events = Events(dividends=np.zeros((8, 1)), splits=splits)
    after = np.where(np.arange(8) >= 4, 10.0 / 1.5, 10.0)[:, None]
    split = dataclasses.replace(market, open=after, close=after, events=events)
    weights = np.full((8, 1), np.nan)
    weights[0] = 0.5
    told = simulate(split, weights, Costs(capital=1010.0))
    # 1010 / 2 at 10: 50 shares; after the split 75; nothing is left over. With 51 shares half a share is paid out.
    assert told.trades["amount"].tolist() == [50]
    np.testing.assert_allclose(told.equity, 1010.0)
    odd = simulate(split, weights, Costs(capital=1020.0))
    assert odd.trades["amount"].tolist() == [51]
    assert odd.equity[-1] == pytest.approx(1020.0, abs=0.01)


def test_a_dividend_is_earned_on_its_ex_date_and_paid_on_its_pay_date() -> None:
    market = flat(10.0, bars=8)
    dividends = np.zeros((8, 1))
    dividends[3] = 1.0
    given = dataclasses.replace(market, events=Events(dividends=dividends, splits=np.ones((8, 1))))
    weights = np.full((8, 1), np.nan)
    weights[0], weights[3] = -1.0, 0.0  # short before the ex-date, bought back after it
    told = simulate(given, weights, Costs(capital=1000.0), {(3, 0): 6})
    np.testing.assert_allclose(told.equity, [1000.0] * 6 + [900.0] * 2)
    never = simulate(given, weights, Costs(capital=1000.0), {(3, 0): 99})
    np.testing.assert_allclose(never.equity, 1000.0)


def test_an_order_waits_where_there_is_no_bar() -> None:
    market = flat(10.0, bars=6)
    opens, close = market.open.copy(), market.close.copy()
    opens[1:3], close[1:3] = np.nan, np.nan
    weights = np.full((6, 1), 1.0)
    told = simulate(dataclasses.replace(market, open=opens, close=close), weights, Costs(capital=1000.0))
    assert told.trades["bar"].tolist() == [3]


def test_shares_are_whole_and_the_rest_stays_in_cash() -> None:
    market = made(bars=200, symbols=3, gaps=0.1)
    told = simulate(market, random_weights(market), COSTS)
    assert told.trades["amount"].map(lambda amount: amount == int(amount)).all()
    assert (told.trades["amount"] != 0).all()


def test_more_capital_brings_whole_shares_near_to_shares_of_capital() -> None:
    """Without costs, the zipline mode approaches the economic one as a share becomes small."""
    market = made(bars=250, symbols=2)
    weights = random_weights(market)
    economic = np.cumprod(run(ground(market), weights).growth())
    apart = [
        np.abs(simulate(market, weights, Costs(capital=capital)).equity[1:] / capital / economic - 1.0).max()
        for capital in (1e4, 1e6, 1e8)
    ]
    # Orders are sized at the close and filled at the open, so a difference remains.
    assert apart[0] > apart[1] > 0
    assert apart[2] < 0.02


def test_intraday_bars_are_refused() -> None:
    market = made(bars=10)
    doubled = dataclasses.replace(market, sessions=np.repeat(market.sessions[:5], 2))
    with pytest.raises(ValueError, match="daily bars only"):
        on_sessions(doubled, market.sessions)


def test_where_opens_are_not_true_fills_are_at_the_next_close() -> None:
    market = made(bars=20, symbols=1)
    weights = np.full((20, 1), np.nan)
    weights[3] = 1.0
    told = simulate(on_sessions(market, market.sessions, "close"), weights, Costs(capital=1e6))
    assert told.trades["bar"].tolist() == [4]
    assert told.trades["price"].tolist() == [pytest.approx(market.close[4, 0], abs=5e-4)]


def test_a_child_that_fails_says_why(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match=r"nothing_there ended with 1: .*No module named tasks.backtest.nothing_there"
    ):
        run_child("tasks.backtest.nothing_there", tmp_path, 60)


def test_zipline_is_ended_when_it_takes_too_long() -> None:
    market = made(bars=10, symbols=1)
    with pytest.raises(EngineError, match="zipline_child took longer than 0 s and was ended"):
        run_zipline(market, np.ones((10, 1)), COSTS, seconds=0.3)


def test_only_the_children_import_zipline_and_quantstats() -> None:
    folder = Path(market_module.__file__).parent
    heavy = {
        path.stem
        for path in folder.glob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in imported(node)
        if name.partition(".")[0] in ("zipline", "quantstats_lumi", "yfinance") or name.endswith("_child")
    }
    assert heavy == {"zipline_child", "tear_sheet_child"}


def imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [node.module or ""]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


@pytest.mark.slow
@pytest.mark.needs_data
@pytest.mark.parametrize(
    ("symbol", "since", "splits", "dividends"), [("aapl", "1998-01-02", 4, 35), ("spy", "2010-01-04", 0, 45)]
)
def test_zipline_mode_on_raw_prices_with_splits_and_dividends(
    market_data: Path, symbol: str, since: str, splits: int, dividends: int
) -> None:
    """Raw prices until March 2021. The economic mode differs by pay dates, whole shares and sizing at the close."""
    market = on_sessions(raw(market_data / "lean_us_equity", symbol), exchange_sessions(since, "2021-03-31"))
    assert market.trades.all()
    assert market.events is not None
    assert int((market.events.splits != 1).sum()) == splits
    assert int((market.events.dividends != 0).sum()) == dividends
    pay = pay_dates(market)
    weights = random_weights(market, hold=10)
    mine = simulate(market, weights, COSTS, pay)
    theirs, _ = run_zipline(market, weights, COSTS, pay)
    apart = compare(mine, theirs)
    assert (apart.unmatched, len(mine.trades)) == (0, len(theirs.trades))
    assert apart.equity < EQUAL
    economic = np.cumprod(run(ground(market, COSTS), weights).growth())
    difference = yearly(economic) - yearly(mine.equity[1:] / COSTS.capital)
    told = f"{len(mine.trades)} trades in {len(market.times)} sessions, equity within {apart.equity:.1e}"
    print(f"{symbol}: {told}; economic mode {difference:+.2%} a year")
    assert 0 < abs(difference) < 0.02


def yearly(equity: npt.NDArray[np.floating[Any]]) -> float:
    return float(equity[-1] ** (252 / len(equity)) - 1.0)


def flat(price: float, bars: int) -> Market:
    """One name at a constant price."""
    market = made(bars=bars, symbols=1)
    return dataclasses.replace(market, open=np.full((bars, 1), price), close=np.full((bars, 1), price))
