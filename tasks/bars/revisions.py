"""Every value of every bar that a source ever gave, as one sorted table, and the questions that are asked of it. Pure.

```
symbol time   close  revision  known_at
A      Mon    10.0   0         Mon night      first read
A      Mon    10.1   1         Wed night      restated
A      Mon    –      2         Fri night      no longer used: the source lacks it, or the checks leave it out
```
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.readings import Looks
from tasks.bars.schema import COLUMNS, symbol_spans
from tasks.bars.utc import naive, naive_times

KEYS = ("symbol", "time")
VALUES = ("open", "high", "low", "close", "volume")
ADJUSTED = ("adj_close", "factor")
Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.intp]
Times = npt.NDArray[np.datetime64]


@dataclass(frozen=True, slots=True)
class Revisions:
    """``frame``: symbol, time, session, ``values``, revision, known_at; sorted by symbol, time, revision, known_at.

    ``time`` and ``known_at`` are the frame's as naive UTC, ``last`` marks each bar's last row, ``starts`` holds every
    symbol's first row and ``names`` its name.
    """

    frame: pd.DataFrame
    values: tuple[str, ...]
    time: Times
    known_at: Times
    last: Mask
    starts: Rows
    names: tuple[str, ...]

    def latest(self) -> pd.DataFrame:
        """Each bar at its latest value, used or not."""
        return self._rows(self._last_of(~self._gone()))

    def in_use(self) -> pd.DataFrame:
        """Each bar at its latest value, but for those that are no longer used."""
        return self._rows(self.last & ~self._gone())

    def values_only(self) -> pd.DataFrame:
        """Every value, without the rows that say that a bar is no longer used."""
        return self._rows(~self._gone())

    def known(self, as_of: pd.Timestamp, looks: Looks, delay: pd.Timedelta) -> tuple[pd.DataFrame, int]:
        """Canonical bars as known and used at a time, and how many of them were read only later."""
        cut = naive(as_of)
        rows = self._last_of((self._available(looks, delay) <= cut) & (self.time <= cut)) & ~self._gone()
        return self._rows(rows)[list(COLUMNS)], int((self.known_at[rows] > cut).sum())

    def news(
        self, frame: pd.DataFrame, left_out: Mapping[str, str], covers: Collection[str] | None
    ) -> tuple[pd.DataFrame, tuple[int, int, int]]:
        """The rows to add for a reading, without ``known_at``, and how many bars are new, changed and vanished.

        ``frame``, ``left_out`` and ``covers`` as for ``BarStore.append``.
        """
        columns = [*KEYS, "session", *self.values]
        if not len(self.frame):
            return frame[columns].assign(revision=np.int64(0)), (len(frame), 0, 0)
        bars = np.flatnonzero(self.last)
        matched = _matched(frame, self.frame.iloc[bars])
        fresh, at = matched < 0, bars[matched]
        changed = ~fresh & self._differs(frame, self._valued()[at])
        wanted = fresh | changed | (~fresh & self._gone()[at])
        revision = np.where(fresh, 0, self.frame["revision"].to_numpy()[at] + 1).astype(np.int64)
        part = frame.loc[wanted, columns].assign(revision=revision[wanted])
        unused = self._unused(bars, matched, covers)
        counts = int(fresh.sum()), int(changed.sum()), self._vanished(frame, bars, left_out)
        return pd.concat([part, unused], ignore_index=True) if len(unused) else part, counts

    def _rows(self, rows: Mask) -> pd.DataFrame:
        return self.frame[rows].reset_index(drop=True)

    def _gone(self) -> Mask:
        """Rows that say that a bar is no longer used; adjusted closes may be missing for other reasons."""
        if self.values != VALUES:
            return np.zeros(len(self.frame), dtype=bool)
        return np.asarray(np.isnan(self.frame["close"].to_numpy(np.float64)))

    def _last_of(self, rows: Mask) -> Mask:
        """Of the given rows the last one of each bar."""
        at = np.flatnonzero(rows)
        bar = np.cumsum(np.r_[False, self.last[:-1]])[at] if len(at) else at
        found = np.zeros(len(rows), dtype=bool)
        found[at[np.r_[bar[1:] != bar[:-1], True] if len(at) else []]] = True
        return found

    def _valued(self) -> Rows:
        """For each row the last row of its bar, up to it, that has values."""
        place = np.where(self._gone(), 0, np.arange(len(self.frame)))
        return np.asarray(np.maximum.accumulate(place)) if len(place) else place

    def _available(self, looks: Looks, delay: pd.Timedelta) -> Times:
        """When each row counts as known."""
        found = self.known_at.copy()
        first = np.r_[True, self.last[:-1]] if len(self.last) else self.last
        head = np.maximum.accumulate(np.where(first, np.arange(len(first)), 0)) if len(first) else first
        at_once = self.known_at == self.known_at[head]
        due = self.time + np.timedelta64(delay)
        for name, span in self._spans():
            late = looks.missed(name, due[span], self.known_at[span])
            found[span] = np.where(at_once[span] & ~late, np.minimum(due[span], found[span]), found[span])
        return found

    def _spans(self) -> Iterator[tuple[str, slice]]:
        edges = pairwise([*self.starts.tolist(), len(self.frame)])
        return ((name, slice(first, end)) for name, (first, end) in zip(self.names, edges, strict=True))

    def _differs(self, frame: pd.DataFrame, rows: Rows) -> Mask:
        differs = np.zeros(len(frame), dtype=bool)
        for name in self.values:
            now, then = frame[name].to_numpy(np.float64), self.frame[name].to_numpy(np.float64)[rows]
            differs |= (now != then) & ~(np.isnan(now) & np.isnan(then))
        return differs

    def _unused(self, bars: Rows, matched: Rows, covers: Collection[str] | None) -> pd.DataFrame:
        """Rows for the bars in use that a reading of ``covers`` lacks: without values."""
        if covers is None or self.values != VALUES or not len(bars):
            return self.frame.iloc[:0]
        missing = ~self._gone()[bars]
        missing[matched[matched >= 0]] = False
        if covers:
            missing &= self.frame["symbol"].isin(set(covers)).to_numpy()[bars]
        rows = self.frame.iloc[bars[missing]].drop(columns="known_at")
        return rows.assign(**dict.fromkeys(self.values, np.nan), revision=rows["revision"] + 1)

    def _vanished(self, frame: pd.DataFrame, bars: Rows, left_out: Mapping[str, str]) -> int:
        if not len(frame):
            return 0
        stored = self.frame.iloc[bars]
        within = stored["time"].between(frame["time"].min(), frame["time"].max())
        within &= stored["symbol"].isin(frame["symbol"].unique())
        if left_out:
            within &= ~(stored["session"] >= pd.to_datetime(stored["symbol"].map(left_out)))
        return int((_matched(stored[within], _sorted_keys(frame)) < 0).sum())


def revisions_of(frames: list[pd.DataFrame], values: tuple[str, ...]) -> Revisions:
    """The rows of some frames, in any order, as one table."""
    # An empty frame beside others would cost the columns their types.
    filled = [part for part in frames if len(part)]
    frame = pd.concat(filled, ignore_index=True) if filled else _empty(values)
    codes, names = pd.factorize(frame["symbol"].to_numpy(), sort=True)
    time, known_at = naive_times(frame["time"]), naive_times(frame["known_at"])
    order = np.lexsort((known_at, frame["revision"].to_numpy(), time, codes))
    if (order[1:] < order[:-1]).any():
        frame, codes = frame.take(order).reset_index(drop=True), codes[order]
        time, known_at = time[order], known_at[order]
    other = codes[1:] != codes[:-1]
    return Revisions(
        frame=frame,
        values=values,
        time=time,
        known_at=known_at,
        last=np.r_[other | (time[1:] != time[:-1]), True] if len(frame) else np.array([], dtype=bool),
        starts=np.flatnonzero(np.r_[True, other]) if len(frame) else np.array([], dtype=np.intp),
        names=tuple(str(name) for name in names),
    )


def _matched(frame: pd.DataFrame, known: pd.DataFrame) -> Rows:
    """For each row of ``frame`` the position of the same bar in ``known`` (sorted by symbol and time), or -1."""
    found = np.full(len(frame), -1, dtype=np.intp)
    if not len(known) or not len(frame):
        return found
    mine, theirs = naive_times(frame["time"]), naive_times(known["time"])
    edges = symbol_spans(known["symbol"].to_numpy())
    for name, rows in pd.Series(np.arange(len(frame))).groupby(frame["symbol"].to_numpy(), sort=False):
        first, end = edges.get(str(name), (0, 0))
        if first == end:
            continue
        at = rows.to_numpy()
        place = np.minimum(first + np.searchsorted(theirs[first:end], mine[at]), end - 1)
        found[at] = np.where(theirs[place] == mine[at], place, -1)
    return found


def _sorted_keys(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[list(KEYS)].sort_values(list(KEYS), kind="stable")


def _empty(values: tuple[str, ...]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "symbol": pd.Series([], dtype=object),
            "time": pd.DatetimeIndex([], dtype="datetime64[ns, UTC]"),
            "session": pd.DatetimeIndex([], dtype="datetime64[ns]"),
            **{name: np.array([], dtype=np.float64) for name in values},
            "revision": np.array([], dtype=np.int64),
            "known_at": pd.DatetimeIndex([], dtype="datetime64[ns, UTC]"),
        }
    )
