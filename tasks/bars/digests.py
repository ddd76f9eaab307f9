"""The digest of a frame's values: equal values have equal digests, whatever file held them.

It is taken over the values column by column, so that neither the Parquet writer's version nor its compression, nor the
order in which rows were read, changes it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.utc import naive_times

Integers = npt.NDArray[np.int64]
NAT = np.datetime64("NaT", "ns").astype(np.int64)


def values_digest(frame: pd.DataFrame) -> str:
    """SHA-256 over the rows' values in (symbol, time) order, with column names; the index does not enter.

    Frames without times are put in the order of symbol, session and kind.
    Times enter as nanoseconds since 1970 in UTC, floats as IEEE doubles with one zero and one NaN.
    """
    keys = ["symbol", "time"] if "time" in frame else [name for name in ("symbol", "session", "kind") if name in frame]
    ordered = frame if _in_order(frame, keys) else frame.sort_values(keys, kind="stable")
    digest = hashlib.sha256(f"{len(ordered)}\n".encode())
    for name in ordered.columns:
        digest.update(f"{name}\0".encode())
        digest.update(_column_bytes(ordered[name]))
    return digest.hexdigest()


def _in_order(frame: pd.DataFrame, keys: list[str]) -> bool:
    """Whether the rows surely stand in the order of these columns already, so that a stable sort moves none.

    Stored bars do, and sorting them anew costs more than their digest. No is always a safe answer.
    """
    undecided = np.ones(max(len(frame) - 1, 0), dtype=bool)
    for key in keys:
        places = _places(frame[key])
        if places is None or (undecided & (places[1:] < places[:-1])).any():
            return False
        undecided &= places[1:] == places[:-1]
    return True


def _places(column: pd.Series[Any]) -> Integers | None:
    """Whole numbers in the order of the values (n,); None for a column with gaps, or of a kind that is not known."""
    if _is_time(column):
        times = _nanoseconds(column)
        return None if (times == NAT).any() else times
    if column.dtype != object:
        return None
    codes, names = pd.factorize(column.to_numpy())
    known = all(type(name) is str for name in names) and not (codes < 0).any()
    return codes.astype(np.int64) if known and sorted(names) == list(names) else None


def _is_time(column: pd.Series[Any]) -> bool:
    return isinstance(column.dtype, pd.DatetimeTZDtype) or column.dtype.kind == "M"


def _nanoseconds(column: pd.Series[Any]) -> Integers:
    times = naive_times(column) if isinstance(column.dtype, pd.DatetimeTZDtype) else column.to_numpy()
    return times.astype("datetime64[ns]").astype("<i8")


def _column_bytes(column: pd.Series[Any]) -> bytes:
    if _is_time(column):
        return _nanoseconds(column).tobytes()
    if column.dtype == object:
        codes, names = pd.factorize(column.to_numpy())
        return b"".join([*(f"{name}\0".encode() for name in names), codes.astype("<i8").tobytes()])
    values = column.to_numpy().astype("<f8") + 0.0
    return np.where(np.isnan(values), np.nan, values).tobytes()
