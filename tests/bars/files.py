"""Real bars to break: the year 2018 of the S&P 500 and the NASDAQ from arch.data, as text that a test may change."""

from __future__ import annotations

import functools
from pathlib import Path

import arch.data.nasdaq
import arch.data.sp500
import pandas as pd

from tasks.bars.check import CheckedBars, check_bars
from tasks.bars.describe import SourceDescription
from tasks.bars.read import read_source

NOW = pd.Timestamp("2019-06-01T00:00:00Z")
LOADERS = {"SP500": arch.data.sp500.load, "NASDAQ": arch.data.nasdaq.load}
HEADER = "date,open,high,low,close,volume"


@functools.lru_cache(maxsize=8)
def year_of(symbol: str, year: int = 2018) -> tuple[str, ...]:
    """The bars of one year as lines ``date,open,high,low,close,volume``: 251 of them in 2018."""
    bars = LOADERS[symbol]().loc[str(year)]
    return tuple(
        f"{day:%Y-%m-%d},{row.Open},{row.High},{row.Low},{row.Close},{int(row.Volume)}"
        for day, row in zip(bars.index, bars.itertuples(), strict=True)
    )


def write(path: Path, lines: list[str] | tuple[str, ...], header: str = HEADER) -> Path:
    """Write lines below a header as CSV."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def with_cell(line: str, column: str, value: str) -> str:
    """A line with one cell replaced."""
    cells = line.split(",")
    cells[HEADER.split(",").index(column)] = value
    return ",".join(cells)


def panel_lines(symbols: int) -> list[str]:
    """A panel of so many symbols A00, A01, …: the S&P 500's 2018, each at a price of its own."""
    return [
        f"A{at:02d},{day},{','.join(str(float(price) * (1 + at / 100)) for price in rest[:4])},{rest[4]}"
        for at in range(symbols)
        for day, *rest in (line.split(",") for line in year_of("SP500"))
    ]


def check(source: Path | str, now: pd.Timestamp = NOW, **options: object) -> CheckedBars:
    """Read and check a source."""
    description = SourceDescription(source=str(source), **options)  # type: ignore[arg-type]
    return check_bars(read_source(description), description, now)
