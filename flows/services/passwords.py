"""The services' passwords: random, made once, in files that only the owner may read, never in arguments or logs.

``prefect`` holds Prefect's auth string, ``mlflow`` the password of MLflow's user, ``mlflow-forms`` the key that signs
MLflow's own forms, ``database`` the PostgreSQL address where one was given. The user of both servers is ``nocturne``.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path

from tasks.errors import StorageError
from tasks.storage import home, not_written

USER = "nocturne"


def folder() -> Path:
    """Where they lie."""
    return home() / "services" / "secrets"


def prefect() -> str:
    """Prefect's auth string, ``user:password``."""
    return _kept("prefect", lambda: f"{USER}:{secrets.token_urlsafe(18)}")


def mlflow() -> str:
    """The password of MLflow's user."""
    return _kept("mlflow", lambda: secrets.token_urlsafe(18))


def forms() -> str:
    """The key that signs the forms of MLflow's user page."""
    return _kept("mlflow-forms", lambda: secrets.token_urlsafe(32))


def database() -> str:
    """The PostgreSQL address that ``nocturne up`` was given; empty where SQLite is used."""
    path = folder() / "database"
    return path.read_text(encoding="utf-8").strip() if path.is_file() else ""


def keep_database(url: str) -> None:
    """Remember the PostgreSQL address for later starts."""
    _write(folder() / "database", url)


def _kept(name: str, make: Callable[[], str]) -> str:
    path = folder() / name
    try:
        found = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        found = ""
    except OSError as error:
        raise StorageError(f"{path}: cannot be read: {error.strerror}") from error
    if not found:
        found = make()
        _write(path, found)
    elif path.stat().st_mode & 0o077:
        path.chmod(0o600)
    return found


def _write(path: Path, text: str) -> None:
    """A file that nobody else may open at any moment, written whole or not at all."""
    temporary = path.with_name(f".{path.name}.new")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o700)
        temporary.unlink(missing_ok=True)
        handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise not_written(path, error) from error
