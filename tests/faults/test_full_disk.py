"""A disk that fills up under each write of a night: named with its free bytes, nothing half-written, no champion moved.

The disk is real: four megabytes of memory mounted as one, filled until so many bytes are left. Where nothing may be
mounted these tests are skipped, and files that may not grow (``test_broken_writes``) stand for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tasks.errors import NocturneError, StorageError
from tasks.registry import mlflow_store
from tests.faults.disks import WRITERS, Writer, empty, files, fill, promoted, small_disk
from tests.registry.conftest import empty_store, store
from tests.registry.shown import make_versions

__all__ = ["empty_store", "store"]
LEFT = (0, 4_096, 8_192, 16_384, 32_768)


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A small disk that the state folder lies on."""
    folder = tmp_path / "disk"
    with small_disk(folder) as why:
        if why:
            pytest.skip(f"no disk can be mounted: {why}")
        monkeypatch.setenv("NOCTURNE_HOME", str(folder / "home"))
        yield folder


@pytest.mark.parametrize("writer", WRITERS, ids=lambda writer: writer.name)
def test_a_write_to_a_full_disk(writer: Writer, disk: Path, record_property: Callable[[str, object], None]) -> None:
    home = disk / "home"
    next(each for each in WRITERS if each.name == "ledger").write(0)
    if writer.name != "ledger":
        writer.write(0)
    old, refused, said = writer.read(), 0, ""
    for leaving in LEFT:
        before = files(home)
        fill(disk, leaving)
        try:
            writer.write(1)
        except StorageError as error:
            refused, said = refused + 1, str(error)
            assert str(home) in said
            assert re.search(r"[\d,]+ bytes free", said)
            left = files(home)
            assert left.keys() == before.keys(), "a part of a file is left, or the old one is gone"
            assert left == before or writer.name == "lease", "a lease was granted before its slot could not be noted"
            assert writer.read() == old
        empty(disk)
        assert promoted() in ({"1"} if writer.name != "ledger" else {"1", "2"})
        if writer.read() != old:
            break
    assert refused >= 2, "the disk was never full"
    if writer.read() == old:
        writer.write(1)
    assert writer.read() != old, "with room it is written"
    record_property("happened", f"{writer.name}: refused {refused} times ({said.split(': ', 1)[1][:70]}…)")


def test_mlflows_own_store_on_a_full_disk(
    disk: Path, store: mlflow_store.Store, record_property: Callable[[str, object], None]
) -> None:
    make_versions(store, "spx", {}, {})
    store.client.set_registered_model_alias("spx", "champion", "1")
    experiment = mlflow_store.experiment(store, "spx")
    run = mlflow_store.new_run(store, experiment, "night", {})
    said = []
    fill(disk, 0)
    for write in (
        lambda: mlflow_store.new_run(store, experiment, "another", {f"tag{n}": "x" * 4_000 for n in range(50)}),
        lambda: mlflow_store.log_document(store, run, "facts.json", {"rows": ["x" * 50_000]}),
        lambda: mlflow_store.log_values(store, run, {f"p{n}": "x" * 4_000 for n in range(90)}, {}),
    ):
        with pytest.raises(NocturneError, match=r"disk is full: .*mlflow \([\d,]+ bytes free\)") as caught:
            write()
        said.append(str(caught.value))
    empty(disk)
    assert mlflow_store.holder(store, "spx", "champion") == "1"
    assert len(store.client.search_runs([experiment])) == 1, "no part of a run"
    mlflow_store.log_values(store, run, {"p": "v"}, {})
    record_property("happened", f"MLflow: refused {len(said)} times, its run and alias as before")
