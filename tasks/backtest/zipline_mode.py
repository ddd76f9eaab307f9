"""Zipline's bookkeeping without Zipline: whole shares, cash, pay dates, splits, for the same trades to rounding.

Zipline 3.2 in daily mode, as read from its code and checked against it; in each session, in this order:

1. Dividends with this ex-date are earned on the shares held (owed by shorts); those with this pay-date move cash.
2. Splits: shares and waiting orders are divided by the ratio and cut to whole ones; the fraction of a share is settled
   in cash at the rounded cost basis.
3. Waiting orders fill in whole at the open, half the spread worse; commission on the value traded.
4. At the close the portfolio is valued, and each name with a bar and without a waiting order is ordered to its target
   weight: (value · weight / close - shares), cut towards zero unless within 1e-4 of a whole number.

Prices are those of Zipline's daily store, rounded to a thousandth. There is no impact, borrow or delisting return here:
the difference from the economic mode shows what those, whole shares and pay dates are worth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import mul

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.backtest.costs import BASIS_POINT, Costs
from tasks.backtest.market import BoolArray, Events, Fill, FloatArray, Market, filled_forward

Place = tuple[int, int]
"""Bar and column of an event."""

NEAR = 1e-4


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """``equity``: value at each close, (bars,), currency. ``trades``: ``bar, symbol, amount, price`` in order."""

    equity: FloatArray
    trades: pd.DataFrame


@dataclass(slots=True)
class Book:
    """One portfolio while it is simulated; lists are by column."""

    cash: float
    shares: list[float]
    waiting: list[int]
    basis: list[float]
    owed: dict[int, float] = field(default_factory=dict)
    trades: list[tuple[int, int, int, float]] = field(default_factory=list)


def on_sessions(market: Market, sessions: npt.NDArray[np.datetime64], fill: Fill = "open") -> Market:
    """The market on a calendar's sessions, one bar each, prices rounded as Zipline stores them.

    Sessions without a bar are NaN, bars outside the sessions left out. Where fills are at the close, the close stands
    for the open. Raises ValueError for intraday bars.
    """
    if market.bars_per_session != 1 or len(np.unique(market.sessions)) != len(market.sessions):
        raise ValueError("Zipline is run on daily bars only")
    place = pd.Index(market.sessions).get_indexer(pd.Index(sessions))
    there = (place >= 0)[:, None]
    return Market(
        times=sessions,
        sessions=sessions,
        symbols=market.symbols,
        open=_stored(there, (market.open if fill == "open" else market.close)[place]),
        close=_stored(there, market.close[place]),
        volume=np.where(there, market.volume[place], 0.0),
        ended=there & market.ended[place],
        events=market.events
        and Events(
            dividends=np.where(there, market.events.dividends[place], 0.0),
            splits=np.where(there, market.events.splits[place], 1.0),
        ),
        periods=market.periods,
    )


def _stored(there: BoolArray, prices: FloatArray) -> FloatArray:
    return np.where(there, np.round(prices * 1000.0) * 0.001, np.nan)


def orders(market: Market, weights: FloatArray) -> FloatArray:
    """Target weights where a name may be ordered, NaN where it has no bar, (bars, symbols)."""
    return np.where(market.trades, weights, np.nan)


def simulate(market: Market, weights: FloatArray, costs: Costs, pay: Mapping[Place, int] | None = None) -> Outcome:
    """Trade the target weights (bars, symbols; NaN: no order) with whole shares, starting with ``costs.capital``.

    ``pay``: the bar on which the dividend of a bar and column is paid, its own if not given; one past the last bar is
    never paid. Only commission and spread of ``costs`` are charged.
    """
    n = len(market.symbols)
    book = Book(cash=costs.capital, shares=[0.0] * n, waiting=[0] * n, basis=[0.0] * n)
    happens, ended = _events(market), _by_bar(market.ended)
    opens, closes = np.nan_to_num(market.open).tolist(), np.nan_to_num(filled_forward(market.close)).tolist()
    targets = orders(market, weights).tolist()
    commission, half = costs.commission * BASIS_POINT, costs.spread / 2.0 * BASIS_POINT
    equity = [0.0] * len(market.times)
    # Single numbers in lists: a loop over them is several times faster than over rows of arrays.
    for bar, asked in enumerate(targets):
        if bar in happens or bar in book.owed:
            _settle(book, bar, happens.get(bar, ()), pay or {})
        if any(book.waiting):
            _fill(book, bar, opens[bar], commission, half)
        equity[bar] = _order(book, closes[bar], asked)
        for column in ended.get(bar, ()):
            _close(book, bar, column, closes[bar][column])
    frame = pd.DataFrame(book.trades, columns=["bar", "symbol", "amount", "price"])
    frame["symbol"] = np.array(market.symbols, dtype=object)[frame["symbol"].to_numpy(dtype=np.intp)]
    return Outcome(equity=np.array(equity), trades=frame)


def _by_bar(marks: BoolArray) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for bar, column in np.argwhere(marks).tolist():
        found.setdefault(bar, []).append(column)
    return found


def _events(market: Market) -> dict[int, list[tuple[int, float, float]]]:
    """By bar: column, dividend an old share, new shares for an old one."""
    if market.events is None:
        return {}
    dividends, splits = market.events.dividends, market.events.splits
    happens: dict[int, list[tuple[int, float, float]]] = {}
    for bar, column in np.argwhere((dividends != 0) | (splits != 1)).tolist():
        split = float(splits[bar, column])
        happens.setdefault(bar, []).append((column, float(dividends[bar, column]) * split, split))
    return happens


def _settle(book: Book, bar: int, events: Sequence[tuple[int, float, float]], pay: Mapping[Place, int]) -> None:
    for column, dividend, _ in events:
        if dividend and book.shares[column]:
            due = pay.get((bar, column), bar)
            book.owed[due] = book.owed.get(due, 0.0) + book.shares[column] * dividend
    book.cash += book.owed.pop(bar, 0.0)
    for column, _, split in events:
        if split != 1.0:
            _split(book, column, 1.0 / split)


def _split(book: Book, column: int, ratio: float) -> None:
    book.waiting[column] = int(book.waiting[column] / ratio)
    raw = book.shares[column] / ratio
    whole = float(int(raw))
    book.basis[column] = round(book.basis[column] * ratio, 2)
    book.cash += round((raw - whole) * book.basis[column], 2)
    book.shares[column] = whole


def _fill(book: Book, bar: int, opens: list[float], commission: float, half: float) -> None:
    for column, amount in enumerate(book.waiting):
        if amount and opens[column] > 0:  # no bar, no fill: the order waits
            price = opens[column] * (1.0 + half if amount > 0 else 1.0 - half)
            _trade(book, bar, column, price, commission)


def _trade(book: Book, bar: int, column: int, price: float, commission: float) -> None:
    amount, held = book.waiting[column], book.shares[column]
    total = held + amount
    cost = abs(amount) * (price * commission)
    if (held < 0) != (amount < 0):
        basis = price if abs(amount) > abs(held) else book.basis[column]
    else:
        basis = (book.basis[column] * held + amount * price) / total
    book.cash -= price * amount + cost
    book.basis[column] = (basis * total + cost) / total if total else 0.0
    book.shares[column] = total
    book.waiting[column] = 0
    book.trades.append((bar, column, amount, price))


def _order(book: Book, closes: list[float], targets: list[float]) -> float:
    """Value the portfolio at the close and order what is missing; the value."""
    shares, waiting = book.shares, book.waiting
    value = book.cash + float(sum(map(mul, shares, closes)))
    for column, target in enumerate(targets):
        if target == target and not waiting[column]:  # noqa: PLR0124 - NaN: no order
            amount = value * target / closes[column] - shares[column]
            whole = round(amount)
            waiting[column] = whole if abs(amount - whole) <= NEAR else int(amount)
    return value


def _close(book: Book, bar: int, column: int, price: float) -> None:
    if book.shares[column]:
        book.trades.append((bar, column, -int(book.shares[column]), price))
        book.cash += book.shares[column] * price
    book.shares[column], book.waiting[column] = 0.0, 0
