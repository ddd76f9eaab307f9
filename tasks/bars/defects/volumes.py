"""Volume that changes its unit: lots for shares, thousands for units, one venue for all."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.bars.defects.defect import Defect
from tasks.bars.defects.history import History

WINDOW = 21
SCALE = 10.0
CLEAR = 2.0
"""Every session of the month after lies above (below) every one of the month before by this factor."""


def scale_changes(h: History) -> list[Defect]:
    """Sessions from which on volume is ten times what it was, or a tenth, at once and for good.

    The medians of 21 sessions before and after differ tenfold, the two months do not come within a factor of two, and
    the months two months earlier and later still differ by half as much in logs. Crises are not like that: volume rose
    4.7-fold in February 2020, and 19-fold after Equifax's breach, but there it had fallen back after two months.
    """
    if not h.has_volume or not len(h):
        return []
    first = np.flatnonzero(h.begins | np.r_[True, np.diff(h.position) != 0])
    total = np.add.reduceat(h.volume, first)
    with np.errstate(divide="ignore"):
        series = pd.Series(np.where(total > 0, np.log(total), np.nan)).groupby(h.symbol[first], sort=False)
    rolled = {name: getattr(series.rolling(WINDOW), name)().droplevel(0) for name in ("median", "min", "max")}
    return [
        Defect(at=int(first[at]), detail=f"volume is {np.exp(change):.3g} times that of the month before")
        for at, change in _breaks(rolled, h.symbol[first])
    ]


def _breaks(rolled: dict[str, pd.Series[float]], symbol: np.ndarray) -> list[tuple[int, float]]:
    before = {name: values.groupby(symbol, sort=False).shift(1).to_numpy() for name, values in rolled.items()}
    after = {name: values.groupby(symbol, sort=False).shift(1 - WINDOW).to_numpy() for name, values in rolled.items()}
    change = after["median"] - before["median"]
    medians = rolled["median"].groupby(symbol, sort=False)
    later = medians.shift(1 - 3 * WINDOW).to_numpy() - before["median"]
    earlier = after["median"] - medians.shift(1 + 2 * WINDOW).to_numpy()
    lasting = np.logical_and.reduce(
        [np.isnan(far) | (np.sign(change) * far >= np.abs(change) / 2) for far in (later, earlier)]
    )
    clear = np.where(change > 0, after["min"] - before["max"], before["min"] - after["max"])
    found = np.flatnonzero((np.abs(change) >= np.log(SCALE)) & (clear >= np.log(CLEAR)) & lasting)
    # Of a few neighbouring sessions that all divide the two levels, the first tells.
    return [(at, change[at]) for i, at in enumerate(found.tolist()) if i == 0 or at - found[i - 1] > WINDOW]
