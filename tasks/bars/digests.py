"""The digest of a frame's values: equal values have equal digests, whatever file held them.

It is taken over the values column by column, so that neither the Parquet writer's version nor its compression, nor the
order in which rows were read, changes it.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pandas as pd


def values_digest(frame: pd.DataFrame) -> str:
    """SHA-256 over the rows' values in (symbol, time) order, with column names; the index does not enter.

    Frames without times are put in the order of symbol, session and kind.
    Times enter as nanoseconds since 1970 in UTC, floats as IEEE doubles with one zero and one NaN.
    """
    keys = ["symbol", "time"] if "time" in frame else [name for name in ("symbol", "session", "kind") if name in frame]
    ordered = frame.sort_values(keys, kind="stable")
    digest = hashlib.sha256(f"{len(ordered)}\n".encode())
    for name in ordered.columns:
        digest.update(f"{name}\0".encode())
        digest.update(_column_bytes(ordered[name]))
    return digest.hexdigest()


def _column_bytes(column: pd.Series[Any]) -> bytes:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if np.issubdtype(column.to_numpy().dtype, np.datetime64):
        return column.to_numpy().astype("datetime64[ns]").astype("<i8").tobytes()
    if column.dtype == object:
        codes, names = pd.factorize(column.to_numpy())
        return b"".join([*(f"{name}\0".encode() for name in names), codes.astype("<i8").tobytes()])
    values = column.to_numpy().astype("<f8") + 0.0
    return np.where(np.isnan(values), np.nan, values).tobytes()
