"""A chain's tables in a PostgreSQL database, in a schema ``nocturne`` of their own.

A writer takes an advisory lock first, held until its transaction ends, so that there is one at a time; nobody need own
the tables to write (INSERT and SELECT are enough). Commits are synced whatever the server's default is. Row numbers
are given by the chain; the highest is kept by a trigger in a table of counters.

The URL is NOCTURNE_LEDGER_URL, ``postgresql://user:password@host:port/database``; ``?host=/folder`` names a socket's
folder, ``?sslmode=`` is ``disable`` (the default), ``require`` or ``verify-full``. A password may stand in PGPASSWORD
instead. No message shows it. Needs pg8000 (the extra ``postgres``).
"""

from __future__ import annotations

import getpass
import importlib
import os
import ssl
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from tasks.errors import ConfigurationError, IntegrityError, StorageError
from tasks.registry.chain_database import LEDGER, WAIT_SECONDS, Columns, Row, Schema

SETTING = "NOCTURNE_LEDGER_URL"
SCHEMA = "nocturne"
LOCK = 0x4E4F4354  # "NOCT": one lock for the ledger, in a database
_TYPES = {"TEXT": "text", "INTEGER": "bigint", "REAL": "double precision"}
_PORT = 5432
_SSL = ("disable", "require", "verify-full")
_DAMAGED = ("42P01", "42703", "3F000", "XX001", "XX002")  # a table, column or schema is gone; data or index corrupted
_TAKEN = ("55P03", "40P01", "57014")  # the lock did not come in time, deadlock, cancelled


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where a database is and as whom it is entered. The password is in no text that is made of it."""

    host: str
    port: int
    database: str
    user: str
    password: str | None
    socket: str = ""
    sslmode: str = "disable"

    def __str__(self) -> str:
        return f"postgresql://{self.user}@{self.socket or self.host}:{self.port}/{self.database}"

    __repr__ = __str__


def ledger_url() -> Address | None:
    """What NOCTURNE_LEDGER_URL names; None where it is not set. Raises ConfigurationError as ``address``."""
    text = os.environ.get(SETTING, "")
    return address(text) if text else None


def address(text: str) -> Address:
    """A URL's parts. Raises ConfigurationError, without showing the text, if it is no URL of a PostgreSQL database."""
    try:
        url = urlsplit(text)
        host, port = url.hostname, url.port
    except ValueError:
        raise _no_url("it cannot be read; in a password write @ as %40, / as %2F, : as %3A, # as %23") from None
    options = dict(parse_qsl(url.query))
    database, user = unquote(url.path.lstrip("/")), unquote(url.username or "") or getpass.getuser()
    if url.scheme not in ("postgresql", "postgres"):
        raise _no_url("it does not begin with postgresql://")
    if not database or "/" in database:
        raise _no_url("it names no database: one name after the last /")
    unknown = sorted(set(options) - {"host", "port", "sslmode"})
    if unknown or options.get("sslmode", "disable") not in _SSL:
        raise _no_url(f"its options may be host, port, and sslmode ({', '.join(_SSL)})")
    where = options.get("host", "") or host or "localhost"
    return Address(
        host=where,
        port=int(options.get("port", port or _PORT)),
        database=database,
        user=user,
        password=unquote(url.password) if url.password is not None else os.environ.get("PGPASSWORD"),
        socket=where if where.startswith("/") else "",
        sslmode=options.get("sslmode", "disable"),
    )


def _no_url(why: str) -> ConfigurationError:
    return ConfigurationError(f"{SETTING} must be postgresql://user:password@host:port/database: {why}")


