"""Real bars to transfer from and to: what is plentiful on one side, what is scarce on the other, and when each ends.

```
source   ├──────────── bars, pre-training ────────────┤
target      ├────────────────────── 100 % of labels ──┤├──── evaluation ────┤
                                     10 % ├───────────┤
```

Every file is read as the product reads it, so that what its checks set aside is in no table. Nothing of the source, and
no label of the target, reaches past the first bar of the evaluation window.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from tasks.bars.check import check_bars
from tasks.bars.describe import SourceDescription
from tasks.bars.facts import never_closes, true_opens
from tasks.bars.raw import RawBars
from tasks.bars.read import read_frame, read_source
from tasks.contracts import Target, TargetName

NOW = pd.Timestamp("2026-10-01T00:00:00Z")
BARS = ("open", "high", "low", "close", "volume")
KINDS = ("timeframes", "markets", "tasks")
FAST, OTHERS = ("SPY", "AAPL", "IBM", "BAC"), ("AIG", "IWM", "EEM")
MAJORS = ("EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "USDCAD", "USDCHF")
CROSSES = ("EURGBP", "EURJPY", "GBPJPY", "AUDJPY", "EURCHF")
HOURLY_PAIRS = ("GBPUSD", "USDJPY", "AUDUSD")
SPLIT_TICK = 1e-4
"""Prices divided by later splits move in smaller steps than a cent."""


@dataclass(frozen=True, kw_only=True)
class Market:
    """Canonical bars of one size with what the catalogue must know of them."""

    bars: pd.DataFrame
    bar: str
    tick: float
    volume: bool
    true_opens: bool

    @property
    def symbols(self) -> list[str]:
        """Whose bars there are."""
        return [str(name) for name in self.bars["symbol"].unique()]

    def only(self, symbols: Sequence[str]) -> Market:
        """The bars of these symbols."""
        kept = self.bars[self.bars["symbol"].isin(symbols)].reset_index(drop=True)
        return Market(bars=kept, bar=self.bar, tick=self.tick, volume=self.volume, true_opens=self.true_opens)

    def between(self, first: str = "", last: str = "") -> Market:
        """The bars of the sessions from the first on and before the last."""
        session = self.bars["session"]
        kept = (session >= pd.Timestamp(first or "1900-01-01")) & (session < pd.Timestamp(last or "2200-01-01"))
        bars = self.bars[kept].reset_index(drop=True)
        return Market(bars=bars, bar=self.bar, tick=self.tick, volume=self.volume, true_opens=self.true_opens)


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """From where to where. ``evaluation``: first session scored; ``tasks``: what pre-training learns.

    ``source`` and ``target`` read the bars; the source is cut at the evaluation window by the caller of ``sides``.
    ``like``: another transfer with the same source, tasks and evaluation window, whose backbone serves this one too.
    """

    name: str
    kind: Literal["timeframes", "markets", "tasks"]
    words: str
    tasks: tuple[str, ...]
    label: Target
    evaluation: str
    source: Callable[[], Market]
    target: Callable[[], Market]
    like: str = ""

    def sides(self) -> tuple[Market, Market]:
        """Source bars that close before the evaluation window begins, and all of the target's."""
        return self.source().between(last=self.evaluation), self.target()


def data() -> Path:
    """Where the real bars lie."""
    return Path(os.environ.get("NOCTURNE_TEST_DATA") or Path(__file__).parents[2].parent / "shared" / "data")


def volatility(horizon: int = 1) -> Target:
    """The log range of the next bars."""
    return Target(name="volatility", horizon=horizon, kind="regression", loss="mse")


def direction(horizon: int = 1) -> Target:
    """Whether the next bars end higher."""
    name: TargetName = "direction"
    return Target(name=name, horizon=horizon, kind="classification", loss="log_loss")


def _market(raw: RawBars, description: SourceDescription, tick: float, *, volume: bool) -> Market:
    bars = check_bars(raw, description, NOW).frame
    opens = true_opens(bars, never_closes(description.calendar))
    return Market(bars=bars, bar=description.bar, tick=tick, volume=volume, true_opens=opens)


