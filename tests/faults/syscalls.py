"""Python's calls that change a disk, counted, and one of them made to fail.

``open``, ``write`` (half of it is written first), ``fsync``, ``mkdir``, ``rename`` and ``replace``: what this project
writes with. Libraries in C write by themselves; for them files are kept from growing instead.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

NAMES = ("mkdir", "fsync", "rename", "replace", "open", "write")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


@dataclass
class Calls:
    """How many calls were made, and which one failed."""

    fails: int = 0
    only: str = ""
    made: int = 0
    call: str = ""
    seen: list[str] = field(default_factory=list)

    def due(self, name: str, what: object) -> bool:
        """Count a call; whether it is the one that fails."""
        if self.only and name != self.only:
            return False
        self.made += 1
        self.seen.append(name)
        if self.made != self.fails:
            return False
        self.call = f"{name}({what})"
        return True


def _broken() -> OSError:
    return OSError(errno.EIO, os.strerror(errno.EIO))


def _guarded(calls: Calls, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:
        reads = name == "open" and len(given) > 1 and not given[1] & WRITES
        if reads or not calls.due(name, given[0]):
            return real(*given, **named)
        if name == "write":
            real(given[0], given[1][: len(given[1]) // 2])
        raise _broken()

    return call


def _opened(calls: Calls, real: Callable[..., Any]) -> Callable[..., Any]:
    """``io.open``: of files to be written, each write counts."""

    def call(file: Any, mode: str = "r", *given: Any, **named: Any) -> Any:
        if not set(mode) & set("wax+"):
            return real(file, mode, *given, **named)
        if calls.due("open", file):
            raise _broken()
        stream = real(file, mode, *given, **named)
        return _Stream(stream, calls, file) if isinstance(file, os.PathLike) else stream

    return call


class _Stream:
    """An opened file whose n-th write breaks off half-way."""

    def __init__(self, stream: Any, calls: Calls, file: object) -> None:
        self._stream, self._calls, self._file = stream, calls, file

    def write(self, data: Any) -> int:
        if self._calls.due("write", self._file):
            self._stream.write(data[: len(data) // 2])
            self._stream.flush()
            raise _broken()
        return int(self._stream.write(data))

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextmanager
def failing(number: int, only: str = "") -> Iterator[Calls]:
    """The call of this number (from 1; 0: none) fails with an I/O error; ``only``: counting calls of one name."""
    calls = Calls(fails=number, only=only)
    with ExitStack() as patched:
        for name in NAMES:
            patched.enter_context(mock.patch.object(os, name, _guarded(calls, name, getattr(os, name))))
        patched.enter_context(mock.patch.object(io, "open", _opened(calls, io.open)))
        yield calls


def counted() -> Any:
    """Only count."""
    return failing(0)
