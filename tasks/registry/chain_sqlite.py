"""A chain's tables in one SQLite file: the standard library alone, and no file beside it outlives a transaction.

A writer takes the write lock first (BEGIN IMMEDIATE); commits are synced to the disk (synchronous=EXTRA).
"""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tasks.errors import IntegrityError, StorageError
from tasks.registry.chain_database import LEDGER, WAIT_SECONDS, Columns, Row, Schema

MEMORY = ":memory:"
_TYPES = {"TEXT": "TEXT", "INTEGER": "INTEGER", "REAL": "REAL"}


class SqliteDatabase:
    """An opened file; see ``chain_database.Database``."""

    def __init__(self, path: Path | None, wait: float = WAIT_SECONDS) -> None:
        """Open the file, made if there is none; None keeps everything in memory. ``wait``: for other writers, seconds.

        Raises IntegrityError if it is no such database, StorageError if it cannot be opened.
        """
        self.path, self._wait = path, wait
        try:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StorageError(f"{path}: {LEDGER} cannot be opened: {error.strerror}") from error
        with self.errors():
            self._connection = sqlite3.connect(path or MEMORY, timeout=wait, isolation_level=None)
            self._connection.execute("PRAGMA synchronous=EXTRA")

    @property
    def where(self) -> str:
        """The file's path."""
        return str(self.path or MEMORY)

    def close(self) -> None:
        """Let go of the file."""
        self._connection.close()

    def begin(self) -> None:
        """Take the write lock."""
        self._connection.execute("BEGIN IMMEDIATE")

    def begin_reading(self) -> None:
        """See one state until the rollback."""
        self._connection.execute("BEGIN")

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """By the write lock of an empty database beside this one, which ends with its process at the latest."""
        if self.path is None:
            yield
            return
        digest = hashlib.sha256(name.encode()).hexdigest()[:16]
        beside = SqliteDatabase(self.path.parent / "alone" / f"{digest}.db", self._wait)
        try:
            with beside.errors():
                beside.begin()
            yield
        finally:
            beside.rollback()
            beside.close()

    def commit(self) -> None:
        """Write, and sync."""
        self._connection.execute("COMMIT")

    def rollback(self) -> None:
        """Undo what was written since ``begin``."""
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def query(self, sql: str, values: Iterable[Any] = ()) -> list[Row]:
        """The rows that a statement gives."""
        found = self._connection.execute(sql, tuple(values))
        names = [column[0] for column in found.description]
        return [dict(zip(names, row, strict=True)) for row in found]

    def tuples(self, sql: str, values: Iterable[Any] = ()) -> Iterable[Sequence[Any]]:
        """The same rows without names."""
        return self._connection.execute(sql, tuple(values)).fetchall()

    def execute(self, sql: str, values: Iterable[Any] = ()) -> None:
        """Run a statement that gives no rows."""
        self._connection.execute(sql, tuple(values))

    def clock(self) -> float:
        """This machine's: a file's users are all on it."""
        return time.time()

    def version(self) -> int:
        """SQLite's own field for it, 0 in a new file."""
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    def create(self, schema: Schema, tables: Iterable[str]) -> None:
        """Make these tables and, of those that are append-only, the triggers."""
        for table in tables:
            if table in schema.rewritten:
                self._connection.execute(schema.definition(table, _TYPES))
                continue
            for statement in _definition(table, schema.tables[table], schema.unique.get(table, ())):
                self._connection.execute(statement)
        self._connection.execute(f"PRAGMA user_version = {schema.version}")

    def highest(self, table: str) -> int:
        """From the table in which SQLite keeps AUTOINCREMENT's counters."""
        found = self._connection.execute("SELECT seq FROM sqlite_sequence WHERE name = ?", (table,)).fetchone()
        return int(found[0]) if found else 0

    def guarded(self, table: str) -> bool:
        """Whether both triggers are there."""
        query = "SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND tbl_name = ?"
        return int(self._connection.execute(query, (table,)).fetchone()[0]) >= 2

    @contextmanager
    def errors(self) -> Iterator[None]:
        """SQLite's errors in words."""
        try:
            yield
        except sqlite3.OperationalError as error:
            raise self._not_written(error) from error
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            raise IntegrityError(
                f"{self.where}: {LEDGER} cannot be read: {error}. Restore it from a backup; it is never "
                "repaired or made anew silently"
            ) from error

    def _not_written(self, error: sqlite3.OperationalError) -> StorageError:
        said, where = str(error), self.path or Path()
        if "locked" in said or "busy" in said:
            return StorageError(f"{where}: {LEDGER} is locked by another process; nothing was written. Run again")
        existing = next(folder for folder in where.absolute().parents if folder.exists())
        free = shutil.disk_usage(existing).free
        return StorageError(f"{where}: {LEDGER} cannot be used: {said} ({free:,} bytes free); nothing was written")


def _definition(table: str, columns: Columns, unique: tuple[str, ...]) -> Iterator[str]:
    listed = ", ".join(f'"{name}" {kind}' for name, kind in columns.items())
    alone = f", UNIQUE ({', '.join(unique)})" if unique else ""
    yield (
        f'CREATE TABLE "{table}" (id INTEGER PRIMARY KEY AUTOINCREMENT, {listed}, previous TEXT NOT NULL, '
        f"sha256 TEXT NOT NULL UNIQUE{alone})"
    )
    for verb in ("UPDATE", "DELETE"):
        yield (
            f'CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON "{table}" '
            f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        )
