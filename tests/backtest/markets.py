"""Markets for the backtest's tests: made ones with gaps and endings, the built-in bars, and raw files with events."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import exchange_calendars as xc
import numpy as np
import numpy.typing as npt
import pandas as pd
from arch.data import nasdaq, sp500

from tasks.backtest.costs import Costs
from tasks.backtest.evaluator import Ground
from tasks.backtest.market import Fill, FloatArray, Market, legs, liquidity, market_of

PRICES = ("open", "high", "low", "close")


def made(bars: int = 120, symbols: int = 3, seed: int = 0, gaps: float = 0.0) -> Market:
    """Random walks with true opens; ``gaps`` is the share of missing bars (never the first two)."""
    rng = np.random.default_rng(seed)
    close = 50.0 * np.exp(np.cumsum(rng.normal(3e-4, 0.015, (bars, symbols)), axis=0))
    opens = np.vstack([close[:1], close[:-1]]) * np.exp(rng.normal(0.0, 0.005, (bars, symbols)))
    missing = rng.random((bars, symbols)) < gaps
    missing[:2] = False
    sessions = pd.bdate_range("2014-01-02", periods=bars).to_numpy(dtype="datetime64[ns]")
    return Market(
        times=sessions,
        sessions=sessions,
        symbols=tuple(f"S{place:03d}" for place in range(symbols)),
        open=np.where(missing, np.nan, opens),
        close=np.where(missing, np.nan, close),
        volume=rng.uniform(1e5, 1e6, (bars, symbols)),
        ended=np.zeros((bars, symbols), dtype=bool),
    )


def ground(market: Market, costs: Costs | None = None, fill: Fill = "open", cash: float = 0.0) -> Ground:
    """The market ready for the evaluator."""
    return Ground(market=market, earned=legs(market, fill), known=liquidity(market), costs=costs or Costs(), cash=cash)


def random_weights(market: Market, seed: int = 1, hold: int = 5) -> FloatArray:
    """Weights that change every few bars, some nil, gross exposure at most one."""
    rng = np.random.default_rng(seed)
    drawn = rng.choice([-1.0, -0.5, 0.0, 0.5, 1.0], (len(market.times) // hold + 1, len(market.symbols)))
    return np.asarray(np.repeat(drawn, hold, axis=0)[: len(market.times)] / len(market.symbols))


def canonical(frame: pd.DataFrame, symbol: str) -> pd.DataFrame:
    """Canonical bars from a frame of prices and volume indexed by date; the close of each session is at 21:00 UTC."""
    sessions = pd.DatetimeIndex(frame.index).as_unit("ns")
    values = {name: frame[name].to_numpy(float) for name in (*PRICES, "volume")}
    times = sessions.tz_localize("UTC") + pd.Timedelta(hours=21)
    return pd.DataFrame({"symbol": symbol, "time": times, "session": sessions, **values})


def built_in() -> pd.DataFrame:
    """S&P 500 and NASDAQ composite from the arch package, daily 1999 to 2018."""
    parts = [(sp500.load(), "^GSPC"), (nasdaq.load(), "^IXIC")]
    frames = [canonical(frame.rename(columns=str.lower), symbol) for frame, symbol in parts]
    return pd.concat(frames, ignore_index=True)


def raw(folder: Path, symbol: str) -> Market:
    """Raw daily bars, with splits and dividends from a factor file: a row holds until its date, the next session is
    the ex-date."""
    with zipfile.ZipFile(folder / "daily" / f"{symbol}.zip") as archive:
        text = archive.read(archive.namelist()[0])
    frame = pd.read_csv(io.BytesIO(text), header=None, names=["time", *PRICES, "volume"])
    frame.index = pd.to_datetime(frame["time"], format="%Y%m%d %H:%M")
    frame[list(PRICES)] /= 10_000.0
    bars = canonical(frame, symbol.upper())
    return market_of(bars, events=_events(folder / "factor_files" / f"{symbol}.csv", bars))


def pay_dates(market: Market) -> dict[tuple[int, int], int]:
    """The bar on which each dividend is paid: the first 30 days after its ex-date (real ones are some weeks later)."""
    if market.events is None:
        return {}
    due = np.searchsorted(market.sessions, market.sessions + np.timedelta64(30, "D"))
    return {(bar, column): int(due[bar]) for bar, column in np.argwhere(market.events.dividends != 0).tolist()}


def exchange_sessions(first: str, last: str) -> npt.NDArray[np.datetime64]:
    """Sessions of the New York Stock Exchange."""
    found = xc.get_calendar("XNYS", start="1990-01-02").sessions_in_range(first, last)
    return np.asarray(found.to_numpy(dtype="datetime64[ns]"))


def _events(path: Path, bars: pd.DataFrame) -> pd.DataFrame:
    factors = pd.read_csv(path, header=None, names=["date", "price", "split", "reference"])
    dates = pd.to_datetime(factors["date"], format="%Y%m%d").to_numpy(dtype="datetime64[ns]")
    sessions, close = bars["session"].to_numpy(dtype="datetime64[ns]"), bars["close"].to_numpy(float)
    rows = []
    for place in range(len(factors) - 1):
        after = int(np.searchsorted(sessions, dates[place], side="right"))
        if not 0 < after < len(sessions):
            continue
        split = round(factors["split"][place + 1] / factors["split"][place], 4)
        dividend = round(close[after - 1] * (1.0 - factors["price"][place] / factors["price"][place + 1]), 4)
        if split != 1.0 or dividend != 0.0:
            rows.append((bars["symbol"][0], sessions[after], dividend / split, split))
    return pd.DataFrame(rows, columns=["symbol", "session", "dividend", "split"])
