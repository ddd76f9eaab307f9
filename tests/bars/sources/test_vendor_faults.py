"""What vendors do wrong: each fault over real HTTP, through yfinance's and ccxt's own code, from a server on loopback.

None of these answers was recorded: they are made by hand.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pandas as pd
import pytest

from tasks import storage
from tasks.bars.sources.exchanges import ExchangeSource
from tasks.bars.sources.patience import Clock, Patience
from tasks.bars.sources.source import Source
from tasks.bars.sources.yahoo import YahooSource
from tasks.errors import DataError, SourceUnavailableError
from tests.bars.files import year_of
from tests.bars.sources.vendor import (
    HTML,
    QUICK,
    Answer,
    Script,
    Vendor,
    Waits,
    chart,
    coinbase,
    in_turn,
    request,
    table,
    yahoo,
)

SOURCES = ["yfinance:SPY", "ccxt:coinbaseexchange/BTC-USD"]


def _real_days() -> pd.DataFrame:
    """The last ten sessions of the S&P 500 in 2018."""
    rows = [line.split(",") for line in year_of("SP500")[-10:]]
    days = pd.DatetimeIndex([row[0] for row in rows])
    columns = ["Open", "High", "Low", "Close", "Volume"]
    return pd.DataFrame([[round(float(cell), 2) for cell in row[1:]] for row in rows], index=days, columns=columns)


def _good(source: str) -> Answer:
    bars = _real_days()
    if source.startswith("yfinance"):
        return Answer(chart("SPY", bars))
    stamps = [int(day.timestamp()) for day in bars.index]
    rows = [
        [at, row.Low, row.High, row.Open, row.Close, row.Volume]
        for at, row in zip(stamps, bars.itertuples(), strict=True)
    ]
    return Answer(json.dumps(rows[::-1]))


@dataclass(slots=True)
class Trial:
    """A source that asks a faulty vendor."""

    source: Source
    vendor: Vendor
    waits: Waits
    name: str

    def fetch(self) -> pd.DataFrame:
        calendar = "24/7" if self.name.startswith("ccxt") else "XNYS"
        since = {"SPY": "2018-12-17", "BTC/USD": "2018-12-17"}
        return table(self.source.fetch(request(self.name, "2018-12-31T23:00", since, calendar=calendar)))


@dataclass(frozen=True, slots=True)
class Kind:
    """One of the vendors' sources, to be tried against a script."""

    name: str

    @contextlib.contextmanager
    def asking(self, script: Script, patience: Patience = QUICK, clock: Clock | None = None) -> Iterator[Trial]:
        waits = Waits()
        clock = clock or waits.clock()
        with yahoo(script) if self.name.startswith("yfinance") else coinbase(script) as vendor:
            source: Source = (
                YahooSource(patience, clock, vendor.session)
                if self.name.startswith("yfinance")
                else ExchangeSource(patience, clock, vendor.prepare)
            )
            yield Trial(source, vendor, waits, self.name)


@pytest.fixture(params=SOURCES)
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


PASSING = {
    "too many": Answer("{}", 429, {"Retry-After": "7"}),
    "a server's error": Answer("{}", 503),
    "a page of HTML with 200": Answer(HTML),
    "nothing with 200": Answer(""),
    "cut off": Answer('{"chart": {"result": [', cut=5),
    "JSON that ends too soon": Answer('{"chart": {"result": ['),
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_is_asked_again_and_gives_the_same_bars(fault: str, kind: Kind) -> None:
    good = _good(kind.name)
    with kind.asking(in_turn(PASSING[fault], PASSING[fault], good)) as tried:
        bars = tried.fetch()
        assert len(tried.vendor.asked) == 3
    assert bars["close"].tolist() == _real_days()["Close"].tolist()
    # Doubled waits with the whole of their jitter; the vendor's own word where it gave one.
    assert tried.waits.slept == ([7.0, 7.0] if fault == "too many" else [0.5, 1.0])


@pytest.mark.parametrize("fault", PASSING)
def test_what_stays_is_given_up_after_three_tries_in_words(fault: str, kind: Kind) -> None:
    with kind.asking(in_turn(PASSING[fault])) as tried:
        with pytest.raises(SourceUnavailableError, match=r"asked 3 times") as told:
            tried.fetch()
        assert len(tried.vendor.asked) == 3
    assert told.value.retryable
    assert "\n" not in str(told.value)
    assert not list(storage.home().glob("bars/**/*.parquet"))


def test_a_vendor_that_wants_an_hour_is_not_waited_for(kind: Kind) -> None:
    script = in_turn(Answer("{}", 429, {"Retry-After": "3600"}))
    with kind.asking(script) as tried:
        with pytest.raises(SourceUnavailableError, match=r"too many requests \(429\) \(asked once; .* after 3600 s"):
            tried.fetch()
        assert tried.waits.slept == []


def test_a_vendor_that_says_nothing_is_left_after_the_timeout(kind: Kind) -> None:
    began = time.monotonic()
    with (
        kind.asking(in_turn(Answer(silent=True)), replace(QUICK, tries=2, call=0.3)) as tried,
        pytest.raises(SourceUnavailableError, match="asked 2 times"),
    ):
        tried.fetch()
    assert time.monotonic() - began < 5


def test_a_body_that_comes_byte_by_byte_is_left_after_the_timeout_too(kind: Kind) -> None:
    began = time.monotonic()
    with (
        kind.asking(in_turn(Answer("[" * 500, slow=0.05)), replace(QUICK, tries=1, call=0.4), Clock()) as tried,
        pytest.raises(SourceUnavailableError, match="asked once"),
    ):
        tried.fetch()
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [400, 403, 404])
def test_a_refusal_is_not_asked_again(status: int, kind: Kind) -> None:
    with kind.asking(in_turn(Answer('{"message": "no"}', status))) as tried:
        with contextlib.suppress(DataError):
            assert tried.fetch().empty
        assert tried.waits.slept == []


def test_nobody_at_home_is_said_in_one_sentence(kind: Kind) -> None:
    with kind.asking(in_turn(Answer())) as tried:
        pass
    with pytest.raises(SourceUnavailableError, match=r"^(yfinance|ccxt coinbaseexchange): [^\n]{1,220}$"):
        tried.fetch()
