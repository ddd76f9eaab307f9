"""Aware times as NumPy holds them: naive, in UTC, in nanoseconds."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd


def naive(moment: pd.Timestamp) -> np.datetime64:
    """One aware instant."""
    return moment.tz_convert("UTC").tz_localize(None).as_unit("ns").to_datetime64()


def naive_times(moments: pd.Series[Any]) -> npt.NDArray[np.datetime64]:
    """A column of aware instants, shape (n,)."""
    return pd.DatetimeIndex(moments).tz_convert("UTC").tz_localize(None).to_numpy().astype("datetime64[ns]")
