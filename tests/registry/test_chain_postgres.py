"""A ledger in PostgreSQL: what is its own, beside what ``test_ledger`` and ``test_standings`` ask of both kinds."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tasks.errors import ConfigurationError, IntegrityError, StorageError
from tasks.registry import chain_postgres
from tasks.registry.chain import Chain
from tasks.registry.chain_database import Schema
from tasks.registry.chain_postgres import PostgresDatabase, address
from tasks.registry.chain_sqlite import SqliteDatabase
from tasks.registry.ledger import Ledger
from tasks.registry.ledger_tables import SCHEMA
from tasks.registry.standings import history
from tasks.storage import PROJECT
from tests.registry.test_ledger import FAMILY, KEPT, KILLED, asked

if TYPE_CHECKING:
    from tests.registry.postgres import Server

needs_postgres = pytest.mark.needs_postgres
SECRET = "p@ss:w/rd"


@pytest.fixture
def url(postgres: Server, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty database, in which the ledger is kept from now on."""
    made = postgres.new_database()
    monkeypatch.setenv("NOCTURNE_LEDGER_URL", made)
    return made


def run(url: str, *statements: str) -> None:
    """As somebody who has the password and goes round the project."""
    database = PostgresDatabase(address(url))
    for statement in statements:
        database.execute(statement)
    database.close()


def test_a_url_is_taken_apart_and_never_shows_its_password() -> None:
    found = address("postgresql://me:p%40ss@db.example:6543/quant?sslmode=verify-full")
    assert (found.user, found.password, found.host, found.port) == ("me", "p@ss", "db.example", 6543)
    assert (found.database, found.sslmode) == ("quant", "verify-full")
    assert str(found) == repr(found) == "postgresql://me@db.example:6543/quant"
    by_socket = address("postgresql:///quant?host=/run/postgresql")
    assert (by_socket.socket, by_socket.port) == ("/run/postgresql", 5432)
    assert "run/postgresql" in str(by_socket)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mysql://me:secret@host/db", "it does not begin with postgresql://"),
        ("postgresql://me:sec:ret@host:notaport/db", "it cannot be read; in a password write @ as %40"),
        ("postgresql://me:secret@host", "it names no database"),
        ("postgresql://me:secret@host/db?sslmode=prefer", "its options may be host, port, and sslmode"),
        ("postgresql://me:secret@host/db?password=secret", "its options may be"),
    ],
)
def test_what_is_no_url_is_refused_without_being_shown(text: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTURNE_LEDGER_URL", text)
    with pytest.raises(ConfigurationError, match=words) as caught:
        Ledger.open()
    assert "secret" not in str(caught.value)
    assert "sec:ret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_without_its_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pg8000.native", None)
    monkeypatch.setenv("NOCTURNE_LEDGER_URL", "postgresql://me@127.0.0.1:1/db")
    with pytest.raises(ConfigurationError, match=r"pg8000 is not installed: pip install .\[postgres\]"):
        Ledger.open()


@needs_postgres
def test_a_server_that_refuses_or_is_not_there_is_named_without_the_password(url: str) -> None:
    for wrong, words in (
        (url.replace("p%40ss", "Wr0ng"), "password authentication failed"),
        (url.replace(url.rsplit(":", 1)[1].split("/", maxsplit=1)[0], "1"), "cannot be reached"),
        (url.rsplit("/", 1)[0] + "/nowhere", "does not exist"),
    ):
        with pytest.raises(StorageError, match=words) as caught:
            PostgresDatabase(address(wrong), wait=1)
        for secret in (SECRET, "p%40ss", "Wr0ng"):
            assert secret not in str(caught.value)
    assert SECRET not in str(address(url))


@needs_postgres
@pytest.mark.parametrize(
    "verb", ["UPDATE {} SET at = 'x'", "DELETE FROM {}", "TRUNCATE {}", "DELETE FROM {} WHERE 1=0"]
)
def test_rows_can_be_neither_altered_nor_removed(url: str, verb: str) -> None:
    with Ledger.open() as ledger:
        ledger.spend(asked())
        with ledger.chain._database.errors(), pytest.raises(StorageError, match="reads is append-only"):
            run_here(ledger, verb.format("reads"))
        run_here(ledger, "SET session_replication_role = replica")
        with pytest.raises(StorageError, match="append-only"):
            run_here(ledger, verb.format("reads"))
        assert ledger.reads(FAMILY) == 1


def run_here(ledger: Ledger, statement: str) -> None:
    with ledger.chain._database.errors():
        ledger.chain._database.execute(statement)


@needs_postgres
@pytest.mark.parametrize(
    ("crime", "words"),
    [
        ("UPDATE reads SET level = 0.05 WHERE id = 2", r"row 2 of reads \(.*\) is not what was written"),
        ("DELETE FROM reads WHERE id = 2", "row 2 of reads is missing"),
        ("DELETE FROM reads WHERE id = 3", "reads has 2 rows, .*the last rows are gone"),
        ("SELECT 1", "the triggers that keep reads append-only are gone"),
        ("DROP TABLE trials CASCADE", 'relation "trials" does not exist'),
    ],
)
def test_who_goes_round_the_triggers_is_found(url: str, crime: str, words: str) -> None:
    with Ledger.open() as ledger:
        for number in range(3):
            ledger.record_decision(ledger.spend(asked(f"r{number}")), "spx", f"r{number}", KEPT)
    switched = [f"ALTER TABLE reads {{}} TRIGGER reads_{name}" for name in ("append_only", "counted")]
    back = [text.format("ENABLE ALWAYS") for text in switched] if crime != "SELECT 1" else []
    run(url, *(text.format("DISABLE") for text in switched), crime, *back)
    with pytest.raises(IntegrityError, match=words):
        Ledger.open()


