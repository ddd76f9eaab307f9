"""Which files a source stands for, found without trusting their names, and a cheap digest of what they hold.

Standard library only: answering an unchanged night must not import pandas.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tasks.bars.describe import BUILTIN, SourceDescription
from tasks.bars.refusal import printable, refuse_file
from tasks.errors import ConfigurationError, SourceUnavailableError

BUILTIN_FILES = {"sp500": "arch/data/sp500/sp500.csv.gz", "nasdaq": "arch/data/nasdaq/nasdaq.csv.gz"}
SUFFIXES: dict[str, Literal["csv", "parquet"]] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".txt": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
}
MAGIC = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class SourceFile:
    """One file of a source: where it lies, the name it is reported by, its format, and the symbol its name gives."""

    path: Path
    name: str
    kind: Literal["csv", "parquet"]
    symbol: str


def locate(source: str) -> list[SourceFile]:
    """The files that ``source`` stands for, in name order.

    Raises BarsRefusedError if there is none, if one is a device or leads out of the folder by a link, or if the name
    cannot be a path; ConfigurationError for an unknown built-in; SourceUnavailableError if the disk does not answer.
    """
    if source.startswith(BUILTIN):
        return [_builtin(source)]
    if not source.isprintable():
        raise refuse_file(source, source, "hostile-name", "a path holds no control characters")
    try:
        return _below(source, Path(source).expanduser())
    except PermissionError as error:
        raise refuse_file(source, source, "not-readable", "permission denied") from error
    except OSError as error:
        raise SourceUnavailableError(f"{printable(source, 200)}: cannot be reached: {error.strerror}") from error


def source_digest(description: SourceDescription) -> str:
    """SHA-256 over the names and bytes of all that the source holds now; for a built-in, its package's version too.

    A file of corporate actions counts as part of the source. Reads bytes and parses nothing. Raises as ``locate`` does.
    """
    digest = hashlib.sha256()
    if description.builtin:
        digest.update(f"arch {importlib.metadata.version('arch')}\n".encode())
    for file in locate(description.source):
        digest.update(f"{file.name}\0{_file_digest(description.source, file)}\n".encode())
    digest.update(actions_digest(description).encode())
    return digest.hexdigest()


def actions_digest(description: SourceDescription) -> str:
    """SHA-256 of the description's file of corporate actions, empty if it names none. Raises as ``locate`` does."""
    if not description.actions:
        return ""
    files = locate(str(Path(description.actions).expanduser()))
    return "".join(_file_digest(description.actions, file) for file in files)


def read_bytes(source: str, file: SourceFile) -> bytes:
    """A file's bytes. Raises BarsRefusedError if it is not readable or empty, SourceUnavailableError on I/O errors."""
    try:
        data = file.path.read_bytes()
    except PermissionError as error:
        raise refuse_file(source, file.name, "not-readable", "permission denied") from error
    except OSError as error:
        raise SourceUnavailableError(f"{printable(file.name, 200)}: cannot be read: {error.strerror}") from error
    if not data:
        raise refuse_file(source, file.name, "empty-file", "0 bytes")
    return data


def _file_digest(source: str, file: SourceFile) -> str:
    try:
        with file.path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except PermissionError as error:
        raise refuse_file(source, file.name, "not-readable", "permission denied") from error
    except OSError as error:
        raise SourceUnavailableError(f"{printable(file.name, 200)}: cannot be read: {error.strerror}") from error


def _builtin(source: str) -> SourceFile:
    name = source.removeprefix(BUILTIN)
    if name not in BUILTIN_FILES:
        raise ConfigurationError(f"no built-in source {printable(source)!r}; there are builtin:sp500, builtin:nasdaq")
    path = Path(str(importlib.metadata.distribution("arch").locate_file(BUILTIN_FILES[name])))
    return SourceFile(path, source, "csv", name.upper())


def _below(source: str, path: Path) -> list[SourceFile]:
    if path.is_dir():
        found = sorted(entry for entry in path.iterdir() if _suffix(entry) and not entry.name.startswith("."))
        files = [_inside(source, path, entry) for entry in found]
    elif path.exists():
        files = [_regular(source, path, path.name)]
    elif MAGIC.search(source):
        base = _glob_base(path)
        files = [_inside(source, base, match) for match in _matches(base, path) if not match.is_dir()]
    else:
        files = []
    if not files:
        raise refuse_file(source, source, "not-found", "no such file, or no CSV or Parquet file in it")
    return files


def _matches(base: Path, path: Path) -> list[Path]:
    try:
        return sorted(base.glob(path.relative_to(base).as_posix()))
    except ValueError as error:
        raise ConfigurationError(f"{printable(str(path), 200)}: not a usable pattern: {error}") from error


def _glob_base(path: Path) -> Path:
    return next(parent for parent in path.parents if not MAGIC.search(str(parent)))


def _inside(source: str, base: Path, path: Path) -> SourceFile:
    name = path.relative_to(base).as_posix()
    if not path.resolve().is_relative_to(base.resolve()):
        raise refuse_file(source, name, "outside-folder", f"a link to {printable(str(path.resolve()), 120)}")
    return _regular(source, path, name)


def _regular(source: str, path: Path, name: str) -> SourceFile:
    if not stat.S_ISREG(path.stat().st_mode):
        raise refuse_file(source, name, "not-a-file", "a device, pipe or socket")
    suffix = _suffix(path)
    symbol = path.name[: -len(suffix)] if suffix else path.stem
    return SourceFile(path, name, SUFFIXES[suffix] if suffix else _sniff(path), symbol)


def _suffix(path: Path) -> str:
    lower = path.name.lower()
    return max((suffix for suffix in SUFFIXES if lower.endswith(suffix)), key=len, default="")


def _sniff(path: Path) -> Literal["csv", "parquet"]:
    with path.open("rb") as stream:
        return "parquet" if stream.read(4) == b"PAR1" else "csv"
