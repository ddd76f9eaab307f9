"""Canonical bars as arrays, and the robust yardsticks by which the checks call something unusual.

Yardsticks are medians over neighbouring bars of the same symbol, so that what is being judged, and a few more bars
like it, do not move them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.describe import SourceDescription
from tasks.bars.sessions import Sessions
from tasks.bars.stamps import DAY, Mask, Times

Floats = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]

NORMAL = 1.4826
"""Median absolute deviation to standard deviation, for normal values."""
NEIGHBOURS = 31
"""Bars looked at on either side: three months of daily bars in all."""
LEAST_VOLATILITY = 1e-3
"""A symbol that hardly moves has no yardstick of its own: 0.1 % a bar is the smallest one used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Canonical bars, sorted by symbol and time; every array has one element a row unless said otherwise.

    ``session`` is the calendar's label, ``position`` its number in ``sessions`` (all of the calendar from before the
    first bar to after the last). ``begins`` marks each symbol's first row. ``time`` is the bar's close, UTC, naive;
    ``step`` its nominal length. ``calendar`` names the exchange's.
    """

    symbol: npt.NDArray[np.int64]
    names: tuple[str, ...]
    time: Times
    session: Times
    position: Rows
    sessions: Sessions
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Floats
    begins: Mask
    step: np.timedelta64
    calendar: str
    has_volume: bool

    def __len__(self) -> int:
        return len(self.close)

    @property
    def daily(self) -> bool:
        """Whether a bar is a whole session."""
        return bool(self.step >= DAY)

    def name(self, at: int) -> str:
        """The symbol of a row."""
        return self.names[int(self.symbol[at])]

    def day(self, at: int) -> str:
        """The session of a row as an ISO date."""
        return str(self.session[at].astype("datetime64[D]"))

    def ends(self) -> Mask:
        """Each symbol's last row."""
        return np.r_[self.begins[1:], True] if len(self) else self.begins

    def previous(self, values: Floats) -> Floats:
        """Each row's value one bar earlier in its symbol; NaN in the symbol's first row."""
        return np.where(self.begins, np.nan, np.r_[np.nan, values[:-1]]) if len(self) else values

    def following(self, values: Floats) -> Floats:
        """Each row's value one bar later in its symbol; NaN in the symbol's last row."""
        return np.where(self.ends(), np.nan, np.r_[values[1:], np.nan]) if len(self) else values

    def returns(self) -> Floats:
        """Log close to close over one bar; NaN in each symbol's first row and where a price is not positive."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.close / self.previous(self.close))

    def around(self, at: int, width: int = NEIGHBOURS) -> Rows:
        """Rows of the same symbol up to ``width`` bars before and after a row, itself and the one after it left out."""
        near = np.arange(max(at - width, 0), min(at + width + 1, len(self)))
        near = near[self.symbol[near] == self.symbol[at]]
        return np.asarray(near[(near != at) & (near != at + 1)])

    def volatility(self, at: int) -> float:
        """Robust standard deviation of log returns around a row: 1.4826 times their median size, at least 0.1 %.

        Half of the median log range stands in where it is larger: a price that mostly stays has no median return.
        """
        near = self.around(at)
        returns, ranges = np.abs(self.returns_of(near)), np.abs(self.ranges_of(near))
        floor = max(LEAST_VOLATILITY, 0.5 * _median(ranges))
        return max(NORMAL * _median(returns), floor)

    def returns_of(self, rows: Rows) -> Floats:
        """``returns`` of some rows."""
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.log(self.close[rows] / self.close[np.maximum(rows - 1, 0)])
        return np.where(self.begins[rows], np.nan, values)

    def ranges_of(self, rows: Rows) -> Floats:
        """Log high over low of some rows; NaN where a price is not positive."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.log(self.high[rows] / self.low[rows])

    def before(self, at: int, count: int) -> Rows:
        """Up to ``count`` rows of the same symbol before a row."""
        near = np.arange(max(at - count, 0), at)
        return np.asarray(near[self.symbol[near] == self.symbol[at]])

    def after(self, at: int, count: int) -> Rows:
        """A row and up to ``count - 1`` rows of the same symbol after it."""
        near = np.arange(at, min(at + count, len(self)))
        return np.asarray(near[self.symbol[near] == self.symbol[at]])


def history(frame: pd.DataFrame, sessions: Sessions, description: SourceDescription, has_volume: bool) -> History:
    """``frame``: canonical bars of what ``description`` describes. ``sessions``: the calendar's, covering the frame."""
    symbol, names = pd.factorize(frame["symbol"].to_numpy(), sort=False)
    session = frame["session"].to_numpy().astype("datetime64[ns]")
    return History(
        symbol=symbol.astype(np.int64),
        names=tuple(str(name) for name in names),
        time=frame["time"].dt.tz_localize(None).to_numpy().astype("datetime64[ns]"),
        session=session,
        position=np.searchsorted(sessions.labels, session).astype(np.int64),
        sessions=sessions,
        **{name: frame[name].to_numpy(dtype=np.float64) for name in ("open", "high", "low", "close", "volume")},
        begins=np.r_[True, symbol[1:] != symbol[:-1]] if len(frame) else np.array([], dtype=bool),
        step=np.timedelta64(description.step),
        calendar=description.calendar,
        has_volume=has_volume,
    )


def runs(mask: Mask, breaks: Mask) -> tuple[Rows, Rows]:
    """First row and length of every stretch of true rows; a true ``breaks`` starts a new one."""
    at = np.flatnonzero(mask)
    if not len(at):
        return np.array([], dtype=np.int64), np.array([], dtype=np.int64)
    cut = np.r_[True, (np.diff(at) > 1) | breaks[at[1:]]]
    starts = np.flatnonzero(cut)
    return at[starts], np.diff(np.r_[starts, len(at)])


def median_ratio(values: Floats, late: Rows, early: Rows) -> float:
    """Median of some rows over the median of others; NaN where either is empty or not positive."""
    above, below = _median(values[late]), _median(values[early])
    return above / below if above > 0 and below > 0 else float("nan")


def _median(values: Any) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else 0.0
