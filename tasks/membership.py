"""Who belonged to a universe when: a CSV file with ``symbol, from, to``, one spell a row.

``from`` and ``to`` are dates, both included; an empty ``to`` means still a member. A symbol may have several spells
that do not overlap. Symbols without a spell never belonged.

Travels inside promoted models: relative imports, standard library and NumPy only.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from datetime import date
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from .contracts import Spell
from .errors import DataError

BoolArray = npt.NDArray[np.bool_]
Days = npt.NDArray[np.datetime64]
Symbols = npt.NDArray[np.object_]

COLUMNS = ("symbol", "from", "to")
EXAMPLES = 5
STILL = np.datetime64(date.max, "D")


def read_membership(path: Path) -> tuple[Spell, ...]:
    """The spells of a file, sorted. Raises DataError that names the file and, for up to five, the row and the value."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: membership cannot be read as UTF-8 text: {error}") from error
    return parse_membership(text, str(path))


def parse_membership(text: str, origin: str) -> tuple[Spell, ...]:
    """The spells in a CSV text, sorted; ``origin`` is named in errors. Raises DataError as ``read_membership``."""
    table = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    spells, wrong = [], []
    try:
        missing = [name for name in COLUMNS if name not in (table.fieldnames or ())]
        if missing:
            raise DataError(f"{origin}: membership lacks the columns {missing}; it has {table.fieldnames or []}")
        for row, line in enumerate(table, start=1):
            try:
                spells.append((_spell(line), row))
            except ValueError as error:
                wrong.append(f"row {row}: {error}")
    except csv.Error as error:
        raise DataError(f"{origin}: line {table.line_num}: not a CSV file: {error}") from error
    spells.sort(key=lambda item: (item[0].symbol, item[0].first, item[1]))
    wrong += _overlaps(spells)
    if wrong:
        more = f"; and {len(wrong) - EXAMPLES} more" if len(wrong) > EXAMPLES else ""
        raise DataError(f"{origin}: {'; '.join(wrong[:EXAMPLES])}{more}")
    if not spells:
        raise DataError(f"{origin}: membership holds no row: nobody would ever belong")
    return tuple(spell for spell, _ in spells)


def belongs(symbols: Symbols, days: Days, spells: Sequence[Spell]) -> BoolArray:
    """Which rows lie in a spell of their symbol: bool (n,); all of them where there are no spells.

    symbols: (n,), rows in any order; days: datetime64[D] (n,).
    """
    if not spells:
        return np.ones(len(symbols), dtype=bool)
    code: dict[str, int] = {}
    place = np.fromiter((code.setdefault(symbol, len(code)) for symbol in symbols), np.intp, len(symbols))
    order = np.argsort(place, kind="stable")
    edges = np.searchsorted(place[order], np.arange(len(code) + 1))
    member = np.zeros(len(symbols), dtype=bool)
    for spell in spells:
        if (number := code.get(spell.symbol)) is not None:
            rows = order[edges[number] : edges[number + 1]]
            member[rows] |= _covers(spell, days[rows])
    return member


def is_member(symbols: Symbols, days: Days, spells: Sequence[Spell]) -> BoolArray:
    """As ``belongs``. Raises DataError if no row lies in a spell: then the file is about another universe, or writes
    its symbols in another way."""
    member = belongs(symbols, days, spells)
    if len(symbols) and not member.any():
        here, there = list(dict.fromkeys(symbols))[:EXAMPLES], [spell.symbol for spell in spells[:EXAMPLES]]
        raise DataError(f"no bar lies in a spell of membership: bars are of {here}, spells of {there}")
    return member


def present(names: Collection[str], days: Days, spells: Sequence[Spell]) -> npt.NDArray[np.int64]:
    """How many of some names belong on each day, int64 (n,), whether they have bars or not; all where there are no
    spells."""
    if not spells:
        return np.full(len(days), len(names))
    wanted, (each, place) = set(names), np.unique(days, return_inverse=True)
    count = np.zeros(len(each), dtype=np.int64)
    for spell in spells:  # those of one symbol do not overlap
        if spell.symbol in wanted:
            count += _covers(spell, each)
    return count[place]


def known_by(day: np.datetime64, symbols: Collection[str], spells: Sequence[Spell]) -> tuple[Spell, ...]:
    """What was known at the end of a day about some symbols: spells that begin later are not there, those that end
    later have not ended."""
    wanted = set(symbols)
    begun = (spell for spell in spells if spell.symbol in wanted and np.datetime64(spell.first, "D") <= day)
    return tuple(replace(spell, last="") if _last(spell) > day else spell for spell in begun)


def _covers(spell: Spell, days: Days) -> BoolArray:
    return np.asarray((days >= np.datetime64(spell.first, "D")) & (days <= _last(spell)), dtype=bool)


def _last(spell: Spell) -> np.datetime64:
    return np.datetime64(spell.last, "D") if spell.last else STILL


def _spell(line: dict[str | None, str | list[str] | None]) -> Spell:
    if None in line or None in line.values():
        raise ValueError(f"has another number of fields than the heading: {[v for v in line.values() if v]}")
    symbol, first, last = (str(line[name]).strip() for name in COLUMNS)
    if not symbol:
        raise ValueError("symbol is empty")
    spell = Spell(symbol=symbol, first=_day("from", first), last=_day("to", last) if last else "")
    if spell.last and spell.last < spell.first:
        raise ValueError(f"{symbol} leaves before it enters: from {first}, to {last}")
    return spell


def _day(name: str, text: str) -> str:
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError(f"{name} must be a date such as 2015-06-30, got {text!r}") from None


def _overlaps(ordered: list[tuple[Spell, int]]) -> Iterator[str]:
    for (before, above), (after, row) in pairwise(ordered):
        if before.symbol == after.symbol and np.datetime64(after.first, "D") <= _last(before):
            until = before.last or "still a member"
            yield f"row {row}: {after.symbol} from {after.first} overlaps row {above} (to {until})"
