"""Which source a prefix means, and what is said where it means none."""

from __future__ import annotations

import importlib.metadata
from datetime import timedelta
from pathlib import Path

import pytest

from tasks.bars.describe import SourceDescription, split_source
from tasks.bars.sources import registry
from tasks.bars.sources.exchanges import ExchangeSource
from tasks.bars.sources.local import LocalSource
from tasks.bars.sources.registry import find_source, library, source_names
from tasks.bars.sources.source import BarRequest, FetchedBars
from tasks.bars.sources.yahoo import YahooSource
from tasks.errors import ConfigurationError
from tests.bars.files import write, year_of


class Mine:
    """A source of a user's."""

    delay = timedelta(0)

    def fetch(self, request: BarRequest) -> FetchedBars:
        raise NotImplementedError


class WithArguments(Mine):
    def __init__(self, where: str) -> None:
        self.where = where


class Unfinished:
    delay = timedelta(0)


def _install(monkeypatch: pytest.MonkeyPatch, **targets: str) -> None:
    points = importlib.metadata.EntryPoints(
        importlib.metadata.EntryPoint(name, f"{__name__}:{target}" if target[0].isupper() else target, registry.GROUP)
        for name, target in targets.items()
    )
    monkeypatch.setattr(registry, "_points", lambda: points)


def _find(source: str) -> tuple[object, str]:
    return find_source(SourceDescription(source=source))


def test_each_prefix_has_its_source() -> None:
    assert isinstance(_find("yfinance:SPY")[0], YahooSource)
    assert isinstance(_find("ccxt:kraken/BTC-USD")[0], ExchangeSource)
    assert isinstance(_find("builtin:sp500")[0], LocalSource)
    assert isinstance(_find("some/folder/*.csv")[0], LocalSource)
    assert _find("ccxt:kraken/BTC-USD?since=2020-01-01")[1] == "kraken/BTC-USD?since=2020-01-01"


def test_a_package_adds_one_by_its_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, mine="Mine")
    found, place = _find("mine:a place: of/mine")
    assert isinstance(found, Mine)
    assert place == "a place: of/mine"
    assert source_names() == ("builtin", "ccxt", "mine", "yfinance")


def test_a_package_cannot_take_a_built_in_name(monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, yfinance="Mine")
    assert isinstance(_find("yfinance:SPY")[0], YahooSource)


def test_an_unknown_prefix_names_what_there_is() -> None:
    with pytest.raises(ConfigurationError, match="no source is called 'bloomberg'; there are builtin, ccxt, yfinance"):
        _find("bloomberg:SPY")


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("WithArguments", "a class without arguments"),
        ("Unfinished", "no method fetch"),
        ("Absent", "cannot be loaded"),
        ("no.such.module:Source", "No module named 'no'"),
    ],
)
def test_a_registration_that_cannot_work_is_named(target: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _install(monkeypatch, mine=target)
    with pytest.raises(ConfigurationError, match=words):
        _find("mine:x")


def test_a_file_that_is_there_is_a_file_whatever_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "yfinance:SPY.csv", year_of("SP500"))
    assert isinstance(_find("yfinance:SPY.csv")[0], LocalSource)


@pytest.mark.parametrize("source", ["C:/bars.csv", "/a/b:c", "./yfinance:x", "Yfinance:SPY", "x", ":x"])
def test_what_has_no_prefix_is_a_path(source: str) -> None:
    assert split_source(source) == ("", source)


@pytest.mark.parametrize(
    "source",
    [
        "ccxt:kraken/BTC-USD?secret=hush-hush",
        "ccxt:kraken/BTC-USD?apiKey=hush-hush",
        "ccxt:kraken/BTC-USD?key=hush-hush",
        "duckdb:postgres://me:hush-hush@host/db",
        "duckdb:bars.db?password=hush-hush",
        "sql:host=h password=hush-hush",
        "sql:access_token: hush-hush",
    ],
)
def test_a_source_with_a_secret_in_it_is_refused_and_not_repeated(source: str) -> None:
    with pytest.raises(ConfigurationError, match="from the environment") as told:
        SourceDescription(source=source)
    assert "hush" not in str(told.value)


@pytest.mark.parametrize(
    "source", ["yfinance:BRK-B,^GSPC,EURUSD=X,ES=F", "duckdb:/data/bars.duckdb?table=keys", "ccxt:okx/BTC-USDT:USDT"]
)
def test_ordinary_sources_hold_no_secret(source: str) -> None:
    assert SourceDescription(source=source).source == source


def test_a_vendor_s_key_in_the_store_does_not_depend_on_where_one_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = SourceDescription(source="yfinance:SPY").key()
    monkeypatch.chdir(tmp_path)
    assert SourceDescription(source="yfinance:SPY").key() == here
    assert SourceDescription(source="yfinance:QQQ").key() != here


def test_a_missing_library_says_what_to_install() -> None:
    with pytest.raises(
        ConfigurationError, match="the package nosuch is not installed: install nocturne with the extra 'vendors'"
    ):
        library("nosuch.library")
