"""Append-only tables in one SQLite file, each row chained to the one before by a hash.

- Triggers refuse UPDATE and DELETE. Who goes round them is found by ``verify``: a row's hash covers its table, number,
  values and the hash of the row before; row numbers have no gaps; and SQLite's own counter still knows the last one.
- A transaction takes the write lock first (BEGIN IMMEDIATE), so that what it read still holds when it writes. Writers
  of other processes wait, half a minute at most.
- A commit has reached the disk when it returns (synchronous=EXTRA): what was spent stays spent after a power cut.

The standard library's ``sqlite3`` alone. No file beside the database outlives a transaction.
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tasks.errors import IntegrityError, StorageError

Kind = Literal["TEXT", "INTEGER", "REAL"]
Schema = Mapping[str, Mapping[str, Kind]]
Row = dict[str, Any]

MEMORY = ":memory:"
WAIT_SECONDS = 30.0
SEED = "0" * 64


class Chain:
    """An opened file of append-only tables; close it, or use it as a context."""

    def __init__(self, path: Path | None, schema: Schema, version: int, wait: float = WAIT_SECONDS) -> None:
        """Open the file, and make its tables if it has none; None keeps everything in memory.

        Raises IntegrityError if it is no such database, StorageError if it cannot be opened, is locked, or was written
        by a later version of this code.
        """
        self.path, self._schema = path, schema
        with self._errors():
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(path or MEMORY, timeout=wait, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            self._connection.execute("PRAGMA synchronous=EXTRA")
            self._prepare(version)

    def __enter__(self) -> Chain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is read and appended inside holds together, or not at all. Raises StorageError or IntegrityError."""
        with self._errors():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise

    def rows(self, table: str, where: str = "1", values: tuple[Any, ...] = ()) -> list[Row]:
        """A table's rows in the order in which they were written; ``where`` is SQL of this project's own."""
        with self._errors():
            found = self._connection.execute(f"SELECT * FROM {table} WHERE {where} ORDER BY id", values)  # noqa: S608
            return [dict(row) for row in found]

    def append(self, table: str, values: Row) -> int:
        """Add a row inside a transaction and return its number. NaN is stored as NULL; ``at``, if not given, is now."""
        columns = self._schema[table]
        given = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), **values}
        stored = [_stored(given[name], kind) for name, kind in columns.items()]
        last = self._connection.execute(f"SELECT id, sha256 FROM {table} ORDER BY id DESC LIMIT 1").fetchone()  # noqa: S608
        number, previous = (int(last["id"]) + 1, str(last["sha256"])) if last else (1, SEED)
        row = [number, *stored, previous, _digest(table, number, stored, previous)]
        marks = ", ".join("?" * len(row))
        self._connection.execute(f"INSERT INTO {table} VALUES ({marks})", row)  # noqa: S608
        return number

    def verify(self) -> None:
        """Raise IntegrityError, naming table and row, if anything was removed or altered since it was written."""
        with self._errors():
            self._connection.execute("BEGIN")  # one state throughout, whoever writes meanwhile
            try:
                for table in self._schema:
                    self._verify(table)
            finally:
                self._connection.execute("ROLLBACK")

    def _verify(self, table: str) -> None:
        previous, number = SEED, 0
        for row in self.rows(table):
            number += 1
            stored = [row[name] for name in self._schema[table]]
            if row["id"] != number:
                raise self._tampered(f"row {number} of {table} is missing")
            if row["previous"] != previous or row["sha256"] != _digest(table, number, stored, previous):
                raise self._tampered(f"row {number} of {table} ({row['at']}) is not what was written")
            previous = row["sha256"]
        counter = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        if (int(counter["seq"]) if counter else 0) != number:
            raise self._tampered(f"{table} has {number} rows, and its counter says otherwise: the last rows are gone")
        if not self._guarded(table):
            raise self._tampered(f"the triggers that keep {table} append-only are gone")

    def _guarded(self, table: str) -> bool:
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
        return int(self._connection.execute(query, (table,)).fetchone()[0]) >= 2

    def _tampered(self, what: str) -> IntegrityError:
        return IntegrityError(
            f"{self.path or MEMORY}: the trial ledger was altered: {what}. Restore it from a backup; without it "
            "nothing can be promoted, since nobody knows how often the gate was read"
        )

    def _prepare(self, version: int) -> None:
        found = self._version()
        if found == 0:
            with self.transaction():
                if self._version() == 0:  # another process may have been first
                    for table, columns in self._schema.items():
                        for statement in _definition(table, columns):
                            self._connection.execute(statement)
                    self._connection.execute(f"PRAGMA user_version = {version}")
        elif found != version:
            raise StorageError(
                f"{self.path}: a ledger of version {found}; this code reads version {version}: update it"
            )

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """SQLite's errors in words, by what can be done about them."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._not_written(error) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise IntegrityError(
                f"{self.path}: the trial ledger cannot be read: {error}. Restore it from a backup; it is never "
                "repaired or made anew silently"
            ) from error
        except OSError as error:
            raise StorageError(f"{self.path}: the trial ledger cannot be opened: {error.strerror}") from error

    def _not_written(self, error: sqlite3.OperationalError) -> StorageError:
        said, where = str(error), self.path or Path()
        if "locked" in said or "busy" in said:
            return StorageError(
                f"{where}: the trial ledger is locked by another process; nothing was written. Run again"
            )
        existing = next(folder for folder in where.absolute().parents if folder.exists())
        free = shutil.disk_usage(existing).free
        return StorageError(
            f"{where}: the trial ledger cannot be used: {said} ({free:,} bytes free); nothing was written"
        )


def _definition(table: str, columns: Mapping[str, Kind]) -> Iterator[str]:
    listed = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    yield (
        f"CREATE TABLE {table} (id INTEGER PRIMARY KEY AUTOINCREMENT, {listed}, previous TEXT NOT NULL, "
        "sha256 TEXT NOT NULL UNIQUE)"
    )
    for verb in ("UPDATE", "DELETE"):
        yield (
            f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )


def _stored(value: Any, kind: Kind) -> Any:
    """The value as SQLite gives it back, so that it can be hashed before it is written."""
    if value is None or kind == "TEXT":
        return value
    if kind == "INTEGER":
        return int(value)
    return float(value) if math.isfinite(value) else None


def _digest(table: str, number: int, values: list[Any], previous: str) -> str:
    text = json.dumps([table, number, values, previous], separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
