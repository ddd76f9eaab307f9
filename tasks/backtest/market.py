"""Bars as date-by-symbol arrays, and what a position earns before and after the moment of a fill.

```
close u-1 ───── before[u] ───── fill at u ── after[u] ── close u
```

Filled at the open: ``before`` is the overnight return with dividends and splits, ``after`` the session's. Filled at the
close: ``before`` is the whole return and ``after`` nil. Nothing is read or written here.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.errors import DataError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Fill = Literal["open", "close"]

DELISTING_RETURN = -0.30
"""What a long position loses when a name's bars end before the market's (Shumway 1997, Journal of Finance 52: -30 %
for delistings for cause). The cause is not known here, so a short position is not credited with it."""

EVENTS = ("symbol", "session", "dividend", "split")
MEMORY = 21
"""Bars over which past volatility and traded value are averaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Events:
    """Corporate actions aligned with a market, (bars, symbols): on its first bar without it, a dividend in currency a
    share *after* any split of that bar, and how many new shares one old share became (1 where there was no split)."""

    dividends: FloatArray
    splits: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """Prices by bar and symbol. NaN where a symbol has no bar; ``volume`` is nil where it is not known.

    ``ended`` marks, for a symbol whose bars end before the market's for no known reason, the bar after its last one.
    """

    times: npt.NDArray[np.datetime64]
    sessions: npt.NDArray[np.datetime64]
    symbols: tuple[str, ...]
    open: FloatArray
    close: FloatArray
    volume: FloatArray
    ended: BoolArray
    events: Events | None = None
    periods: int = 252
    bars_per_session: int = 1

    @property
    def trades(self) -> BoolArray:
        """Where a symbol has a bar and so can be traded, (bars, symbols)."""
        return np.isfinite(self.close)

    def between(self, first: int, last: int) -> Market:
        """The bars first..last (both included)."""
        cut = slice(first, last + 1)
        events = self.events and Events(dividends=self.events.dividends[cut], splits=self.events.splits[cut])
        return Market(
            times=self.times[cut], sessions=self.sessions[cut], symbols=self.symbols, open=self.open[cut],
            close=self.close[cut], volume=self.volume[cut], ended=self.ended[cut], events=events, periods=self.periods,
            bars_per_session=self.bars_per_session,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Legs:
    """Simple returns of each symbol before and after the fill in each bar, nil where there is no bar, (bars, symbols).

    ``short_before`` is what a short position has against it: the same, but for delistings.
    """

    before: FloatArray
    after: FloatArray
    short_before: FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Liquidity:
    """Known at a bar's close, (bars, symbols): daily volatility of log returns; value traded a session (currency)."""

    volatility: FloatArray
    value: FloatArray = field(repr=False)


def market_of(
    bars: pd.DataFrame, calendar: str = "XNYS", quarantined: tuple[str, ...] = (), events: pd.DataFrame | None = None
) -> Market:
    """Arrays from a canonical bars frame (sorted by symbol and time).

    ``events``: columns ``symbol, session, dividend, split`` as in ``Events``, at most one row a symbol and session; the
    event counts on the session's first bar. ``quarantined`` symbols end without a delisting return. Raises DataError if
    an event names a symbol or a session without bars.
    """
    stamps = bars["time"].to_numpy(dtype="datetime64[ns]")
    times, row = np.unique(stamps, return_inverse=True)
    column, labels = pd.factorize(bars["symbol"], sort=True)
    shape = (len(times), len(labels))
    prices = {name: _grid(shape, row, column, bars[name].to_numpy(float)) for name in ("open", "close", "volume")}
    sessions = np.empty(len(times), dtype="datetime64[ns]")
    sessions[row] = bars["session"].to_numpy(dtype="datetime64[ns]")
    symbols = tuple(str(name) for name in labels)
    bars_per_session = max(1, round(len(times) / len(np.unique(sessions))))
    return Market(
        times=times,
        sessions=sessions,
        symbols=symbols,
        open=prices["open"],
        close=prices["close"],
        volume=np.nan_to_num(prices["volume"]),
        ended=_ended(np.isfinite(prices["close"]), np.isin(symbols, quarantined)),
        events=None if events is None else _events(events, sessions, symbols),
        periods=sessions_a_year(calendar),
        bars_per_session=bars_per_session,
    )


def sessions_a_year(calendar: str) -> int:
    """By which figures are brought to a year: 252, but for calendars that trade on more days."""
    return {"24/7": 365, "24/5": 260}.get(calendar, 252)


def legs(market: Market, fill: Fill, delisting: float = DELISTING_RETURN) -> Legs:
    """What a unit of each symbol earns before and after the fill in each bar; the first bar earns nothing."""
    close = filled_forward(market.close)
    previous = np.vstack([np.full((1, close.shape[1]), np.nan), close[:-1]])
    opens = np.where(market.trades, market.open, previous) if fill == "open" else close
    splits, dividends = (1.0, 0.0) if market.events is None else (market.events.splits, market.events.dividends)
    before = np.nan_to_num((opens * splits + dividends) / previous - 1.0)
    gone = np.where(market.ended, delisting, 0.0)
    after = np.nan_to_num(close / opens - 1.0)
    after[0] = 0.0
    return Legs(before=before + gone, after=after, short_before=before + np.maximum(gone, 0.0))


def liquidity(market: Market) -> Liquidity:
    """Volatility and traded value over the last ``MEMORY`` bars up to and including each bar.

    Volatility is the root mean square of the log returns there are, brought to a day; NaN before the first return.
    """
    close = filled_forward(market.close)
    splits, dividends = (1.0, 0.0) if market.events is None else (market.events.splits, market.events.dividends)
    returns = np.full(close.shape, np.nan)
    returns[1:] = np.log((close * splits + dividends)[1:] / close[:-1])
    returns[~market.trades] = np.nan
    squares = _past_mean(returns**2) * market.bars_per_session
    value = _past_mean(np.where(market.trades, market.volume * market.close, np.nan)) * market.bars_per_session
    return Liquidity(volatility=np.sqrt(squares), value=np.nan_to_num(value))


def filled_forward(values: FloatArray) -> FloatArray:
    """The last finite value of each column up to each row; NaN before the first."""
    place = np.where(np.isfinite(values), np.arange(len(values))[:, None], 0)
    np.maximum.accumulate(place, axis=0, out=place)
    return np.asarray(np.take_along_axis(values, place, axis=0))


def _past_mean(values: FloatArray) -> FloatArray:
    """Mean of the finite values among the last ``MEMORY`` rows; NaN where there are none."""
    known = np.isfinite(values)
    total, count = np.zeros(values.shape), np.zeros(values.shape)
    # A sum of shifted slices forgets what lies outside the window exactly, which differences of a running sum do not.
    clean = np.where(known, values, 0.0)
    for back in range(min(MEMORY, len(values))):
        total[back:] += clean[: len(values) - back]
        count[back:] += known[: len(values) - back]
    return np.asarray(np.divide(total, count, out=np.full(values.shape, np.nan), where=count > 0))


def _grid(
    shape: tuple[int, int], row: npt.NDArray[np.intp], column: npt.NDArray[np.intp], values: FloatArray
) -> FloatArray:
    grid = np.full(shape, np.nan)
    grid[row, column] = values
    return grid


def _ended(trades: BoolArray, excused: BoolArray) -> BoolArray:
    last = len(trades) - 1 - np.argmax(trades[::-1], axis=0)
    ended = np.zeros(trades.shape, dtype=bool)
    early = np.flatnonzero((last < len(trades) - 1) & ~excused)
    ended[last[early] + 1, early] = True
    return ended


def _events(frame: pd.DataFrame, sessions: npt.NDArray[np.datetime64], symbols: tuple[str, ...]) -> Events:
    dividends, splits = np.zeros((len(sessions), len(symbols))), np.ones((len(sessions), len(symbols)))
    first: dict[np.datetime64, int] = {stamp: place for place, stamp in reversed(list(enumerate(sessions)))}
    column = {symbol: place for place, symbol in enumerate(symbols)}
    for symbol, session, dividend, split in zip(*(frame[name] for name in EVENTS), strict=True):
        row, place = first.get(pd.Timestamp(session).to_datetime64()), column.get(symbol)
        if row is None or place is None:
            raise DataError(f"{symbol}: an event on {session}, where there is no bar: leave it out, or move it")
        dividends[row, place], splits[row, place] = dividend, split
    return Events(dividends=dividends, splits=splits)
