"""The commands, the house's and the wheel's: results on standard output, one sentence and an exit code for an error."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from flows import cli as house
from tasks.registry.client import cli
from tests.registry.client.conftest import Shelf
from tests.registry.conftest import NAME


@pytest.fixture
def where(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A shelf whose version 1 is champion; the options that lead there."""
    shelf.point(champion=shelf.put())
    return ["--registry", shelf.store.tracking_uri, "--json"]


def answer(capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    """The one JSON document on standard output."""
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


def test_pull_and_verify_tell_what_was_checked(where: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["pull", NAME, *where]) == 0
    pulled = answer(capsys)
    assert (pulled["version"], pulled["alias"]) == ("1", "champion")
    assert pulled["signature"] == "not checked: no trusted keys"
    assert cli.main(["verify", NAME, "--version", "1", *where]) == 0
    assert answer(capsys)["example"] == "predicts from its own example"


def test_predict_reads_bars_from_a_file(
    where: list[str], bars: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bars.to_csv(tmp_path / "bars.csv", index=False)
    bars.to_parquet(tmp_path / "bars.parquet", index=False)
    said = []
    for name in ("bars.csv", "bars.parquet"):
        assert cli.main(["predict", NAME, "--bars", str(tmp_path / name), *where]) == 0
        said.append(answer(capsys)["predictions"])
    assert said[0][0]["prediction"] == pytest.approx(said[1][0]["prediction"], rel=1e-9)  # type: ignore[index]
    assert cli.main(["predict", NAME, "--bars", str(tmp_path / "bars.csv"), *where[:2]]) == 0
    assert "champion" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["pull", "nothing"], 2, "no registered model 'nothing'"),
        (["pull", NAME, "--version", "7"], 2, "no version 7"),
        (["pull", "../x"], 2, "no registered model's name"),
        (["predict", NAME, "--bars", "absent.csv"], 2, "absent.csv: cannot be read"),
        (["pull", NAME, "--keys", "absent.pem"], 2, "absent.pem: the trusted keys cannot be read"),
    ],
)
def test_an_error_is_one_sentence_and_an_exit_code(
    where: list[str], arguments: list[str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*arguments, *where]) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert words in said.err


def test_few_bars_end_with_the_code_of_bad_data(
    where: list[str], bars: pd.DataFrame, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bars.iloc[:3].to_csv(tmp_path / "few.csv", index=False)
    assert cli.main(["predict", NAME, "--bars", str(tmp_path / "few.csv"), *where]) == 3
    assert "needs at least 22 bars" in capsys.readouterr().err


def test_the_house_pulls_from_its_own_store_and_from_a_folder(
    where: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in ([], ["--registry", str(tmp_path / "out")]):
        command = ["nocturne", "pull", NAME, "--to", str(tmp_path / "out"), "--json", *options]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as ended:
            house.app(command[1:])
        assert ended.value.code == 0
        assert answer(capsys)["folder"] == str(tmp_path / "out")
