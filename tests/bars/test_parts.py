"""Parts are read once where a block asks for that, and never when their file is another one."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from tasks import storage
from tasks.bars import parts
from tasks.bars.describe import SourceDescription
from tasks.bars.parts import forget, read_once
from tasks.bars.store import BarStore
from tasks.contracts import Ref
from tasks.errors import IntegrityError, StorageError

DESCRIPTION = SourceDescription(source="p.csv")
NOW = pd.Timestamp("2019-02-01T22:00:00Z")


def _bars(days: int) -> pd.DataFrame:
    session = pd.date_range("2019-01-01", periods=days).as_unit("ns")
    frame = pd.DataFrame({"symbol": "A", "time": session.tz_localize("UTC"), "session": session})
    return frame.assign(**dict.fromkeys(("open", "high", "low", "close", "volume"), 1.0))


@pytest.fixture
def filled(tmp_path: Path) -> Path:
    """A store that two readings added to."""
    for days in (3, 5):
        BarStore(DESCRIPTION, root=tmp_path).append(_bars(days), NOW + pd.Timedelta(days=days))
    return tmp_path


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read and verified from now on."""
    names: list[str] = []
    read = storage.read_parquet

    def noted(ref: Ref) -> pd.DataFrame:
        names.append(Path(ref.path).name)
        return read(ref)

    monkeypatch.setattr(storage, "read_parquet", noted)
    return names


def _read(folder: Path) -> pd.DataFrame:
    return BarStore(DESCRIPTION, root=folder).read()


def test_within_a_block_each_file_is_read_once_and_what_others_add_comes_along(filled: Path, opened: list[str]) -> None:
    with read_once():
        first = _read(filled)
        assert len(opened) == 2
        pd.testing.assert_frame_equal(_read(filled), first)
        assert len(opened) == 2
        BarStore(DESCRIPTION, root=filled).append(_bars(6), NOW + pd.Timedelta(days=6))
        assert len(_read(filled)) == 6
        assert len(opened) == 3, "the new part is read from the disk, and verified"
    _read(filled)
    assert len(opened) == 6, "nothing outlives the block"


def test_what_was_forgotten_is_read_again(filled: Path, opened: list[str]) -> None:
    with read_once():
        _read(filled)
        forget()
        _read(filled)
    assert len(opened) == 4


def test_a_file_that_was_changed_or_replaced_meanwhile_is_read_and_refused(filled: Path) -> None:
    part = Path(BarStore(DESCRIPTION, root=filled).parts()[0].path)
    whole = part.read_bytes()
    flipped = whole[:100] + bytes([whole[100] ^ 1]) + whole[101:]
    for change in ("written into", "replaced", "gone"):
        with read_once():
            _read(filled)
            before = part.stat()
            if change == "written into":
                part.write_bytes(flipped)
            elif change == "replaced":  # with the time of the old one: the inode tells
                part.with_suffix(".new").write_bytes(flipped)
                os.utime(part.with_suffix(".new"), ns=(before.st_atime_ns, before.st_mtime_ns))
                part.with_suffix(".new").replace(part)
            else:
                part.unlink()
            with pytest.raises(StorageError if change == "gone" else IntegrityError):
                _read(filled)
        part.write_bytes(whole)
        assert len(_read(filled)) == 5


def test_what_is_remembered_is_no_ones_to_change(filled: Path) -> None:
    with read_once():
        found = _read(filled)
        found.loc[:, "close"] = 7.0
        assert (_read(filled)["close"] == 1.0).all()


def test_no_more_than_so_many_files_are_remembered(
    filled: Path, opened: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(parts, "MOST", 1)
    with read_once():
        _read(filled)
        _read(filled)
    assert len(opened) == 4, "the first of two made room for the second, and it for the first"
