"""The stored corporate actions of a source: append-only like its bars, beside them, each value with when it was known.

An event that a later reading of the same days no longer has is withdrawn: a revision without a value (NaN), which
``read`` leaves out and ``revisions`` shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd

from tasks import storage
from tasks.bars.actions import ACTION_COLUMNS, ACTION_KEYS, CorporateAction, actions_frame, actions_of, each_once
from tasks.bars.describe import SourceDescription
from tasks.bars.parts import Parts
from tasks.bars.readings import Looks
from tasks.bars.schema import symbol_spans
from tasks.bars.stamps import DAY, Times
from tasks.bars.utc import naive, naive_times

AT_ONCE = pd.Timedelta(0)
NO_BARS = pd.DataFrame(
    {
        "symbol": np.array([], dtype=object),
        "time": pd.DatetimeIndex([], dtype="datetime64[ns, UTC]"),
        "session": np.array([], dtype="datetime64[ns]"),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Covered:
    """What a reading would have shown: all events of these symbols (empty: of all) from first to last, inclusive."""

    symbols: tuple[str, ...]
    first: date
    last: date


class ActionStore:
    """The corporate actions of one source: the vendor's, or those of the user's file, which lie apart."""

    def __init__(self, description: SourceDescription, root: Path | None = None) -> None:
        own = f"-{storage.sha256_bytes(description.actions.encode())[:16]}" if description.actions else ""
        self.folder = (root or storage.home() / "bars") / description.key() / f"actions{own}"
        self._parts = Parts(self.folder)

    def append(
        self, actions: Sequence[CorporateAction], known_at: pd.Timestamp, covered: Sequence[Covered] = ()
    ) -> int:
        """Add events that are new or changed, and withdraw those that ``covered`` should have shown; how many.

        ``known_at``: aware, when they were read. Raises DataError if two events of one symbol, session and kind
        differ, StorageError if the part cannot be written; then nothing was.
        """
        stored = self._latest(self.revisions())
        if not (len(actions) or len(stored)):
            return 0
        frame = actions_frame(each_once(actions))
        gone = _withdrawn(frame, stored, covered)
        frame = pd.concat([part for part in (frame, gone) if len(part)] or [frame], ignore_index=True)
        merged = frame.merge(stored, on=list(ACTION_KEYS), how="left", suffixes=("", "_old"))
        old, new = merged["value_old"].to_numpy(np.float64), merged["value"].to_numpy(np.float64)
        known = merged["revision"].notna().to_numpy()
        changed = ~known | ((old != new) & ~(np.isnan(old) & np.isnan(new)))
        if changed.any():
            revision = np.where(known, merged["revision"].fillna(-1) + 1, 0).astype(np.int64)
            part = merged[list(ACTION_COLUMNS)].assign(
                revision=revision, known_at=known_at.tz_convert("UTC").as_unit("ns")
            )
            self._parts.add(part[changed].reset_index(drop=True))
            self._parts.copy(*self._all())
        return int(changed.sum())

    def after(self, actions: Sequence[CorporateAction], covered: Sequence[Covered] = ()) -> tuple[CorporateAction, ...]:
        """What ``read`` would give once these had been appended; nothing is written. Raises as ``append``."""
        stored = self._latest(self.revisions())
        if not (len(actions) or len(stored)):
            return ()
        frame = actions_frame(each_once(actions))
        merged = pd.concat(
            [part for part in (stored, frame, _withdrawn(frame, stored, covered)) if len(part)] or [stored]
        )
        latest = merged.drop_duplicates(list(ACTION_KEYS), keep="last")
        return tuple(sorted(actions_of(latest[latest["value"].notna()])))

    def read(self) -> tuple[CorporateAction, ...]:
        """Every event at its latest value, by symbol, session and kind.

        Raises IntegrityError if a part differs from its record.
        """
        return self._present(self.revisions())

    def known(
        self, as_of: pd.Timestamp, looks: Looks, bars: pd.DataFrame = NO_BARS, delay: pd.Timedelta = AT_ONCE
    ) -> tuple[CorporateAction, ...]:
        """Every event that was known at a time (aware).

        A value counts as known when it was read, but for the first one of an event. Events are announced, so that one
        counts from the begin of its session's day (UTC), or from when the symbol's first bar of that session counts,
        whichever is earlier: no bar is ever known without it. Unless a reading of that symbol, late enough to have that
        bar, did not have the event: then it counts from when it was read.

        ``bars``: columns symbol, time and session, of every bar that is stored, sorted by symbol and time; they come
        ``delay`` after their close. Where there is none the session's day must have ended. Raises IntegrityError as
        ``read``.
        """
        history = self.revisions()
        if not len(history):
            return ()
        return self._present(history[_available(history, looks, _shown(history, bars, delay)) <= naive(as_of)])

    def revisions(self) -> pd.DataFrame:
        """Every value ever stored, sorted by symbol, session, kind and revision; NaN where one was withdrawn."""
        return self._all()[0]

    def _all(self) -> tuple[pd.DataFrame, list[str]]:
        """All rows, and the parts that they lie in."""
        order = [*ACTION_KEYS, "revision", "known_at"]
        parts, names = self._parts.read()
        if not parts:
            return _empty().copy(), names
        return pd.concat(parts).sort_values(order, kind="stable", ignore_index=True), names

    @classmethod
    def _present(cls, history: pd.DataFrame) -> tuple[CorporateAction, ...]:
        if not len(history):
            return ()
        latest = cls._latest(history)
        return actions_of(latest[latest["value"].notna()])

    @staticmethod
    def _latest(history: pd.DataFrame) -> pd.DataFrame:
        if not len(history):
            return history
        return history.drop_duplicates(list(ACTION_KEYS), keep="last").reset_index(drop=True)


def _withdrawn(frame: pd.DataFrame, stored: pd.DataFrame, covered: Sequence[Covered]) -> pd.DataFrame:
    """The stored events that a reading of ``covered`` no longer has, without their value."""
    day = stored["session"].dt.date
    within = pd.Series(False, index=stored.index)
    for part in covered:
        named = stored["symbol"].isin(part.symbols) if part.symbols else True
        within |= named & (day >= part.first) & (day <= part.last)
    within &= stored["value"].notna()
    seen = pd.MultiIndex.from_frame(frame[list(ACTION_KEYS)])
    gone = stored[within & ~pd.MultiIndex.from_frame(stored[list(ACTION_KEYS)]).isin(seen)]
    return gone[list(ACTION_COLUMNS)].assign(value=np.nan)


def _shown(history: pd.DataFrame, bars: pd.DataFrame, delay: pd.Timedelta) -> Times:
    """For each event when a reading of its symbol had to show it: with the first bar from its session on (n,)."""
    session = history["session"].to_numpy().astype("datetime64[ns]")
    found: Times = np.add(session, DAY)
    days, closes = bars["session"].to_numpy().astype("datetime64[ns]"), naive_times(bars["time"])
    spans = symbol_spans(bars["symbol"].to_numpy())
    for name, (first, end) in symbol_spans(history["symbol"].to_numpy()).items():
        a, b = spans.get(name, (0, 0))
        at = a + np.searchsorted(days[a:b], session[first:end], side="left")
        there = np.flatnonzero(at < b)
        found[first + there] = closes[at[there]] + np.timedelta64(delay)
    return found


def _available(history: pd.DataFrame, looks: Looks, shown: Times) -> Times:
    """When each row counts as known (n,)."""
    read = naive_times(history["known_at"])
    first_value = (history["revision"] == 0).to_numpy()
    assumed = np.minimum(read, np.minimum(shown, history["session"].to_numpy().astype("datetime64[ns]")))
    found = read.copy()
    for name, (first, end) in symbol_spans(history["symbol"].to_numpy()).items():
        late = looks.missed(name, shown[first:end], read[first:end])
        found[first:end] = np.where(first_value[first:end] & ~late, assumed[first:end], read[first:end])
    return found


@cache
def _empty() -> pd.DataFrame:
    return actions_frame(()).assign(
        revision=np.array([], dtype=np.int64), known_at=pd.DatetimeIndex([], dtype="datetime64[ns, UTC]")
    )
