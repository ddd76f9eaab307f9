"""Yahoo's bars through yfinance: ``yfinance:SPY,AAPL`` (Yahoo's symbols, separated by commas).

What Yahoo sends, and what is made of it:

- Prices and volume are adjusted for every split up to today, dividends too. They are put back to what was quoted on
  the day, so that an old bar does not change when a share is split later; the splits come along as events. What is
  adjusted again, and as of when, is decided where bars are read.
- Numbers are single precision: 74.06 comes as 74.05999755859375. Six significant digits are kept, cents always.
- Close is not adjusted for dividends; ``Adj Close`` is not used, since it changes with every dividend.
- A bar of a day is labelled with its date in the exchange's time zone; others with their start.
- The bar of a session that is still open comes too; the checks drop it.
- History: all for daily bars, 730 days for hours, 60 days for 5 to 30 minutes, 8 days for minutes.
"""

from __future__ import annotations

import contextlib
import functools
import json
import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd

from tasks import storage
from tasks.bars.actions import CorporateAction, Kind
from tasks.bars.adjusted import as_quoted, dividends_as_paid
from tasks.bars.refusal import printable
from tasks.bars.sources.patience import AskAgainError, Asker, Clock, Patience, judge
from tasks.bars.sources.registry import library
from tasks.bars.sources.source import BarRequest, FetchedBars
from tasks.bars.sources.spelling import ticker
from tasks.bars.sources.symbols import listed, starts_only
from tasks.errors import DataError, SourceUnavailableError

INTERVALS = {"1d": "1d", "1h": "1h", "30min": "30m", "15min": "15m", "5min": "5m", "1min": "1m"}
REACH = {"1h": 729, "30min": 59, "15min": 59, "5min": 59, "1min": 7}
"""Days back that Yahoo has bars of; more in one question is refused."""
COLUMNS = {"Open": "open", "High": "high", "Low": "low", "Close": "close", "Volume": "volume"}
PRICES = ["Open", "High", "Low", "Close"]
NO_WAY = (5, 6, 7)
"""curl's codes for a proxy or host without an address, and for a connection that could not be made."""
PATIENCE = Patience(interval=0.5)
CASH = ("Dividends", "Capital Gains")


class _NothingError(Exception):
    """Yahoo has no bars for a symbol, in its words."""


class YahooSource:
    """Bars, splits and dividends of what Yahoo lists."""

    delay = timedelta(minutes=30)
    whole_each_week = True

    def __init__(
        self, patience: Patience = PATIENCE, clock: Clock | None = None, session: Callable[[], Any] | None = None
    ) -> None:
        self._patience, self._clock, self._session = patience, clock, session

    def fetch(self, request: BarRequest) -> FetchedBars:
        """Every symbol's bars as quoted on the day, with splits and dividends as paid.

        Raises SourceUnavailableError if Yahoo does not answer, or answers with something else than bars.
        """
        starts_only(request, "yfinance")
        symbols = listed(request, ticker)
        yf = library("yfinance")
        asker = Asker("yfinance", self._patience, self._clock)
        frames: dict[str, pd.DataFrame] = {}
        missing: dict[str, str] = {}
        with _as_asked(yf):
            session = _watched(self._session or library("yfinance._http").new_session, asker)
            for symbol in symbols:
                try:
                    frames[symbol] = asker.ask(functools.partial(_history, yf, session, symbol, request), symbol)
                except _NothingError as error:
                    missing[symbol] = str(error)
        notes: list[str] = []
        actions = tuple(action for symbol, frame in frames.items() for action in _actions(symbol, frame, notes))
        return FetchedBars(
            bars=_table(frames, actions, request.bar),
            asked=symbols,
            missing=missing,
            actions=dividends_as_paid(actions),
            notes=tuple(notes),
        )


def _history(yf: Any, session: Any, symbol: str, request: BarRequest, timeout: float) -> pd.DataFrame:
    """One symbol's frame as yfinance gives it. Raises AskAgainError, or _NothingError in Yahoo's words."""
    ticker = yf.Ticker(symbol, session=session)
    # The zone only reads dates that are given as text, and asking for it would be a second request.
    ticker._tz = "UTC"
    try:
        frame: pd.DataFrame = ticker.history(
            **_span(request, symbol),
            interval=INTERVALS[request.bar],
            auto_adjust=False,
            back_adjust=False,
            repair=False,
            actions=True,
            timeout=timeout,
        )
    except (yf.exceptions.YFPricesMissingError, yf.exceptions.YFTzMissingError) as error:
        raise _NothingError(printable(str(error.rationale), 160)) from error
    except yf.exceptions.YFException as error:
        raise AskAgainError(printable(str(error), 160)) from error
    except OSError as error:
        raise _unreachable(error) from error
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise AskAgainError(
            f"the answer is JSON without bars ({type(error).__name__}: {printable(str(error))})"
        ) from error
    if frame.empty or frame[PRICES].isna().all(axis=None):
        raise _NothingError("no bars in the time asked for")
    return frame.sort_index()


