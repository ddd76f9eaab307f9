"""Where a secret turned up that should lie in one place only: in any file of a folder, in any value of its tables."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

SQLITE = b"SQLite format 3\0"


def forms(secrets: Mapping[str, str]) -> dict[str, bytes]:
    """The secrets as they are and as an address carries them, by their names."""
    plain = {name: text for name, text in secrets.items() if text}
    return {name: text.encode() for name, text in plain.items()} | {
        f"{name}, quoted": quote(text, safe="").encode() for name, text in plain.items()
    }


def in_files(folder: Path, secrets: Mapping[str, str], allowed: Path) -> Iterator[str]:
    """``secret: file`` for each file below the folder that holds one, but for those below ``allowed``."""
    wanted = forms(secrets)
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.is_relative_to(allowed):
            try:
                content = path.read_bytes()
            except FileNotFoundError:  # a service that runs takes its own files away
                continue
            yield from (f"{name}: {path}" for name, text in wanted.items() if text in content)
            if content.startswith(SQLITE):
                yield from in_tables(path, secrets)


def in_tables(database: Path, secrets: Mapping[str, str]) -> Iterator[str]:
    """``secret: file, table`` for each table that holds one: a long value lies in pieces in the file itself."""
    wanted = forms(secrets)
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=30)) as connection:
        for (table,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            rows = connection.execute(f'SELECT * FROM "{table}"')
            content = b"\0".join(_bytes(value) for row in rows for value in row)
            yield from (f"{name}: {database}, {table}" for name, text in wanted.items() if text in content)


def in_words(shown: Iterable[str], secrets: Mapping[str, str]) -> Iterator[str]:
    """``secret: text`` for each text that holds one."""
    wanted = forms(secrets)
    yield from (f"{name}: {text}" for text in shown for name, secret in wanted.items() if secret in text.encode())


def _bytes(value: object) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