def _without_spikes(frame: pd.DataFrame, description: SourceDescription) -> RawBars:
    """The table less the bars with a print that no neighbour supports: it would end the symbol there.

    A spike may hide behind another one in a symbol, so the checks are asked until they name none.
    """
    while True:
        raw = read_frame(description, description.source, frame)
        wrong = {each.row for each in check_bars(raw, description, NOW).findings if each.rule == "spike"}
        if not wrong:
            return raw
        frame = frame.drop(frame.index[sorted(row - 1 for row in wrong if row)]).reset_index(drop=True)


@cache
def large_stocks() -> Market:
    """503 members of the S&P 500 by the day, February 2013 to February 2018."""
    place = data() / "sp500_5yr" / "all_stocks_5yr.parquet"
    description = SourceDescription(source=str(place))
    return _market(read_source(description), description, 0.01, volume=True)


@cache
def thirty_stocks() -> Market:
    """Stocks of nine sectors by the day, many of them foreign, September 2012 to September 2017."""
    description = SourceDescription(source=str(data() / "stocknet" / "price_raw"))
    return _market(read_source(description), description, 0.01, volume=True)


@cache
def indices() -> Market:
    """S&P 500 and NASDAQ composite by the day, 1999 to 2018."""
    parts = []
    for name in ("sp500", "nasdaq"):
        frame = pd.read_csv(data() / "arch_data" / name / f"{name}.csv.gz").rename(columns=str.lower)
        parts.append(frame[["date", *BARS]].assign(symbol=name.upper()))
    description = SourceDescription(source="indices")
    return _market(read_frame(description, "indices", pd.concat(parts)), description, 0.01, volume=True)


@cache
def shares(size: Literal["daily", "hour"], names: tuple[str, ...]) -> Market:
    """Shares and funds of New York less later splits, 1998 to 2021; short sessions and false prints are left out.

    The vendor's factors are those of the sessions up to each of its dates.
    """
    stock = pd.concat([_share(size, name) for name in names], ignore_index=True)
    hourly = size == "hour"
    description = SourceDescription(
        source=size, bar="1h" if hourly else "1d", tz="America/New_York" if hourly else "", label="start"
    )
    return _market(_without_spikes(stock, description), description, SPLIT_TICK, volume=True)


def _share(size: str, name: str) -> pd.DataFrame:
    folder = data() / "lean_us_equity"
    frame = _zipped(folder / size / f"{name.lower()}.zip", ("date", *BARS))
    stamps = pd.to_datetime(frame["date"], format="%Y%m%d %H:%M")
    factors = pd.read_csv(folder / "factor_files" / f"{name.lower()}.csv", header=None, usecols=[0, 2])
    until = pd.to_datetime(factors[0].astype(str), format="%Y%m%d").to_numpy()
    place = np.searchsorted(until, stamps.dt.normalize().to_numpy(), side="left")
    factor = factors[2].to_numpy(np.float64)[np.minimum(place, len(until) - 1)]
    for price in BARS[:4]:
        frame[price] = frame[price] / 1e4 * factor
    # A fund's ticker may have been another company's before its first factor.
    mine = stamps >= until[0]
    if size == "hour":
        mine &= _in_session(stamps)
    text = stamps.dt.strftime("%Y-%m-%d %H:%M:%S" if size == "hour" else "%Y-%m-%d")
    kept: pd.DataFrame = frame.assign(date=text, symbol=name, volume=frame["volume"] / factor)[mine.to_numpy()]
    return kept


def _in_session(stamps: pd.Series) -> pd.Series:
    """Hours of sessions that reached their end: a day whose close came early has bars of after-hours trading."""
    last = stamps.groupby(stamps.dt.normalize()).transform("count")
    return last == 7


def _zipped(path: Path, names: Sequence[str]) -> pd.DataFrame:
    with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as text:
        found = pd.read_csv(text, header=None, names=list(names), usecols=range(len(names)))
        return pd.DataFrame(found)


@cache
def pairs(size: Literal["d1", "h1"], names: tuple[str, ...]) -> Market:
    """Currency pairs by the day or hour, November 2012 to March 2022, in the broker's clock; ticks are no volume."""
    description = SourceDescription(
        source=size, bar="1d" if size == "d1" else "1h", calendar="24/5",
        tz="" if size == "d1" else "Europe/Athens", label="start",
    )  # fmt: skip
    frame = pd.concat([_pair(size, name) for name in names])
    return _market(read_frame(description, size, frame), description, 1e-5, volume=False)