WRITER = """
import sys
from tests.registry.test_ledger import asked
from tasks.registry.ledger import Ledger
with Ledger.open() as ledger:
    print(*[ledger.spend(asked(f"{sys.argv[1]}-{number}")).k for number in range(8)])
"""


@needs_postgres
def test_concurrent_writers_make_the_tables_once_and_never_share_a_read(url: str) -> None:
    commands = [[sys.executable, "-c", WRITER, f"w{number}"] for number in range(3)]
    writers = [subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for command in commands]
    said = [writer.communicate(timeout=120)[0] for writer in writers]
    assert sorted(int(k) for answer in said for k in answer.split()) == list(range(1, 25))
    with Ledger.open() as ledger:
        ledger.verify()


@needs_postgres
def test_a_killed_writer_leaves_what_it_committed_and_lets_go_of_the_lock(url: str, tmp_path: Path) -> None:
    script = KILLED.replace("Ledger.open(Path(sys.argv[1]))", "Ledger.open()")
    command = [sys.executable, "-c", script, "unused", "inside"]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    with Ledger.open(wait=10) as ledger:
        assert ledger.reads(FAMILY) == 1
        assert ledger.unfinished("spx") is None, "what was not committed never was"
        assert ledger.spend(asked("r2")).k == 2


@needs_postgres
def test_a_lock_that_is_not_let_go_is_named_and_nothing_is_spent(url: str) -> None:
    with Ledger.open(wait=0.1) as ledger:
        holder = PostgresDatabase(address(url))
        holder.begin()
        begun = time.monotonic()
        with pytest.raises(StorageError, match="locked by another process"):
            ledger.spend(asked("r9"))
        assert time.monotonic() - begun < 10
        holder.rollback()
        holder.close()
        assert ledger.spend(asked("r9")).k == 1


@needs_postgres
def test_a_broken_connection_is_named_and_nothing_is_half_written(url: str) -> None:
    ledger = Ledger.open()
    ledger.spend(asked("r1"))
    run(url, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND datname = "
        "current_database()")  # fmt: skip
    with pytest.raises(StorageError, match="the trial ledger") as caught:
        ledger.spend(asked("r2"))
    assert SECRET not in str(caught.value)
    ledger.chain.close()
    with Ledger.open() as again:
        assert again.reads(FAMILY) == 1


@needs_postgres
def test_version_one_gets_the_later_tables_and_a_later_version_is_refused(url: str) -> None:
    first = {name: columns for name, columns in SCHEMA.tables.items() if name not in SCHEMA.since}
    with Chain(PostgresDatabase(address(url)), Schema(version=1, tables=first)) as chain, chain.transaction():
        chain.append("outcomes", dict.fromkeys(first["outcomes"], "x") | {"read": 1})
    with Ledger.open() as ledger:
        assert len(ledger.chain.rows("outcomes")) == 1
        assert history(ledger, "spx") == ()
    run(url, "INSERT INTO version VALUES (9)")
    with pytest.raises(StorageError, match="a ledger of version 9; this code reads version 3"):
        Ledger.open()


@needs_postgres
def test_a_ledger_is_copied_from_sqlite_with_its_hashes(url: str, tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "l.db") as old:
        for number in range(3):
            old.record_decision(old.spend(asked(f"r{number}")), "spx", f"r{number}", KEPT)
        with Ledger.open() as new:
            assert new.chain.copy_from(old.chain) == 6
            for table in SCHEMA.tables:
                assert new.chain.rows(table) == old.chain.rows(table)
            assert new.spend(asked("r9")).k == 4
            with pytest.raises(StorageError, match="holds rows already"):
                new.chain.copy_from(old.chain)


@needs_postgres
def test_a_reader_who_may_only_append_can_keep_the_ledger(url: str) -> None:
    """The tables' owner need not be the one who runs the nights: INSERT and SELECT are enough."""
    with Ledger.open() as ledger:
        ledger.spend(asked("r1"))
    writer = address(url).database + "_writer"
    run(
        url, f"CREATE ROLE {writer} LOGIN PASSWORD 'x'", f"GRANT USAGE ON SCHEMA nocturne TO {writer}",
        f"GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA nocturne TO {writer}",
    )  # fmt: skip
    chain = Chain(PostgresDatabase(address(url.replace("nocturne:p%40ss:w%2Frd", f"{writer}:x"))), SCHEMA)
    with Ledger(chain) as appending:
        assert appending.spend(asked("r2")).k == 2
        appending.verify()
        with pytest.raises(StorageError, match="must be owner"):
            run_here(appending, "ALTER TABLE reads DISABLE TRIGGER reads_append_only")


def test_memory_and_file_are_sqlites() -> None:
    assert SqliteDatabase(None).where == ":memory:"
    assert chain_postgres.ledger_url() is None
