"""How the checks of scale and holes fare on real bars: ``python -m tests.registry.scale_survey [data set ...]``.

Every symbol that the data checks accept is taken as if a model had been trained through some of its bars, and then
given tails from over that end to fifteen years after it: as they are, and a hundredfold too large or too small. The
data lie below ``NOCTURNE_TEST_DATA``.
"""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from tasks.bars.check import check_bars
from tasks.bars.read import read_source
from tasks.bars.refusal import BarsRefusedError
from tasks.errors import ModelInputError
from tasks.registry.serving.likeness import Likeness
from tests.bars.survey import NOW
from tests.bars.survey_sources import sources

DAY = 86_400 * 10**9
YEAR = 365.25 * DAY
WHERE = {
    "over the end": -1.0, "right after": 0.0, "3 months": 0.25, "6 months": 0.5, "1 year": 1.0, "2 years": 2.0,
    "3 years": 3.0, "4.9 years": 4.9, "8 years": 8.0, "15 years": 15.0,
}  # fmt: skip
"""Where a tail begins, in years after the end of training; the first holds it."""
TAILS = (22, 100, 756)
LEAST = 60


@dataclass(frozen=True)
class Closes:
    """One real symbol: ns UTC and closes of its accepted bars."""

    source: str
    symbol: str
    time: npt.NDArray[np.int64]
    close: npt.NDArray[np.float64]


@dataclass
class Counts:
    """Tails tried, refused for their scale as they are, and caught of the two wrong scales; holes by symbol."""

    tails: int = 0
    refused: int = 0
    caught: int = 0
    holes: dict[str, str] = field(default_factory=dict)


def real_closes(data: Path, names: Sequence[str] = ()) -> Iterator[Closes]:
    """The symbols of every data set below a folder, or of those whose names begin with one of ``names``."""
    with tempfile.TemporaryDirectory() as scratch:
        for source in sources(data, Path(scratch)):
            if names and not source.name.startswith(tuple(names)):
                continue
            description = source.describe()
            try:
                frame = check_bars(read_source(description), description, NOW).frame
            except BarsRefusedError:
                continue
            for symbol, part in frame.groupby("symbol", sort=False):
                time = part["time"].to_numpy("datetime64[ns]").astype(np.int64)
                yield Closes(source.name, str(symbol), time, part["close"].to_numpy(np.float64))


def survey(symbols: Iterable[Closes], ends: int = 12) -> dict[str, Counts]:
    """By where the tail lies; ``ends`` different ends of training for each symbol of at least 60 positive closes."""
    found = {where: Counts() for where in WHERE}
    for series in symbols:
        if len(series.close) < LEAST or series.close.min() <= 0:
            continue
        for end in np.unique(np.linspace(LEAST - 1, len(series.close) - 2, ends).astype(int)):
            for where, years in WHERE.items():
                for rows in TAILS:
                    _try(series, int(end), years, rows, found[where])
    return {where: counts for where, counts in found.items() if counts.tails}


def _try(series: Closes, end: int, years: float, rows: int, counts: Counts) -> None:
    after = np.searchsorted(series.time, series.time[end] + years * YEAR, side="right") + rows
    stop = end + 2 if years < 0 else int(after)
    if stop - rows < 0 or stop > len(series.close):
        return
    known = _trained(series, end)
    time, close = series.time[stop - rows : stop], series.close[stop - rows : stop]
    counts.tails += 1
    said = _said(known, series.symbol, time, close)
    counts.refused += "scale" in said
    if "missing" in said:
        counts.holes[f"{series.source} {series.symbol}"] = said
    blind = Likeness(last=known.last, ranges=known.ranges, pace=0.0)
    counts.caught += sum("scale" in _said(blind, series.symbol, time, close * factor) for factor in (100.0, 0.01))


def _trained(series: Closes, end: int) -> Likeness:
    seen = series.close[: end + 1]
    return Likeness(
        last={series.symbol: (int(series.time[end]), float(seen[-1]))},
        ranges={series.symbol: (float(seen.min()), float(seen.max()))},
        pace=end / ((series.time[end] - series.time[0]) / DAY),
    )


def _said(known: Likeness, symbol: str, time: npt.NDArray[np.int64], close: npt.NDArray[np.float64]) -> str:
    try:
        known.check(symbol, time, close)
    except ModelInputError as error:
        return str(error)
    return ""


def main(names: Sequence[str]) -> None:
    """A line for each place of the tail, then what was said about holes."""
    logging.disable()
    data = Path(os.environ.get("NOCTURNE_TEST_DATA") or Path(__file__).resolve().parents[3] / "shared" / "data")
    symbols = list(real_closes(data, names))
    print(f"{len(symbols)} symbols, {sum(len(series.close) for series in symbols):,} bars")
    print(f"{'tail begins':14} {'tails':>7} {'refused as they are':>20} {'hundredfold caught':>19}")
    found = survey(symbols)
    for where, counts in found.items():
        print(f"{where:14} {counts.tails:7,} {counts.refused:20} {counts.caught / (2 * counts.tails):19.2%}")
    holes = {name: said for counts in found.values() for name, said in counts.holes.items()}
    print(f"tails with holes, of {len(holes)} symbols:")
    for name, said in holes.items():
        print(f"  {name}: {said.split(': ', 1)[-1]}")


if __name__ == "__main__":
    main(sys.argv[1:])
