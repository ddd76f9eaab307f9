"""The date that a bar's calendar features speak of.

A daily bar's is its session. A shorter bar's is the UTC date in which it ends: whoever holds bars and no exchange
calendar can tell it, so a model that was trained on it can be served.

Travels inside promoted models: relative imports, standard library and NumPy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

Dates = npt.NDArray[np.datetime64]
NANOSECONDS_A_DAY = 86_400 * 10**9


def closing_dates(time: npt.NDArray[np.int64]) -> Dates:
    """The UTC dates (datetime64[D]) of closes (ns since 1970): one at midnight ends the day before."""
    return ((time - 1) // NANOSECONDS_A_DAY).view("datetime64[D]")


def bar_dates(frame: pd.DataFrame, bar: str) -> Dates:
    """The dates (datetime64[D], one a row) of canonical bars of a size: of ``1d`` the session, else of the close."""
    if bar == "1d":
        return frame["session"].to_numpy().astype("datetime64[D]")
    return closing_dates(frame["time"].to_numpy(dtype="datetime64[ns]").view(np.int64))
