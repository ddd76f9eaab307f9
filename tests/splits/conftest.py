"""Panels of bars with labels, for windows: only times matter here."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

CALENDAR = pd.bdate_range("1970-01-01", "2030-01-01")


@dataclass(frozen=True)
class Panel:
    """Row-aligned times, sessions, label ends and usable flags of one or more symbols."""

    times: pd.DatetimeIndex
    sessions: pd.DatetimeIndex
    label_end: pd.DatetimeIndex
    usable: npt.NDArray[np.bool_]
    calendar: pd.DatetimeIndex


def panel(
    sessions: int, horizon: int = 1, symbols: int = 1, warm_up: int = 0, bars: int = 1, first: str = "2000-01-03"
) -> Panel:
    """``bars`` bars a session, every symbol with every bar; labels look ``horizon`` bars ahead."""
    days = pd.bdate_range(first, periods=sessions)
    session = days.repeat(bars)
    offset = pd.to_timedelta(np.tile(np.arange(bars), sessions), unit="h") + pd.Timedelta(hours=15)
    times = (session + offset).tz_localize("UTC")
    ends = pd.DatetimeIndex([*times[horizon:], *[pd.NaT] * min(horizon, len(times))]).tz_convert("UTC")
    return Panel(
        times=pd.DatetimeIndex(np.tile(times.to_numpy("datetime64[ns]"), symbols)).tz_localize("UTC"),
        sessions=pd.DatetimeIndex(np.tile(session.to_numpy(), symbols)),
        label_end=pd.DatetimeIndex(np.tile(ends.to_numpy("datetime64[ns]"), symbols)).tz_localize("UTC"),
        usable=np.tile(np.arange(len(times)) >= warm_up, symbols),
        calendar=CALENDAR,
    )


@pytest.fixture(name="panel")
def _panel() -> Callable[..., Panel]:
    return panel
