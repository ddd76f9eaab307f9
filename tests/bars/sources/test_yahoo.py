"""Yahoo's real answers through yfinance's own code, from a server on loopback.

The answers below ``vendor/yahoo_chart`` were recorded from Yahoo in 2025, except those whose name ends in ``.fake``:
they were made by hand where they come from, as was the 404 (``unknown``) here.
"""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path

import pandas as pd
import pytest

from tasks.bars.actions import CorporateAction
from tasks.bars.sources.source import BarRequest, FetchedBars
from tasks.bars.sources.yahoo import YahooSource
from tasks.errors import ConfigurationError, SourceUnavailableError
from tests.bars.sources.vendor import (
    QUICK,
    Answer,
    Asked,
    Script,
    Waits,
    chart,
    in_turn,
    recorded,
    request,
    table,
    unknown,
    yahoo,
)

NOW = "2025-02-20T12:00"


def _fetch(script: Script, asked: BarRequest) -> FetchedBars:
    with yahoo(script) as vendor:
        return YahooSource(QUICK, Waits().clock(), vendor.session).fetch(asked)


@pytest.mark.needs_data
def test_a_recorded_reply_becomes_bars_as_quoted(market_data: Path) -> None:
    body = recorded(market_data, "AAPL-2020-08-31-to-2020-11-07")
    asked = request("yfinance:AAPL", NOW, {"AAPL": "2020-08-31"})
    fetched = _fetch(in_turn(Answer(body)), asked)
    bars = table(fetched)
    assert list(bars.columns) == ["symbol", "time", "open", "high", "low", "close", "volume"]
    assert len(bars) == 49
    first = bars.iloc[0].to_dict()
    assert str(first.pop("time")) == "2020-08-31 00:00:00"
    # What was quoted, without the tails of single precision in which it is sent (129.0399932861328).
    assert first == {
        "symbol": "AAPL", "open": 127.58, "high": 131.0, "low": 126.0, "close": 129.04, "volume": 225702700.0,
    }  # fmt: skip
    assert fetched.actions == (
        CorporateAction(symbol="AAPL", session=date(2020, 8, 31), kind="split", value=4.0),
        CorporateAction(symbol="AAPL", session=date(2020, 11, 6), kind="dividend", value=0.205),
    )


def test_what_lies_before_a_split_is_put_back_to_what_was_quoted() -> None:
    """Apple, August 2020: 499.23 on the 28th, 129.04 after the split of 4:1 on the 31st (Yahoo sends 124.8075)."""
    days = pd.DatetimeIndex(["2020-08-07", "2020-08-28", "2020-08-31"])
    quoted = pd.DataFrame(
        {
            "Open": [452.82, 504.05, 127.58],
            "High": [454.70, 505.77, 131.00],
            "Low": [441.17, 498.31, 126.00],
            "Close": [444.45, 499.23, 129.04],
            "Volume": [49_453_300, 46_907_500, 225_702_700],
        },
        index=days,
    )
    fetched = _fetch(in_turn(Answer(chart("AAPL", quoted, {"2020-08-31": 4.0}))), request("yfinance:AAPL", NOW))
    found = table(fetched)[["open", "high", "low", "close", "volume"]]
    assert found.to_numpy().tolist() == quoted.to_numpy().tolist()


@pytest.mark.needs_data
def test_session_labels_are_the_exchange_s_dates(market_data: Path) -> None:
    body = recorded(market_data, "WSU.DE-2023-08-04-to-2023-08-09")
    fetched = _fetch(in_turn(Answer(body)), request("yfinance:WSU.DE", NOW, {"WSU.DE": "2023-08-04"}))
    days = [f"{day:%m-%d}" for day in table(fetched)["time"]]
    assert days == ["08-04", "08-07", "08-08"]


@pytest.mark.needs_data
def test_a_whole_history_is_asked_for_first_and_then_what_is_new(market_data: Path) -> None:
    script = in_turn(Answer(recorded(market_data, "AAPL")))
    with yahoo(script) as vendor:
        source = YahooSource(QUICK, Waits().clock(), vendor.session)
        source.fetch(request("yfinance:AAPL", NOW))
        source.fetch(request("yfinance:AAPL", NOW, {"AAPL": "2022-02-22"}))
        first, second = (int(asked.query["period1"]) for asked in vendor.asked)
    assert first < 0 < second
    # The day before: further east a session begins on that day, in UTC.
    assert datetime.fromtimestamp(second, UTC).date() == date(2022, 2, 21)
    assert vendor.asked[0].query["events"] == "div,splits,capitalGains"


