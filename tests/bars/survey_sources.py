"""Where each real data set lies, how it is to be read, and what must be translated before."""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.bars.describe import SourceDescription

HEADER = "time,open,high,low,close,volume\n"
NEW_YORK = {"tz": "America/New_York", "label": "start", "price_scale": 1e4}
ROUND_THE_CLOCK = {"calendar": "24/7", "tz": "UTC", "label": "start"}
BROKER = {"bar": "1h", "calendar": "24/5", "tz": "Europe/Athens", "label": "start", "price_scale": 1e5}
EXCHANGES = {"4063-T": "XTKS", "8TRA-DE": "XFRA", "AET-L": "XLON", "ALPHA-PA": "XPAR", "CALM": "XNYS", "CNE-L": "XLON",
             "KAP-IL": "XLON", "LA-V": "XTSE", "MOB-ST": "XSTO", "SAND": "XNYS", "TEP-PA": "XPAR"}  # fmt: skip
QUOTES: dict[str, dict[str, Any]] = {
    "bitcoin": {"calendar": "24/7"},
    "toobig": {"calendar": "24/7"},
    "max": {"calendar": "24/7"},
    "intraday": {"bar": "1min", "tz": "America/New_York"},
    "_issue1949.zigzag": {"bar": "1min", "calendar": "24/7", "tz": "UTC"},
    "_issue1950.pivots": {"bar": "1min", "calendar": "24/7", "tz": "UTC"},
    "_issue0859.adx.nan": {"bar": "1min", "calendar": "XBOM", "tz": "Asia/Kolkata", "label": "start"},
}


@dataclass(frozen=True)
class Source:
    """A data set: ``path`` makes its files ready and names them; ``options`` say how to read them."""

    name: str
    path: Callable[[], Path | str]
    options: dict[str, Any] = field(default_factory=dict)

    def describe(self) -> SourceDescription:
        """The description, with the files ready to be read."""
        return SourceDescription(source=str(self.path()), **self.options)


def sources(data: Path, scratch: Path) -> Iterator[Source]:
    """Every data set with bars, in the order of the folders; translated copies are written below ``scratch``."""
    yield from _plain(data)
    yield from _archives(data, scratch)
    yield from _intraday(data, scratch)
    for name, exchange in EXCHANGES.items():
        for path in sorted((data / "yfinance_repair").glob(f"{name}-1d*.csv")):
            yield Source(f"yfinance {path.stem}", partial(Path, path), {"calendar": exchange})
    for path in sorted((data / "skender" / "quotes").glob("*.csv")):
        yield Source(f"skender {path.stem}", partial(Path, path), QUOTES.get(path.stem, {}))


def _plain(data: Path) -> Iterator[Source]:
    yield Source("arch sp500", lambda: data / "arch_data" / "sp500" / "sp500.csv.gz")
    yield Source("arch nasdaq", lambda: data / "arch_data" / "nasdaq" / "nasdaq.csv.gz")
    yield Source("sp500_5yr", lambda: data / "sp500_5yr" / "all_stocks_5yr.parquet")
    yield Source("sp500_5yr raw_csv", lambda: data / "sp500_5yr" / "raw_csv")
    yield Source("stocknet", lambda: data / "stocknet" / "price_raw")
    samples = data / "zipline" / "tests_resources"
    yield Source("zipline csvdir", lambda: f"{samples}/csvdir_samples/csvdir/daily/*.csv.gz")
    yield Source("zipline pipeline", lambda: samples / "pipeline_inputs")
    forex = {"calendar": "24/5", "price_scale": 1e5}
    yield Source("ejtrader daily", lambda: f"{data}/ejtrader_fx/*/*d1.csv", forex)
    for pair, suffix in (("GBPUSD", "csv"), ("AUDUSD", "parquet"), ("USDJPY", "parquet")):
        path = data / "ejtrader_fx" / pair / f"{pair}h1.{suffix}"
        yield Source(f"ejtrader hour {pair}", partial(Path, path), BROKER)