class PostgresDatabase:
    """An open connection; see ``chain_database.Database``."""

    def __init__(self, to: Address, wait: float = WAIT_SECONDS) -> None:
        """Connect. ``wait``: for other writers, seconds.

        Raises ConfigurationError without pg8000, StorageError if the server cannot be reached or refuses.
        """
        self._to = to
        self._driver = _driver()
        with self.errors():
            self._connection = self._driver.Connection(
                to.user,
                host=to.host,
                port=to.port,
                database=to.database,
                password=to.password,
                unix_sock=f"{to.socket}/.s.PGSQL.{to.port}" if to.socket else None,
                ssl_context=_tls(to.sslmode),
                timeout=wait + 30,
                application_name="nocturne ledger",
            )
            for setting, value in _settings(wait).items():
                self._connection.run(f"SET {setting} = {value}")
            self._open = False

    @property
    def where(self) -> str:
        """The URL without its password."""
        return str(self._to)

    def close(self) -> None:
        """Let go of the connection."""
        with suppress(self._driver.Error, OSError):  # one that is broken is closed
            self._connection.close()

    def begin(self) -> None:
        """Wait for all other writers' ends, and keep them waiting."""
        self._start("BEGIN ISOLATION LEVEL READ COMMITTED")
        self._connection.run(f"SELECT pg_advisory_xact_lock({LOCK})")

    def begin_reading(self) -> None:
        """See one state until the rollback."""
        self._start("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """By an advisory lock of the name's own; it ends with the connection at the latest."""
        key = zlib.crc32(name.encode()) - 2**31
        with self.errors():
            self._connection.run(f"SELECT pg_advisory_lock({LOCK}, {key})")
        try:
            yield
        finally:
            with suppress(self._driver.Error, OSError):  # a connection that broke has let go of it
                self._connection.run(f"SELECT pg_advisory_unlock({LOCK}, {key})")

    def commit(self) -> None:
        """Write, and sync."""
        self._open = False
        self._connection.run("COMMIT")

    def rollback(self) -> None:
        """Undo what was written since the beginning; a connection that broke has been undone by the server."""
        if self._open:
            self._open = False
            with suppress(self._driver.Error, OSError):
                self._connection.run("ROLLBACK")

    def query(self, sql: str, values: Iterable[Any] = ()) -> list[Row]:
        """The rows that a statement gives."""
        found = self._run(sql, values)
        names = [column["name"] for column in self._connection.columns or ()]
        return [dict(zip(names, row, strict=True)) for row in found or ()]

    def tuples(self, sql: str, values: Iterable[Any] = ()) -> Iterable[Sequence[Any]]:
        """The same rows without names."""
        return self._run(sql, values) or ()

    def execute(self, sql: str, values: Iterable[Any] = ()) -> None:
        """Run a statement that gives no rows."""
        self._run(sql, values)

    def clock(self) -> float:
        """The server's."""
        return float(self.query("SELECT extract(epoch FROM clock_timestamp()) AS now")[0]["now"])

    def version(self) -> int:
        """From the schema's table ``version``, 0 where there is no schema or no table."""
        # to_regclass would answer from a cache that is older than the lock.
        there = "SELECT 1 AS one FROM pg_tables WHERE schemaname = ? AND tablename = 'version'"
        known = self.query(there, (SCHEMA,))
        found = self.query("SELECT max(number) AS number FROM version") if known else [{"number": None}]
        return int(found[0]["number"] or 0)

    def create(self, schema: Schema, tables: Iterable[str]) -> None:
        """Make these tables with their triggers, and before the first of them the schema."""
        if not self.query("SELECT 1 AS one FROM pg_namespace WHERE nspname = ?", (SCHEMA,)):
            self.execute(f"CREATE SCHEMA {SCHEMA}")
        if not self.version():
            for statement in _FIRST:
                self.execute(statement)
        for table in tables:
            if table in schema.rewritten:
                self.execute(schema.definition(table, _TYPES))
                continue
            for statement in _definition(table, schema.tables[table], schema.unique.get(table, ())):
                self.execute(statement)
        self.execute("INSERT INTO version VALUES (?)", (schema.version,))

    def highest(self, table: str) -> int:
        """From the table of counters."""
        found = self.query("SELECT highest FROM counters WHERE name = ?", (table,))
        return int(found[0]["highest"]) if found else 0

    def guarded(self, table: str) -> bool:
        """Whether both triggers are there, and fire for everyone."""
        query = "SELECT count(*) AS found FROM pg_trigger WHERE tgrelid = ?::regclass AND tgenabled = 'A'"
        return int(self.query(query, (f"{SCHEMA}.{table}",))[0]["found"]) >= 2

    @contextmanager
    def errors(self) -> Iterator[None]:
        """The driver's errors in words, the password in none of them."""
        try:
            yield
        except self._driver.DatabaseError as error:
            raise self._refused(error) from None
        except (self._driver.InterfaceError, OSError) as error:
            raise StorageError(
                f"{self.where}: {LEDGER} cannot be reached: {self._clean(str(error))}. What was being written when the "
                "connection broke is there whole or not at all; run again"
            ) from None

    def _start(self, statement: str) -> None:
        self._connection.run(statement)
        self._open = True

    def _run(self, sql: str, values: Iterable[Any]) -> Any:
        given = {f"v{index}": value for index, value in enumerate(values)}
        parts = sql.split("?")
        marked = "".join(f"{part}:v{index}" for index, part in enumerate(parts[:-1])) + parts[-1]
        return self._connection.run(marked, **given)

    def _refused(self, error: Exception) -> StorageError:
        said = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        state, words = said.get("C", ""), self._clean(str(said.get("M", error)))
        if state in _TAKEN:
            return StorageError(f"{self.where}: {LEDGER} is locked by another process; nothing was written. Run again")
        if state in _DAMAGED:
            return IntegrityError(
                f"{self.where}: {LEDGER} cannot be read: {words}. Restore it from a backup; it is never repaired or "
                "made anew silently"
            )
        return StorageError(f"{self.where}: {LEDGER} cannot be used: {words} ({state}); nothing was written")

    def _clean(self, words: str) -> str:
        return words.replace(self._to.password, "***") if self._to.password else words


def _driver() -> Any:
    try:
        pg8000 = importlib.import_module("pg8000.native")  # an extra; only who keeps the ledger in PostgreSQL has it
    except ImportError as error:
        raise ConfigurationError(f"{SETTING} is set and pg8000 is not installed: pip install .[postgres]") from error
    return pg8000


def _tls(mode: str) -> ssl.SSLContext | None:
    if mode == "disable":
        return None
    context = ssl.create_default_context()
    if mode == "require":  # encrypted, with whoever answers
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _settings(wait: float) -> dict[str, str]:
    return {
        "search_path": f"{SCHEMA}, pg_temp",
        "synchronous_commit": "on",
        "lock_timeout": str(max(1, int(wait * 1000))),
        "client_min_messages": "warning",
        "tcp_keepalives_idle": "60",  # a writer whose machine is gone lets go of the lock
    }


_COUNT = "UPDATE counters SET highest = NEW.id WHERE name = TG_TABLE_NAME"
_FIRST = (
    "CREATE TABLE version (number bigint PRIMARY KEY)",
    "CREATE TABLE counters (name text PRIMARY KEY, highest bigint NOT NULL)",
    "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS "
    "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$",
    f"CREATE FUNCTION counted() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = {SCHEMA}, pg_temp "
    f"AS $$ BEGIN {_COUNT}; RETURN NULL; END $$",
)


def _definition(table: str, columns: Columns, unique: tuple[str, ...]) -> Iterator[str]:
    listed = ", ".join(f'"{name}" {_TYPES[kind]}' for name, kind in columns.items())
    alone = f", UNIQUE ({', '.join(unique)})" if unique else ""
    yield (
        f'CREATE TABLE "{table}" (id bigint PRIMARY KEY, {listed}, previous text NOT NULL, '
        f"sha256 text NOT NULL UNIQUE{alone})"
    )
    yield f"INSERT INTO counters VALUES ('{table}', 0)"  # noqa: S608 - a name of our own schema
    yield (
        f'CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON "{table}" '
        "FOR EACH STATEMENT EXECUTE FUNCTION append_only()"
    )
    yield f'CREATE TRIGGER {table}_counted AFTER INSERT ON "{table}" FOR EACH ROW EXECUTE FUNCTION counted()'
    for trigger in ("append_only", "counted"):
        yield f'ALTER TABLE "{table}" ENABLE ALWAYS TRIGGER {table}_{trigger}'
