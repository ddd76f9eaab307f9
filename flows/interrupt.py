"""Control-C ends a night at once, and leaves no process behind.

Prefect would wait for the searches in its threads, and its own server dies of the same Control-C first. Nothing is lost
by ending hard: finished stages are stored, unfinished ones were never published, and no alias moves half-way.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

import psutil
from rich.console import Console

INTERRUPTED = 130


@contextlib.contextmanager
def ends_at_once(console: Console) -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM kill everything that this process started, and then itself."""

    def end(_number: int, _frame: FrameType | None) -> None:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
        console.show_cursor(True)
        console.print("\ninterrupted: no champion was changed; finished stages are kept and will be reused")
        os._exit(INTERRUPTED)

    previous = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
