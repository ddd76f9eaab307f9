"""Exchanges through ccxt's own code, from a server on loopback.

``ccxt/coinbaseexchange_fetchOHLCV.json`` is one of ccxt's own fixtures: a recorded reply of Coinbase's and what ccxt
makes of it. Market lists and longer histories were made by hand or from real bars, and say so.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.bars.sources.exchanges import ExchangeSource
from tasks.bars.sources.source import BarRequest
from tasks.errors import ConfigurationError, DataError
from tests.bars.sources.vendor import QUICK, Answer, Asked, Vendor, Waits, coinbase, in_turn, request, table

DAY = 86_400
FIRST = int(datetime(2014, 12, 1, tzinfo=UTC).timestamp())


def _fetch(vendor: Vendor, asked: BarRequest) -> pd.DataFrame:
    return table(ExchangeSource(replace(QUICK, total=600.0), Waits().clock(), vendor.prepare).fetch(asked))


def _seconds(text: str) -> int:
    return int(datetime.fromisoformat(text).timestamp())


def _history(days: int) -> dict[int, list[float]]:
    """Days of 24 hours, newest first in an answer as Coinbase has it: time, low, high, open, close, volume."""
    return {
        FIRST + at * DAY: [FIRST + at * DAY, 99.0 + at, 102.0 + at, 100.0 + at, 101.0 + at, 5.0] for at in range(days)
    }


def _paged(bars: dict[int, list[float]], asked: Asked) -> Answer:
    start, end = _seconds(asked.query["start"]), _seconds(asked.query["end"])
    assert (end - start) // DAY < 300, "Coinbase gives at most 300 bars at once"
    return Answer(json.dumps([bars[at] for at in sorted(bars, reverse=True) if start <= at <= end]))


@pytest.mark.needs_data
def test_the_recorded_reply_is_read_as_ccxt_reads_it(market_data: Path) -> None:
    document = json.loads((market_data / "vendor" / "ccxt" / "coinbaseexchange_fetchOHLCV.json").read_text())
    asked = request(
        "ccxt:coinbaseexchange/BTC-USDT", "2024-03-13T11:30", {"BTC/USDT": "2024-03-13"},
        bar="1h", label="start", calendar="24/7",
    )  # fmt: skip
    with coinbase(in_turn(Answer(json.dumps(document["httpResponse"])))) as vendor:
        bars = _fetch(vendor, asked)
        assert vendor.asked[0].path == "/products/BTC-USDT/candles"
        assert vendor.asked[0].query["granularity"] == "3600"
    row = bars.iloc[0]
    stamp, *values = document["parsedResponse"][0]
    assert (len(bars), row["symbol"]) == (1, "BTC/USDT")
    assert row["time"] == pd.Timestamp(stamp, unit="ms", tz="UTC")
    assert row[["open", "high", "low", "close", "volume"]].tolist() == values


@pytest.mark.parametrize("name", ["BTC-USD", "BTC/USD", "btc-usd"])
def test_a_whole_history_comes_page_by_page_from_the_listing_on(name: str) -> None:
    history = _history(700)
    asked = request(f"ccxt:coinbaseexchange/{name}", "2016-10-30T23:00", calendar="24/7")
    with coinbase(lambda asked: _paged(history, asked)) as vendor:
        bars = _fetch(vendor, asked)
        # 5 pages of 300 days before the listing; then its own, without a gap or a bar twice.
        assert len(vendor.asked) == 8
    assert len(bars) == 700
    assert set(bars["symbol"]) == {"BTC/USD"}
    assert (bars["time"].diff().dropna() == pd.Timedelta(days=1)).all()
    assert bars.iloc[0].tolist()[1:] == [pd.Timestamp("2014-12-01"), 100.0, 102.0, 99.0, 101.0, 5.0]


@pytest.mark.parametrize("since", ["", "?since=2014-12-01"])
def test_a_halt_of_a_page_s_length_neither_ends_nor_begins_the_history(since: str) -> None:
    history = {at: bar for at, bar in _history(1000).items() if not FIRST + 100 * DAY <= at < FIRST + 800 * DAY}
    asked = request(f"ccxt:coinbaseexchange/BTC-USD{since}", "2017-08-26T23:00", calendar="24/7")
    with coinbase(lambda asked: _paged(history, asked)) as vendor:
        assert len(_fetch(vendor, asked)) == 300


def test_a_history_of_hours_begins_with_its_first_day_even_where_pages_are_empty() -> None:
    """Hours of four days: after the first one nobody traded for five weeks, which is three pages of hours."""
    days = [FIRST + at * DAY for at in (0, 37, 38, 39)]
    hours = {at: [at, 99.0, 102.0, 100.0, 101.0, 5.0] for day in days for at in range(day, day + DAY, 3600)}
    coarse = {day: [day, 99.0, 102.0, 100.0, 101.0, 5.0] for day in days}

    def script(asked: Asked) -> Answer:
        start, end = _seconds(asked.query["start"]), _seconds(asked.query["end"])
        bars = coarse if asked.query["granularity"] == str(DAY) else hours
        return Answer(json.dumps([bars[at] for at in sorted(bars, reverse=True) if start <= at <= end]))

    asked = request("ccxt:coinbaseexchange/BTC-USD", "2015-01-10", bar="1h", label="start", calendar="24/7")
    with coinbase(script) as vendor:
        found = _fetch(vendor, asked)
        sizes = [int(asked.query["granularity"]) for asked in vendor.asked]
    assert found["time"].tolist() == [pd.Timestamp(at, unit="s", tz="UTC") for at in sorted(hours)]
    # Six pages of days to the listing; from there on a page of hours each 300, or where the last one ended.
    assert (sizes.count(DAY), sizes.count(3600)) == (6, 6)


def test_only_what_is_new_is_asked_for() -> None:
    history = _history(700)
    asked = request("ccxt:coinbaseexchange/BTC-USD", "2016-10-30T23:00", {"BTC/USD": "2016-10-25"}, calendar="24/7")
    with coinbase(lambda asked: _paged(history, asked)) as vendor:
        bars = _fetch(vendor, asked)
        assert [asked.query["start"] for asked in vendor.asked] == ["2016-10-25T00:00:00.000Z"] * len(vendor.asked)
        assert len(vendor.asked) == 1
    assert [f"{day:%m-%d}" for day in bars["time"]] == ["10-25", "10-26", "10-27", "10-28", "10-29", "10-30"]


@pytest.mark.needs_data
def test_real_days_of_another_recorder_come_through_unchanged(market_data: Path) -> None:
    """Coinbase's days of 2015 to 2018 as LEAN recorded them, served in Coinbase's shape."""
    bars = dict(_lean(market_data))
    first, last = min(bars), max(bars)
    now = datetime.fromtimestamp(last + DAY + 60, UTC).replace(tzinfo=None).isoformat()
    since = datetime.fromtimestamp(first, UTC).date()
    with coinbase(lambda asked: _paged(bars, asked)) as vendor:
        found = _fetch(vendor, request(f"ccxt:coinbaseexchange/BTC-USD?since={since}", now, calendar="24/7"))
    kept = [bars[at] for at in sorted(bars)]
    assert found["close"].tolist() == [bar[4] for bar in kept]
    assert found["volume"].tolist() == [bar[5] for bar in kept]


def _lean(folder: Path) -> Iterator[tuple[int, list[float]]]:
    archive = next((folder / "lean_crypto").rglob("*btcusd*trade*.zip"))
    with zipfile.ZipFile(archive) as files:
        lines = files.read(files.namelist()[0]).decode().splitlines()
    for line in lines:
        stamp, opened, high, low, close, volume = line.split(",")[:6]
        at = int(pd.Timestamp(stamp[:8], tz="UTC").timestamp())
        yield at, [at, float(low), float(high), float(opened), float(close), float(volume)]


def test_a_market_that_the_exchange_has_not_is_missing_and_nothing_is_asked() -> None:
    asked = request("ccxt:coinbaseexchange/BTC-USD,DOGE-EUR?since=2016-10-01", "2016-10-30T23:00", calendar="24/7")
    history = _history(700)
    with coinbase(lambda asked: _paged(history, asked)) as vendor:
        fetched = ExchangeSource(QUICK, Waits().clock(), vendor.prepare).fetch(asked)
        assert {asked.path for asked in vendor.asked} == {"/products/BTC-USD/candles"}
    assert fetched.missing == {"DOGE/EUR": "coinbaseexchange has no such market"}
    assert fetched.asked == ("BTC/USD", "DOGE/EUR")


@pytest.mark.parametrize("status", [400, 404])
def test_a_market_that_is_refused_is_missing_and_the_others_come(status: int) -> None:
    """As Coinbase answers for a market that it took off its list."""
    history = _history(700)

    def script(asked: Asked) -> Answer:
        gone = Answer(json.dumps({"message": "NotFound"}), status=status)
        return gone if "ETH" in asked.path else _paged(history, asked)

    since = {"BTC/USD": "2016-10-25", "ETH/USD": "2016-10-25"}
    asked = request("ccxt:coinbaseexchange/BTC-USD,ETH-USD", "2016-10-30T23:00", since, calendar="24/7")
    with coinbase(script) as vendor:
        fetched = ExchangeSource(QUICK, Waits().clock(), vendor.prepare).fetch(asked)
        assert len(vendor.asked) == 2
    assert set(table(fetched)["symbol"]) == {"BTC/USD"}
    assert list(fetched.missing) == ["ETH/USD"]
    assert "refused" in fetched.missing["ETH/USD"]


@pytest.mark.parametrize("status", [401, 403, 451])
def test_a_refusal_of_whoever_asks_fails_the_fetch(status: int) -> None:
    asked = request("ccxt:coinbaseexchange/BTC-USD,ETH-USD", "2016-10-31", {"BTC/USD": "2016-10-25"}, calendar="24/7")
    with coinbase(in_turn(Answer(json.dumps({"message": "no"}), status=status))) as vendor:
        with pytest.raises(DataError, match="refused"):
            _fetch(vendor, asked)
        assert len(vendor.asked) == 1


@pytest.mark.parametrize("body", ["[[null, 1, 2, 1, 2, 5]]", '[["x", 1, 2, 1, 2, 5]]', "[[1]]", "[]", "[[]]"])
def test_an_answer_without_a_bar_gives_none(body: str) -> None:
    """The library leaves out what has no time stamp; a reading then asks whether there should have been bars."""
    asked = request("ccxt:coinbaseexchange/BTC-USD", "2016-10-31", {"BTC/USD": "2016-10-25"}, calendar="24/7")
    with coinbase(in_turn(Answer(body))) as vendor:
        fetched = ExchangeSource(QUICK, Waits().clock(), vendor.prepare).fetch(asked)
    assert list(fetched.missing) == ["BTC/USD"]


def test_days_that_do_not_begin_at_midnight_of_utc_are_refused() -> None:
    bar = [FIRST + 16 * 3600, 99.0, 102.0, 100.0, 101.0, 5.0]
    asked = request("ccxt:coinbaseexchange/BTC-USD", "2014-12-02T15:00", {"BTC/USD": "2014-12-01"}, calendar="24/7")
    with coinbase(in_turn(Answer(json.dumps([bar])))) as vendor, pytest.raises(DataError, match="begin at 16:00 UTC"):
        _fetch(vendor, asked)


@pytest.mark.parametrize(
    ("source", "options", "words"),
    [
        ("ccxt:coinbasexchange/BTC-USD", {}, "did you mean coinbaseexchange"),
        ("ccxt:coinbaseexchange/", {}, "which symbols"),
        (
            "ccxt:coinbaseexchange/BTC-USD",
            {"bar": "30min", "label": "start"},
            r"no bars of 30min; it has 1d, 1h, 15min",
        ),
        ("ccxt:coinbaseexchange/BTC-USD", {"bar": "1h"}, "set label to 'start'"),
        ("ccxt:coinbaseexchange/BTC-USD?since=May", {}, "since must be a date"),
        ("ccxt:coinbaseexchange/BTC-USD?until=2020-01-01", {}, "unknown option 'until'"),
        ("ccxt:coinbaseexchange/BTC-USD,=cmd()", {}, "is no symbol"),
        ("ccxt:Exchange/BTC-USD", {}, "knows no exchange"),
    ],
)
def test_what_cannot_be_meant_is_said_before_anything_is_asked(
    source: str, options: dict[str, Any], words: str
) -> None:
    with coinbase(in_turn(Answer("[]"))) as vendor:
        with pytest.raises(ConfigurationError, match=words):
            _fetch(vendor, request(source, "2016-10-31", calendar="24/7", **options))
        assert vendor.asked == []


def test_keys_come_from_the_environment_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTURNE_CCXT_COINBASEEXCHANGE_KEY", "from-the-environment")
    seen: list[tuple[str, bool]] = []
    history = _history(700)

    def prepare(exchange: object) -> None:
        vendor.prepare(exchange)
        seen.append((getattr(exchange, "apiKey", ""), getattr(exchange, "enableRateLimit", False)))

    with coinbase(lambda asked: _paged(history, asked)) as vendor:
        asked = request("ccxt:coinbaseexchange/BTC-USD", "2016-10-31", {"BTC/USD": "2016-10-25"}, calendar="24/7")
        ExchangeSource(QUICK, Waits().clock(), prepare).fetch(asked)
    assert seen == [("from-the-environment", True)]