def _archives(data: Path, scratch: Path) -> Iterator[Source]:
    samples = data / "zipline" / "tests_resources" / "quandl_samples"
    yield Source("zipline quandl", lambda: unzipped([samples / "QUANDL_ARCHIVE.zip"], scratch / "quandl"))
    stocks = data / "lean_us_equity"
    yield Source(
        "lean daily", lambda: unzipped((stocks / "daily").glob("*.zip"), scratch / "lean-daily"), {"price_scale": 1e4}
    )
    yield Source(
        "lean hour",
        lambda: unzipped((stocks / "hour").glob("*.zip"), scratch / "lean-hour"),
        {"bar": "1h", **NEW_YORK},
    )
    oanda = data / "lean_fx_cfd" / "forex" / "oanda"
    daily = scratch / "oanda-daily"
    yield Source("oanda daily", lambda: unzipped((oanda / "daily").glob("*.zip"), daily), {"calendar": "24/5"})
    yield Source(
        "oanda daily, Monday to Friday",
        lambda: weekdays(unzipped((oanda / "daily").glob("*.zip"), daily), scratch / "oanda-weekdays"),
        {"calendar": "24/5"},
    )
    yield Source(
        "oanda hour",
        lambda: unzipped((oanda / "hour").glob("*.zip"), scratch / "oanda-hour"),
        {"bar": "1h", "calendar": "24/5", "tz": "UTC", "label": "start"},
    )
    crypto = data / "lean_crypto" / "crypto"
    for name, file, bar in (
        ("coinbase daily trades", "coinbase/daily/btcusd_trade.zip", "1d"),
        ("coinbase daily quotes", "coinbase/daily/btcusd_quote.zip", "1d"),
        ("bitfinex hour", "bitfinex/hour/btcusd_trade.zip", "1h"),
    ):
        ready = partial(unzipped, [crypto / file], scratch / name.replace(" ", "-"))
        yield Source(name, ready, {"bar": bar, **ROUND_THE_CLOCK})


def _intraday(data: Path, scratch: Path) -> Iterator[Source]:
    minutes = data / "lean_us_equity" / "minute"
    for name, hours in (("lean minute", ("00:00", "24:00")), ("lean minute, regular hours", ("09:30", "16:00"))):
        ready = partial(_days, minutes, ("spy", "ibm", "bac"), scratch / name.replace(" ", "-"), hours)
        yield Source(name, ready, {"bar": "1min", **NEW_YORK})
    oanda = data / "lean_fx_cfd" / "forex" / "oanda" / "minute"
    ready = partial(_days, oanda, ("eurusd",), scratch / "oanda-minute", ("00:00", "24:00"), "2014")
    yield Source("oanda minute 2014", ready, {"bar": "1min", "calendar": "24/5", "tz": "UTC", "label": "start"})
    coinbase = data / "lean_crypto" / "crypto" / "coinbase" / "minute"
    ready = partial(_days, coinbase, ("btcusd",), scratch / "coinbase-minute", ("00:00", "24:00"), "201804")
    yield Source("coinbase minute 2018-04", ready, {"bar": "1min", **ROUND_THE_CLOCK})


def unzipped(archives: Iterable[Path], folder: Path) -> Path:
    """Each archive's one file as CSV, with no more than six columns: the others hold the ask side of a quote."""
    folder.mkdir(parents=True, exist_ok=True)
    for archive in sorted(archives):
        with zipfile.ZipFile(archive) as zipped:
            text = zipped.read(zipped.namelist()[0]).decode()
        cells = [line.split(",") for line in text.splitlines() if line]
        narrow = cells[0][0].isalpha() or len(cells[0]) <= 6
        kept = text if narrow else "".join(",".join(row[:6]) + "\n" for row in cells)
        (folder / f"{archive.stem.upper()}.csv").write_text(kept)
    return folder


def weekdays(source: Path, folder: Path) -> Path:
    """The same files without the bars of Saturdays and Sundays."""
    folder.mkdir(parents=True, exist_ok=True)
    for path in sorted(source.glob("*.csv")):
        lines = path.read_text().splitlines()
        kept = [line for line in lines if pd.Timestamp(line[:8]).dayofweek < 5]
        (folder / path.name).write_text("\n".join(kept) + "\n")
    return folder


def _days(source: Path, symbols: tuple[str, ...], folder: Path, hours: tuple[str, str], prefix: str = "") -> Path:
    """One file a symbol out of an archive a day, in which times are milliseconds since midnight."""
    folder.mkdir(parents=True, exist_ok=True)
    first, last = (pd.Timedelta(f"{clock}:00") for clock in hours)
    for symbol in symbols:
        lines = [HEADER]
        for archive in sorted((source / symbol).glob(f"{prefix}*.zip")):
            with zipfile.ZipFile(archive) as zipped:
                text = zipped.read(zipped.namelist()[0]).decode()
            for line in text.splitlines():
                stamp, *values = line.split(",")
                clock = pd.Timedelta(int(stamp), "ms")
                if first <= clock < last:
                    lines.append(f"{pd.Timestamp(archive.name[:8]) + clock},{','.join(values[:5])}\n")
        (folder / f"{symbol.upper()}.csv").write_text("".join(lines))
    return folder
