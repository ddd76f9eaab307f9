"""One reading of a source: what it has that is new, laid over the bars that are stored already.

```
 stored   ├──────────────────────────────┤                     (as quoted, append-only)
 asked                             ├─ 5 ─┼────── new ──────┤   overlap of five sessions: revisions show there
 read     ├────────────────────────┼───────────────────────┤   stored bars, and in the overlap what was fetched
```

Files and built-in series are read whole each time, as are vendors' histories in a source's first reading and, where a
vendor rewrites its history (Yahoo, at each split), in a symbol's first reading of each week. A bar that the vendor no
longer has stays as it was stored. Nothing is judged here, and nothing is written: a reading that fails has left no
trace.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd

from tasks.bars.actions import CorporateAction
from tasks.bars.actions_store import Covered
from tasks.bars.describe import SourceDescription, parse_as_of
from tasks.bars.panel import build_panel
from tasks.bars.raw import PRICES, RawBars
from tasks.bars.read import read_frame
from tasks.bars.readings import ReadingStore
from tasks.bars.refusal import printable
from tasks.bars.sessions import CalendarRangeError
from tasks.bars.sources.registry import find_source
from tasks.bars.sources.source import BarRequest, FetchedBars
from tasks.bars.store import BarStore
from tasks.bars.utc import naive, naive_times
from tasks.contracts import Finding
from tasks.errors import DataError, SourceUnavailableError

OVERLAP = 5
"""Sessions of each symbol that are fetched again every night."""
SILENT_LIMIT = 0.10
"""Above this share of symbols without an answer the vendor is ill, not the symbols."""
STORE = "bar store"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """``raw``: every bar that is known now, as quoted, for the checks. ``actions``: the splits and dividends that came
    along. ``covered``: the symbols and days whose events they should be all of.
    """

    raw: RawBars
    actions: tuple[CorporateAction, ...] = ()
    covered: tuple[Covered, ...] = ()


def read_bars(description: SourceDescription, now: pd.Timestamp, store: BarStore | None = None) -> Reading:
    """What the source has now, fetched as far as it is not stored. ``now`` is aware; ``store``: where that lies.

    Raises ConfigurationError, SourceUnavailableError (a retry may help) or DataError as the source does; DataError too
    if a vendor has nothing for any symbol, SourceUnavailableError if it is silent about symbols that it had bars
    of lately.
    """
    source, place = find_source(description)
    stored = (store or BarStore(description)).read() if description.prefix else pd.DataFrame()
    if len(stored) and _reaches(stored, description):
        return Reading(raw=_from_store(stored, description))
    moment = now.tz_convert("UTC").to_pydatetime()
    whole = bool(getattr(source, "whole_each_week", False))
    since = _since(stored, description, min(moment, parse_as_of(description.as_of) or moment), weekly=whole)
    request = BarRequest(place=place, description=description, now=moment, since=since)
    fetched = source.fetch(request)
    if isinstance(fetched.bars, RawBars):
        return Reading(raw=fetched.bars, actions=fetched.actions)
    _check_answered(fetched, stored, description)
    return _reading(description, fetched, stored, now, request)


def _reading(
    description: SourceDescription, fetched: FetchedBars, stored: pd.DataFrame, now: pd.Timestamp, request: BarRequest
) -> Reading:
    assert isinstance(fetched.bars, pd.DataFrame)
    raw = read_frame(description, description.prefix, fetched.bars)
    if len(stored) and fetched.asked:
        stored = stored[stored["symbol"].isin(fetched.asked)]
    notes = tuple(Finding(rule="source-note", severity="info", detail=printable(note, 300)) for note in fetched.notes)
    raw = replace(raw, silent=dict(fetched.missing), findings=(*raw.findings, *notes))
    try:
        placed = build_panel(raw, replace(description, symbols=(), as_of=""), now).placed
    except CalendarRangeError:
        return Reading(raw=raw, actions=fetched.actions)  # the checks refuse it, and say why
    came = pd.DataFrame({"symbol": _names(raw), "time": placed.close, "session": placed.session}).dropna()
    if len(stored):
        raw = _laid_over(raw, came[["symbol", "time"]], stored, description)
    return Reading(raw=raw, actions=fetched.actions, covered=_covered(fetched, came, request))


def _since(stored: pd.DataFrame, description: SourceDescription, now: datetime, *, weekly: bool) -> dict[str, date]:
    """Symbol -> the first session of its overlap; symbols without bars, or due for a whole reading, are left out.

    A ``weekly`` whole reading is due for each symbol by itself: others of the same store may have had theirs.
    """
    if not len(stored):
        return {}
    monday = pd.Timestamp(now).normalize() - pd.Timedelta(days=now.weekday())
    had = _read_since(description, monday) if weekly else set()
    found = {}
    for symbol, days in stored.groupby("symbol", sort=True)["session"]:
        overlap = np.unique(days)[-OVERLAP:]
        if not weekly or symbol in had or overlap[-1] >= naive(monday):
            found[str(symbol)] = pd.Timestamp(overlap[0]).date()
    return found


def _reaches(stored: pd.DataFrame, description: SourceDescription) -> bool:
    """Whether all that ``as_of`` allows is stored already: then the vendor need not be asked.

    So it is for a symbol with a bar as new, and for one that was read since: it has ended, or its bar came late.
    """
    until = parse_as_of(description.as_of)
    if until is None:
        return False
    newest = stored.groupby("symbol")["time"].max()
    wanted = newest.reindex(list(description.symbols)) if description.symbols else newest
    behind = set(wanted.index[~(wanted >= pd.Timestamp(until))])
    return not behind or behind <= _read_since(description, pd.Timestamp(until))


def _read_since(description: SourceDescription, moment: pd.Timestamp) -> set[str]:
    """The symbols that were read at a time or later, those without an answer among them."""
    return {symbol for read in ReadingStore(description).read(since=moment).readings for symbol in read.symbols}


def _traded_lately(stored: pd.DataFrame) -> set[str]:
    """The symbols that bars are stored of up to the last sessions: of others, which ended, nothing is awaited."""
    if not len(stored):
        return set()
    newest = stored.groupby("symbol")["session"].max()
    return set(newest.index[newest >= np.unique(stored["session"])[-OVERLAP:][0]])


def _check_answered(fetched: FetchedBars, stored: pd.DataFrame, description: SourceDescription) -> None:
    if fetched.asked and len(fetched.missing) == len(fetched.asked):
        told = _told(fetched.missing)
        if len(stored) and stored["symbol"].isin(fetched.missing).any():
            raise SourceUnavailableError(
                f"{description.prefix}: nothing for symbols that it had bars of before: {told}"
            )
        raise DataError(f"{description.prefix}: no bars: {told}; check the spelling of the symbols")
    lately = _traded_lately(stored)
    silent = {symbol: why for symbol, why in fetched.missing.items() if symbol in lately}
    if len(silent) > max(1, SILENT_LIMIT * len(fetched.asked)):
        raise SourceUnavailableError(
            f"{description.prefix}: nothing for {len(silent):,} of {len(fetched.asked):,} symbols, all of which it had "
            f"bars of before: {_told(silent)}"
        )


def _told(missing: Mapping[str, str]) -> str:
    words = "; ".join(f"{printable(symbol)}: {printable(why, 160)}" for symbol, why in list(missing.items())[:5])
    return words + (f"; and {len(missing) - 5:,} more" if len(missing) > 5 else "")


def _covered(fetched: FetchedBars, came: pd.DataFrame, request: BarRequest) -> tuple[Covered, ...]:
    """The days of which the fetched events should be all, by the first one: asked for, and there.

    A vendor that has a few weeks of a history says nothing of events before them. ``came``: symbol and session of
    every bar that was fetched.
    """
    groups: dict[date, list[str]] = {}
    for symbol, session in came.groupby("symbol", sort=True)["session"].min().items():
        first, asked = pd.Timestamp(session).date(), request.since.get(str(symbol), date.min)
        if not request.description.daily and first > asked:
            first += timedelta(days=1)  # the begin of that session, where its events are told, may be missing
        if symbol in fetched.asked and symbol not in fetched.missing:
            groups.setdefault(max(first, asked), []).append(str(symbol))
    last = request.now.date()
    return tuple(Covered(symbols=tuple(names), first=first, last=last) for first, names in sorted(groups.items()))


def _laid_over(raw: RawBars, fetched: pd.DataFrame, stored: pd.DataFrame, description: SourceDescription) -> RawBars:
    """Stored bars and fetched ones (``fetched``: their symbols and closes) as one source; where both have a bar, the
    fetched one.
    """
    times = naive_times(stored["time"])
    recent = np.flatnonzero(times >= fetched["time"].min().to_datetime64()) if len(fetched) else np.arange(0)
    held = pd.DataFrame({"symbol": stored["symbol"].to_numpy()[recent], "time": times[recent]})
    again = pd.MultiIndex.from_frame(held).isin(pd.MultiIndex.from_frame(fetched))
    kept = np.ones(len(stored), dtype=bool)
    kept[recent] = ~again
    findings = (*raw.findings, *_dropped(held[~again], fetched))
    return _joined(replace(raw, findings=findings), _from_store(stored[kept], description))


def _dropped(kept: pd.DataFrame, fetched: pd.DataFrame) -> Iterator[Finding]:
    """One finding a symbol of which the vendor no longer has bars, though it has earlier and later ones.

    ``kept``: stored bars that it did not send, those before all that it sent left out.
    """
    if not len(kept):
        return
    spans = fetched.groupby("symbol")["time"].agg(["min", "max"])
    within = kept.join(spans, on="symbol")
    within = within[within["time"].between(within["min"], within["max"])]
    for symbol, rows in within.groupby("symbol", sort=True):
        detail = f"{len(rows):,} bars that were read before are missing in what the vendor sent; they are kept"
        first = f"{rows['time'].min():%Y-%m-%dT%H:%M:%SZ}"
        yield Finding(rule="vendor-dropped", severity="warning", symbol=str(symbol), time=first, detail=detail)


def _names(raw: RawBars) -> Any:
    return np.asarray([*raw.symbols, ""], dtype=object)[raw.frame["code"].to_numpy()]


def _from_store(stored: pd.DataFrame, description: SourceDescription) -> RawBars:
    """Stored canonical bars as a source would have given them: stamped on the side that the description declares."""
    codes, names = pd.factorize(stored["symbol"], sort=True)
    closes = stored["time"].dt.tz_localize(None).to_numpy()
    instants = closes - np.timedelta64(description.step) if description.label == "start" else closes
    nothing = np.full(len(stored), np.datetime64("NaT", "ns"))
    frame = pd.DataFrame(
        {
            "code": codes.astype(np.int32),
            "file": np.zeros(len(stored), dtype=np.int32),
            "row": np.arange(1, len(stored) + 1),
            "date": stored["session"].to_numpy() if description.daily else nothing,
            "instant": nothing if description.daily else instants,
            **{name: stored[name].to_numpy() for name in PRICES},
            "adj_close": np.nan,
            "volume": stored["volume"].to_numpy(),
        }
    )
    has_volume = bool((stored["volume"] != 0).any())
    return RawBars(frame=frame, symbols=tuple(map(str, names)), files=(STORE,), has_volume=has_volume)


def _joined(fetched: RawBars, stored: RawBars) -> RawBars:
    """Two sources as one, the fetched rows first: positions of unreadable cells stay what they are."""
    symbols = tuple(sorted({*fetched.symbols, *stored.symbols}))
    parts = [_recoded(part, symbols) for part in (fetched, stored)]
    parts[1]["file"] += len(fetched.files)
    return replace(
        fetched,
        frame=pd.concat([part for part in parts if len(part)], ignore_index=True),
        symbols=symbols,
        files=(*fetched.files, *stored.files),
        has_volume=fetched.has_volume or stored.has_volume,
    )


def _recoded(part: RawBars, symbols: tuple[str, ...]) -> pd.DataFrame:
    place = {name: at for at, name in enumerate(symbols)}
    new = np.array([*(place[name] for name in part.symbols), -1], dtype=np.int32)
    frame = part.frame[["code", "file", "row", "date", "instant", *PRICES, "adj_close", "volume"]].copy()
    frame["code"] = new[frame["code"].to_numpy()]
    return frame
