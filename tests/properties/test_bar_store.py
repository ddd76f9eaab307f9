"""Laws of the bar store: reading again adds nothing, order does not matter, and nothing that was known is lost."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.bars.describe import SourceDescription
from tasks.bars.readings import Looks, Reading
from tasks.bars.snapshot import values_digest
from tasks.bars.store import VALUES, BarStore
from tasks.errors import IntegrityError

DESCRIPTION = SourceDescription(source="p.csv")
START = pd.Timestamp("2018-01-02T21:00:00Z")
NOON = pd.Timestamp("2019-01-01T12:00:00Z")
COLUMNS = ["symbol", "time", *VALUES]

# A bar is (symbol, day) -> price; a night is a set of bars as the source gives them.
nights = st.lists(
    st.dictionaries(st.tuples(st.sampled_from("AB"), st.integers(0, 6)), st.integers(1, 3), min_size=1, max_size=8),
    min_size=1,
    max_size=5,
)
few = settings(max_examples=12, deadline=None)


def bars(night: dict[tuple[str, int], int]) -> pd.DataFrame:
    """A night's bars as a frame, in the dictionary's order."""
    time = [START + pd.Timedelta(days=day) for _, day in night]
    return pd.DataFrame(
        {
            "symbol": [symbol for symbol, _ in night],
            "time": pd.DatetimeIndex(time, dtype="datetime64[ns, UTC]"),
            "session": pd.DatetimeIndex(time).tz_localize(None).normalize().astype("datetime64[ns]"),
            **{name: [float(price) for price in night.values()] for name in VALUES},
        }
    )


def looks(nights: int) -> Looks:
    """Readings of both symbols at noon of each night, and of the one before the first."""
    times = (NOON + pd.Timedelta(days=at) for at in range(-1, nights))
    return Looks(tuple(Reading(at=at.isoformat(), asked=(), symbols=("A", "B")) for at in times))


@contextmanager
def store() -> Iterator[BarStore]:
    """An empty store of its own."""
    with tempfile.TemporaryDirectory() as folder:
        yield BarStore(DESCRIPTION, root=Path(folder))


@few
@given(nights)
def test_the_store_holds_the_last_value_of_every_bar_ever_seen(history: list[dict[tuple[str, int], int]]) -> None:
    with store() as kept:
        expected: dict[tuple[str, int], int] = {}
        for at, night in enumerate(history):
            appended = kept.append(bars(night), NOON + pd.Timedelta(days=at))
            assert appended.new == len(set(night) - set(expected))
            assert appended.revised == sum(expected.get(bar, price) != price for bar, price in night.items())
            expected |= night
        assert values_digest(kept.read()[COLUMNS]) == values_digest(bars(expected)[COLUMNS])


@few
@given(nights)
def test_as_of_any_night_the_store_shows_what_was_known_then(history: list[dict[tuple[str, int], int]]) -> None:
    with store() as kept:
        seen: list[str] = []
        for at, night in enumerate(history):
            kept.append(bars(night), NOON + pd.Timedelta(days=at))
            seen.append(values_digest(kept.read()[COLUMNS]))
        again = [kept.known(NOON + pd.Timedelta(days=at), looks(len(history))) for at in range(len(history))]
        assert [values_digest(known.frame[COLUMNS]) for known in again] == seen


@few
@given(nights)
def test_reading_the_same_rows_again_in_any_order_adds_nothing(history: list[dict[tuple[str, int], int]]) -> None:
    with store() as kept:
        for at, night in enumerate(history):
            kept.append(bars(night), NOON + pd.Timedelta(days=at))
        files = sorted(kept.folder.iterdir())
        again = kept.append(bars(history[-1]).sample(frac=1.0, random_state=3), NOON + pd.Timedelta(days=99))
        assert (again.new, again.revised) == (0, 0)
        assert sorted(kept.folder.iterdir()) == files


@few
@given(nights)
def test_no_part_is_ever_rewritten(history: list[dict[tuple[str, int], int]]) -> None:
    with store() as kept:
        before: dict[Path, bytes] = {}
        for at, night in enumerate(history):
            kept.append(bars(night), NOON + pd.Timedelta(days=at))
            now = {path: path.read_bytes() for path in kept.folder.iterdir()}
            assert {path: now[path] for path in before} == before
            before = now


def test_a_part_without_its_record_was_left_by_a_crash_and_does_not_count() -> None:
    with store() as kept:
        kept.append(bars({("A", 0): 1}), NOON)
        kept.append(bars({("A", 1): 2}), NOON + pd.Timedelta(days=1))
        sorted(kept.folder.glob("*.json"))[1].unlink()
        assert kept.read()["close"].tolist() == [1.0]
        kept.append(bars({("A", 1): 2}), NOON + pd.Timedelta(days=2))
        assert kept.read()["close"].tolist() == [1.0, 2.0]


def test_a_damaged_part_is_found_before_it_is_parsed() -> None:
    with store() as kept:
        kept.append(bars({("A", 0): 1}), NOON)
        part = next(kept.folder.glob("*.parquet"))
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 4
        part.write_bytes(bytes(data))
        with pytest.raises(IntegrityError, match="altered or damaged"):
            kept.read()


def test_vanished_counts_only_what_the_reading_could_have_shown() -> None:
    with store() as kept:
        kept.append(bars({("A", day): 1 for day in range(5)} | {("B", 2): 1}), NOON)
        assert kept.append(bars({("A", 1): 1, ("A", 3): 1}), NOON + pd.Timedelta(days=1)).vanished == 1
