"""Real histories of several symbols to plant defects in: stretches of the two indices that lie decades apart."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pandas as pd

from tasks.bars.defects.history import History, history
from tasks.bars.describe import SourceDescription
from tasks.bars.sessions import load_sessions
from tests.bars.files import check

DAILY = SourceDescription(source="panel")


@functools.lru_cache(maxsize=4)
def real_bars(source: str = "builtin:nasdaq") -> pd.DataFrame:
    """All canonical bars of a built-in index."""
    return check(source).frame


def real_panel(symbols: int = 6, bars: int = 750) -> pd.DataFrame:
    """Canonical bars of so many symbols at the same sessions, each a stretch of its own of a real history.

    NASDAQ's stretches follow one another, so that no two of them share a bar.
    """
    whole = real_bars()
    sessions = whole[["time", "session"]].tail(bars)
    parts = []
    for at in range(symbols):
        part = whole.iloc[at * bars : (at + 1) * bars].drop(columns=["time", "session"]).reset_index(drop=True)
        parts.append(part.assign(symbol=f"S{at}", time=sessions["time"].array, session=sessions["session"].array))
    columns = ["symbol", "time", "session", "open", "high", "low", "close", "volume"]
    return pd.concat(parts, ignore_index=True)[columns]


def history_of(frame: pd.DataFrame, description: SourceDescription = DAILY, has_volume: bool = True) -> History:
    """A frame of canonical bars as the checks look at it."""
    # The same years for every frame: a calendar is built once.
    sessions = load_sessions(description.calendar, np.datetime64("1999-01-01"), np.datetime64("2019-12-31"))
    return history(frame.reset_index(drop=True), sessions, description, has_volume)


def rows_of(frame: pd.DataFrame, symbol: str) -> pd.Index[int]:
    """Labels of a symbol's rows; in a canonical frame their positions too."""
    return frame.index[frame["symbol"] == symbol]


def multiply(frame: pd.DataFrame, rows: Any, columns: str | list[str], factor: float) -> None:
    """Multiply some cells in place."""
    frame.loc[rows, columns] = np.asarray(frame.loc[rows, columns], dtype=np.float64) * factor
