"""Append-only Parquet parts of one folder: what was new at one reading each, never rewritten.

A part counts once its record, a small JSON file with its digest, stands beside it; a part without one was left by a
crash and is ignored. So that a decade of nights is not a decade of files to open, the parts are now and then copied
into one file in a folder beside them. The copy holds nothing that the parts do not: without it, or where it is damaged
or a part that went into it is gone, they are read themselves.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from tasks import storage
from tasks.bars.digests import values_digest
from tasks.contracts import Ref
from tasks.documents import from_json, to_json
from tasks.errors import StorageError

log = logging.getLogger("nocturne.bars")
LOOSE = 8
"""So many parts are read one by one; the next one has them all copied together."""
MOST = 32
"""So many files are remembered at once; the one remembered first makes room."""
Identity = tuple[str, str, int, int, int]
_SEEN: ContextVar[dict[Identity, pd.DataFrame] | None] = ContextVar("parts", default=None)


@contextmanager
def read_once() -> Iterator[None]:
    """While the block runs, a file of parts that was read and verified in it is not read again, if it is the same file.

    The same: its path, its recorded digest, its size, the time of its last change, and its inode. Files of parts are
    written once and then renamed into place, so that whatever takes a file's place has another inode, and whatever is
    written into it another time; either is read and verified as ever. Nothing outlives the block, and ``forget`` ends
    it early. Frames are handed out as they are: who reads parts joins them into a table of its own.
    """
    before = _SEEN.set({})
    try:
        yield
    finally:
        _SEEN.reset(before)


def forget() -> None:
    """Let go of what was read in the present block; the next reading is of the disk."""
    seen = _SEEN.get()
    if seen is not None:
        seen.clear()


def _read(ref: Ref) -> pd.DataFrame:
    """A file's rows, verified when they are read. Raises as ``storage.read_parquet``."""
    seen = _SEEN.get()
    identity = _identity(ref) if seen is not None else None
    if seen is None or identity is None:
        return storage.read_parquet(ref)
    if identity not in seen:
        seen[identity] = storage.read_parquet(ref)
        for oldest in list(seen)[:-MOST]:
            del seen[oldest]
    return seen[identity]


def _identity(ref: Ref) -> Identity | None:
    try:
        found = os.stat(ref.path)  # noqa: PTH116 - asked of every part, and a Path costs as much again
    except OSError:  # the reading says what is wrong
        return None
    return ref.path, ref.sha256, found.st_size, found.st_mtime_ns, found.st_ino


@dataclass(frozen=True, slots=True, kw_only=True)
class Copied:
    """The record of a copy: its file, and the names of the parts in it."""

    ref: Ref
    parts: tuple[str, ...]


class Parts:
    """The parts below one folder, with their copy in the folder of that name and ``.copied``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._copies = folder.with_name(f"{folder.name}.copied")

    def names(self) -> list[str]:
        """The parts that count, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted([name[:-5] for name in os.listdir(self.folder) if name.endswith(".json")])  # noqa: PTH208 - names

    def ref(self, name: str) -> Ref:
        """What a part's record says."""
        found: Ref = from_json(Ref, storage.read_json(self.folder / f"{name}.json"))
        return replace(found, path=str(self.folder / found.path))

    def read(self) -> tuple[list[pd.DataFrame], list[str]]:
        """Frames that hold every part's rows, and the parts' names. Raises IntegrityError if one was altered."""
        names = self.names()
        copy, copied = self._copy(names)
        loose = [name for name in names if name not in copied]
        return [*copy, *(_read(self.ref(name)) for name in loose)], names

    def read_since(self, known: list[str]) -> tuple[list[pd.DataFrame], list[str]] | None:
        """The parts that came after those known, and all names; None if a known one is gone."""
        names, seen = self.names(), set(known)
        if not seen <= set(names):
            return None
        return [_read(self.ref(name)) for name in names if name not in seen], names

    def add(self, part: pd.DataFrame) -> str:
        """Write a part and then its record; its name. Raises StorageError if that fails; then it does not count."""
        names = self.names()
        number = int(names[-1].split("-", 1)[0]) + 1 if names else 1
        # The digest in the name keeps two writers, who both think to be next, from replacing one another's part.
        name = f"{number:06d}-{values_digest(part)[:16]}"
        path, record = self.folder / f"{name}.parquet", self.folder / f"{name}.json"
        try:
            ref = storage.write_parquet(path, part)
            storage.write_json(record, to_json(replace(ref, path=path.name)))
        except StorageError:
            if not record.exists():  # it may be another writer's, of the very same part
                path.unlink(missing_ok=True)
            raise
        return name

    def many(self, names: list[str]) -> bool:
        """Whether so many of the named parts are in no copy that it is time for the next."""
        return len(set(names) - set(self._record(names)[1])) > LOOSE

    def copy(self, whole: pd.DataFrame, names: list[str]) -> None:
        """Keep ``whole``, which holds the rows of the named parts, as their copy, if there are enough of them.

        What goes wrong is said and left: the parts are whole without it.
        """
        if not self.many(names):
            return
        path = self._copies / f"{names[-1]}.parquet"
        try:
            ref = storage.write_parquet(path, whole)
            document = to_json(Copied(ref=replace(ref, path=path.name), parts=tuple(names)))
            storage.write_json(path.with_suffix(".json"), document)
            self._drop_older(path)
        except (StorageError, OSError) as error:
            log.warning("%s: the parts could not be copied together: %s", self.folder, error)

    def _drop_older(self, newest: Path) -> None:
        for record in self._copies.glob("*.json"):
            if record.stem < newest.stem:
                record.unlink(missing_ok=True)
                record.with_suffix(".parquet").unlink(missing_ok=True)

    def _record(self, names: list[str]) -> tuple[Ref | None, tuple[str, ...]]:
        """The newest copy of parts that are all still there."""
        for record in sorted(self._copies.glob("*.json"), reverse=True):
            try:
                copied: Copied = from_json(Copied, storage.read_json(record))
            except (StorageError, TypeError) as error:
                log.warning("%s cannot be read and is not used: %s", record, error)
                continue
            if set(copied.parts) <= set(names):
                return replace(copied.ref, path=str(self._copies / copied.ref.path)), copied.parts
        return None, ()

    def _copy(self, names: list[str]) -> tuple[list[pd.DataFrame], set[str]]:
        ref, parts = self._record(names)
        if ref is None:
            return [], set()
        try:
            return [_read(ref)], set(parts)
        except StorageError as error:
            log.warning("the copy of the parts is not used, they are read themselves: %s", error)
            return [], set()
