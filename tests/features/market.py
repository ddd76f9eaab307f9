"""Bars to test features on: real ones, and made ones that have what real ones have."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from arch.data import nasdaq, sp500

Bars = dict[str, Any]
TICK = 0.01
PRICES = ("open", "high", "low", "close")


def from_frame(frame: pd.DataFrame, sessions: Any) -> Bars:
    """Bars of one symbol as ``matrix.compute`` takes them."""
    bars: Bars = {name: frame[name].to_numpy(dtype=np.float64) for name in (*PRICES, "volume")}
    return {**bars, "session": np.asarray(sessions, dtype="datetime64[D]")}


def index_bars(name: str) -> Bars:
    """The S&P 500 or the NASDAQ composite, 1999 to 2018."""
    frame = (sp500 if name == "sp500" else nasdaq).load().rename(columns=str.lower)
    return from_frame(frame, frame.index.to_numpy())


def lean_bars(folder: Path, symbol: str) -> Bars:
    """Raw, unadjusted daily bars of a US stock or fund, splits and all."""
    with zipfile.ZipFile(folder / "lean_us_equity" / "daily" / f"{symbol}.zip") as archive:
        frame = pd.read_csv(archive.open(archive.namelist()[0]), header=None, names=["time", *PRICES, "volume"])
    frame[list(PRICES)] /= 10_000.0
    return from_frame(frame, pd.to_datetime(frame["time"].str[:8]).to_numpy())


def panel_bars(folder: Path) -> pd.DataFrame:
    """505 stocks as canonical bars, rows with missing values left out."""
    frame = pd.read_parquet(folder / "sp500_5yr" / "all_stocks_5yr.parquet").dropna()
    frame = frame.rename(columns={"date": "session"}).astype({"volume": float})
    return frame.sort_values(["symbol", "session"]).reset_index(drop=True)


def cut(bars: Bars, first: int, last: int | None = None) -> Bars:
    """The bars from ``first`` to before ``last``."""
    return {name: values[first:last] for name, values in bars.items()}


def made_bars(seed: int, rows: int, *, volatility: float = 0.015, price: float = 50.0, calm: bool = False) -> Bars:
    """A random walk in ticks with clustered volatility, gaps, bars without a range, and (``calm``) stretches without
    trades: ten bars of one price and no volume."""
    rng = np.random.default_rng(seed)
    spread = volatility * np.exp(np.convolve(rng.normal(0.0, 0.4, rows), 0.9 ** np.arange(30))[:rows] / 2.0)
    close = price * np.exp(np.cumsum(rng.standard_t(5, rows) * spread * 0.7))
    opens = np.concatenate([[price], close[:-1]]) * np.exp(rng.normal(0.0, 1.0, rows) * spread * 0.3)
    reach = np.abs(rng.normal(0.0, 1.0, (2, rows))) * spread * 0.5
    bars = {
        "open": opens,
        "high": np.maximum(opens, close) * np.exp(reach[0]),
        "low": np.minimum(opens, close) * np.exp(-reach[1]),
        "close": close,
    }
    bars = {name: np.maximum(np.round(values / TICK), 1.0) * TICK for name, values in bars.items()}
    bars["volume"] = np.round(np.exp(rng.normal(13.0, 0.5, rows)))
    if calm:
        _still(bars, rng.integers(1, max(rows - 10, 2), 5))
    return {**bars, "session": np.busday_offset("2001-01-01", np.arange(rows), roll="forward")}


def _still(bars: Bars, starts: Any) -> None:
    for start in starts:
        for name in PRICES:
            bars[name][start : start + 10] = bars["close"][start - 1]
        bars["volume"][start : start + 10] = 0.0
