"""An engine's own lines, passed on while it runs: what H2O's JVM, Keras and the engine's process write to their files.

Logger ``nocturne.search.<engine>``, level INFO (an engine's failure is told by its error). H2O logs thousands of lines
a night: its warnings and what AutoML says of itself are passed on, the rest stays in its file.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import copy_context
from pathlib import Path
from typing import BinaryIO

SECONDS = 0.5
MOST_LINES = 2000
MOST_CHARACTERS = 2000
JVM = "jvm.log"
_JVM_LINE = re.compile(r"\b(WARN|ERRR|ERROR|FATAL)\b|AutoML|Exception|OutOfMemory")


class _Tail:
    """One file, read on from where it was left; it may appear late, and be deleted while it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stream: BinaryIO | None = None
        self.pending = b""

    def lines(self) -> list[str]:
        """Whole lines that came since the last call."""
        if self.stream is None:
            try:
                self.stream = self.path.open("rb")
            except OSError:
                return []
        *whole, self.pending = (self.pending + self.stream.read()).split(b"\n")
        return [line.decode(errors="replace") for line in whole]

    def close(self) -> None:
        if self.stream is not None:
            self.stream.close()


class _Follower:
    def __init__(self, engine: str, log: Path, scratch: Path) -> None:
        self.log = logging.getLogger(f"nocturne.search.{engine}")
        self.engine, self.scratch = engine, scratch
        self.tails = {log: _Tail(log)}
        self.count = 0
        self.ended = threading.Event()

    def run(self) -> None:
        """Pass lines on until ``ended`` is set, then what is left."""
        while not self.ended.wait(SECONDS):
            self.pass_on()
        self.pass_on()
        for tail in self.tails.values():
            tail.close()

    def pass_on(self) -> None:
        for path in (*self.scratch.glob(JVM), *self.scratch.glob(f"*/{JVM}")):
            self.tails.setdefault(path, _Tail(path))
        for path, tail in self.tails.items():
            for line in tail.lines():
                if path.name != JVM or _JVM_LINE.search(line):
                    self._tell(line)

    def _tell(self, line: str) -> None:
        # What a terminal would overwrite in place (progress bars) counts by its last state.
        text = line.rstrip("\r").rpartition("\r")[2].strip()
        if not text:
            return
        self.count += 1
        if self.count <= MOST_LINES:
            self.log.info("%s", text[:MOST_CHARACTERS], extra={"engine": self.engine})
        elif self.count == MOST_LINES + 1:
            self.log.info("more than %d lines: the rest is in the engine's file", MOST_LINES)


@contextmanager
def passed_on(engine: str, log: Path, scratch: Path) -> Iterator[None]:
    """Pass the lines of the engine's log, and of JVMs' logs below ``scratch``, on while the block runs."""
    follower = _Follower(engine, log, scratch)
    thread = threading.Thread(target=copy_context().run, args=(follower.run,), name=f"{engine}'s lines", daemon=True)
    thread.start()
    try:
        yield
    finally:
        follower.ended.set()
        thread.join(timeout=10)
