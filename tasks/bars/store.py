"""The bar store: append-only Parquet, one folder a source, never rewritten.

A part holds what was new at one reading: bars not seen before, bars whose values changed, and bars that are no longer
used (without values: the source dropped them, or the checks leave them out now). Each row carries ``revision`` (0 for
the first value seen) and ``known_at`` (when it was read), so what was used at any time stays readable. Rows that were
read before add nothing. How parts are written, and what a crash leaves, is said in ``parts.py``.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tasks import storage
from tasks.bars.describe import SourceDescription
from tasks.bars.parts import Parts
from tasks.bars.readings import Looks
from tasks.bars.revisions import ADJUSTED, VALUES, Revisions, revisions_of
from tasks.contracts import Ref

AT_ONCE = pd.Timedelta(0)
__all__ = ["ADJUSTED", "VALUES", "Appended", "BarStore", "Known"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Appended:
    """What a reading brought: rows not seen before, rows that changed, and how many rows the source no longer has.

    ``vanished`` counts stored bars, of symbols and within the times of the reading, that the reading lacks. Bars that
    are left out by a quarantine have not vanished: the source still has them.
    """

    new: int
    revised: int
    vanished: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """The bars that were known at a time, canonical columns, sorted by symbol and time.

    ``assumed`` of them were read only later, in one go: they count as known when they closed.
    """

    frame: pd.DataFrame
    assumed: int


class BarStore:
    """The stored history of one source: raw bars, or its adjusted closes, which lie apart.

    One that ``keeps`` what it has read reads every part once; parts that others add meanwhile come along all the same.
    """

    def __init__(
        self, description: SourceDescription, kind: str = "raw", root: Path | None = None, keeps: bool = False
    ) -> None:
        self.folder = (root or storage.home() / "bars") / description.key() / kind
        self.values = VALUES if kind == "raw" else ADJUSTED
        self._parts = Parts(self.folder)
        self._keeps = keeps
        self._kept: tuple[Revisions, list[str]] | None = None

    def append(
        self,
        frame: pd.DataFrame,
        known_at: pd.Timestamp,
        left_out: Mapping[str, str] | None = None,
        covers: Collection[str] | None = None,
    ) -> Appended:
        """Add what is new in ``frame`` (columns symbol, time, session and the values; each bar once).

        ``known_at``: aware, when it was read. ``left_out``: symbol -> session (ISO date) from which it is quarantined.
        ``covers``: symbols (empty: all) of which no stored bar but those in ``frame`` is used from now on; None: says
        nothing about other bars. Raises StorageError if it cannot be written; then nothing was.
        """
        history, names = self._load()
        part, appended = history.news(frame, left_out or {}, covers)
        if len(part):
            part = part.assign(known_at=known_at.tz_convert("UTC").as_unit("ns"))
            names = [*names, self._parts.add(part)]
            if self._keeps or self._parts.many(names):
                history = revisions_of([history.frame, part], self.values)
                self._parts.copy(history.frame, names)
        if self._keeps:
            self._kept = history, names
        return Appended(new=appended[0], revised=appended[1], vanished=appended[2])

    def read(self) -> pd.DataFrame:
        """Every bar ever seen at its latest value, sorted by symbol and time.

        Raises IntegrityError if a part differs from its record.
        """
        return self._history().latest()

    def in_use(self) -> pd.DataFrame:
        """The bars that the last reading used, sorted by symbol and time. Raises IntegrityError as ``read`` does."""
        return self._history().in_use()

    def known(self, as_of: pd.Timestamp, looks: Looks, delay: pd.Timedelta = AT_ONCE) -> Known:
        """What was known, and used, at a time (aware).

        A value counts as known when it was read, but for the first one of a bar: that one counts from ``delay`` after
        the bar's close, unless a reading after that, of that symbol, did not have it yet (``looks``). So history that
        was loaded in one go is there for runs of its past, and a bar that came late, or filled a hole, is not. Raises
        IntegrityError as ``read`` does.
        """
        frame, assumed = self._history().known(as_of, looks, delay)
        return Known(frame=frame, assumed=assumed)

    def revisions(self) -> pd.DataFrame:
        """Every value ever stored, sorted by symbol, time and revision. Raises IntegrityError as ``read`` does."""
        return self._history().values_only()

    def parts(self) -> list[Ref]:
        """The parts that count, oldest first."""
        return [self._parts.ref(name) for name in self._parts.names()]

    def _history(self) -> Revisions:
        return self._load()[0]

    def _load(self) -> tuple[Revisions, list[str]]:
        """All rows, and the parts that they lie in."""
        more = self._parts.read_since(self._kept[1]) if self._kept else None
        if self._kept and more:
            found = revisions_of([self._kept[0].frame, *more[0]], self.values) if more[0] else self._kept[0], more[1]
        else:
            frames, names = self._parts.read()
            found = revisions_of(frames, self.values), names
        if self._keeps:
            self._kept = found
        return found
