"""Storage: what is read back is what was written, damage is found before parsing, nothing is left half-written."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks import storage
from tasks.errors import IntegrityError, StorageError

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame({"symbol": ["A", "B"], "close": [1.5, float("nan")]})


@given(document=st.dictionaries(st.text(), JSON))
def test_json_round_trip(tmp_path_factory: pytest.TempPathFactory, document: dict[str, object]) -> None:
    path = tmp_path_factory.mktemp("json") / "document.json"
    ref = storage.write_json(path, document)
    assert storage.read_json(path) == document
    assert ref.sha256 == storage.sha256_file(path)


def test_parquet_round_trip(tmp_path: Path, frame: pd.DataFrame) -> None:
    ref = storage.write_parquet(tmp_path / "bars.parquet", frame)
    pd.testing.assert_frame_equal(storage.read_parquet(ref), frame)
    assert ref.rows == 2


def test_every_flipped_byte_is_found_before_parsing(tmp_path: Path, frame: pd.DataFrame) -> None:
    ref = storage.write_parquet(tmp_path / "bars.parquet", frame)
    data = Path(ref.path).read_bytes()
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 1
        Path(ref.path).write_bytes(damaged)
        with pytest.raises(IntegrityError, match=r"bars\.parquet"):
            storage.read_parquet(ref)


def test_a_full_disk_names_path_and_free_bytes_and_keeps_the_old_file(
    tmp_path: Path, frame: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "bars.parquet"
    old = storage.write_parquet(path, frame)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageError, match=r"bars\.parquet.*disk is full.*[\d,]+ bytes free"):
        storage.write_parquet(path, frame.head(1))
    assert storage.sha256_file(path) == old.sha256
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["bars.parquet"]


def test_stage_output_appears_whole_or_not_at_all() -> None:
    store = storage.StageStore()
    key = store.key("demo", {"a": 1}, ("tasks/errors.py",))

    def fail_half_way() -> None:
        with store.put("demo", key) as folder:
            (folder / "part").write_text("x")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert store.get("demo", key) is None
    with store.put("demo", key) as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "whole").write_text("x")
    found = store.get("demo", key)
    assert found is not None
    assert (found / "sub" / "whole").read_text() == "x"
    assert [path.name for path in found.parent.iterdir()] == [found.name]


def test_of_two_runs_that_publish_the_same_output_both_find_it_whole() -> None:
    store = storage.StageStore()
    key = store.key("demo", {}, ("tasks/errors.py",))
    with store.put("demo", key) as slow, store.put("demo", key) as quick:
        for folder in (slow, quick):
            (folder / "file").write_text("the same")
    found = store.get("demo", key)
    assert found is not None
    assert [path.name for path in found.parent.iterdir()] == [found.name]


def test_what_a_killed_run_left_is_collected_once_it_is_old() -> None:
    store = storage.StageStore()
    key = store.key("demo", {}, ("tasks/errors.py",))
    parent = store.folder("demo", key).parent
    old, fresh = parent / ".dead-1", parent / ".alive-1"
    for folder in (old, fresh):
        folder.mkdir(parents=True)
    past = time.time() - storage.ABANDONED_SECONDS - 60
    os.utime(old, (past, past))
    with store.put("demo", key) as folder:
        (folder / "file").write_text("x")
    assert not old.exists()
    assert fresh.exists()


def test_damaged_stage_output_counts_as_absent(caplog: pytest.LogCaptureFixture) -> None:
    store = storage.StageStore()
    key = store.key("demo", {}, ("tasks/errors.py",))
    with store.put("demo", key) as folder:
        (folder / "file").write_text("good")
    (store.folder("demo", key) / "file").write_text("evil")
    assert store.get("demo", key) is None
    assert "damaged" in caplog.text


def test_key_depends_on_inputs_code_and_stage() -> None:
    store = storage.StageStore()
    keys = {
        store.key("one", {"a": 1}, ("tasks/errors.py",)),
        store.key("two", {"a": 1}, ("tasks/errors.py",)),
        store.key("one", {"a": 2}, ("tasks/errors.py",)),
        store.key("one", {"a": 1}, ("tasks/contracts.py",)),
    }
    assert len(keys) == 4
    assert store.key("one", {"a": 1, "b": 2}, ("tasks/errors.py",)) == store.key(
        "one", {"b": 2, "a": 1}, ("tasks/errors.py",)
    )


def test_a_matrix_is_the_frames_columns_in_the_order_asked(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(rng.standard_normal((70_001, 3)), columns=["a", "b", "c"])
    frame.loc[5, "b"] = np.nan
    ref = storage.write_parquet(tmp_path / "m.parquet", frame.assign(text="x"))
    np.testing.assert_array_equal(storage.read_matrix(ref, ["c", "b"]), frame[["c", "b"]].to_numpy())
    (tmp_path / "m.parquet").write_bytes(b"other")
    with pytest.raises(IntegrityError):
        storage.read_matrix(ref, ["a"])
