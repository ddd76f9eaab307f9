"""Machines that share stage outputs through an object store (moto's, on loopback), and what can be wrong with it."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks import stages_remote
from tasks.errors import ConfigurationError
from tasks.storage import MANIFEST, StageStore, sha256_bytes
from tests.object_store import BUCKET, ObjectStore, object_store

KEY = "ab" * 32
FOLDER = f"stages/features/{KEY[:40]}"


@pytest.fixture(scope="module")
def bucket() -> Iterator[ObjectStore]:
    with object_store() as found:
        yield found


@pytest.fixture
def s3(bucket: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """The empty store, named as the place where outputs are shared."""
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv(stages_remote.SETTING, f"s3://{BUCKET}/stages")
    for name in bucket.names():
        bucket.remove(name)
    stages_remote._opened.clear()
    yield bucket
    stages_remote._opened.clear()


def made(root: Path) -> Path:
    """An output computed on the machine whose stages lie at ``root``."""
    store = StageStore(root)
    with store.put("features", KEY) as staging:
        (staging / "parts").mkdir()
        (staging / "matrix.bin").write_bytes(b"a matrix")
        (staging / "parts" / "one.json").write_text("{}")
    return store.folder("features", KEY)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_one_machine_computed_another_finds(s3: ObjectStore, tmp_path: Path) -> None:
    here = made(tmp_path / "here")
    found = StageStore(tmp_path / "there").get("features", KEY)
    assert found is not None
    assert contents(found) == contents(here)
    assert [path.name for path in found.parent.iterdir()] == [KEY[:40]]


def test_any_file_system_that_fsspec_knows_will_do(
    s3: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(stages_remote.SETTING, (tmp_path / "share").as_uri())
    here = made(tmp_path / "here")
    found = StageStore(tmp_path / "there").get("features", KEY)
    assert found is not None
    assert contents(found) == contents(here)


def test_a_damaged_output_here_is_brought_again(s3: ObjectStore, tmp_path: Path) -> None:
    here = made(tmp_path / "here")
    (here / "matrix.bin").write_bytes(b"a matrix?")
    found = StageStore(tmp_path / "here").get("features", KEY)
    assert found is not None
    assert (found / "matrix.bin").read_bytes() == b"a matrix"


def test_the_manifest_is_the_last_to_come(s3: ObjectStore, tmp_path: Path) -> None:
    """An upload that is killed before its end leaves nothing that is found; the next machine completes it."""
    made(tmp_path / "here")
    s3.remove(f"{FOLDER}/{MANIFEST}")
    assert StageStore(tmp_path / "there").get("features", KEY) is None
    made(tmp_path / "there")
    assert f"{FOLDER}/{MANIFEST}" in s3.names()
    written = {each["Key"]: each["LastModified"] for each in s3.client.list_objects_v2(Bucket=BUCKET)["Contents"]}
    assert max(written.values()) == written[f"{FOLDER}/{MANIFEST}"]


@pytest.mark.parametrize("fault", ["altered", "missing", "not json", "escapes", "lists itself"])
def test_an_output_that_is_not_whole_is_not_used(
    s3: ObjectStore, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    made(tmp_path / "here")
    manifest = json.loads(s3.read(f"{FOLDER}/{MANIFEST}"))
    match fault:
        case "altered":
            s3.write(f"{FOLDER}/matrix.bin", b"a matrjx")
        case "missing":
            s3.remove(f"{FOLDER}/parts/one.json")
        case "not json":
            s3.write(f"{FOLDER}/{MANIFEST}", b'{"matrix.bin": "')
        case "escapes":
            s3.write(f"stages/features/{'cd' * 20}", b"elsewhere")
            manifest[f"../{'cd' * 20}"] = sha256_bytes(b"elsewhere")
            s3.write(f"{FOLDER}/{MANIFEST}", json.dumps(manifest).encode())
        case "lists itself":
            s3.write(f"{FOLDER}/{MANIFEST}", json.dumps({**manifest, MANIFEST: "0" * 64}).encode())
    there = tmp_path / "there"
    with caplog.at_level(logging.WARNING, "nocturne.storage"):
        assert StageStore(there).get("features", KEY) is None
    assert "is not whole and is computed here" in caplog.text
    assert [path for path in there.rglob("*") if path.is_file()] == []
    assert contents(made(there)) == contents(tmp_path / "here" / "features" / KEY[:40])


def test_a_store_that_is_away_costs_the_sharing_and_no_more(
    s3: ObjectStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(stages_remote.SETTING, "s3://no-such-bucket/stages")
    with caplog.at_level(logging.WARNING, "nocturne.storage"):
        here = made(tmp_path / "here")
        assert StageStore(tmp_path / "here").get("features", KEY) == here
        assert StageStore(tmp_path / "there").get("features", KEY) is None
    away = [record.getMessage() for record in caplog.records]
    assert len(away) == 1, "it is said once, and asked again a minute later"
    assert away[0].startswith("s3://no-such-bucket/stages is away")
    assert "test-secret" not in caplog.text


def test_without_an_address_nothing_is_loaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(stages_remote.SETTING, raising=False)
    assert stages_remote.mirror() is None
    assert StageStore(tmp_path).get("features", KEY) is None


@pytest.mark.parametrize("url", ["bucket/folder", "s3://", "s3://key:secret@bucket/folder"])
def test_an_address_that_cannot_be_meant_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(stages_remote.SETTING, url)
    with pytest.raises(ConfigurationError, match="NOCTURNE_STAGES_URL") as refused:
        stages_remote.mirror()
    assert "secret" not in str(refused.value)
