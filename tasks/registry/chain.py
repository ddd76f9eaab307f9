"""Append-only tables in one database, each row chained to the one before by a hash.

- Triggers refuse UPDATE and DELETE. Who goes round them is found by ``verify``: a row's hash covers its table, number,
  values and the hash of the row before; row numbers have no gaps; and the database's own counter still knows the last.
- A transaction is the only writer from its first statement on, so that what it read still holds when it writes.
  Writers of other processes wait, half a minute at most.
- A commit has reached the disk when it returns: what was spent stays spent after a power cut.

The hashes are the same in every database, so that a chain can be copied from one to another row by row.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Any

from tasks.errors import IntegrityError, StorageError
from tasks.registry.chain_database import LEDGER, Database, Kind, Row, Schema

SEED = "0" * 64
_CANONICAL = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_TEXTS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring_ascii, int: repr, float: repr, type(None): lambda _: "null",
}  # fmt: skip
"""JSON of what a database gives back, by its exact type."""
Known = dict[str, tuple[int, str]]


class Chain:
    """Opened append-only tables; close them, or use them as a context."""

    def __init__(self, database: Database, schema: Schema) -> None:
        """Make the tables that are missing: all in a new database, the later ones in that of an earlier version.

        Raises StorageError for a database that a later version of this code wrote, or that cannot be used.
        """
        self._database, self._schema = database, schema
        self.guard: Callable[[Database], None] | None = None
        with database.errors():
            self._prepare()

    def __enter__(self) -> Chain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def where(self) -> str:
        """What the database is called in messages."""
        return self._database.where

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is read and appended inside holds together, or not at all. Raises StorageError or IntegrityError.

        With a guard, that too: it is asked once nobody else can write, and before anything is written.
        """
        with self._database.errors():
            try:
                self._database.begin()
                if self.guard is not None:
                    self.guard(self._database)
                yield
                self._database.commit()
            except BaseException:
                self._database.rollback()
                raise

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """While the block runs, nobody else is in one of this name: for what takes long and is not the ledger's own.

        Others write to the ledger meanwhile. With a guard, that is asked first. Raises StorageError if whoever is in
        such a block does not leave it in time.
        """
        with self._database.alone(name):
            if self.guard is not None:
                with self._database.errors():
                    self.guard(self._database)
            yield

    def rows(self, table: str, where: str = "TRUE", values: tuple[Any, ...] = ()) -> list[Row]:
        """A table's rows in the order in which they were written; ``where`` is SQL of this project's own."""
        with self._database.errors():
            return self._database.query(f'SELECT * FROM "{table}" WHERE {where} ORDER BY id', values)  # noqa: S608

    def append(self, table: str, values: Row) -> int:
        """Add a row inside a transaction and return its number. NaN is stored as NULL; ``at``, if not given, is now."""
        columns = self._schema.tables[table]
        given = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}
        stored = [_stored(given[name], kind) for name, kind in columns.items()]
        last = self._database.query(f'SELECT id, sha256 FROM "{table}" ORDER BY id DESC LIMIT 1')  # noqa: S608
        number, previous = (int(last[0]["id"]) + 1, str(last[0]["sha256"])) if last else (1, SEED)
        self._insert(table, [number, *stored, previous, _digest(table, number, stored, previous)])
        return number

    def verify(self, known: Known | None = None) -> None:
        """Raise IntegrityError, naming table and row, if anything was removed or altered since it was written.

        known: what a caller has verified before, by table the last row and its hash; only what follows is verified, and
        that the row is still this one. It is brought up to date. None: everything.
        """
        found: Known = {}
        with self._database.errors():
            self._database.begin_reading()
            try:
                for table in self._schema.tables:
                    found[table] = self._verify(table, *(known or {}).get(table, (0, SEED)))
            finally:
                self._database.rollback()
        if known is not None:
            known.update(found)

    def copy_from(self, other: Chain) -> int:
        """Take over another chain's rows with their numbers and hashes, into tables that hold none; how many.

        Raises StorageError if a row is here already, IntegrityError if the other chain was altered.
        """
        other.verify()
        copied = 0
        with self.transaction():
            for table in self._schema.tables:
                if self.rows(table):
                    raise StorageError(f"{self.where}: {LEDGER} holds rows already; a copy needs an empty one")
                for row in other.rows(table):
                    self._insert(table, list(row.values()))
                    copied += 1
        self.verify()
        return copied

    def _insert(self, table: str, row: list[Any]) -> None:
        marks = ", ".join("?" * len(row))
        self._database.execute(f'INSERT INTO "{table}" VALUES ({marks})', row)  # noqa: S608

    def _verify(self, table: str, number: int, previous: str) -> tuple[int, str]:
        """From the row after this one on; the last row's number and hash."""
        if number and not self.rows(table, "id = ? AND sha256 = ?", (number, previous)):
            raise self._tampered(f"row {number} of {table} is not what was written")
        later = f'SELECT * FROM "{table}" WHERE id > ? ORDER BY id'  # noqa: S608
        for found, *stored, before, digest in self._database.tuples(later, (number,)):
            number += 1
            if found != number:
                raise self._tampered(f"row {number} of {table} is missing")
            if before != previous or digest != _digest_of_read(table, number, stored, previous):
                at = dict(zip(self._schema.tables[table], stored, strict=False))["at"]
                raise self._tampered(f"row {number} of {table} ({at}) is not what was written")
            previous = digest
        if self._database.highest(table) != number:
            raise self._tampered(f"{table} has {number} rows, and its counter says otherwise: the last rows are gone")
        if not self._database.guarded(table):
            raise self._tampered(f"the triggers that keep {table} append-only are gone")
        return number, previous

    def _tampered(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"{self.where}: {LEDGER} was altered: {what}. Restore it from a backup; without it "
            "nothing can be promoted, since nobody knows how often the gate was read"
        )

    def _prepare(self) -> None:
        database, wanted = self._database, self._schema.version
        if database.version() < wanted:
            with self.transaction():
                found = database.version()  # another process may have been first
                if found < wanted:
                    database.create(self._schema, self._schema.later_than(found))
        found = database.version()
        if found > wanted:
            raise StorageError(
                f"{self.where}: a ledger of version {found}; this code reads version {wanted}: update it"
            )


def _stored(value: Any, kind: Kind) -> Any:
    """The value as the database gives it back, so that it can be hashed before it is written."""
    if value is None or kind == "TEXT":
        return value
    if kind == "INTEGER":
        return int(value)
    return float(value) if math.isfinite(value) else None


def _digest(table: str, number: int, values: list[Any], previous: str) -> str:
    return hashlib.sha256(_CANONICAL([table, number, values, previous]).encode()).hexdigest()


def _digest_of_read(table: str, number: int, values: list[Any], previous: str) -> str:
    """The same digest of a row as a database gives it back: plain text, numbers and nothing else, thousands at a time.

    What cannot have been written (infinity, bytes) has a text too, and so a digest that is not the recorded one.
    """
    texts = ",".join([_TEXTS.get(type(value), repr)(value) for value in values])
    return hashlib.sha256(f'["{table}",{number},[{texts}],"{previous}"]'.encode()).hexdigest()