def test_a_session_that_begins_the_day_before_in_utc_brings_its_bar_and_event() -> None:
    """Sydney in summer: 10:00 on the 20th is 23:00 of the 19th in UTC. Without a bar from there on it would be lost."""
    opens = [
        pd.Timestamp(f"{day:%Y-%m-%d} 10:00", tz="Australia/Sydney") for day in pd.bdate_range("2024-11-11", periods=9)
    ]
    paid = opens[7]
    assert str(paid.tz_convert("UTC")) == "2024-11-19 23:00:00+00:00"

    def script(asked: Asked) -> Answer:
        there = [at for at in opens if at.timestamp() >= int(asked.query["period1"])]
        bars = pd.DataFrame(100.0, index=there, columns=["Open", "High", "Low", "Close", "Volume"])
        body = json.loads(chart("X.AX", bars))
        result = body["chart"]["result"][0]
        result["timestamp"] = [int(at.timestamp()) for at in there]
        result["meta"] |= {"exchangeTimezoneName": "Australia/Sydney", "gmtoffset": 39600, "timezone": "AEDT"}
        at = int(paid.timestamp())
        result["events"] = {"dividends": {str(at): {"amount": 0.5, "date": at}}} if paid in there else {}
        return Answer(json.dumps(body))

    asked = request("yfinance:X.AX", "2024-11-21T08:00", {"X.AX": "2024-11-20"}, calendar="XASX")
    fetched = _fetch(script, asked)
    assert "2024-11-20" in {f"{day:%Y-%m-%d}" for day in table(fetched)["time"]}
    assert fetched.actions == (CorporateAction(symbol="X.AX", session=date(2024, 11, 20), kind="dividend", value=0.5),)


@pytest.mark.needs_data
def test_symbols_are_asked_one_after_another_and_paced(market_data: Path) -> None:
    waits = Waits()
    with yahoo(in_turn(Answer(recorded(market_data, "AAPL")))) as vendor:
        paced = replace(QUICK, interval=2.0)
        YahooSource(paced, waits.clock(), vendor.session).fetch(request("yfinance:AAPL,MSFT,QQQ", NOW))
        assert [asked.path.rsplit("/", 1)[1] for asked in vendor.asked] == ["AAPL", "MSFT", "QQQ"]
    assert waits.slept == [2.0, 2.0]


@pytest.mark.needs_data
def test_a_weekend_without_bars_is_nothing_and_not_a_fault(market_data: Path) -> None:
    body = recorded(market_data, "AAPL-2025-02-01-to-2025-02-02-includePrePost-false-interval-1m")
    asked = request("yfinance:AAPL", NOW, {"AAPL": "2025-02-17"}, bar="1min", label="start")
    assert list(_fetch(in_turn(Answer(body)), asked).missing) == ["AAPL"]


@pytest.mark.needs_data
def test_a_symbol_that_yahoo_does_not_know_is_asked_once(market_data: Path) -> None:
    def script(asked: object) -> Answer:
        return unknown() if "SPYY" in str(asked) else Answer(recorded(market_data, "AAPL"))

    waits = Waits()
    with yahoo(script) as vendor:
        fetched = YahooSource(QUICK, waits.clock(), vendor.session).fetch(request("yfinance:SPYY,AAPL", NOW))
        assert len(vendor.asked) == 2
    assert fetched.missing == {"SPYY": "No data found, symbol may be delisted"}
    assert set(table(fetched)["symbol"]) == {"AAPL"}
    assert waits.slept == []


@pytest.mark.needs_data
@pytest.mark.parametrize("name", ["notimestamp-quotes-length.fake", "notimestamp-weird-quote.fake"])
def test_json_without_time_stamps_is_named_and_tried_again(name: str, market_data: Path) -> None:
    """Both answers were made by hand where they come from."""
    with yahoo(in_turn(Answer(recorded(market_data, name)))) as vendor:
        with pytest.raises(
            SourceUnavailableError, match=r"AAPL: the answer is JSON without bars .*timestamp.* 3 times"
        ):
            YahooSource(QUICK, Waits().clock(), vendor.session).fetch(request("yfinance:AAPL", NOW))
        assert len(vendor.asked) == 3


def test_intraday_bars_are_stamped_with_their_start() -> None:
    with pytest.raises(ConfigurationError, match="set label to 'start'"):
        _fetch(in_turn(Answer()), request("yfinance:AAPL", NOW, bar="1h"))


@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_that_stays_is_no_word_about_the_symbol(status: int) -> None:
    """Yahoo refuses without a fresh cookie: yfinance takes another once, and then it is Yahoo's refusal."""
    error = {"code": "Unauthorized", "description": "Invalid Crumb"}
    body = json.dumps({"chart": {"result": None, "error": error}})
    with yahoo(in_turn(Answer(body, status=status))) as vendor:
        with pytest.raises(SourceUnavailableError, match=rf"Yahoo refuses: HTTP status {status}"):
            YahooSource(QUICK, Waits().clock(), vendor.session).fetch(request("yfinance:AAPL,MSFT", NOW))
        assert len(vendor.asked) == 2


def test_an_event_that_cannot_be_is_left_out_and_told() -> None:
    days = pd.DatetimeIndex(["2020-08-07", "2020-08-28", "2020-08-31"])
    values = dict.fromkeys(("Open", "High", "Low", "Close", "Volume"), 100.0)
    body = json.loads(chart("AAPL", pd.DataFrame(values, index=days)))
    at = body["chart"]["result"][0]["timestamp"][1]
    body["chart"]["result"][0]["events"] = {"dividends": {str(at): {"amount": -0.2, "date": at}}}
    fetched = _fetch(in_turn(Answer(json.dumps(body))), request("yfinance:AAPL", NOW))
    assert fetched.actions == ()
    assert fetched.notes == ("left out: AAPL 2020-08-28: dividend -0.2: give the cash a share, 0 or more",)
