"""Snapshots: the same bars have the same name, and a damaged file is never used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks import storage
from tasks.bars.check import CheckedBars
from tasks.bars.describe import SourceDescription
from tasks.bars.snapshot import freeze, values_digest
from tasks.contracts import Snapshot
from tasks.documents import from_json, to_json
from tasks.errors import DataError, IntegrityError
from tests.bars.files import HEADER, check, panel_lines, write

DESCRIPTION = SourceDescription(source="p.csv")


def _checked(folder: Path) -> CheckedBars:
    return check(write(folder / "p.csv", panel_lines(3), f"symbol,{HEADER}"))


def test_a_snapshot_reads_back_as_frozen(tmp_path: Path) -> None:
    checked = _checked(tmp_path)
    snapshot = freeze(checked, DESCRIPTION)
    pd.testing.assert_frame_equal(storage.read_parquet(snapshot.bars), checked.frame)
    assert snapshot.symbols == ("A00", "A01", "A02")
    assert (snapshot.first, snapshot.last) == ("2018-01-02T21:00:00Z", "2018-12-31T21:00:00Z")
    assert snapshot.bars.rows == 3 * 251
    assert Path(snapshot.bars.path).name == f"{snapshot.sha256}.parquet"
    assert snapshot.findings is not None
    assert len(storage.read_json(Path(snapshot.findings.path))) == sum(snapshot.finding_counts.values())
    assert from_json(Snapshot, to_json(snapshot)) == snapshot


def test_the_digest_knows_values_and_not_files(tmp_path: Path) -> None:
    frame = _checked(tmp_path).frame
    digest = values_digest(frame)
    shuffled = frame.sample(frac=1.0, random_state=1)
    reread = tmp_path / "other.parquet"
    frame.to_parquet(reread, compression="gzip", row_group_size=17)
    assert values_digest(shuffled) == digest
    assert values_digest(pd.read_parquet(reread)) == digest
    assert values_digest(frame.assign(time=frame["time"].dt.tz_convert("Asia/Tokyo"))) == digest
    assert values_digest(frame.assign(volume=-0.0)) == values_digest(frame.assign(volume=0.0))


def test_digests_are_those_that_state_folders_hold() -> None:
    """Computed before rows that stand in order were no longer sorted anew."""
    days = pd.DatetimeIndex(["2019-01-02", "2019-01-03", "2019-01-02"])
    frame = pd.DataFrame(
        {
            "symbol": ["A", "A", "B"],
            "time": (days + pd.Timedelta(hours=21)).tz_localize("UTC").as_unit("ns"),
            "session": days.as_unit("ns"),
            "close": [1.5, np.nan, -0.0],
        }
    )
    known = "81a22e193867481f24cd8920b003d26528d3035a0aa8a2791994c54beca5e40d"
    for order in ([0, 1, 2], [2, 1, 0], [1, 0, 2], [2, 0, 1]):
        assert values_digest(frame.iloc[order]) == known
    events = frame.drop(columns="time").assign(kind="split")
    assert values_digest(events) == "c34e33a3741b2da0b16b4cd78c0b3150555479709a0b7156e3c6634815ab4f29"
    timeless, nameless = frame.copy(), frame.copy()
    timeless.loc[0, "time"], nameless.loc[0, "symbol"] = pd.NaT, None
    assert values_digest(timeless) == "0e614c13a1e335772e130bc594f84d88398a76284854f18e5ecb61ff477f5be7"
    assert values_digest(nameless) == "1a36667e1c9b1b0e0435a77b56c9ce2f5b8bf12a939fed2aa6d6684661eeeffe"


@pytest.mark.parametrize("column", ["open", "high", "low", "close", "volume", "time", "session", "symbol"])
def test_the_smallest_change_of_any_value_changes_the_digest(column: str, tmp_path: Path) -> None:
    frame = _checked(tmp_path).frame
    before = values_digest(frame)
    changed = frame.copy()
    value = changed[column].iloc[5]
    if column == "symbol":
        changed.loc[5, column] = "A00x"
    elif column in {"time", "session"}:
        changed.loc[5, column] = value + pd.Timedelta(1, "ns")
    else:
        changed.loc[5, column] = np.nextafter(value, np.inf)
    assert values_digest(changed) != before


def test_the_next_bars_give_another_snapshot_and_leave_the_first(tmp_path: Path) -> None:
    old = freeze(_checked(tmp_path), replace(DESCRIPTION, as_of="2018-11-30"))
    new = freeze(_checked(tmp_path), DESCRIPTION)
    assert old.sha256 != new.sha256
    assert storage.read_parquet(old.bars)["time"].max() == pd.Timestamp("2018-11-30T21:00:00Z")
    assert old.last == "2018-11-30T21:00:00Z"


def test_as_of_before_the_first_bar_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="2001-01-01"):
        freeze(_checked(tmp_path), replace(DESCRIPTION, as_of="2001-01-01"))


def test_freezing_again_writes_nothing(tmp_path: Path) -> None:
    first = freeze(_checked(tmp_path), DESCRIPTION)
    before = Path(first.bars.path).stat().st_mtime_ns
    assert freeze(_checked(tmp_path), DESCRIPTION) == first
    assert Path(first.bars.path).stat().st_mtime_ns == before


@pytest.mark.parametrize("position", [0, 1000, -1])
def test_one_flipped_bit_is_refused_when_read_and_mended_when_frozen_again(position: int, tmp_path: Path) -> None:
    checked = _checked(tmp_path)
    snapshot = freeze(checked, DESCRIPTION)
    path = Path(snapshot.bars.path)
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match="altered or damaged"):
        storage.read_parquet(snapshot.bars)
    again = freeze(checked, DESCRIPTION)
    pd.testing.assert_frame_equal(storage.read_parquet(again.bars), checked.frame)
