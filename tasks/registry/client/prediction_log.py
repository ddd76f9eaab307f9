"""Predictions kept as Parquet: what was said, by which version, in which role, and whether the caller saw it.

Callers only put rows into a queue. A thread writes a part when there are 1,000 rows or a minute is over, at the end of
the process, and when asked to. A part appears by a rename: readers never see half of one. Where the disk is slower
than the callers, rows are dropped and counted rather than let grow. Needs pyarrow (the extra ``log``).
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...errors import ConfigurationError, IntegrityError, StorageError
from ...live import LOGGED
from .background import Background

ROWS = 1_000
SECONDS = 60.0
MOST = 100_000
"""Rows that may wait, in the queue and while the disk refuses."""
_TYPES: dict[str, Any] = {"time": "datetime64[ns, UTC]", "at": "datetime64[ns, UTC]", "shown": bool} | dict.fromkeys(
    ("prediction", "lower", "upper"), "float64"
)


@dataclass(frozen=True, slots=True)
class Said:
    """One model's answer to one request. ``zone``: the exchange's, which dates bare dates; ``at``: ns UTC."""

    name: str
    version: str
    role: str
    answer: pd.DataFrame
    shown: bool
    key: str
    at: int
    zone: str = "UTC"


class PredictionLog:
    """Appends predictions below ``folder``; any number of processes may share it."""

    def __init__(
        self,
        folder: Path | str,
        *,
        rows: int = ROWS,
        seconds: float = SECONDS,
        on_problem: Callable[[str], None] | None = None,
    ) -> None:
        """Raises ConfigurationError if pyarrow is missing, StorageError if the folder cannot be made."""
        _require_pyarrow()
        self.folder = Path(folder).absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{self.folder}: cannot be made: {error.strerror}") from error
        self._rows, self._seconds, self._on_problem = rows, seconds, on_problem
        self._pending: list[Said] = []
        self._waiting, self._since, self._pid = 0, 0.0, os.getpid()
        self._numbers = itertools.count()
        self._background: Background[Said] = Background(
            "nocturne-log", self._take, size=MOST, tick=self._tick, seconds=min(seconds, 1.0)
        )
        atexit.register(self.close)

    def put(self, said: Said) -> None:
        """Log an answer, soon. Never waits for the disk."""
        if not self._background.put(said):
            closed = self._background.closed
            self._problem(f"the {'log is closed' if closed else 'queue of predictions is full'}: one was not logged")

    def flush(self) -> None:
        """Write all that was put before; raises StorageError if that did not succeed."""
        if not self._background.flush() or self._pending:
            raise StorageError(f"{self.folder}: {self._waiting} logged predictions could not be written")

    def close(self) -> None:
        """Write what is left, and take nothing more. What cannot be written is said."""
        atexit.unregister(self.close)
        if not self._background.close() or self._pending:
            self._problem(f"{self.folder}: {self._waiting} logged predictions could not be written")

    def _take(self, said: Said) -> None:
        if self._pid != os.getpid():  # a forked child does not write its parent's rows again
            self._pending, self._waiting, self._pid = [], 0, os.getpid()
        if not self._pending:
            self._since = time.monotonic()
        if self._waiting + len(said.answer) > MOST and self._pending:
            self._problem(f"{len(said.answer)} predictions were not logged: {self._waiting:,} wait for the disk")
            return
        self._pending.append(said)
        self._waiting += len(said.answer)
        if self._waiting >= self._rows:
            self._tick(True)

    def _tick(self, asked: bool) -> None:
        if not self._pending or not (asked or time.monotonic() - self._since >= self._seconds):
            return
        try:
            self._write(_frame(self._pending))
        except OSError as error:
            self._since = time.monotonic()
            self._problem(f"{self.folder}: {self._waiting} predictions cannot be written yet: {error}")
            return
        except Exception as error:  # noqa: BLE001 - whatever Parquet does not take: the other answers must be kept
            self._leave_out(error)
            return
        self._pending, self._waiting = [], 0

    def _leave_out(self, error: Exception) -> None:
        """Drop the answers that cannot be stored, and write the others."""
        storable = [said for said in self._pending if _is_storable(said)]
        left = len(self._pending) - len(storable)
        if not left:  # each alone could be stored, and together they cannot
            storable, left = [], len(self._pending)
        self._problem(f"{left} answers were not logged, since they cannot be stored: {type(error).__name__}: {error}")
        self._pending, self._waiting = storable, sum(len(said.answer) for said in storable)
        self._tick(True)

    def _write(self, frame: pd.DataFrame) -> None:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")
        path = self.folder / f"part-{stamp}-{os.getpid()}-{next(self._numbers)}.parquet"
        temporary = path.with_name(f".{path.name}")
        try:
            _store(frame, temporary)
            os.replace(temporary, path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise

    def _problem(self, message: str) -> None:
        if self._on_problem is not None:
            self._on_problem(message)


def read_log(folder: Path | str) -> pd.DataFrame:
    """All logged predictions below a folder, oldest first: columns ``LOGGED``, NaN where there is no interval.

    Raises IntegrityError naming a part that cannot be read, ConfigurationError if pyarrow is missing.
    """
    _require_pyarrow()
    parts = [_empty()]
    for path in sorted(Path(folder).rglob("part-*.parquet")):
        try:
            parts.append(pd.read_parquet(path)[list(LOGGED)])
        except (OSError, ValueError, KeyError) as error:
            raise IntegrityError(f"{path}: not a part of a prediction log: {error}") from error
    whole = pd.concat(parts[1:], ignore_index=True) if len(parts) > 1 else parts[0]
    return whole.sort_values("at", kind="stable", ignore_index=True)


def closes(times: pd.Series, zone: str) -> npt.NDArray[np.int64]:
    """The instants of a model's ``time`` column as it was given, int64 ns UTC.

    A bare date is a session's label: the last instant of that date where the exchange is, which every reader dates
    like the session itself. Other stamps without a zone are UTC, as the model takes them.
    """
    return np.array([_close(pd.Timestamp(value), zone) for value in times], dtype=np.int64)


def _close(stamp: pd.Timestamp, zone: str) -> int:
    if stamp.tzinfo is None and stamp == stamp.normalize():
        following = (stamp + pd.Timedelta(days=1)).tz_localize(zone, nonexistent="shift_forward", ambiguous=True)
        return int(following.as_unit("ns").value) - 1
    return int((stamp.tz_localize("UTC") if stamp.tzinfo is None else stamp).as_unit("ns").value)


def _frame(said: list[Said]) -> pd.DataFrame:
    counts = [len(item.answer) for item in said]
    columns: dict[str, Any] = {}
    for name in ("name", "version", "role", "shown", "key", "at"):
        columns[name] = np.repeat(np.array([getattr(item, name) for item in said], dtype=object), counts)
    columns["time"] = np.concatenate([closes(item.answer["time"], item.zone) for item in said])
    columns["symbol"] = np.concatenate([_column(item.answer, "symbol", "") for item in said])
    for name in ("prediction", "lower", "upper"):
        columns[name] = np.concatenate([_column(item.answer, name, np.nan) for item in said])
    columns["at"] = pd.to_datetime(columns["at"].astype(np.int64), utc=True)
    columns["time"] = pd.to_datetime(columns["time"], utc=True)
    return pd.DataFrame({name: columns[name] for name in LOGGED}).astype(_TYPES)


def _column(answer: pd.DataFrame, name: str, missing: object) -> npt.NDArray[Any]:
    if name in answer.columns:
        return answer[name].to_numpy(dtype=object if missing == "" else np.float64)
    return np.full(len(answer), missing, dtype=object if missing == "" else np.float64)


def _empty() -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(dtype=_TYPES.get(name, object)) for name in LOGGED})


def _is_storable(said: Said) -> bool:
    from pyarrow import Table  # noqa: PLC0415 - an extra

    try:
        Table.from_pandas(_frame([said]), preserve_index=False, nthreads=1)
    except Exception:  # noqa: BLE001 - pyarrow's, pandas's or Python's: all that matters is that it cannot be
        return False
    return True


def _store(frame: pd.DataFrame, path: Path) -> None:
    from pyarrow import Table, parquet  # noqa: PLC0415 - an extra

    parquet.write_table(Table.from_pandas(frame, preserve_index=False, nthreads=1), path)


def _require_pyarrow() -> None:
    """Import it whole, now: at the end of a process, when the last part is written, no thread pool can be made."""
    try:
        from pyarrow import Table, parquet  # noqa: F401, PLC0415 - an extra
    except ImportError as error:
        raise ConfigurationError(f"logged predictions need pyarrow (the extra 'log'): {error}") from error
    Table.from_pandas(_empty(), preserve_index=False, nthreads=1)
