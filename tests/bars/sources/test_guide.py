"""The source of the guide (tasks/bars/sources/README.md), installed as a package and asked by the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import duckdb
import pandas as pd
import pytest

from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import ingest_source
from tasks.bars.sources.reading import read_bars
from tasks.bars.sources.registry import find_source, source_names
from tasks.bars.sources.source import BarRequest
from tasks.errors import ConfigurationError
from tests.bars.files import year_of

ROOT = Path(__file__).parents[3]
GUIDE = ROOT / "tasks" / "bars" / "sources" / "README.md"


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The guide's two files, built and installed into a folder."""
    folder, target = tmp_path_factory.mktemp("my-bars"), tmp_path_factory.mktemp("site")
    blocks = re.findall(r"^<!-- file: (.+?) -->\n```\w+\n(.*?)^```", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
    assert [name for name, _ in blocks] == ["pyproject.toml", "my_bars.py"]
    for name, text in blocks:
        (folder / name).write_text(text)
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "install",
        "--quiet",
        "--offline",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*command, "--target", str(target), str(folder)], check=True, env=_environment(), timeout=120)
    return target


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The S&P 500's and the NASDAQ's year 2018, as a table of DuckDB's."""
    path = tmp_path_factory.mktemp("data") / "bars.duckdb"
    rows = [(symbol, *line.split(",")) for symbol in ("SP500", "NASDAQ") for line in year_of(symbol)]
    with duckdb.connect(str(path)) as opened:
        columns = "symbol TEXT, time DATE, open DOUBLE, high DOUBLE, low DOUBLE, close DOUBLE, volume DOUBLE"
        opened.execute(f'CREATE TABLE "daily" ({columns})')
        opened.executemany("INSERT INTO daily VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
    return path


def _environment(**more: str) -> dict[str, str]:
    return {**os.environ, "VIRTUAL_ENV": sys.prefix, **more}


def _check(source: str, target: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "flows.cli", "check", source, "--json"]
    environment = _environment(PYTHONPATH=str(target))
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=environment, timeout=120, check=False)


def test_it_is_found_by_its_prefix_and_its_bars_are_checked(installed: Path, database: Path) -> None:
    done = _check(f"duckdb:{database}?table=daily", installed)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["rows"], told["symbols"], told["accepted"]) == (502, 2, 502)


def test_only_what_is_new_is_read_the_second_night(
    installed: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(installed))
    described = SourceDescription(source=f"duckdb:{database}?table=daily", as_of="2018-12-20")
    now = pd.Timestamp("2018-12-20T22:00Z")
    first = ingest_source(described, pd.Timestamp("2019-01-05T00:00Z"))
    assert first.last == "2018-12-20T21:00:00Z"
    source, place = find_source(described)
    since = {"SP500": pd.Timestamp("2018-12-27").date()}
    fetched = source.fetch(BarRequest(place=place, description=described, now=now.to_pydatetime(), since=since))
    assert isinstance(fetched.bars, pd.DataFrame)
    assert fetched.bars.groupby("symbol").size().to_dict() == {"NASDAQ": 251, "SP500": 3}


@pytest.mark.parametrize(
    ("source", "words"),
    [("duckdb:/no/such.duckdb", "there is no file"), ("duckdb:{}?table=weekly", "has no table weekly")],
)
def test_what_cannot_be_meant_is_said_in_words(
    source: str, words: str, installed: Path, database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(installed))
    with pytest.raises(ConfigurationError, match=words):
        read_bars(SourceDescription(source=source.format(database)), pd.Timestamp.now("UTC"))


def test_it_is_named_among_the_sources_that_there_are(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(installed))
    assert source_names() == ("builtin", "ccxt", "duckdb", "yfinance")


def test_without_a_network_the_command_line_says_so_in_one_sentence() -> None:
    """Every way out of the machine is closed, so that the outcome is the same where there is one."""
    command = [sys.executable, "-m", "flows.cli", "check", "yfinance:SPY"]
    dead = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9")
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=_environment(**dead), timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (3, "")
    assert "SourceUnavailableError: yfinance: Yahoo cannot be reached: " in done.stderr
    assert len(done.stderr.splitlines()) == 1
