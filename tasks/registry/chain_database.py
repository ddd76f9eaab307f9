"""What a chain of rows needs of the database below it. ``chain_sqlite`` and ``chain_postgres`` have it.

Placeholders are question marks, and every name of a table or column is quoted by the database's own side.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

Kind = Literal["TEXT", "INTEGER", "REAL"]
Columns = Mapping[str, Kind]
Row = dict[str, Any]

WAIT_SECONDS = 30.0
LEDGER = "the trial ledger"


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """The tables of one version. ``since``: the version that a table came with, 1 where it is not named.

    ``unique``: columns of a table that no two rows share. Every table has ``id``, ``previous`` and ``sha256`` besides.
    ``rewritten``: tables beside the chain, whose rows change: they tell what is going on, and no evidence rests on
    them; their first columns, as many as ``keys`` says, are the key.
    """

    version: int
    tables: Mapping[str, Columns]
    since: Mapping[str, int] = field(default_factory=dict)
    unique: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    rewritten: Mapping[str, Columns] = field(default_factory=dict)
    keys: Mapping[str, int] = field(default_factory=dict)

    def later_than(self, version: int) -> tuple[str, ...]:
        """The tables that a database of this version lacks."""
        return tuple(table for table in (*self.tables, *self.rewritten) if self.since.get(table, 1) > version)

    def definition(self, table: str, types: Mapping[str, str]) -> str:
        """SQL that makes a table of those that are rewritten; ``types``: what the database calls each kind."""
        columns = self.rewritten[table]
        listed = ", ".join(f'"{name}" {types[kind]}' for name, kind in columns.items())
        key = ", ".join(f'"{name}"' for name in list(columns)[: self.keys.get(table, 1)])
        return f'CREATE TABLE "{table}" ({listed}, PRIMARY KEY ({key}))'


class Database(Protocol):
    """An open connection. Within ``errors()`` everything that it raises is a StorageError or an IntegrityError."""

    @property
    def where(self) -> str:
        """What it is called in messages: a path, or a URL without its password."""

    def close(self) -> None:
        """Let go of it."""

    def begin(self) -> None:
        """Start a transaction as the only writer, once all others have ended; they wait meanwhile."""

    def begin_reading(self) -> None:
        """Start a transaction that sees one state throughout, whoever writes meanwhile."""

    def alone(self, name: str) -> AbstractContextManager[None]:
        """While the block runs nobody else is in a block of this name; they wait. Who writes is not kept waiting."""

    def commit(self) -> None:
        """End a transaction; what it wrote is on the disk."""

    def rollback(self) -> None:
        """End a transaction, if one is open, as if it had never been."""

    def query(self, sql: str, values: Iterable[Any] = ()) -> list[Row]:
        """The rows that a statement gives."""

    def tuples(self, sql: str, values: Iterable[Any] = ()) -> Iterable[Sequence[Any]]:
        """The same rows without names, for who reads thousands: values in the order of the columns."""

    def execute(self, sql: str, values: Iterable[Any] = ()) -> None:
        """Run a statement that gives no rows."""

    def clock(self) -> float:
        """Seconds since 1970 by the clock that all who use this database share."""

    def version(self) -> int:
        """The version of the schema that is there, 0 if none is."""

    def create(self, schema: Schema, tables: Iterable[str]) -> None:
        """Make these tables, append-only, and note the schema's version; inside a transaction."""

    def highest(self, table: str) -> int:
        """The highest row number that was ever given in a table, as the database itself remembers it."""

    def guarded(self, table: str) -> bool:
        """Whether what keeps the table append-only is in place."""

    def errors(self) -> AbstractContextManager[None]:
        """The database's own errors in words, by what can be done about them."""
