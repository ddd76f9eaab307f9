"""Who belonged to a universe when: a CSV file with ``symbol, from, to``, one spell a row.

``from`` and ``to`` are dates, both included; an empty ``to`` means still a member. A symbol may have several spells
that do not overlap. Symbols without a spell never belonged.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.errors import DataError
from tasks.labels.rows import EXAMPLES, BoolArray

COLUMNS = ("symbol", "from", "to")
STILL = date.max


@dataclass(frozen=True, slots=True, kw_only=True)
class Spell:
    """A symbol's stay in the universe, first and last day included. ``row`` counts the file's data rows from 1."""

    symbol: str
    first: date
    last: date
    row: int


def read_membership(path: Path) -> tuple[Spell, ...]:
    """The spells of a file. Raises DataError that names the file and, for up to five, the row and the value."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: membership cannot be read as UTF-8 text: {error}") from error
    return parse_membership(text, str(path))


def parse_membership(text: str, origin: str) -> tuple[Spell, ...]:
    """The spells in a CSV text; ``origin`` is named in errors. Raises DataError as ``read_membership``."""
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    spells, wrong = [], []
    try:
        missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise DataError(f"{origin}: membership lacks the columns {missing}; it has {table.fieldnames or []}")
        for row, line in enumerate(table, start=1):
            try:
                spells.append(_spell(line, row))
            except ValueError as error:
                wrong.append(f"row {row}: {error}")
    except csv.Error as error:
        raise DataError(f"{origin}: line {table.line_num}: not a CSV file: {error}") from error
    wrong += _overlaps(spells)
    if wrong:
        more = f"; and {len(wrong) - EXAMPLES} more" if len(wrong) > EXAMPLES else ""
        raise DataError(f"{origin}: {'; '.join(wrong[:EXAMPLES])}{more}")
    if not spells:
        raise DataError(f"{origin}: membership holds no row: nobody would ever belong")
    return tuple(spells)


def is_member(symbols: npt.NDArray[np.object_], sessions: pd.DatetimeIndex, spells: tuple[Spell, ...]) -> BoolArray:
    """Which rows lie in a spell of their symbol: bool (n,).

    symbols: (n,), rows in any order; sessions: (n,), naive midnights. Raises DataError if no row does: then the
    file is about another universe, or writes its symbols in another way.
    """
    days = sessions.to_numpy(dtype="datetime64[D]")
    member = np.zeros(len(symbols), dtype=bool)
    rows_of = pd.Series(np.arange(len(symbols))).groupby(symbols, sort=False).indices
    for spell in spells:
        rows = rows_of.get(spell.symbol)
        if rows is not None:
            member[rows] |= (days[rows] >= np.datetime64(spell.first)) & (days[rows] <= np.datetime64(spell.last))
    if len(symbols) and not member.any():
        here, there = [str(name) for name in rows_of][:EXAMPLES], [spell.symbol for spell in spells[:EXAMPLES]]
        raise DataError(f"no bar lies in a spell of membership: bars are of {here}, spells of {there}")
    return member


def _spell(line: dict[str | None, str | list[str] | None], row: int) -> Spell:
    if None in line or None in line.values():
        raise ValueError(f"has another number of fields than the heading: {[v for v in line.values() if v]}")
    symbol, first, last = (str(line[name]).strip() for name in COLUMNS)
    if not symbol:
        raise ValueError("symbol is empty")
    spell = Spell(symbol=symbol, first=_day("from", first), last=_day("to", last) if last else STILL, row=row)
    if spell.last < spell.first:
        raise ValueError(f"{symbol} leaves before it enters: from {first}, to {last}")
    return spell


def _day(name: str, text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name} must be a date such as 2015-06-30, got {text!r}") from None


def _overlaps(spells: list[Spell]) -> Iterator[str]:
    ordered = sorted(spells, key=lambda spell: (spell.symbol, spell.first, spell.row))
    for before, after in pairwise(ordered):
        if before.symbol == after.symbol and after.first <= before.last:
            yield f"row {after.row}: {after.symbol} from {after.first} overlaps row {before.row} (to {before.last})"
