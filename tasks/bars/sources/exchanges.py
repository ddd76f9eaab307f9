"""Bars of crypto exchanges through ccxt: ``ccxt:coinbaseexchange/BTC-USD,ETH-USD``.

The exchange by ccxt's name, then its markets; ``BTC-USD`` and ``BTC/USD`` are the same. Crypto never closes: the
calendar is 24/7. Stamps are the bar's start, in milliseconds of UTC. A bar in which nobody traded is missing, as the
exchange has it. Whole histories come page by page; ``ccxt:kraken/BTC-USD?since=2020-01-01`` asks for less.

Bars are public and need no key. Where an exchange wants one nevertheless, it comes from the environment:
``NOCTURNE_CCXT_<EXCHANGE>_KEY``, ``_SECRET`` and ``_PASSWORD``.
"""

from __future__ import annotations

import difflib
import functools
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pandas as pd

from tasks.bars.describe import BARS
from tasks.bars.refusal import printable
from tasks.bars.sources.patience import AskAgainError, Asker, Clock, Patience, judge
from tasks.bars.sources.registry import library
from tasks.bars.sources.source import BarRequest, FetchedBars
from tasks.bars.sources.spelling import market
from tasks.bars.sources.symbols import listed, starts_only
from tasks.errors import ConfigurationError, DataError, SourceUnavailableError

TIMEFRAMES = {"1d": "1d", "1h": "1h", "30min": "30m", "15min": "15m", "5min": "5m", "1min": "1m"}
NAMES = ("time", "open", "high", "low", "close", "volume")
FIRST = date(2010, 7, 1)
"""No exchange has older bars."""
PAGE = 300
PATIENCE = Patience(total=1800.0)
SECRETS = {"apiKey": "KEY", "secret": "SECRET", "password": "PASSWORD"}

NO_MARKET = frozenset({400, 404, 410, 422})
"""HTTP statuses that speak of the question; others that refuse (401, 403, 451) speak of whoever asks."""

Bar = list[float]


class _MarketRefusedError(DataError):
    """The exchange does not answer this question, and may answer others."""


class ExchangeSource:
    """Bars of one exchange that ccxt knows."""

    delay = timedelta(minutes=1)

    def __init__(
        self, patience: Patience = PATIENCE, clock: Clock | None = None, prepare: Callable[[Any], None] | None = None
    ) -> None:
        self._patience, self._clock, self._prepare = patience, clock, prepare

    def fetch(self, request: BarRequest) -> FetchedBars:
        """Every market's bars since the session asked for, page by page.

        A market that the exchange does not answer for, one that was delisted say, is missing. Raises
        SourceUnavailableError if the exchange does not answer, DataError if it refuses altogether or has other days
        than UTC's, ConfigurationError for an exchange, bar size or option that there is none of.
        """
        starts_only(request, "ccxt")
        name, markets, first = _place(request.place)
        symbols = listed(request, market, markets)
        asker = Asker(f"ccxt {name}", self._patience, self._clock)
        exchange = _opened(name, request.bar, asker)
        if self._prepare:
            self._prepare(exchange)
        _ask(asker, exchange, exchange.load_markets, "its markets")
        frames, missing = [], {}
        for symbol in symbols:
            if symbol not in exchange.markets:
                missing[symbol] = f"{name} has no such market"
                continue
            try:
                bars = list(_Market(asker, exchange, symbol).bars(request, first))
            except _MarketRefusedError as error:
                missing[symbol] = str(error)
                continue
            if bars:
                frames.append(_table(symbol, bars, request.bar, name))
            else:
                missing[symbol] = "no bars in the time asked for"
        empty = pd.DataFrame(columns=["symbol", *NAMES])
        return FetchedBars(
            bars=pd.concat(frames, ignore_index=True) if frames else empty, asked=symbols, missing=missing
        )


@dataclass(frozen=True, slots=True)
class _Market:
    """One market of an exchange, asked page by page."""

    asker: Asker
    exchange: Any
    symbol: str

    def bars(self, request: BarRequest, first: date) -> Iterator[Bar]:
        """The bars since the session wanted, or else the whole history from ``first`` on, oldest first, each once.

        Where a history begins is looked for among coarse bars, of which a page is months: were it looked for among
        pages of hours, one in which nobody traded would be taken for the time before.
        """
        day = request.since.get(self.symbol, first)
        start = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
        now = int(request.now.timestamp() * 1000)
        coarse = next(size for size, frame in TIMEFRAMES.items() if frame in self.exchange.timeframes)
        if self.symbol not in request.since and coarse != request.bar:
            found = next(self._pages(coarse, start, now), None)
            if found is None:
                return
            start = int(found[0])
        yield from self._pages(request.bar, start, now)

    def _pages(self, bar: str, start: int, now: int) -> Iterator[Bar]:
        """All bars of a size between two times, in milliseconds of UTC."""
        limit = int(self.exchange.feature_value(self.symbol, "fetchOHLCV", "limit", PAGE) or PAGE)
        step = int(BARS[bar].total_seconds() * 1000)
        while start <= now:
            bars = self._page(bar, start, limit)
            yield from bars
            # An empty page is a halt of the market, not its end: the next one may have bars again.
            start = int(bars[-1][0]) + step if bars else start + step * limit

    def _page(self, bar: str, start: int, limit: int) -> list[Bar]:
        def call() -> Any:
            return _bars(self.exchange.fetch_ohlcv(self.symbol, TIMEFRAMES[bar], start, limit), start)

        day = datetime.fromtimestamp(start / 1000, UTC)
        found: list[Bar] = _ask(self.asker, self.exchange, call, f"{self.symbol} from {day:%Y-%m-%d}")
        return found


