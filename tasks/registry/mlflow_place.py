"""Where MLflow's store lies, how it may be shown, and what its errors are called; MLflow itself is imported at need.

The state folder's own store is SQLite. Its tables are made by whoever opens it first, one process at a time, and in a
file beside it that takes its place once it is whole: MLflow's migrations stand neither two processes nor one that is
killed in the midst of them, after which every later one would end with "table … already exists".
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import shutil
import warnings
from collections.abc import Iterator
from pathlib import Path

from tasks.errors import RegistryError
from tasks.storage import home, rename_durably

_QUIET = ("mlflow", "alembic", "sqlalchemy", "mlflow.store.db.utils", "mlflow.utils.requirements_utils")


def tracking_uri() -> str:
    """NOCTURNE_TRACKING_URI, MLFLOW_TRACKING_URI, or SQLite in the state folder."""
    return os.environ.get("NOCTURNE_TRACKING_URI") or os.environ.get("MLFLOW_TRACKING_URI") or own_uri()


def own_uri() -> str:
    """The SQLite file in the state folder, beside the ledger."""
    return f"sqlite:///{home() / 'mlflow' / 'mlflow.db'}"


def shown_uri() -> str:
    """The tracking URI as it may be shown: without the password that it may hold."""
    scheme, separator, rest = tracking_uri().partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}" if not scheme.startswith("sqlite") else tracking_uri()


@contextlib.contextmanager
def opening(uri: str) -> Iterator[None]:
    """Meanwhile no other process makes the tables of this store, if it is a SQLite file."""
    if not uri.startswith("sqlite:///"):
        yield
        return
    database = Path(uri.removeprefix("sqlite:///"))
    with as_registry_error(f"{shown_uri()}: MLflow's store cannot be opened"):
        database.parent.mkdir(parents=True, exist_ok=True)
        stream = (database.parent / ".opening").open("a", encoding="utf-8")
    with stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        if not database.exists():
            with as_registry_error(f"{shown_uri()}: MLflow's tables cannot be made"):
                _make(database)
        yield


def _make(database: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore  # noqa: PLC0415

    quiet()
    making = database.with_name(f".{database.name}.making")
    for left in database.parent.glob(f"{making.name}*"):
        left.unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecations between MLflow and SQLAlchemy
        SqlAlchemyStore(f"sqlite:///{making}", (database.parent / "artifacts").as_uri()).engine.dispose()  # type: ignore[no-untyped-call]
    rename_durably(making, database)


def quiet() -> None:
    """Have MLflow, and what it makes tables with, say nothing that is no error."""
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)


@contextlib.contextmanager
def as_registry_error(what: str) -> Iterator[None]:
    """MLflow's errors, and its database's, as a RegistryError that begins with ``what``."""
    from mlflow.exceptions import MlflowException  # noqa: PLC0415
    from sqlalchemy.exc import SQLAlchemyError  # noqa: PLC0415

    try:
        yield
    except (MlflowException, SQLAlchemyError, OSError) as error:
        raise RegistryError(f"{what}: {_full(error)}{error}") from error


def _full(error: Exception) -> str:
    """That the disk is full, where, and how many bytes are free, if that is what MLflow's own store means."""
    full = "disk is full" in str(error) or (isinstance(error, OSError) and error.errno == errno.ENOSPC)
    if not full or not tracking_uri().startswith("sqlite:"):
        return ""
    folder = Path(tracking_uri().removeprefix("sqlite:///")).parent
    return f"the disk is full: {folder} ({shutil.disk_usage(folder).free:,} bytes free): "
