"""A model of a disk that loses power: of each file what was synced, of each folder the names that were synced.

After every call that changes the disk the model can be asked what a power cut would leave there:

- ``synced``: only names that their folder was synced with, and of files what was synced; the most that a disk may lose;
- ``names``: every name, as a journalling file system may keep it, with contents that were never synced empty or cut;
- ``all``: everything, as when only the process dies.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from unittest import mock

Kind = Literal["synced", "names", "all"]
CHANGES = ("mkdir", "fsync", "rename", "replace", "unlink", "write")
Tree = dict[str, bytes | None]
"""Path below the root -> content; None for a folder."""


@dataclass
class Recorded:
    """The trees that were seen, one a call, with what was synced by then."""

    root: Path
    data: dict[int, bytes] = field(default_factory=dict)
    names: dict[int, dict[str, int]] = field(default_factory=dict)
    moments: list[dict[Kind, Tree]] = field(default_factory=list)
    kinds: tuple[Kind, ...] = ("synced", "names", "all")

    def __len__(self) -> int:
        return len(self.moments)

    def left(self, number: int, kind: Kind, folder: Path) -> Path:
        """What is left at that moment, written below ``folder``."""
        folder.mkdir(parents=True)
        for name, content in sorted(self.moments[number][kind].items()):
            path = folder / name
            if content is None:
                path.mkdir(parents=True, exist_ok=True)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return folder

    def synced(self, handle: int) -> None:
        """A file's content, or a folder's names, are on the disk from now on."""
        status, path = os.fstat(handle), Path(f"/proc/self/fd/{handle}").readlink()
        if path.is_dir():
            self.names[status.st_ino] = {child.name: child.lstat().st_ino for child in path.iterdir()}
        elif path.exists():
            self.data[status.st_ino] = path.read_bytes()

    def everything(self) -> None:
        """All that is there now was synced long ago."""
        for path in [self.root, *self.root.rglob("*")]:
            if path.is_dir():
                self.names[path.stat().st_ino] = {child.name: child.lstat().st_ino for child in path.iterdir()}
            else:
                self.data[path.stat().st_ino] = path.read_bytes()

    def note(self) -> None:
        """Remember what a power cut would leave now."""
        there = {path.lstat().st_ino: path for path in [self.root, *self.root.rglob("*")]}
        now: Tree = {
            str(path.relative_to(self.root)): None if path.is_dir() else path.read_bytes()
            for path in there.values()
            if path != self.root
        }
        torn = {
            name: content if content is None else self._kept(self.root / name, content) for name, content in now.items()
        }
        self.moments.append({"all": now, "names": torn, "synced": dict(self._durable(self.root.stat().st_ino, ""))})

    def _kept(self, path: Path, content: bytes) -> bytes:
        """What was synced of a file; of one that never was, the first half."""
        return self.data.get(path.stat().st_ino, content[: len(content) // 2])

    def _durable(self, folder: int, prefix: str) -> Iterator[tuple[str, bytes | None]]:
        for name, number in self.names.get(folder, {}).items():
            if number in self.names:
                yield f"{prefix}{name}", None
                yield from self._durable(number, f"{prefix}{name}/")
            elif number in self.data:
                yield f"{prefix}{name}", self.data[number]
            elif number not in self._folders:
                yield f"{prefix}{name}", b""

    @property
    def _folders(self) -> set[int]:
        return {path.stat().st_ino for path in self.root.rglob("*") if path.is_dir()}


@contextmanager
def recording(root: Path) -> Iterator[Recorded]:
    """Record every change below ``root`` while the block runs."""
    recorded = Recorded(root)
    recorded.everything()
    recorded.note()
    with ExitStack() as patched:
        for name in CHANGES:
            patched.enter_context(mock.patch.object(os, name, _noted(recorded, name, getattr(os, name))))
        yield recorded
    recorded.note()


def _noted(recorded: Recorded, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        found = real(*given, **named)
        if name == "fsync":
            recorded.synced(given[0])
        recorded.note()
        return found

    return call