def _pair(size: str, name: str) -> pd.DataFrame:
    place = data() / "ejtrader_fx" / name / f"{name}{size}"
    csv = place.with_suffix(".csv")
    frame = pd.read_csv(csv) if csv.exists() else pd.read_parquet(place.with_suffix(".parquet"))
    scale = 1e3 if name.endswith("JPY") else 1e5
    prices = {price: frame[price] / scale for price in BARS[:4]}
    return pd.DataFrame({"date": frame["Date"].astype(str), **prices, "symbol": name})


def some_stocks(several: int = 20) -> tuple[str, ...]:
    """Every so many-th name of the panel: they are no names of a source that leaves them out."""
    whole = large_stocks().bars["symbol"].value_counts()
    names = sorted(whole.index[whole == whole.max()])
    return tuple(names[:: len(names) // several][:several])


def _other_stocks() -> Market:
    market = large_stocks()
    return market.only(sorted(set(market.symbols) - set(some_stocks())))


def _foreign() -> Market:
    market = thirty_stocks()
    return market.only(sorted(set(market.symbols) - set(large_stocks().symbols)))


SUPERVISED = ("volatility",)
TRANSFERS: tuple[Transfer, ...] = (
    Transfer(
        name="hours-days", kind="timeframes", words="hourly SPY, AAPL, IBM, BAC to daily AIG, IWM, EEM",
        tasks=SUPERVISED, label=volatility(), evaluation="2017-01-03",
        source=lambda: shares("hour", FAST), target=lambda: shares("daily", OTHERS),
    ),
    Transfer(
        name="stocks-foreign", kind="markets", words="S&P 500 names to stocks that are not among them",
        tasks=SUPERVISED, label=volatility(), evaluation="2016-01-04",
        source=large_stocks, target=_foreign,
    ),
    Transfer(
        name="direction-volatility", kind="tasks", words="direction of S&P 500 names to volatility of 20 others",
        tasks=("direction",), label=volatility(), evaluation="2017-01-03",
        source=_other_stocks, target=lambda: large_stocks().only(some_stocks()),
    ),
    Transfer(
        name="volatility-direction", kind="tasks", words="volatility of S&P 500 names to direction of 20 others",
        tasks=SUPERVISED, label=direction(), evaluation="2017-01-03",
        source=_other_stocks, target=lambda: large_stocks().only(some_stocks()),
    ),
    Transfer(
        name="majors-crosses", kind="markets", words="six majors to five crosses of currencies, daily",
        tasks=SUPERVISED, label=volatility(), evaluation="2020-01-02",
        source=lambda: pairs("d1", MAJORS), target=lambda: pairs("d1", CROSSES),
    ),
    Transfer(
        name="hours-days-fx", kind="timeframes", words="hourly GBPUSD, USDJPY, AUDUSD to daily crosses",
        tasks=SUPERVISED, label=volatility(), evaluation="2020-01-02",
        source=lambda: pairs("h1", HOURLY_PAIRS), target=lambda: pairs("d1", CROSSES),
    ),
    Transfer(
        name="masked-volatility", kind="tasks", words="masked bars of S&P 500 names to volatility of 20 others",
        tasks=("masked",), label=volatility(), evaluation="2017-01-03",
        source=_other_stocks, target=lambda: large_stocks().only(some_stocks()),
    ),
    Transfer(
        name="index-stocks", kind="markets", words="S&P 500 and NASDAQ composite to 20 of the S&P 500's names",
        tasks=SUPERVISED, label=volatility(), evaluation="2017-01-03",
        source=indices, target=lambda: large_stocks().only(some_stocks()),
    ),
    Transfer(
        name="hours-days-same", kind="timeframes", words="hourly SPY, AAPL, IBM, BAC to their own days",
        tasks=SUPERVISED, label=volatility(), evaluation="2017-01-03",
        source=lambda: shares("hour", FAST), target=lambda: shares("daily", FAST), like="hours-days",
    ),
)  # fmt: skip
"""In the order in which they are run: one of each kind first."""
