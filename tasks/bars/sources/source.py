"""What a source of bars is: one small class that answers one question. Add yours in a package of your own.

The registry finds it by the prefix of a problem's ``source`` (``yfinance:SPY`` asks what is registered as ``yfinance``)
through the entry point group ``nocturne.sources``. What it fetches passes the same checks as a file: a source repairs
nothing, fills nothing and stores nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Protocol

import pandas as pd

from tasks.bars.actions import CorporateAction
from tasks.bars.describe import SourceDescription
from tasks.bars.raw import RawBars


@dataclass(frozen=True, slots=True, kw_only=True)
class BarRequest:
    """What is asked of a source.

    ``place``: what follows the prefix in the problem's ``source``, for the source to read. ``since``: symbol -> the
    first session wanted, where earlier bars are stored already; a symbol that is not in it wants its whole history. A
    source that cannot ask for a part may always give everything. ``now``: aware, in UTC; nothing later is known.
    """

    place: str
    description: SourceDescription
    now: datetime
    since: Mapping[str, date] = field(default_factory=dict)

    @property
    def symbols(self) -> tuple[str, ...]:
        """The problem's symbols; empty means all that ``place`` stands for."""
        return self.description.symbols

    @property
    def bar(self) -> str:
        """Size of a bar: 1d, 1h, 30min, 15min, 5min or 1min."""
        return self.description.bar

    @property
    def calendar(self) -> str:
        """Name of the exchange calendar."""
        return self.description.calendar

    @property
    def tz(self) -> str:
        """Time zone of stamps that carry none; may be empty."""
        return self.description.tz


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchedBars:
    """What a source gave.

    ``bars``: a table with columns ``symbol``, ``time``, ``open``, ``high``, ``low``, ``close`` and, where there is one,
    ``volume`` (the usual aliases are understood), any order, prices and volume as quoted on the day. ``time`` is the
    session's date for daily bars; for others an aware instant, or one in ``tz``, on the side that the problem's
    ``label`` says. A source that reads files may give ``RawBars``. ``asked``: the symbols it asked its vendor for;
    empty if it took what there was. ``missing``: symbol -> in words why the vendor had nothing for it. ``actions``:
    splits and dividends on the days that ``bars`` cover. ``notes``: what a reader of the night should know.
    """

    bars: pd.DataFrame | RawBars
    asked: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)
    actions: tuple[CorporateAction, ...] = ()
    notes: tuple[str, ...] = ()


class Source(Protocol):
    """A source of bars.

    ``delay``: how long after a bar's close the source usually has it. A source whose vendor rewrites its history may
    set ``whole_each_week = True``: a symbol's first reading of each week then asks for everything.
    """

    delay: timedelta

    def fetch(self, request: BarRequest) -> FetchedBars:
        """The bars asked for.

        Raises SourceUnavailableError if the same request may succeed later, DataError if it cannot, and
        ConfigurationError if ``place`` or the problem's fields cannot work. Writes nothing.
        """
        ...
