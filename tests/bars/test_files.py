"""Which files a source stands for, and the digest that answers an unchanged night."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.bars import files
from tasks.bars.describe import SourceDescription
from tasks.bars.files import locate, source_digest
from tasks.bars.refusal import BarsRefusedError
from tasks.errors import ConfigurationError, SourceUnavailableError
from tests.bars.files import write, year_of


def _digest(source: Path | str) -> str:
    return source_digest(SourceDescription(source=str(source)))


def test_the_digest_follows_bytes_and_names_and_nothing_else(tmp_path: Path) -> None:
    first = write(tmp_path / "a" / "X.csv", year_of("SP500"))
    write(tmp_path / "b" / "X.csv", year_of("SP500"))
    before = _digest(tmp_path / "a")
    assert before == _digest(tmp_path / "b")
    first.touch()
    assert _digest(tmp_path / "a") == before
    first.rename(first.with_name("Y.csv"))
    renamed = _digest(tmp_path / "a")
    write(tmp_path / "a" / "Y.csv", year_of("SP500")[:-1])
    assert len({before, renamed, _digest(tmp_path / "a")}) == 3


def test_built_in_digests_are_stable_and_different() -> None:
    assert _digest("builtin:sp500") == _digest("builtin:sp500")
    assert _digest("builtin:sp500") != _digest("builtin:nasdaq")


def test_a_digest_needs_no_heavy_import() -> None:
    code = (
        "import sys; from tasks.bars.describe import SourceDescription; from tasks.bars.files import source_digest;"
        "source_digest(SourceDescription(source='builtin:sp500'));"
        "print(sorted({'pandas', 'numpy', 'arch', 'pyarrow', 'prefect', 'mlflow', 'pydantic'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_folders_and_globs_take_data_files_in_name_order(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv.gz", "c.parquet", ".hidden.csv", "notes.md", "deep/d.csv"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert [file.name for file in locate(str(tmp_path))] == ["a.csv.gz", "b.csv", "c.parquet"]
    assert [file.symbol for file in locate(str(tmp_path))] == ["a", "b", "c"]
    assert [file.name for file in locate(f"{tmp_path}/*/*.csv")] == ["deep/d.csv"]
    assert [file.name for file in locate(f"{tmp_path}/**/[bd].csv")] == ["b.csv", "deep/d.csv"]


def test_a_file_whose_name_has_glob_characters_is_that_file(tmp_path: Path) -> None:
    write(tmp_path / "x[1].csv", year_of("SP500"))
    assert [file.name for file in locate(f"{tmp_path}/x[1].csv")] == ["x[1].csv"]


def test_a_link_given_by_name_is_followed(tmp_path: Path) -> None:
    (tmp_path / "current.csv").symlink_to(write(tmp_path / "far" / "x.csv", year_of("SP500")))
    assert locate(str(tmp_path / "current.csv"))[0].symbol == "current"


@pytest.mark.parametrize("name", ["nothing.csv", "*.csv", "empty"])
def test_nothing_found_says_so(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BarsRefusedError, match="not-found"):
        locate(str(tmp_path / name))


@pytest.mark.parametrize("source", ["builtin:dow", "x**.csv"])
def test_a_source_that_cannot_be_meant_is_a_configuration_error(source: str) -> None:
    with pytest.raises(ConfigurationError):
        locate(source)


def test_a_device_is_never_opened() -> None:
    with pytest.raises(BarsRefusedError, match="not-a-file"):
        locate("/dev/zero")


def test_a_disk_that_does_not_answer_may_answer_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = write(tmp_path / "x.csv", year_of("SP500"))

    def fail(_: Path) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path, "read_bytes", fail)
    with pytest.raises(SourceUnavailableError, match="Input/output error") as caught:
        files.read_bytes(str(source), locate(str(source))[0])
    assert caught.value.retryable