def _span(request: BarRequest, symbol: str) -> dict[str, Any]:
    """Since the session wanted, or all that Yahoo has.

    Dates are read as UTC's, where a session of Sydney begins on the day before: it is asked for from that day on.
    """
    since = request.since.get(symbol)
    reach = REACH.get(request.bar)
    start = since - timedelta(days=1) if since else None
    if start is None or (reach is not None and (request.now.date() - start).days >= reach):
        return {"period": "max"}
    return {"start": start.isoformat()}


def _unreachable(error: OSError) -> Exception:
    words = printable(str(error).split(" See http", 1)[0].removeprefix("Failed to perform, "), 200)
    if getattr(error, "code", 0) in NO_WAY:
        # No connection is no network, mostly: waiting here would only hide it. A night's own retries come later.
        return SourceUnavailableError(f"yfinance: Yahoo cannot be reached: {words}")
    return AskAgainError(words)


def _watched(make: Callable[[], Any], asker: Asker) -> Any:
    """A session whose every call has a timeout, and whose bad answers are named before yfinance parses them."""
    session = make()
    plain = session.request
    refused = 0

    def request(method: str, url: str, **options: Any) -> Any:
        nonlocal refused
        options["timeout"] = min(options.get("timeout") or asker.patience.call, asker.timeout())
        response = plain(method, url, **options)
        if "/finance/chart/" in str(url) and "consent" not in str(response.url):
            _judge(response)
            # The first time yfinance takes another cookie and asks again.
            refused = refused + 1 if response.status_code >= 400 else 0
            if refused > 1:
                raise SourceUnavailableError(
                    f"yfinance: Yahoo refuses: HTTP status {response.status_code}; it may block this address for now"
                )
        return response

    session.request = request
    return session


def _judge(response: Any) -> None:
    judge(response.status_code, response.headers.get("Retry-After") or "", response.text)
    if response.status_code in {400, 404, 422}:
        raise _NothingError(_reason(response.text))
    if response.status_code >= 400 and response.status_code not in {401, 403}:
        raise DataError(f"yfinance: Yahoo refuses: HTTP status {response.status_code}")


def _reason(body: str) -> str:
    try:
        return printable(str(json.loads(body)["chart"]["error"]["description"]), 160)
    except (ValueError, KeyError, TypeError):
        return "not found"


@contextlib.contextmanager
def _as_asked(yf: Any) -> Iterator[None]:
    """yfinance raises what goes wrong instead of logging it, and keeps its caches in the state folder."""
    hidden, log = yf.config.debug.hide_exceptions, logging.getLogger("yfinance")
    level = log.level
    yf.set_tz_cache_location(str(storage.home() / "cache" / "yfinance"))
    yf.config.debug.hide_exceptions = False
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        yf.config.debug.hide_exceptions = hidden
        log.setLevel(level)


def _table(frames: dict[str, pd.DataFrame], splits: tuple[CorporateAction, ...], bar: str) -> pd.DataFrame:
    """All symbols' rows below one another, as quoted; rows that only carry an event are left out."""
    parts = [_rows(symbol, frame, bar) for symbol, frame in frames.items()]
    if not parts:
        return pd.DataFrame(columns=["symbol", "time", *COLUMNS.values()])
    return as_quoted(pd.concat(parts, ignore_index=True), splits).drop(columns="session")


def _rows(symbol: str, frame: pd.DataFrame, bar: str) -> pd.DataFrame:
    traded = frame[frame[PRICES].notna().any(axis=1)]
    index = pd.DatetimeIndex(traded.index)
    session = index.tz_localize(None).normalize().as_unit("ns")
    time = session if bar == "1d" else index.tz_convert("UTC").as_unit("ns")
    values = {name: traded[column].to_numpy(dtype=np.float64) for column, name in COLUMNS.items()}
    return pd.DataFrame({"symbol": symbol, "time": time, "session": session, **values})


def _actions(symbol: str, frame: pd.DataFrame, notes: list[str]) -> Iterator[CorporateAction]:
    """Splits, and dividends in today's shares; of one day added up. What cannot be goes to ``notes``."""
    days = pd.DatetimeIndex(frame.index).tz_localize(None).normalize()
    cash = frame[[name for name in CASH if name in frame]].fillna(0.0).sum(axis=1).groupby(days).sum()
    splits = frame["Stock Splits"].fillna(0.0).replace(0.0, 1.0).groupby(days).prod()
    kinds: tuple[tuple[Kind, Any, float], ...] = (("split", splits, 1.0), ("dividend", cash, 0.0))
    for kind, values, nothing in kinds:
        for day, value in values[values != nothing].items():
            try:
                yield CorporateAction(symbol=symbol, session=pd.Timestamp(day).date(), kind=kind, value=float(value))
            except DataError as error:
                notes.append(f"left out: {error}")
