"""Where the ledger lies: cheap to ask, so that a command can look who is at work before anything else is loaded."""

from __future__ import annotations

from pathlib import Path

from tasks.registry.chain_database import WAIT_SECONDS, Database
from tasks.registry.chain_postgres import PostgresDatabase, ledger_url
from tasks.registry.chain_sqlite import SqliteDatabase
from tasks.storage import home


def ledger_path() -> Path:
    """Where the state folder's ledger lies, unless NOCTURNE_LEDGER_URL names another."""
    return home() / "ledger" / "ledger.db"


def connect(path: Path | None = None, wait: float = WAIT_SECONDS) -> Database:
    """The database of this file, of NOCTURNE_LEDGER_URL or else of the state folder; close it. ``wait`` in seconds.

    Raises as ``SqliteDatabase`` and ``PostgresDatabase``, ConfigurationError for a URL that cannot be one.
    """
    url = None if path is not None else ledger_url()
    return PostgresDatabase(url, wait) if url else SqliteDatabase(path or ledger_path(), wait)
