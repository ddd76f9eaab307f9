"""Panels as large as asked for, resampled from real bars: what a machine needs depends on rows, not on their truth.

Daily: blocks of 21 sessions drawn from the 505 shares of 2013 to 2018, the same sessions for all symbols, so that they
move together as they did; minutes: whole sessions drawn from 18 real ones (BAC, IBM and SPY in October 2013). Every bar
is a real one's shape, relative to the close before it. Returns are made to have no drift, so that prices stay prices.
"""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.sessions import load_sessions

LAST = "2018-12-31"
YEAR = 252
BLOCK = 21
MINUTES = 390
OPENED_MS, MINUTE_MS = 34_200_000, 60_000
SHAPE = ("open", "high", "low", "close")
Floats = npt.NDArray[np.float64]


def data() -> Path:
    """Where the real bars lie."""
    return Path(os.environ.get("NOCTURNE_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


def daily(path: Path, symbols: int, years: float, seed: int = 1) -> int:
    """Write daily bars of so many symbols and years of 252 sessions as Parquet; returns the rows."""
    shapes, volumes = _shares()
    rng = np.random.default_rng(seed)
    sessions = _sessions(round(years * YEAR))
    starts = rng.integers(0, len(shapes) - BLOCK, -(-len(sessions) // BLOCK))
    order = (starts[:, None] + np.arange(BLOCK)).ravel()[: len(sessions)]
    parts = []
    for symbol in range(symbols):
        real, turn = symbol % shapes.shape[1], symbol // shapes.shape[1]
        rows = (order + 500 * turn) % len(shapes)  # a share that is used twice lives through other sessions
        parts.append(_frame(f"S{symbol:04}", sessions["session"], shapes[rows, real], volumes[rows, real]))
    pd.concat(parts, ignore_index=True).rename(columns={"time": "date"}).to_parquet(path, index=False)
    return symbols * len(sessions)


def minutes(path: Path, symbols: int, years: float, seed: int = 1) -> int:
    """Write one-minute bars of so many symbols and years, stamped with their end in UTC; returns the rows."""
    shapes, volumes, gaps = _minute_sessions()
    rng = np.random.default_rng(seed)
    sessions = _sessions(round(years * YEAR))
    stamps = sessions["open"].to_numpy()[:, None] + (np.arange(MINUTES) + 1) * np.timedelta64(1, "m")
    inside = stamps <= sessions["close"].to_numpy()[:, None]
    parts = []
    for symbol in range(symbols):
        drawn = rng.integers(0, len(shapes), len(sessions))
        shape = shapes[drawn].copy()
        shape[:, 0] += rng.choice(gaps, len(sessions))[:, None]
        times = pd.DatetimeIndex(stamps[inside]).tz_localize("UTC")
        parts.append(_frame(f"M{symbol:03}", times, shape[inside], volumes[drawn][inside]))
    frame = pd.concat(parts, ignore_index=True)
    frame.to_parquet(path, index=False)
    return len(frame)


def _frame(symbol: str, times: pd.Series | pd.DatetimeIndex, shape: Floats, volume: Floats) -> pd.DataFrame:
    """Bars from shapes (n, 4): logs of open, high, low, close over the close before."""
    step = shape - shape[:, 3].mean()
    before = np.concatenate([[0.0], np.cumsum(step[:, 3])[:-1]])
    prices = 100.0 * np.exp(before[:, None] + step)
    bars = {name: prices[:, place] for place, name in enumerate(SHAPE)}
    return pd.DataFrame({"symbol": symbol, "time": np.asarray(times), **bars, "volume": volume})


def _shares() -> tuple[Floats, Floats]:
    """Shapes (sessions, shares, 4) and volumes (sessions, shares) of the shares with a bar on every session."""
    frame = pd.read_parquet(data() / "sp500_5yr" / "all_stocks_5yr.parquet").dropna()
    wide = {name: frame.pivot_table(index="date", columns="symbol", values=name) for name in (*SHAPE, "volume")}
    whole = wide["close"].columns[wide["close"].notna().all()]
    logs = {name: np.log(wide[name][whole].to_numpy(np.float64)) for name in SHAPE}
    return _relative(logs, logs["close"][:-1])[:, :, :], wide["volume"][whole].to_numpy(np.float64)[1:]


def _relative(logs: dict[str, Floats], before: Floats) -> Floats:
    """Shapes of all bars but the first, their highs and lows made to hold open and close."""
    opens, high, low, close = (logs[name][1:] - before for name in SHAPE)
    high, low = np.maximum.reduce([opens, high, close]), np.minimum.reduce([opens, low, close])
    return np.stack([opens, high, low, close], axis=-1)


def _minute_sessions() -> tuple[Floats, Floats, Floats]:
    """Shapes (sessions, 390, 4) relative to the session's open at first, volumes (sessions, 390), overnight gaps."""
    shapes, volumes, gaps = [], [], []
    for folder in sorted((data() / "lean_us_equity" / "minute").iterdir()):
        last = np.nan
        for path in sorted(folder.glob("*_trade.zip")):
            bars = _session_of(path)
            logs = {name: np.log(bars[name].to_numpy(np.float64)) for name in SHAPE}
            first = logs["open"][:1]
            padded = {name: np.concatenate([first, values]) for name, values in logs.items()}
            shapes.append(_relative(padded, padded["close"][:-1]))
            volumes.append(bars["volume"].to_numpy(np.float64))
            gaps.append(float(first[0] - last))
            last = float(logs["close"][-1])
    return np.stack(shapes), np.stack(volumes), np.array([gap for gap in gaps if np.isfinite(gap)])


def _session_of(path: Path) -> pd.DataFrame:
    """The 390 minutes of a session; one without a trade stands still."""
    with zipfile.ZipFile(path) as archive:
        text = archive.read(archive.namelist()[0])
    names = ["ms", *SHAPE, "volume"]
    frame = pd.read_csv(io.BytesIO(text), header=None, names=names).set_index("ms")
    frame = frame.reindex(range(OPENED_MS, OPENED_MS + MINUTES * MINUTE_MS, MINUTE_MS))
    close = frame["close"].ffill().bfill()
    filled = {name: frame[name].fillna(close) for name in SHAPE}
    return pd.DataFrame({**filled, "volume": frame["volume"].fillna(0.0)})


def _sessions(count: int) -> pd.DataFrame:
    """The last so many sessions of New York up to LAST: label, open, close (UTC, naive)."""
    first = pd.Timestamp(LAST) - pd.Timedelta(days=round(count * 1.46) + 10)
    found = load_sessions("XNYS", first.to_datetime64(), pd.Timestamp(LAST).to_datetime64())
    known = pd.DataFrame({"session": found.labels, "open": found.opens, "close": found.closes})
    return known[known["session"] <= LAST].tail(count).reset_index(drop=True)
