"""Where Prefect and MLflow keep what they know: SQLite files of the state folder, or databases of one PostgreSQL.

One PostgreSQL address is given, ``postgresql://user:password@host:port/name`` in NOCTURNE_DATABASE_URL. The ledger
lies in ``name``, Prefect in ``name_prefect``, MLflow in ``name_mlflow``: the two servers' tables have names in common.
It takes no options: MLflow's driver has none in an address, and what is silently left out would be taken for granted.
"""

from __future__ import annotations

import contextlib
import re
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tasks.errors import ConfigurationError
from tasks.registry import mlflow_place
from tasks.storage import home

SETTING = "NOCTURNE_DATABASE_URL"
_NAME = re.compile(r"[a-z_][a-z0-9_]{0,50}")


@dataclass(frozen=True, slots=True)
class Databases:
    """Addresses as each server wants them, passwords included; ``shown`` has none and is empty for SQLite."""

    prefect: str
    mlflow: str
    ledger: str = ""
    shown: str = ""


def addresses(url: str) -> Databases:
    """For a PostgreSQL address, or for none. Raises ConfigurationError if it is no such address."""
    if not url:
        return Databases(
            prefect=f"sqlite+aiosqlite:///{home() / 'prefect' / 'prefect.db'}",
            mlflow=f"sqlite:///{home() / 'mlflow' / 'mlflow.db'}",
        )
    parts = urlsplit(url)
    name = parts.path.lstrip("/")
    if parts.scheme != "postgresql" or not parts.hostname or not _NAME.fullmatch(name):
        raise ConfigurationError(f"{SETTING} must be postgresql://user:password@host:port/name, name in small letters")
    if parts.query or parts.fragment:
        raise ConfigurationError(
            f"{SETTING} takes no options after ? or #: MLflow's driver would not be told of them. For an encrypted "
            "connection, name a tunnel's or a pooler's end on this machine (stunnel, PgBouncer)"
        )
    place = parts.netloc
    return Databases(
        prefect=f"postgresql+asyncpg://{place}/{name}_prefect",
        mlflow=f"postgresql+pg8000://{place}/{name}_mlflow",
        ledger=url,
        shown=f"postgresql://{place.rpartition('@')[2]}/{name}",
    )


def prepare(url: str) -> None:
    """Make what must be there before a server starts: the folders and SQLite's write-ahead log, or the databases.

    With a write-ahead log a server that reads does not hold up a night that writes. Prefect's own file, which holds the
    key of its blocks' secrets, is closed to others. Raises ConfigurationError if the PostgreSQL server cannot be
    reached or lets this user make no database.
    """
    if url:
        _make_databases(url)
        return
    for found in (home() / "prefect").glob("prefect.db*"):
        found.chmod(0o600)
    with mlflow_place.opening(mlflow_place.own_uri()):  # its tables are made here, not by a server that may be killed
        pass
    with contextlib.closing(sqlite3.connect(home() / "mlflow" / "mlflow.db", timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


def _make_databases(url: str) -> None:
    import pg8000.native  # noqa: PLC0415  an extra

    parts = urlsplit(url)
    name = parts.path.lstrip("/")
    try:
        with contextlib.closing(
            pg8000.native.Connection(
                unquote(parts.username or "postgres"),
                host=parts.hostname or "",
                port=parts.port or 5432,
                password=unquote(parts.password or ""),
                database="postgres",
                timeout=10,
            )
        ) as connection:
            there = {row[0] for row in connection.run("SELECT datname FROM pg_database")}
            for wanted in (name, f"{name}_prefect", f"{name}_mlflow"):
                if wanted not in there:
                    connection.run(f'CREATE DATABASE "{wanted}"')
    except (pg8000.native.InterfaceError, pg8000.native.DatabaseError, OSError) as error:
        raise ConfigurationError(
            f"{SETTING}: {addresses(url).shown} cannot be used: {_words(error)}. Check address and password; a user "
            f"who may make no databases needs {name}, {name}_prefect and {name}_mlflow made by an administrator"
        ) from error


def _words(error: Exception) -> str:
    told = error.args[0] if error.args else error
    return str(told.get("M", told)) if isinstance(told, dict) else str(told)


def artifacts() -> Path:
    """Where model files and other artifacts lie beside a SQLite store."""
    return home() / "mlflow" / "artifacts"
