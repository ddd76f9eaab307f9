"""The bar store: append-only Parquet, one folder a source, never rewritten.

A part file holds what was new at one reading: bars not seen before, and bars whose values changed. Each row carries
``revision`` (0 for the first value seen) and ``known_at`` (when it was read), so an old value stays readable as of its
time. A part counts once its record, a small JSON file with its digest, stands beside it; a part without one was left
by a crash and is ignored. Rows that were read before add nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks import storage
from tasks.bars.describe import SourceDescription
from tasks.bars.snapshot import values_digest
from tasks.contracts import Ref
from tasks.documents import from_json, to_json

KEYS = ("symbol", "time")
VALUES = ("open", "high", "low", "close", "volume")
ADJUSTED = ("adj_close", "factor")


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What a reading brought: rows not seen before, rows that changed, and how many rows the source no longer has.

    ``vanished`` counts stored bars, of symbols and within the times of the reading, that the reading lacks. Bars that
    are left out by a quarantine have not vanished: the source still has them.
    """

    new: int
    revised: int
    vanished: int


class BarStore:
    """The stored history of one source: raw bars, or its adjusted closes, which lie apart."""

    def __init__(self, description: SourceDescription, kind: str = "raw", root: Path | None = None) -> None:
        self.folder = (root or storage.home() / "bars") / description.key() / kind
        self.values = VALUES if kind == "raw" else ADJUSTED

    def append(
        self, frame: pd.DataFrame, known_at: pd.Timestamp, left_out: Mapping[str, str] | None = None
    ) -> Appended:
        """Add what is new in ``frame`` (columns symbol, time, session and the values; each bar once).

        ``known_at``: aware, when it was read. ``left_out``: symbol -> session (ISO date) from which it is quarantined.
        Raises StorageError if it cannot be written; then nothing was.
        """
        stored = self.read()
        old = _matched(frame, stored)
        fresh = old < 0
        changed = ~fresh & self._differs(frame, stored, old)
        part = frame.loc[fresh | changed, [*KEYS, "session", *self.values]]
        if len(part):
            past = stored["revision"].to_numpy(dtype=np.int64) if len(stored) else np.zeros(1, dtype=np.int64)
            revision = np.where(fresh, 0, past[old] + 1)[fresh | changed]
            self._write(part.assign(revision=revision.astype(np.int64), known_at=known_at.tz_convert("UTC")))
        return Appended(
            new=int(fresh.sum()), revised=int(changed.sum()), vanished=_vanished(frame, stored, left_out or {})
        )

    def read(self, known_at: pd.Timestamp | None = None) -> pd.DataFrame:
        """Every bar at its latest revision, or as it was known at a time; sorted by symbol and time.

        Raises IntegrityError if a part differs from its record.
        """
        history = self.revisions()
        if known_at is not None:
            history = history[history["known_at"] <= known_at]
        return history.drop_duplicates(list(KEYS), keep="last").reset_index(drop=True)

    def revisions(self) -> pd.DataFrame:
        """Every value ever stored, sorted by symbol, time and revision. Raises IntegrityError as ``read`` does."""
        parts = [storage.read_parquet(ref) for ref in self.parts()]
        if not parts:
            return self._empty()
        order = [*KEYS, "revision", "known_at"]
        return pd.concat(parts, ignore_index=True).sort_values(order, kind="stable", ignore_index=True)

    def parts(self) -> list[Ref]:
        """The parts that count, oldest first."""
        records = sorted(self.folder.glob("*.json"))
        refs = [from_json(Ref, storage.read_json(record)) for record in records]
        return [replace(ref, path=str(self.folder / ref.path)) for ref in refs]

    def _write(self, part: pd.DataFrame) -> None:
        # The digest in the name keeps two writers, who both think to be next, from replacing one another's part.
        number = len(list(self.folder.glob("*.json"))) + 1
        name = f"{number:06d}-{values_digest(part)[:16]}"
        ref = storage.write_parquet(self.folder / f"{name}.parquet", part)
        storage.write_json(self.folder / f"{name}.json", to_json(replace(ref, path=f"{name}.parquet")))

    def _differs(self, frame: pd.DataFrame, stored: pd.DataFrame, old: Any) -> Any:
        differs = np.zeros(len(frame), dtype=bool)
        if len(stored):
            for name in self.values:
                now, then = frame[name].to_numpy(), stored[name].to_numpy()[old]
                differs |= (now != then) & ~(np.isnan(now) & np.isnan(then))
        return differs

    def _empty(self) -> pd.DataFrame:
        return pd.DataFrame(
            {
                "symbol": pd.Series([], dtype=object),
                "time": pd.DatetimeIndex([], dtype="datetime64[ns, UTC]"),
                "session": pd.DatetimeIndex([], dtype="datetime64[ns]"),
                **{name: np.array([], dtype=np.float64) for name in self.values},
                "revision": np.array([], dtype=np.int64),
                "known_at": pd.DatetimeIndex([], dtype="datetime64[ns, UTC]"),
            }
        )


def _matched(frame: pd.DataFrame, stored: pd.DataFrame) -> Any:
    """For each row of ``frame`` the position of the same bar in ``stored``, or -1."""
    if not len(stored):
        return np.full(len(frame), -1, dtype=np.int64)
    known = pd.MultiIndex.from_frame(stored[list(KEYS)])
    return known.get_indexer(pd.MultiIndex.from_frame(frame[list(KEYS)]))


def _vanished(frame: pd.DataFrame, stored: pd.DataFrame, left_out: Mapping[str, str]) -> int:
    if not len(stored) or not len(frame):
        return 0
    within = stored["symbol"].isin(frame["symbol"].unique()) & stored["time"].between(
        frame["time"].min(), frame["time"].max()
    )
    since = pd.to_datetime(stored["symbol"].map(left_out))
    within &= ~(stored["session"] >= since)
    return int((_matched(stored[within], frame) < 0).sum())
