"""What makes a single row broken. Each rule is a mask over all rows and words for one of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from tasks.bars.panel import Floats, Panel, iso
from tasks.bars.raw import PRICES
from tasks.bars.refusal import printable
from tasks.bars.stamps import Mask


@dataclass(frozen=True, slots=True)
class RowRule:
    """A rule's name, the rows that break it (bool (n,)), and what to say about one of them."""

    name: str
    broken: Mask
    words: Callable[[int], str]


def row_rules(panel: Panel) -> Iterator[RowRule]:
    """Every rule about single rows, in the order in which they are reported."""
    yield from _unreadable(panel)
    yield RowRule("missing-symbol", panel.code < 0, lambda _: "the symbol is empty")
    yield from _time_rules(panel)
    columns = {name: panel.values(name) for name in PRICES}
    if panel.raw.has_volume:
        columns["volume"] = panel.values("volume")
    yield from _value_rules(panel, columns)


def _unreadable(panel: Panel) -> Iterator[RowRule]:
    """Cells that were not numbers or times when the file was read."""
    cells: dict[str, dict[int, str]] = defaultdict(dict)
    for cell in panel.raw.cells:
        cells[cell.rule][cell.position] = f"{cell.column} is {printable(cell.text)!r}"
    for rule, texts in cells.items():
        broken = np.zeros(len(panel.live), dtype=bool)
        broken[list(texts)] = True
        yield RowRule(rule, broken, texts.__getitem__)


def _time_rules(panel: Panel) -> Iterator[RowRule]:
    stamps = panel.stamps
    begins = np.where(np.isnat(panel.placed.start), stamps, panel.placed.start)
    future = begins > panel.now + np.timedelta64(panel.description.step)
    yield RowRule("future", future, lambda at: f"it begins {iso(begins[at])}, now is {iso(panel.now)}")
    closed = ~np.isnat(stamps) & np.isnat(panel.placed.close) & ~future
    yield RowRule("off-session", closed, lambda at: _closed_words(panel, at))


def _closed_words(panel: Panel, at: int) -> str:
    name = panel.description.calendar
    stamp = panel.stamps[at]
    labels = panel.sessions.labels
    day = stamp.astype("datetime64[D]")
    position = int(np.searchsorted(labels, day))
    if position >= len(labels) or labels[position] != day:
        return f"{day} is no session of {name}"
    opens, closes = panel.sessions.opens[position], panel.sessions.closes[position]
    side = panel.description.label
    return f"stamp {iso(stamp)} (label {side}) lies outside {name}'s session of {day}: {iso(opens)} to {iso(closes)}"


def _value_rules(panel: Panel, columns: dict[str, Floats]) -> Iterator[RowRule]:
    told = np.zeros(len(panel.live), dtype=bool)
    told[[cell.position for cell in panel.raw.cells]] = True
    missing = np.logical_or.reduce([np.isnan(values) for values in columns.values()])
    yield RowRule("missing-value", missing & ~told, lambda at: f"no value for {_names(columns, at, np.isnan)}")
    infinite = np.logical_or.reduce([np.isinf(values) for values in columns.values()])
    yield RowRule("infinite-value", infinite, lambda at: f"infinity in {_names(columns, at, np.isinf)}")
    prices = {name: columns[name] for name in PRICES}
    if not panel.description.negative_prices:
        low = np.logical_or.reduce([values <= 0 for values in prices.values()])
        yield RowRule("price-not-positive", low, lambda at: _listed(prices, at, lambda value: value <= 0))
    yield RowRule("inconsistent-prices", _inconsistent(prices) & ~infinite, lambda at: _disorder(prices, at))
    if "volume" in columns:
        volume = columns["volume"]
        yield RowRule("negative-volume", volume < 0, lambda at: f"volume {volume[at]:.15g}")


def _inconsistent(prices: dict[str, Floats]) -> Mask:
    top = np.maximum(prices["open"], prices["close"])
    bottom = np.minimum(prices["open"], prices["close"])
    return (prices["high"] < top) | (prices["low"] > bottom) | (prices["high"] < prices["low"])


def _disorder(prices: dict[str, Floats], at: int) -> str:
    return ", ".join(f"{name} {values[at]:.15g}" for name, values in prices.items())


def _names(columns: dict[str, Floats], at: int, test: Callable[[float], bool]) -> str:
    return ", ".join(name for name, values in columns.items() if test(values[at]))


def _listed(columns: dict[str, Floats], at: int, test: Callable[[float], bool]) -> str:
    return ", ".join(f"{name} {values[at]:.15g}" for name, values in columns.items() if test(values[at]))
