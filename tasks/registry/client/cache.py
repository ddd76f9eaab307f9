"""The models on this machine's disk: ``<cache>/<name>/<version>-<digest12>/``, each a whole pulled folder.

An entry appears by one rename and is never written to again; who finds a damaged one moves it away, and it is pulled
again. Beside the entries lies what held which alias when a registry was last seen.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ...errors import IntegrityError, StorageError
from .records import Seen, Version, as_document, read_document, require_name, write_document

_LEFT_SECONDS = 24 * 3600
"""After this long a scratch folder belongs to a process that died."""


class Cache:
    """A folder of pulled models. Several processes and threads may use the same."""

    def __init__(self, folder: Path | str | None = None) -> None:
        given = folder or os.environ.get("NOCTURNE_CACHE") or Path.home() / ".cache" / "nocturne"
        self.folder = Path(given).expanduser().absolute()

    def entry(self, version: Version) -> Path:
        """Where this version's folder is, or would be."""
        return self.folder / require_name(version.name) / version.entry

    @contextlib.contextmanager
    def scratch(self, name: str) -> Iterator[Path]:
        """A new folder on the same disk, gone afterwards. Raises StorageError with the path and what is left."""
        home = self.folder / require_name(name)
        try:
            home.mkdir(mode=0o700, parents=True, exist_ok=True)
            _clear(home)
            folder = Path(tempfile.mkdtemp(prefix=".pull-", dir=home))
        except OSError as error:
            raise StorageError(
                f"{home}: cannot be written: {error.strerror}; set NOCTURNE_CACHE to a writable folder"
            ) from error
        try:
            yield folder
        except OSError as error:
            free = shutil.disk_usage(home).free
            raise StorageError(f"{folder}: cannot be written: {error.strerror}; {free:,} bytes are free") from error
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def publish(self, made: Path, version: Version) -> Path:
        """Make a whole, checked folder the version's entry, by one rename; if another was quicker, theirs stays."""
        entry = self.entry(version)
        try:
            os.replace(made, entry)
        except OSError as error:
            if not entry.is_dir():
                raise StorageError(f"{entry}: cannot be written: {error.strerror}") from error
        return entry

    def discard(self, version: Version) -> None:
        """Move a damaged entry out of the way and remove it; somebody may be reading its files until then."""
        entry = self.entry(version)
        with contextlib.suppress(OSError):  # another thread was quicker
            away = Path(tempfile.mkdtemp(prefix=".damaged-", dir=entry.parent))
            os.replace(entry, away / "entry")
            shutil.rmtree(away, ignore_errors=True)

    def remember(self, source: str, seen: Seen, versions: dict[str, Version]) -> None:
        """Keep what a registry last said: its standing and the facts of the versions that its aliases point to."""
        kept = {number: as_document(version) for number, version in versions.items()}
        write_document(self._standing(source, seen.name), {"seen": as_document(seen), "versions": kept})

    def remembered(self, source: str, name: str) -> tuple[Seen, dict[str, Version]] | None:
        """What was kept of this registry and name; None if there is nothing, or nothing that can be read."""
        try:
            document = read_document(self._standing(source, name))
            versions = {number: Version(**fields) for number, fields in document["versions"].items()}
            return Seen(**document["seen"]), versions
        except (StorageError, IntegrityError, KeyError, TypeError, AttributeError):
            return None

    def _standing(self, source: str, name: str) -> Path:
        return self.folder / require_name(name) / f"standing-{source}.json"


def _clear(home: Path) -> None:
    for left in [*home.glob(".pull-*"), *home.glob(".damaged-*")]:
        with contextlib.suppress(OSError):  # its owner may be removing it
            if time.time() - left.stat().st_mtime > _LEFT_SECONDS:
                shutil.rmtree(left, ignore_errors=True)
