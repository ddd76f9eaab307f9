"""The times of bars, in whatever way they are given: instants in UTC, and the dates that daily models count by.

Accepted: dates, ISO 8601 text, naive or zoned stamps, of any resolution. Refused with ModelInputError: numbers, missing
times, some with a zone and some without, and bars of less than a day without one.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...errors import ModelInputError
from ...features.dates import NANOSECONDS_A_DAY, closing_dates

Instants = npt.NDArray[np.int64]
"""Nanoseconds since 1970 UTC."""


def stamped(times: pd.Series, rows: npt.NDArray[np.intp], symbol: str) -> Instants:
    """Instants of which only the order is asked: without the checks of those that are predicted from."""
    stamps = times.array
    if isinstance(stamps, pd.arrays.DatetimeArray):
        return np.asarray(stamps, dtype="datetime64[ns]").view(np.int64)[rows]
    return instants_of(times.iloc[rows], symbol)[0]


def instants_of(values: pd.Series, symbol: str) -> tuple[Instants, bool]:
    """Nanoseconds since 1970 UTC, and whether the stamps carried no zone (they are then read as they stand)."""
    given = values.array
    if isinstance(given, pd.arrays.DatetimeArray) and given.unit == "ns":  # most are, and an index takes longer
        time = np.asarray(given, dtype="datetime64[ns]")
        _require_times(np.isnat(time), symbol)
        return time.view(np.int64), given.tz is None
    if pd.api.types.is_numeric_dtype(values.dtype):
        raise ModelInputError(
            f"{_of(symbol)}column 'time' holds numbers ({values.iloc[0]}): seconds and milliseconds look alike, so "
            "give dates, ISO 8601 text or timestamps"
        )
    try:
        stamps, naive = _stamps(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise ModelInputError(f"{_of(symbol)}column 'time' is not made of dates or times: {error}") from error
    _require_times(np.asarray(stamps.isna()), symbol)
    return stamps.as_unit("ns").to_numpy().view(np.int64), naive


def _require_times(missing: npt.NDArray[np.bool_], symbol: str) -> None:
    if missing.any():
        rows = np.flatnonzero(missing)
        raise ModelInputError(f"{_of(symbol)}{len(rows)} bars have no time (first: row {rows[0]})")


def _stamps(values: pd.Series) -> tuple[pd.DatetimeIndex, bool]:
    """The instants without a zone, in UTC where there was one, and whether there was none."""
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        return pd.DatetimeIndex(values).tz_convert(None), False
    if values.dtype.kind == "M":
        return pd.DatetimeIndex(values), True
    naive = {pd.Timestamp(value).tzinfo is None for value in values if not pd.isna(value)}
    if len(naive) > 1:
        raise ValueError("some have a time zone and some have none")
    parsed = pd.DatetimeIndex(pd.to_datetime(values, utc=True, format="ISO8601"))
    return parsed.tz_convert(None), naive == {True}


def sessions(symbol: str, time: Instants, bar: str, tz: str, *, naive: bool) -> npt.NDArray[np.datetime64]:
    """The dates of bars, datetime64[D]; naive: the times carried no zone. Raises ModelInputError as the module says."""
    if naive and bar != "1d":
        raise ModelInputError(
            f"{_of(symbol)}the times of {bar} bars need a zone: use tz_localize, or UTC ISO text with Z"
        )
    if bar == "1d" and naive and not (time % NANOSECONDS_A_DAY).any():
        return (time // NANOSECONDS_A_DAY).view("datetime64[D]")
    if bar == "1d" and not naive and tz != "UTC":
        # Wellington's early closes lie on the UTC date before. Only calendars of UTC close at midnight.
        there = pd.DatetimeIndex(time, tz=tz).tz_localize(None)  # integers are instants in UTC, whatever the zone
        return there.to_numpy().astype("datetime64[D]")
    return closing_dates(time)


def label_units(tz: str) -> frozenset[str]:
    """The units of datetime64 in which midnights are a daily model's session labels, and not closes.

    A calendar of UTC closes at midnight, so that only days can be labels there; no other calendar does, so that
    midnights of any unit are.
    """
    days = frozenset(("D", "W", "M", "Y"))
    return days if tz == "UTC" else days | {"h", "m", "s", "ms", "us", "ns"}


def _of(symbol: str) -> str:
    return f"{symbol}: " if symbol else ""
