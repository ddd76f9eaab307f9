"""A world for nights: a clock that is set, a vendor of real bars that has them when it should, or not.

The bars are the S&P 500's of ``arch.data`` on their own days; when the vendor publishes each, and which it corrects the
day after, is drawn. Product code that asks the time is given this clock's, which a fault may have set wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any, ClassVar
from unittest import mock

import arch.data.sp500
import pandas as pd

from tasks.bars.night import sessions_between
from tasks.bars.sources import registry
from tasks.bars.sources.source import BarRequest, FetchedBars

PREFIX = "simulated"
SOURCE = f"{PREFIX}:sp500"
TIMED = ("flows.late", "flows.opening", "flows.unchanged", "tasks.bars.sources.due")
"""Modules of the product that ask the time."""


@dataclass
class Clock:
    """The time, aware and in UTC, and by how much the machine's clock is off until when."""

    now: datetime
    off: timedelta = timedelta(0)
    right_from: datetime | None = None
    slept: int = 0

    @property
    def shown(self) -> datetime:
        """What the machine says."""
        return self.now + (self.off if self.right_from and self.now < self.right_from else timedelta(0))

    def sleep(self, seconds: float) -> None:
        """Time passes."""
        self.now += timedelta(seconds=seconds)
        self.slept += 1


@dataclass
class Market:
    """Real bars, session by session: when each is published, and which were first published with another close."""

    clock: Clock
    bars: pd.DataFrame
    published: dict[date, datetime]
    corrected: dict[date, tuple[float, datetime]] = field(default_factory=dict)
    days: list[date] = field(init=False)

    def __post_init__(self) -> None:
        self.days = self.bars["time"].dt.date.tolist()

    @classmethod
    def opened(cls, clock: Clock, first: date, last: date) -> Market:
        """Bars of the sessions from ``first`` to ``last``, each published twenty minutes after its close."""
        loaded = arch.data.sp500.load().loc[str(first) : str(last)]
        values = {name.lower(): loaded[name].to_numpy(float) for name in ("Open", "High", "Low", "Close", "Volume")}
        closes = {session.label: session.close for session in sessions_between("XNYS", first, last)}
        days = [day.date() for day in loaded.index]
        assert set(days) == set(closes), "the file of bars has every session of the calendar, and no other day"
        bars = pd.DataFrame({"symbol": "SPX", "time": loaded.index, **values})
        return cls(clock, bars, {day: closes[day] + timedelta(minutes=20) for day in days})

    def by(self, moment: datetime) -> pd.DataFrame:
        """What the vendor has at a moment."""
        known = [self.published[day] <= moment for day in self.days]
        found = self.bars[known].copy()
        for day, (share, until) in self.corrected.items():
            if self.published[day] <= moment < until:
                at = found["time"] == pd.Timestamp(day)
                close = found.loc[at, "close"] * (1 + share)
                found.loc[at, "close"] = close.clip(found.loc[at, "low"], found.loc[at, "high"])
        return found


class Vendor:
    """The registered source: it has what the market of the moment has, by the true time."""

    delay = timedelta(minutes=20)
    market: ClassVar[Market]

    def fetch(self, request: BarRequest) -> FetchedBars:
        """The bars of the sessions asked for."""
        bars = self.market.by(self.market.clock.now)
        since = request.since.get("SPX", date.min)
        return FetchedBars(bars=bars[bars["time"].dt.date >= since], asked=("SPX",))


def _told_by(clock: Clock) -> type[datetime]:
    class Told(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            """The machine's time."""
            return clock.shown.astimezone(tz)

    return Told


@contextmanager
def world(market: Market) -> Iterator[None]:
    """While the block runs, ``simulated:`` is a source, and the product's modules ask this market's clock."""
    Vendor.market = market
    told = _told_by(market.clock)
    with ExitStack() as patched:
        patched.enter_context(mock.patch.dict(registry.BUILT_IN, {PREFIX: f"{__name__}:Vendor"}))
        for module in TIMED:
            patched.enter_context(mock.patch(f"{module}.datetime", told))
        patched.enter_context(mock.patch("flows.late.time", mock.Mock(sleep=market.clock.sleep)))
        yield