def _place(place: str) -> tuple[str, str, date]:
    """Exchange, its markets, and the first day wanted. Raises ConfigurationError."""
    path, _, query = place.partition("?")
    name, _, markets = path.partition("/")
    key, _, value = query.partition("=")
    if query and key != "since":
        raise ConfigurationError(f"ccxt: unknown option {printable(key)!r} in the source; there is since (a date)")
    try:
        first = date.fromisoformat(value) if query else FIRST
    except ValueError as error:
        raise ConfigurationError(f"ccxt: since must be a date such as 2020-01-31, got {printable(value)!r}") from error
    return name.strip(), markets, first


def _opened(name: str, bar: str, asker: Asker) -> Any:
    ccxt = library("ccxt")
    if name not in ccxt.exchanges:
        close = difflib.get_close_matches(name, ccxt.exchanges, n=3)
        hint = f"; did you mean {', '.join(close)}?" if close else f"; it knows {len(ccxt.exchanges)}, e.g. kraken"
        raise ConfigurationError(f"ccxt knows no exchange {printable(name)!r}{hint}")
    keys = {field: os.environ.get(f"NOCTURNE_CCXT_{name.upper()}_{end}", "") for field, end in SECRETS.items()}
    exchange = getattr(ccxt, name)({"enableRateLimit": True, **{field: key for field, key in keys.items() if key}})
    frames = list(exchange.timeframes or {})
    if not exchange.has.get("fetchOHLCV") or TIMEFRAMES[bar] not in frames:
        known = [size for size, frame in TIMEFRAMES.items() if frame in frames]
        raise ConfigurationError(f"ccxt: {name} has no bars of {bar}; it has {', '.join(known) or 'none'}")
    exchange.session.hooks["response"].append(functools.partial(_judged, asker))
    return exchange


def _judged(asker: Asker, response: Any, *_: Any, **__: Any) -> None:
    """Name a bad answer before ccxt parses it: from a page of HTML it makes bars without a stamp."""
    _read_whole(response, asker.clock.now() + asker.timeout(), asker)
    judge(response.status_code, response.headers.get("Retry-After") or "", response.text)


def _read_whole(response: Any, ends: float, asker: Asker) -> None:
    """Read the body, as long as the call may take: the timeout of requests is for each of its pieces alone."""
    pieces = []
    try:
        while piece := response.raw.read1(65_536, decode_content=True):
            pieces.append(piece)
            if asker.clock.now() > ends:
                raise AskAgainError("the answer comes too slowly")
    except library("urllib3").exceptions.HTTPError as error:
        raise AskAgainError(f"the answer breaks off: {printable(str(error), 120)}") from error
    response._content, response._content_consumed = b"".join(pieces), True


def _ask(asker: Asker, exchange: Any, call: Callable[[], Any], what: str) -> Any:
    ccxt = library("ccxt")

    def once(timeout: float) -> Any:
        exchange.timeout = int(1000 * timeout)
        try:
            return call()
        except ccxt.OperationFailed as error:
            raise _failed(error, asker.vendor) from error
        except ccxt.BaseError as error:
            about_it = _status(error) in NO_MARKET or isinstance(error, (ccxt.BadSymbol, ccxt.BadRequest))
            refused = _MarketRefusedError if about_it else DataError
            raise refused(f"{asker.vendor}: {what}: refused: {printable(str(error), 160)}") from error
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise AskAgainError(f"the answer is JSON of another kind ({type(error).__name__})") from error

    return asker.ask(once, what)


def _failed(error: Exception, vendor: str) -> Exception:
    """What ccxt calls a failed operation, told apart: no network, a refusal that stays, or something that may pass."""
    cause = str(error.__cause__ or "")
    if "NameResolutionError" in cause:
        return SourceUnavailableError(f"{vendor}: cannot be reached: the name of its host cannot be resolved")
    if "Failed to establish a new connection" in cause or "ProxyError" in cause:
        return SourceUnavailableError(f"{vendor}: cannot be reached: no connection could be made")
    status = _status(error)
    if 400 <= status < 500:
        return (_MarketRefusedError if status in NO_MARKET else DataError)(
            f"{vendor}: refused with HTTP status {status}"
        )
    words = "no answer in time" if type(error).__name__ == "RequestTimeout" else (cause or str(error))
    return AskAgainError(printable(words, 160))


def _status(error: Exception) -> int:
    response = getattr(error.__cause__ or error.__context__, "response", None)
    return int(getattr(response, "status_code", 0) or 0)


def _bars(answer: Any, start: int) -> list[Bar]:
    """The bars of an answer from ``start`` on, in order. Raises AskAgainError if they are no bars."""
    if not isinstance(answer, list):
        raise AskAgainError("the answer is no list of bars")
    for bar in answer:
        if not isinstance(bar, list) or len(bar) < len(NAMES) or not isinstance(bar[0], int):
            raise AskAgainError(f"a bar without a time stamp: {printable(str(bar))}")
    return sorted(bar[: len(NAMES)] for bar in answer if bar[0] >= start)


def _table(symbol: str, bars: list[Bar], bar: str, name: str) -> pd.DataFrame:
    table = pd.DataFrame(bars, columns=list(NAMES))
    table["time"] = pd.to_datetime(table["time"].astype("int64"), unit="ms", utc=True).dt.as_unit("ns")
    if bar == "1d":
        odd = table["time"][table["time"] != table["time"].dt.normalize()]
        if len(odd):
            raise DataError(
                f"ccxt {name}: its days begin at {odd.iloc[0]:%H:%M} UTC, and those of 24/7 at 00:00; use bars of 1h"
            )
        table["time"] = table["time"].dt.tz_localize(None)
    table.insert(0, "symbol", symbol)
    return table
