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

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.backtest.costs import BASIS_POINT, Costs
from tasks.backtest.market import Events, FloatArray, Market

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
    last: list[float]
    owed: dict[int, float] = field(default_factory=dict)
    trades: list[tuple[int, int, int, float]] = field(default_factory=list)


def on_sessions(market: Market, sessions: npt.NDArray[np.datetime64]) -> Market:
    """The market on a calendar's sessions, one bar each, prices rounded as Zipline stores them.

    Sessions without a bar are NaN, bars outside the sessions left out. Raises ValueError for intraday bars.
    """
    if market.bars_per_session != 1 or len(np.unique(market.sessions)) != len(market.sessions):
        raise ValueError("Zipline is run on daily bars only")
    place = pd.Index(market.sessions).get_indexer(pd.Index(sessions))
    there = (place >= 0)[:, None]
    return Market(
        times=sessions,
        sessions=sessions,
        symbols=market.symbols,
        open=np.where(there, np.round(market.open[place] * 1000.0) * 0.001, np.nan),
        close=np.where(there, np.round(market.close[place] * 1000.0) * 0.001, np.nan),
        volume=np.where(there, market.volume[place], 0.0),
        ended=there & market.ended[place],
        events=market.events
        and Events(
            dividends=np.where(there, market.events.dividends[place], 0.0),
            splits=np.where(there, market.events.splits[place], 1.0),
        ),
        periods=market.periods,
    )


def orders(market: Market, weights: FloatArray) -> FloatArray:
    """Target weights where a name may be ordered, NaN where it has no bar, (bars, symbols)."""
    return np.where(market.trades, weights, np.nan)


def simulate(market: Market, weights: FloatArray, costs: Costs, pay: Mapping[Place, int] | None = None) -> Outcome:
    """Trade the target weights (bars, symbols; NaN: no order) with whole shares, starting with ``costs.capital``.

    ``pay``: the bar on which the dividend of a bar and column is paid, its own if not given; one past the last bar is
    never paid. Only commission and spread of ``costs`` are charged.
    """
    n = len(market.symbols)
    book = Book(cash=costs.capital, shares=[0.0] * n, waiting=[0] * n, basis=[0.0] * n, last=[0.0] * n)
    happens, table = _events(market), _Table.of(market, weights)
    commission, half = costs.commission * BASIS_POINT, costs.spread / 2.0 * BASIS_POINT
    equity = [0.0] * len(market.times)
    for bar in range(len(market.times)):
        if bar in happens or bar in book.owed:
            _settle(book, bar, happens.get(bar, ()), pay or {})
        _fill(book, bar, table, commission, half)
        equity[bar] = _order(book, bar, table)
    frame = pd.DataFrame(book.trades, columns=["bar", "symbol", "amount", "price"])
    frame["symbol"] = np.array(market.symbols, dtype=object)[frame["symbol"].to_numpy(dtype=np.intp)]
    return Outcome(equity=np.array(equity), trades=frame)


@dataclass(frozen=True, slots=True)
class _Table:
    """Rows as lists, which a loop over single numbers reads several times faster than arrays."""

    opens: list[list[float]]
    closes: list[list[float]]
    targets: list[list[float]]
    ended: dict[int, list[int]]

    @classmethod
    def of(cls, market: Market, weights: FloatArray) -> _Table:
        bars, columns = np.nonzero(market.ended)
        ended: dict[int, list[int]] = {}
        for bar, column in zip(bars.tolist(), columns.tolist(), strict=True):
            ended.setdefault(bar, []).append(column)
        return cls(market.open.tolist(), market.close.tolist(), orders(market, weights).tolist(), ended)


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
    book.last[column] *= ratio


def _fill(book: Book, bar: int, table: _Table, commission: float, half: float) -> None:
    opens = table.opens[bar]
    for column, amount in enumerate(book.waiting):
        if amount:
            price = opens[column]
            if price == price:  # noqa: PLR0124 - no bar, no fill: the order waits
                _trade(book, bar, column, amount, price * (1.0 + half if amount > 0 else 1.0 - half), commission)


def _trade(book: Book, bar: int, column: int, amount: int, price: float, commission: float) -> None:  # noqa: PLR0917
    held = book.shares[column]
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


def _order(book: Book, bar: int, table: _Table) -> float:
    """Value the portfolio at the close and order what is missing; the value."""
    closes, targets, last = table.closes[bar], table.targets[bar], book.last
    value = book.cash
    for column, close in enumerate(closes):
        if close == close:  # noqa: PLR0124
            last[column] = close
        value += book.shares[column] * last[column]
    for column, target in enumerate(targets):
        if target == target and not book.waiting[column]:  # noqa: PLR0124
            amount = value * target / closes[column] - book.shares[column]
            whole = round(amount)
            book.waiting[column] = whole if abs(amount - whole) <= NEAR else int(amount)
    for column in table.ended.get(bar, ()):
        _close(book, bar, column)
    return value


def _close(book: Book, bar: int, column: int) -> None:
    if book.shares[column]:
        book.trades.append((bar, column, -int(book.shares[column]), book.last[column]))
        book.cash += book.shares[column] * book.last[column]
    book.shares[column], book.waiting[column] = 0.0, 0
