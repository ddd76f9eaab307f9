"""Each call by which a night writes, failing once; files that may not grow; and what a power cut leaves.

Three disturbances of every writer that uses Python's own calls:

- the n-th call to the operating system fails with an I/O error, for each n that there is; a write fails half-way;
- the kernel lets no file grow past so many bytes (RLIMIT_FSIZE): a short write, then an error, in whichever library;
- power fails after each call: what was not synced is gone, or only names are there and their contents are not.

What must be there afterwards: the old or the new, whole; an error in words; no further file.
"""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks import storage
from tasks.errors import StorageError
from tests.faults.disks import OF_STORAGE, WRITERS, Writer, files, promoted
from tests.faults.power import Recorded, recording
from tests.faults.syscalls import counted, failing

Tell = Callable[[str, object], None]
LIMITS = (0, 1, 100, 1_000, 4_096, 10_000, 18_000)
by_name = pytest.mark.parametrize("writer", OF_STORAGE, ids=lambda writer: writer.name)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The state folder, in which version 1 is champion."""
    next(each for each in WRITERS if each.name == "ledger").write(0)
    return tmp_path / "home"


@by_name
def test_an_io_error_at_each_call(writer: Writer, home: Path, tmp_path: Path, record_property: Tell) -> None:
    writer.write(0)
    old = writer.read()
    kept = shutil.copytree(home, tmp_path / "kept")
    with counted() as calls:
        writer.write(1)
    new = writer.read()
    told: list[str] = []
    for number in range(1, calls.made + 1):
        _put_back(home, kept)
        before = files(home)
        try:
            with failing(number) as injected:
                writer.write(1)
        except StorageError as error:
            told.append(str(error))
        found = writer.read()
        assert found in (old, new), f"torn by {injected.call}"
        assert found == new or files(home) == before, f"{injected.call} left a part"
        assert promoted() == "1"
    assert all(str(home) in said for said in told)
    assert len(told) >= calls.made / 2
    record_property("happened", f"{writer.name}: {calls.made} calls, {len(told)} refused")


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_a_short_write_wherever_a_file_ends(writer: Writer, home: Path, record_property: Tell) -> None:
    if writer.name != "ledger":
        writer.write(0)
    old, refused = writer.read(), []
    for limit in (*LIMITS, 60_000, 120_000):
        before = files(home)
        try:
            with no_longer_than(limit):
                writer.write(1)
        except StorageError as error:
            refused.append(str(error))
            # SQLite's own journal may stay until the next that opens the file has rolled back by it.
            assert {name for name in files(home) if not name.endswith("db-journal")} == before.keys()
            assert writer.read() == old
            assert files(home).keys() == before.keys()
        if writer.read() != old:
            break
    assert refused
    assert all(str(home) in said for said in refused)
    assert promoted() in ("1", "2" if writer.name == "ledger" else "1")
    record_property("happened", f"{writer.name}: cut at {len(refused)} lengths")


@contextmanager
def no_longer_than(size: int) -> Iterator[None]:
    """No file of this process grows past so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


@by_name
def test_power_that_fails_after_each_call(
    writer: Writer, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, record_property: Tell
) -> None:
    writer.write(0)
    old = writer.read()
    with recording(home) as recorded:
        writer.write(1)
    new = writer.read()
    outcomes = set()
    for at, disk in enumerate(_disks(recorded, tmp_path / "after")):
        monkeypatch.setenv("NOCTURNE_HOME", str(disk))
        found = writer.read()
        assert found in (old, new), f"torn, after call {at // len(recorded.kinds)} of {len(recorded)}"
        outcomes.add(found)
        if found == old:
            writer.write(1)
        assert writer.read() == new, "the next night puts it right"
        assert promoted() == "1"
        shutil.rmtree(disk)
    assert outcomes == {old, new}
    record_property("happened", f"{writer.name}: {len(recorded)} cuts, old or new, never torn")


def _disks(recorded: Recorded, folder: Path) -> Iterator[Path]:
    for number in range(len(recorded)):
        for kind in recorded.kinds:
            yield recorded.left(number, kind, folder / f"{number}-{kind}")


def _put_back(home: Path, kept: Path) -> None:
    shutil.rmtree(home)
    shutil.copytree(kept, home)


def test_an_error_of_the_disk_is_told_as_what_it_is(tmp_path: Path) -> None:
    told = r"x\.json: cannot be written: Input/output error \([\d,]+ bytes free\)"
    with failing(1, only="fsync"), pytest.raises(StorageError, match=told):
        storage.write_json(tmp_path / "x.json", {})
    assert list(tmp_path.glob(".x*")) == []
