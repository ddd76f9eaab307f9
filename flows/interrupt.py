"""Control-C ends a night at once, and leaves no process behind.

Prefect would wait for the searches in its threads, and its own server dies of the same Control-C first. Nothing is lost
by ending hard: finished stages are stored, unfinished ones were never published, and no alias moves half-way.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator

import psutil
from rich.console import Console

from tasks import journal

INTERRUPTED = 130
SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextlib.contextmanager
def ends_at_once(console: Console) -> Iterator[None]:
    """While the block runs, SIGINT and SIGTERM kill everything that this process started, and then itself.

    A thread waits for them: the main thread sits in a lock while engines search, and need not wake for a signal.
    """
    heard, told = os.pipe()
    os.set_blocking(told, False)
    before = signal.set_wakeup_fd(told, warn_on_full_buffer=False)
    previous = {number: signal.signal(number, lambda *_: None) for number in SIGNALS}
    threading.Thread(target=_wait, args=(heard, console), name="interrupt", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        for number, handler in previous.items():
            signal.signal(number, handler)
        os.close(told)


def end_engines() -> None:
    """Kill the engines and whatever else this process started in a session of its own; a server of Prefect's is not.

    Their threads then end by themselves, so that a flow that was cancelled ends in seconds and leaves no process.
    """
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(child.pid) == child.pid:
                os.killpg(child.pid, signal.SIGKILL)


def _wait(heard: int, console: Console) -> None:
    while number := os.read(heard, 1):
        if number[0] in SIGNALS:
            _end(console)
    os.close(heard)


def _end(console: Console) -> None:
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            child.kill()
    journal.interrupted()
    console.show_cursor(True)
    console.print("\ninterrupted: no champion was changed; finished stages are kept and will be reused", soft_wrap=True)
    os._exit(INTERRUPTED)
