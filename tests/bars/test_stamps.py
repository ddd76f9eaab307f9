"""Every spelling of the same moments reads as the same moments, and what reads two ways is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.bars.describe import SourceDescription
from tasks.bars.stamps import Stamps, read_stamps

MOMENTS = pd.DatetimeIndex(["2017-01-03 14:30", "2017-01-13 15:45", "2018-12-31 20:00"], tz="UTC")
DAYS = np.array(["2017-01-03", "2017-01-13", "2018-12-31"], dtype="datetime64[ns]")


class _RefusedError(Exception):
    """Stands for the source's refusal."""


def read(column: Any, name: str = "time", **options: Any) -> Stamps:
    """Read a column of stamps with refusals as ``_RefusedError``."""
    description = SourceDescription(source="x.csv", **options)
    return read_stamps(pa.array(column) if isinstance(column, list) else column, name, description,
                       lambda rule, detail, row: _RefusedError(f"{rule}: {detail} at {row}"))  # fmt: skip


@pytest.mark.parametrize(
    "pattern",
    [
        *("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%d %H:%M:%S+00:00", "%Y-%m-%d %H:%M +0000", "%Y/%m/%d %H:%M UTC"),
        *("%Y-%m-%dT%H:%M:%S.%fZ", "%m/%d/%Y %H:%M:%SZ", "%d.%m.%Y %H:%MZ", "%m/%d/%Y %I:%M:%S %p GMT"),
        *("%Y%m%d %H:%M Z", "%d-%b-%Y %H:%MZ", "%b %d, %Y %H:%MZ"),
    ],
)
def test_text_with_a_zone(pattern: str) -> None:
    stamps = read([moment.strftime(pattern) for moment in MOMENTS], bar="1h")
    np.testing.assert_array_equal(stamps.instant, MOMENTS.tz_localize(None).to_numpy())


@pytest.mark.parametrize(
    "pattern",
    [
        *("%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M", "%m/%d/%Y %H:%M", "%d/%m/%Y %H:%M", "%m/%d/%y %H:%M"),
        *("%Y%m%d %H:%M", "%Y.%m.%d %H:%M", "%-m/%-d/%Y %-I:%M %p"),
    ],
)
def test_naive_text_is_in_the_declared_zone(pattern: str) -> None:
    local = MOMENTS.tz_convert("America/New_York")
    stamps = read([moment.strftime(pattern) for moment in local], bar="1h", tz="America/New_York")
    np.testing.assert_array_equal(stamps.instant, MOMENTS.tz_localize(None).to_numpy())


@pytest.mark.parametrize(
    "pattern",
    [
        *("%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d", "%Y%m%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%m/%d/%y", "%-m/%-d/%Y"),
        *(
            "%d-%b-%Y",
            "%b %d, %Y",
            "%Y-%m-%d 00:00:00",
            "%Y-%m-%d 00:00:00+09:00",
            "%Y-%m-%dT00:00:00Z",
            "%Y%m%d 00:00",
        ),
    ],
)
def test_dates_alone_are_session_labels(pattern: str) -> None:
    stamps = read([day.strftime(pattern) for day in pd.DatetimeIndex(DAYS)])
    np.testing.assert_array_equal(stamps.date, DAYS)
    assert np.isnat(stamps.instant).all()


@pytest.mark.parametrize(
    "column",
    [
        pa.array(MOMENTS.to_pydatetime(), pa.timestamp("us", "UTC")),
        pa.array(MOMENTS.tz_convert("Asia/Tokyo").to_pydatetime(), pa.timestamp("ms", "Asia/Tokyo")),
        pa.array([moment.timestamp() for moment in MOMENTS], pa.float64()),
        pa.array([int(moment.timestamp()) for moment in MOMENTS], pa.int32()),
        pa.array([str(moment.timestamp()) for moment in MOMENTS]),
    ],
    ids=["aware", "aware elsewhere", "float seconds", "int32 seconds", "text seconds"],
)
def test_typed_columns(column: Any) -> None:
    np.testing.assert_array_equal(read(column, bar="1h").instant, MOMENTS.tz_localize(None).to_numpy())


@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("us"), pa.timestamp("s")])
def test_typed_dates(kind: Any) -> None:
    np.testing.assert_array_equal(read(pa.array(DAYS).cast(kind)).date, DAYS)


@given(
    st.lists(st.integers(10**17, 2 * 10**18), min_size=1, max_size=20),
    st.sampled_from([("s", 10**9), ("ms", 10**6), ("us", 10**3), ("ns", 1)]),
)
def test_epoch_units_are_told_apart_by_size_and_lose_nothing(moments: list[int], unit: tuple[str, int]) -> None:
    scaled = [moment // unit[1] for moment in moments]
    expected = (np.array(scaled) * unit[1]).astype("datetime64[ns]")
    for column in (pa.array(scaled), pa.array([str(value) for value in scaled])):
        stamps = read(column, bar="1h", calendar="24/7") if _clocked(expected) else None
        if stamps is not None:
            np.testing.assert_array_equal(stamps.instant, expected)


def _clocked(moments: Any) -> bool:
    return len(moments) == 1 or bool((moments != moments.astype("datetime64[D]")).any())


@pytest.mark.parametrize(
    ("column", "options", "says"),
    [
        (["01/02/2018", "03/04/2018"], {}, "ambiguous-date: 01/02/2018"),
        (["2018-01-02 10:00", "2018-01-02 11:00"], {"bar": "1h"}, "naive-time: 2018-01-02T10:00:00"),
        (["2018-01-02", "2018-01-03"], {"bar": "1h", "tz": "UTC"}, "date-only"),
        ([True, False], {}, "unreadable-time: a column of bool"),
    ],
)
def test_what_cannot_be_meant_is_refused(column: list[Any], options: dict[str, Any], says: str) -> None:
    with pytest.raises(_RefusedError, match=says):
        read(column, **options)


def test_a_column_of_starts_is_not_taken_for_ends() -> None:
    stamps = [moment.isoformat() for moment in MOMENTS]
    with pytest.raises(_RefusedError, match="label-side"):
        read(stamps, name="open_time", bar="1h")
    assert len(read(stamps, name="open_time", bar="1h", label="start").instant) == 3


@pytest.mark.parametrize("text", ["soon", "", "2018-02-30", "2018-13-01", "25:00", "99/99/2018"])
def test_a_stamp_that_is_none_is_marked_and_the_rest_read(text: str) -> None:
    stamps = read(["2018-01-15", "2018-01-16", text])
    assert stamps.faults["unreadable-time"].tolist() == [False, False, True]
    assert np.isnat(stamps.date[2])


def test_a_stamp_without_the_zone_that_the_others_have_is_marked() -> None:
    stamps = read(["2018-01-15T10:00Z", "2018-01-15T11:00Z", "2018-01-15T12:00"], bar="1h")
    assert stamps.faults["unreadable-time"].tolist() == [False, False, True]


def test_a_local_hour_that_never_was_or_was_twice_is_marked() -> None:
    texts = ["2018-03-11 01:30", "2018-03-11 02:30", "2018-11-04 01:30", "2018-11-04 02:30"]
    stamps = read(texts, bar="1h", tz="America/New_York")
    assert stamps.faults["clock-change"].tolist() == [False, True, True, False]
