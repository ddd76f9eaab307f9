"""What a transfer carries over: a candidate's errors beside its control's, in each regime and for each kind of symbol.

A backbone that learned from liquid, calm or rising markets may bring their habits along: better on the whole, worse
where the source knew little. So loss and mean error are told with the transfer and without it, on the same rows, by

- the market's volatility: the mean of log ranges over the last 22 bars and all symbols, above or below its median;
- the market's trend: whether the mean return over the last 22 bars was positive;
- the symbol, where there are a few; else thirds of the symbols by their mean volatility;
- the row's volatility quintile: of the symbol's own mean log range over its last 22 bars, among all rows.

All of that is known when the prediction is made, but for the cuts, which are drawn over the walk-forward rows: they
divide what is described, and decide nothing. With so many groups some intervals leave zero out by luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Target
from tasks.evaluation import CarriedError, TransferWorth
from tasks.leaderboard.losses import FloatArray, by_date, date_codes
from tasks.statistics.bootstrap import interval
from tasks.statistics.losses import row_losses
from tasks.statistics.overlap import label_overlap

COLUMNS = ("har_1", "return_1")
"""Columns of the catalogue that the groups are drawn by."""

BARS = 22
FEW_SYMBOLS = 8
THIRDS = ("calm third", "middle third", "lively third")
QUINTILES = ("1, calmest", "2", "3", "4", "5, liveliest")
By = Literal["market's volatility", "market's trend", "symbols", "volatility quintile"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Some of the walk-forward rows: which they are, mask (m,)."""

    by: By
    name: str
    rows: npt.NDArray[np.bool_]


def groups(rows: pd.DataFrame, level: FloatArray, returned: FloatArray) -> tuple[Group, ...]:
    """All groups of the walk-forward rows; those without a row are left out.

    rows: columns ``symbol, session, window`` of every row, sorted by symbol and time (n). level and returned: log range
    volatility and log return of each bar (n,); NaN inside a lookback is passed over. Masks are over the m rows whose
    window is ``fold``, in their order.
    """
    symbol = rows["symbol"].to_numpy()
    fold = (rows["window"] == "fold").to_numpy()
    calm, trend = (_trailing(values, symbol)[fold] for values in (level, returned))
    date = date_codes(rows["session"].to_numpy(dtype="datetime64[ns]")[fold])
    market, drift = (by_date(date, values)[date] for values in (calm, trend))
    cut = float(np.median(by_date(date, calm)))
    found = [
        Group(by="market's volatility", name="low", rows=market <= cut),
        Group(by="market's volatility", name="high", rows=market > cut),
        Group(by="market's trend", name="up", rows=drift > 0),
        Group(by="market's trend", name="down", rows=drift <= 0),
        *_symbols(symbol[fold], calm),
        *_quintiles(calm),
    ]
    return tuple(group for group in found if group.rows.any())


def carried(
    worths: Sequence[TransferWorth],
    predictions: pd.DataFrame,
    found: Sequence[Group],
    target: Target,
    seed: int,
) -> tuple[CarriedError, ...]:
    """Errors of each candidate and its control in each group, in the order of the lines and of the groups.

    predictions: the joined walk-forward rows (m), columns ``symbol, session, label`` and one for each candidate.
    """
    place = _Place(predictions, target, seed)
    return tuple(place.error(line, group) for line in worths for group in found)


class _Place:
    """The rows that score, found once."""

    def __init__(self, predictions: pd.DataFrame, target: Target, seed: int) -> None:
        self.predictions, self.target, self.seed = predictions, target, seed
        self.label = predictions["label"].to_numpy(np.float64)
        self.session = predictions["session"].to_numpy(dtype="datetime64[ns]")
        self.overlap = label_overlap(predictions, target.horizon)

    def error(self, line: TransferWorth, group: Group) -> CarriedError:
        """Losses by date and mean errors of both on a group's rows."""
        rows = np.flatnonzero(group.rows)
        date = date_codes(self.session[rows])
        label, mine, theirs = (
            values[rows] for values in (self.label, self._of(line.candidate), self._of(line.control))
        )
        candidate, control = (by_date(date, row_losses(self.target.loss, label, each)) for each in (mine, theirs))
        gain = control - candidate
        return CarriedError(
            candidate=line.candidate,
            control=line.control,
            by=group.by,
            group=group.name,
            rows=len(rows),
            dates=len(gain),
            control_loss=float(control.mean()),
            candidate_loss=float(candidate.mean()),
            difference=float(gain.mean()),
            interval=interval(gain, seed=self.seed, overlap=self.overlap),
            control_bias=float((theirs - label).mean()),
            candidate_bias=float((mine - label).mean()),
        )

    def _of(self, name: str) -> FloatArray:
        return self.predictions[name].to_numpy(np.float64)


def _trailing(values: FloatArray, symbol: npt.NDArray[np.object_]) -> FloatArray:
    """Mean over each symbol's last 22 bars (n,); 0 where none of them has a value."""
    mean = pd.Series(values).groupby(symbol, sort=False).rolling(BARS, min_periods=1).mean()
    return np.asarray(mean.droplevel(0).sort_index().fillna(0.0), dtype=np.float64)


def _symbols(symbol: npt.NDArray[np.object_], level: FloatArray) -> Iterator[Group]:
    names = sorted(set(symbol))
    if len(names) > FEW_SYMBOLS:
        mean = pd.Series(level).groupby(symbol).mean()
        ordered = sorted(names, key=lambda name: (float(mean[name]), name))
        for third, part in zip(THIRDS, np.array_split(np.array(ordered, dtype=object), 3), strict=True):
            yield Group(by="symbols", name=third, rows=np.isin(symbol, part))
    elif len(names) > 1:
        for name in names:
            yield Group(by="symbols", name=str(name), rows=symbol == name)


def _quintiles(level: FloatArray) -> Iterator[Group]:
    cuts = np.quantile(level, [0.2, 0.4, 0.6, 0.8])
    place = np.searchsorted(cuts, level, side="left")
    for number, name in enumerate(QUINTILES):
        yield Group(by="volatility quintile", name=name, rows=place == number)
