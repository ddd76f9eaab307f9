"""What was read when: a small record a reading, so that a bar that came late is told from history read in one go.

Records lie beside the source's parts and are never rewritten. A reading that was cut at an ``as_of`` leaves none: it
did not look at what is newer.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks import storage
from tasks.bars.describe import SourceDescription
from tasks.bars.utc import naive
from tasks.documents import from_json, to_json

Times = npt.NDArray[np.datetime64]
NEVER: Times = np.array([], dtype="datetime64[ns]")
STAMP = "%Y%m%dT%H%M%S%f"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading: when (ISO 8601, UTC), of which symbols, and what became of it.

    ``asked``: the problem's symbols, empty for all. ``quarantined`` and ``quarantined_from`` as in ``Snapshot``.
    """

    at: str
    asked: tuple[str, ...]
    symbols: tuple[str, ...]
    quarantined: tuple[str, ...] = ()
    quarantined_from: dict[str, str] = field(default_factory=dict)


class Looks:
    """Readings in order, asked for by symbol."""

    def __init__(self, readings: tuple[Reading, ...]) -> None:
        self.readings = readings
        self._times: dict[str, list[np.datetime64]] = {}
        for reading in readings:
            moment = naive(pd.Timestamp(reading.at))
            for symbol in reading.symbols:
                self._times.setdefault(symbol, []).append(moment)

    def of(self, symbol: str) -> Times:
        """When a symbol was read, in order (UTC, naive)."""
        return np.array(self._times.get(symbol, NEVER), dtype="datetime64[ns]")

    def missed(self, symbol: str, due: Times, read: Times) -> npt.NDArray[np.bool_]:
        """Which values a reading of that symbol did not have yet although they were due, before they were read (n,)."""
        seen = self.of(symbol)
        before = np.searchsorted(seen, read, side="left") - 1
        return (before >= 0) & (seen[before] >= due) if len(seen) else np.zeros(len(read), dtype=bool)

    def last(self, asked: tuple[str, ...], as_of: pd.Timestamp) -> Reading | None:
        """The last reading for these symbols by a time."""
        cut = naive(as_of)
        found = [
            reading for reading in self.readings if reading.asked == asked and naive(pd.Timestamp(reading.at)) <= cut
        ]
        return found[-1] if found else None


NO_LOOKS = Looks(())


class ReadingStore:
    """The records of one source's readings."""

    def __init__(self, description: SourceDescription, root: Path | None = None) -> None:
        self.folder = (root or storage.home() / "bars") / description.key() / "readings"

    def add(self, reading: Reading) -> None:
        """Keep the record of a reading. Raises StorageError if it cannot be written."""
        stamp = pd.Timestamp(reading.at).strftime(STAMP)
        document = to_json(reading)
        # Two readings of one moment, of different symbols, are two records; the same one is one.
        storage.write_json(self.folder / f"{stamp}-{storage.sha256_json(document)[:8]}.json", document)

    def newest(self, asked: tuple[str, ...], since: pd.Timestamp) -> Reading | None:
        """The last reading for these symbols from ``since`` on (aware), or None. Raises as ``read``."""
        found = (self._record(name) for name in reversed(self._names(since)))
        return next((reading for reading in found if reading.asked == asked), None)

    def read(self, since: pd.Timestamp | None = None) -> Looks:
        """Every reading (from ``since`` on, aware), oldest first.

        Raises StorageError if one cannot be read, IntegrityError if it is damaged.
        """
        return Looks(tuple(map(self._record, self._names(since))))

    def _names(self, since: pd.Timestamp | None) -> list[str]:
        first = since.tz_convert("UTC").strftime(STAMP) if since is not None else ""
        names = os.listdir(self.folder) if self.folder.is_dir() else []  # noqa: PTH208 - one for each night there was
        return sorted([name for name in names if name >= first and name.endswith(".json")])

    def _record(self, name: str) -> Reading:
        found: Reading = from_json(Reading, storage.read_json(self.folder / name))
        return found
