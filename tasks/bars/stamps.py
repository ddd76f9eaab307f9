"""What a column of stamps says: calendar dates, or instants in UTC.

Every spelling is reduced to two arrays: the wall clock as written, and the instant where a zone is known (an offset in
the text, an epoch number, an aware column, or the declared zone). Dates that could be read two ways are refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from tasks.bars.columns import named_as_start
from tasks.bars.describe import SourceDescription

Times = npt.NDArray[np.datetime64]
Mask = npt.NDArray[np.bool_]
Refuse = Callable[[str, str, int | None], Exception]

NAT = np.datetime64("NaT", "ns")
DAY = np.timedelta64(1, "D")
# Epoch units by magnitude: 1973 to 2255 in each; nothing real lies between the ranges.
UNITS = {"s": (1e8, 9e9, 10**9), "ms": (1e11, 9e12, 10**6), "us": (1e14, 9e15, 10**3), "ns": (1e17, 9e18, 1)}
_ZONE = re.compile(r"^(?P<body>.*\d:\d{2}.*?)\s*(?P<zone>[Zz]|UTC|GMT|[+-]\d{2}:?\d{2})$")
_ENDS_IN_ZONE = r"(?:[Zz]|UTC|GMT|[+-]\d{2}:?\d{2})$"
_TIME = r"(?:[ T]+(?P<H>\d{1,2}):?(?P<M>\d{2})(?::?(?P<S>\d{2})(?P<frac>\.\d{1,9})?)?\s*(?P<half>[AaPp][Mm])?)?$"
_YEAR_FIRST = re.compile(r"^(?P<y>\d{4})(?P<sep>[-/.]?)(?P<m>\d{1,2})(?P=sep)(?P<d>\d{1,2})" + _TIME)
_YEAR_LAST = re.compile(r"^(?P<a>\d{1,2})(?P<sep>[-/.])(?P<b>\d{1,2})(?P=sep)(?P<y>\d{4}|\d{2})" + _TIME)
_NAMED = re.compile(r"^(?P<d>\d{1,2})[- ](?P<mon>[A-Za-z]{3})[a-z]*[- ,]+(?P<y>\d{4}|\d{2})" + _TIME)
_NAMED_FIRST = re.compile(r"^(?P<mon>[A-Za-z]{3})[a-z]*\.? (?P<d>\d{1,2}),? (?P<y>\d{4})" + _TIME)
_MONTHS = {name: at + 1 for at, name in enumerate(re.findall("...", "janfebmaraprmayjunjulaugsepoctnovdec"))}


@dataclass(frozen=True, slots=True)
class Stamps:
    """Per row a session date or an instant in UTC (the other is NaT), or neither and a rule that says why."""

    date: Times
    instant: Times
    faults: dict[str, Mask] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Parsed:
    wall: Times
    instant: Times
    faults: dict[str, Mask] = field(default_factory=dict)


def read_stamps(column: Any, name: str, description: SourceDescription, refuse: Refuse) -> Stamps:
    """Read an Arrow column of stamps: text, numbers, dates or timestamps.

    ``refuse(rule, detail, row)`` makes the error raised where the whole column cannot be used: naive intraday times
    with no declared zone, dates alone in an intraday source, dates that read two ways, starts declared as ends.
    """
    parsed = _parse(column, refuse)
    return _daily(parsed, description, refuse) if description.daily else _intraday(parsed, name, description, refuse)


def _daily(parsed: _Parsed, description: SourceDescription, refuse: Refuse) -> Stamps:
    known = ~np.isnat(parsed.wall)
    midnight = known & (parsed.wall == parsed.wall.astype("datetime64[D]"))
    clocked = known & ~midnight
    date = np.where(midnight, parsed.wall, NAT)
    instant, faults = parsed.instant, parsed.faults
    if clocked.any():
        instant, faults = _instants(parsed, clocked, description, refuse)
    return Stamps(date, np.where(clocked, instant, NAT), faults)


def _intraday(parsed: _Parsed, name: str, description: SourceDescription, refuse: Refuse) -> Stamps:
    if description.label == "end" and named_as_start(name):
        raise refuse("label-side", f"column {name!r} holds starts, but label 'end' is declared", None)
    known = ~np.isnat(parsed.wall)
    if known.sum() > 1 and (parsed.wall[known] == parsed.wall[known].astype("datetime64[D]")).all():
        raise refuse("date-only", f"stamps are dates alone, but bar {description.bar} is declared", None)
    instant, faults = _instants(parsed, known, description, refuse)
    return Stamps(np.full(len(instant), NAT), instant, faults)


def _instants(
    parsed: _Parsed, needed: Mask, description: SourceDescription, refuse: Refuse
) -> tuple[Times, dict[str, Mask]]:
    naive = needed & np.isnat(parsed.instant)
    if not naive.any():
        return parsed.instant, parsed.faults
    if not description.tz:
        at = int(np.argmax(naive))
        stamp = str(parsed.wall[at].astype("datetime64[s]"))
        raise refuse("naive-time", f"{stamp} carries no zone and none is declared", at + 1)
    index = pd.DatetimeIndex(np.where(naive, parsed.wall, NAT))
    local = index.tz_localize(description.tz, ambiguous="NaT", nonexistent="NaT").tz_convert("UTC").tz_localize(None)
    found = np.where(naive, local.to_numpy(), parsed.instant)
    return found, {**parsed.faults, "clock-change": naive & np.isnat(found)}


def _parse(column: Any, refuse: Refuse) -> _Parsed:
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        return _from_timestamps(column)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return _from_numbers(pd.Series(column.to_pandas()))
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise refuse("unreadable-time", f"a column of {kind} cannot be read as time", None)
    # A panel repeats its dates once a symbol: each is parsed once.
    encoded = pc.dictionary_encode(pc.fill_null(pc.utf8_trim_whitespace(column.cast(pa.string())), ""))
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    codes = np.asarray(encoded.indices.to_numpy(zero_copy_only=False))
    parsed = _from_text(pd.Series(encoded.dictionary.to_pylist(), dtype=object), refuse)
    return _Parsed(
        parsed.wall[codes], parsed.instant[codes], {rule: mask[codes] for rule, mask in parsed.faults.items()}
    )


def _from_timestamps(column: Any) -> _Parsed:
    series = pd.Series(column.cast(pa.timestamp("ns", getattr(column.type, "tz", None)), safe=False).to_pandas())
    if series.dt.tz is None:
        wall = series.to_numpy().astype("datetime64[ns]")
        return _Parsed(wall, np.full(len(wall), NAT), {"unreadable-time": np.isnat(wall)})
    wall = series.dt.tz_localize(None).to_numpy()
    return _Parsed(
        wall, series.dt.tz_convert("UTC").dt.tz_localize(None).to_numpy(), {"unreadable-time": np.isnat(wall)}
    )


def _from_numbers(values: pd.Series[Any]) -> _Parsed:
    """Epoch numbers of one unit, found by their size, or dates written as YYYYMMDD."""
    size = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if (np.nan_to_num(size) >= 18_000_101).any() and np.nanmax(size) <= 22_001_231:
        dates = pd.to_datetime(values.astype("Int64").astype(str), format="%Y%m%d", errors="coerce")
        wall = dates.to_numpy().astype("datetime64[ns]")
        return _Parsed(wall, np.full(len(wall), NAT), {"unreadable-time": np.isnat(wall)})
    classes = {unit: (size >= low) & (size <= high) for unit, (low, high, _) in UNITS.items()}
    unit = max(classes, key=lambda name: int(classes[name].sum()))
    mine = classes[unit]
    others = np.logical_or.reduce([mask for name, mask in classes.items() if name != unit])
    instant = np.full(len(size), NAT)
    instant[mine] = _scaled(values[mine], UNITS[unit][2]).astype("datetime64[ns]")
    return _Parsed(instant, instant, {"mixed-time-unit": others, "unreadable-time": ~mine & ~others})


def _scaled(values: pd.Series[Any], factor: int) -> npt.NDArray[np.int64]:
    if pd.api.types.is_integer_dtype(values.dtype):
        return values.to_numpy(dtype=np.int64) * factor
    # A fraction of a second as a double is exact to the microsecond at best.
    return np.round(values.to_numpy(dtype=np.float64) * factor / 1000).astype(np.int64) * 1000


def _from_text(texts: pd.Series[Any], refuse: Refuse) -> _Parsed:
    digits = texts.str.fullmatch(r"\d{8,19}(\.\d+)?")
    if digits.any() and digits.sum() >= 0.5 * len(texts):
        whole = not texts[digits].str.contains(".", regex=False).any()
        numbers = texts.where(digits, "0").astype(np.int64 if whole else np.float64)
        return _from_numbers(numbers)
    body, offset = _split_zone(texts)
    zoned = offset.notna().to_numpy()
    wall = _walls(body, refuse)
    bad = np.isnat(wall)
    if zoned.any():
        minority = zoned if zoned.sum() < (~bad).sum() / 2 else ~zoned
        bad = bad | minority
    instant = wall - offset.fillna(0).to_numpy(dtype="timedelta64[m]")
    instant = np.where(zoned & ~bad, instant, NAT)
    return _Parsed(np.where(bad, NAT, wall), instant, {"unreadable-time": bad})


def _split_zone(texts: pd.Series[Any]) -> tuple[pd.Series[Any], pd.Series[Any]]:
    """The text before an offset, and the offset in minutes east of UTC (missing where there is none)."""
    first = _ZONE.match(texts.iloc[0])
    suffix = first["zone"] if first else ""
    if suffix and texts.str.endswith(suffix).all():
        # One offset throughout, as in most files: no need to take a million stamps apart.
        return texts.str[: -len(suffix)].str.rstrip(), pd.Series(
            _minutes(pd.Series([suffix])).iloc[0], index=texts.index
        )
    if not texts.str.contains(_ENDS_IN_ZONE).any():
        return texts, pd.Series(np.nan, index=texts.index)
    parts = texts.str.extract(_ZONE)
    return parts["body"].fillna(texts), _minutes(parts["zone"])


def _minutes(zones: pd.Series[Any]) -> pd.Series[Any]:
    zone = zones.str.upper().str.replace(":", "")
    zone = zone.mask(zone.isin(["Z", "UTC", "GMT"]), "+0000")
    sign = zone.str[0].map({"+": 1.0, "-": -1.0})
    return sign * (zone.str[1:3].astype(float) * 60 + zone.str[3:5].astype(float))


def _walls(body: pd.Series[Any], refuse: Refuse) -> Times:
    found = pd.to_datetime(body, format="ISO8601", errors="coerce").to_numpy().astype("datetime64[ns]")
    for pattern in (_YEAR_FIRST, _YEAR_LAST, _NAMED, _NAMED_FIRST):
        left = np.isnat(found)
        if not left.any():
            break
        parts = body[left].str.extract(pattern)
        if "a" in parts:
            _order_day_and_month(parts, refuse)
        if "mon" in parts:
            parts["m"] = parts["mon"].str.lower().map(_MONTHS)
        found[left] = _assemble(parts)
    return found


def _order_day_and_month(parts: pd.DataFrame, refuse: Refuse) -> None:
    """Name columns a and b day and month: a value above 12 decides, dots mean day first, no evidence is refused."""
    first, second = parts["a"].astype(float), parts["b"].astype(float)
    day_first = bool((first > 12).any()) or bool((parts["sep"] == ".").any())
    month_first = bool((second > 12).any())
    if first.notna().any() and not day_first and not month_first:
        example = parts.loc[first.first_valid_index()]
        text = example["sep"].join([example["a"], example["b"], example["y"]])
        raise refuse("ambiguous-date", f"{text}: day and month could be either way round in every row", None)
    month, day = ("a", "b") if month_first else ("b", "a")
    parts["m"], parts["d"] = parts[month], parts[day]


def _assemble(parts: pd.DataFrame) -> Times:
    year = parts["y"].astype(float)
    year = year.where(year >= 100, year + np.where(year < 70, 2000, 1900))
    days = pd.to_datetime(
        pd.DataFrame({"year": year, "month": parts["m"].astype(float), "day": parts["d"].astype(float)}),
        errors="coerce",
    )
    clock = parts[["H", "M", "S", "frac"]].astype(float).fillna(0.0)
    half = parts["half"].str.lower()
    hour = clock["H"].where(half.isna(), clock["H"] % 12 + 12.0 * (half == "pm"))
    valid = (hour < 24) & (clock["M"] < 60) & (clock["S"] < 60)
    seconds = (hour * 3600 + clock["M"] * 60 + clock["S"]).astype("int64")
    since = pd.to_timedelta(seconds, unit="s") + pd.to_timedelta(
        (clock["frac"] * 1e9).round().astype("int64"), unit="ns"
    )
    return (days + since).where(valid).to_numpy().astype("datetime64[ns]")
