"""A vendor on loopback: answers what a test scripts, over real HTTP, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pandas as pd
from curl_cffi import requests

from tasks.bars.describe import SourceDescription
from tasks.bars.sources.patience import Clock, Patience
from tasks.bars.sources.source import BarRequest, FetchedBars

QUICK = Patience(tries=3, first_wait=0.5, longest_wait=30.0, call=1.0, total=60.0)
HTML = "<!DOCTYPE html><html><body>Sad panda</body></html>"


@dataclass(slots=True)
class Answer:
    """An answer of the vendor. ``cut``: so many bytes of the body are kept back; ``silent``: nothing comes at all;
    ``slow``: seconds before each byte.
    """

    body: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    silent: bool = False
    slow: float = 0.0


@dataclass(slots=True)
class Asked:
    """A question that came: its path and its first query values."""

    path: str
    query: dict[str, str]


Script = Callable[[Asked], Answer]


class Vendor:
    """``script`` answers every question about bars; others (cookies, crumbs) get an empty page."""

    def __init__(self, script: Script, about: str) -> None:
        self.script, self.about = script, about
        self.asked: list[Asked] = []
        self.over = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> Vendor:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.over.set()
        self._server.shutdown()
        self._server.server_close()

    def session(self) -> Any:
        """A session as yfinance makes it, to which every host is this one."""
        session: Any = requests.Session(impersonate="chrome")
        plain = session.request

        def request(method: str, url: str, **options: Any) -> Any:
            path = urlsplit(url).path or "/"
            return plain(method, f"{self.url}{path}", **options)

        session.request = request
        return session

    def prepare(self, exchange: Any) -> None:
        """Point an exchange of ccxt's at this vendor."""
        exchange.urls["api"] = dict.fromkeys(("public", "private"), self.url)
        exchange.rateLimit = 1

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        vendor = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                asked = Asked(parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()})
                if vendor.about in asked.path:
                    vendor.asked.append(asked)
                    answer = vendor.script(asked)
                else:
                    answer = _aside(asked)
                if answer.silent:
                    vendor.over.wait(30)
                    return
                self._send(answer)

            def _send(self, answer: Answer) -> None:
                body = answer.body.encode()
                self.send_response(answer.status)
                self.send_header("Content-Type", "application/json" if body[:1] in b"[{" else "text/html")
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                sent = body[: len(body) - answer.cut]
                if not answer.slow:
                    self.wfile.write(sent)
                    return
                with contextlib.suppress(OSError):
                    for at in range(len(sent)):
                        vendor.over.wait(answer.slow)
                        self.wfile.write(sent[at : at + 1])

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _aside(asked: Asked) -> Answer:
    if asked.path == "/products":
        return Answer(json.dumps([_market("BTC", "USD"), _market("BTC", "USDT"), _market("ETH", "USD")]))
    if asked.path == "/currencies":
        return Answer(json.dumps([{"id": code, "name": code} for code in ("BTC", "ETH", "USD", "USDT")]))
    return Answer("crumb")


def _market(base: str, quote: str) -> dict[str, Any]:
    """A market as Coinbase's product list has it, cut to what the library reads; made by hand."""
    return {
        "id": f"{base}-{quote}",
        "base_currency": base,
        "quote_currency": quote,
        "base_increment": "0.00000001",
        "quote_increment": "0.01",
        "min_market_funds": "1",
        "status": "online",
        "trading_disabled": False,
    }


def in_turn(*answers: Answer) -> Script:
    """Each answer once, the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


@dataclass(slots=True)
class Waits:
    """A clock whose waits take no time, and are written down."""

    slept: list[float] = field(default_factory=list)
    at: float = 0.0

    def clock(self, draw: float = 1.0) -> Clock:
        return Clock(now=lambda: self.at, sleep=self._sleep, draw=lambda: draw)

    def _sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.at += seconds


def request(source: str, now: str, since: dict[str, str] | None = None, **options: Any) -> BarRequest:
    """A request as a reading would make it."""
    description = SourceDescription(source=source, **options)
    return BarRequest(
        place=source.split(":", 1)[1],
        description=description,
        now=datetime.fromisoformat(now).replace(tzinfo=UTC),
        since={symbol: datetime.fromisoformat(day).date() for symbol, day in (since or {}).items()},
    )


def table(fetched: FetchedBars) -> pd.DataFrame:
    """The table that a vendor's source gave."""
    assert isinstance(fetched.bars, pd.DataFrame)
    return fetched.bars


def recorded(folder: Path, name: str) -> str:
    """The body of one of the recorded answers of Yahoo's, byte for byte but for white space."""
    document = json.loads((folder / "vendor" / "yahoo_chart" / f"chart-{name}.json").read_text())
    return json.dumps(document["response"]["bodyJson"])


def chart(
    symbol: str, bars: pd.DataFrame, splits: dict[str, float] | None = None, since: datetime | None = None
) -> str:
    """An answer in the shape of Yahoo's, made from bars (index: dates; Open, High, Low, Close, Volume; New York).

    As Yahoo does, prices are divided by every later split, and sent in single precision. ``since``: the first day sent.
    """
    ratio = pd.Series(1.0, index=bars.index)
    for day, value in (splits or {}).items():
        ratio[bars.index < pd.Timestamp(day)] *= value
    first = since or bars.index[0]
    bars, ratio = bars.loc[first:], ratio.loc[first:]
    stamps = [int(pd.Timestamp(f"{day:%Y-%m-%d} 09:30", tz="America/New_York").timestamp()) for day in bars.index]
    quote = {
        name.lower(): [float(value) for value in (bars[name] / ratio).astype("float32")]
        for name in ("Open", "High", "Low", "Close")
    }
    quote["volume"] = [round(value) for value in bars["Volume"] * ratio]
    shown = {day: value for day, value in (splits or {}).items() if pd.Timestamp(day) in bars.index}
    events = {
        str(at): {"date": at, "numerator": value, "denominator": 1, "splitRatio": f"{value:g}:1"}
        for day, value in shown.items()
        for at in [int(pd.Timestamp(f"{day} 09:30", tz="America/New_York").timestamp())]
    }
    result = {
        "meta": {
            "currency": "USD",
            "symbol": symbol,
            "instrumentType": "EQUITY",
            "exchangeTimezoneName": "America/New_York",
            "gmtoffset": -18000,
            "timezone": "EST",
            "dataGranularity": "1d",
            "validRanges": ["1d", "max"],
            "currentTradingPeriod": {
                name: {"timezone": "EST", "start": stamps[-1], "end": stamps[-1] + 23400, "gmtoffset": -18000}
                for name in ("pre", "regular", "post")
            },
        },
        "timestamp": stamps,
        "events": {"splits": events} if events else {},
        "indicators": {"quote": [quote], "adjclose": [{"adjclose": quote["close"]}]},
    }
    return json.dumps({"chart": {"result": [result], "error": None}})


def unknown() -> Answer:
    """What Yahoo says of a symbol that it does not know; made by hand after its real wording."""
    error = {"code": "Not Found", "description": "No data found, symbol may be delisted"}
    return Answer(json.dumps({"chart": {"result": None, "error": error}}), status=404)


@contextlib.contextmanager
def yahoo(script: Script) -> Iterator[Vendor]:
    """Yahoo on loopback."""
    with Vendor(script, "/finance/chart/") as vendor:
        yield vendor


@contextlib.contextmanager
def coinbase(script: Script) -> Iterator[Vendor]:
    """Coinbase on loopback, with three markets."""
    with Vendor(script, "/candles") as vendor:
        yield vendor
