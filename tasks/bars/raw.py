"""Bars as a source gave them, before anything is judged: what readers hand to the checks."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

import pandas as pd

from tasks.contracts import Finding

PRICES = ("open", "high", "low", "close")
# What a ticker may look like: BRK.B, ^GSPC, BTC/USD, EURUSD=X, ES=F, M&M.NS. Never a formula, a path or a quote.
SYMBOL = re.compile(r"(?!.*\.\.)[A-Za-z0-9^$_][A-Za-z0-9 ^$&._:/=+\-]{0,63}")


@dataclass(frozen=True, slots=True)
class BadCell:
    """A cell that could not be read: position of its row in the file's frame, column, rule and text."""

    position: int
    column: str
    rule: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RawBars:
    """A source as read. ``frame`` has one line a data row of every file, in file order:

    ``code`` (int32 into ``symbols``, -1 where empty), ``file`` (into ``files``), ``row`` (data rows from 1), ``date``
    (session label) or ``instant`` (stamp in UTC), the other NaT; ``open, high, low, close, adj_close`` divided by the
    price scale, ``volume``; NaN where a cell is empty or unreadable (then it is in ``cells``). ``silent``: symbol ->
    in words why its vendor gave nothing for it, though it has history: its stored bars stay, and nothing follows them.
    """

    frame: pd.DataFrame
    symbols: tuple[str, ...]
    files: tuple[str, ...]
    cells: tuple[BadCell, ...] = ()
    ragged: tuple[Finding, ...] = ()
    findings: tuple[Finding, ...] = ()
    has_volume: bool = True
    has_adjusted: bool = False
    silent: Mapping[str, str] = field(default_factory=dict)
