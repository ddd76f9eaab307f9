"""What ties an engine's process, and whatever it starts, to the life of the process that asked for it.

Two ropes, because each has a hole. The pipe on standard input closes when the parent ends, however it ends, on every
system; a thread waits for that. The parent-death signal (Linux) works even while that thread cannot run, but it fires
when the parent's creating *thread* ends: whoever starts a process must stay in that thread until it is over.

As a script (``python lifeline.py PARENT COMMAND…``) it sets the signal and becomes the command: a forked function
could deadlock in a process with threads, an exec cannot.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
from collections.abc import Callable

PARENT_GONE = 70
_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int | None = None) -> None:
    """Ask Linux to kill this process when its parent's creating thread ends; elsewhere the pipe alone does it.

    With ``parent`` given, ends at once if that process was already gone when the request was made.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if parent is not None and os.getppid() != parent:
        os._exit(PARENT_GONE)


def watch_parent(before_exit: Callable[[], None]) -> None:
    """End this process once standard input closes, after ``before_exit`` (which must not block)."""

    def wait() -> None:
        try:
            while os.read(0, 4096):
                pass
        finally:
            try:
                before_exit()
            finally:
                os._exit(PARENT_GONE)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def tethered(command: list[str]) -> list[str]:
    """The same command, made to die with the thread that starts it. Start it from a process's main thread."""
    return [sys.executable, "-I", "-S", __file__, str(os.getpid()), *command]


if __name__ == "__main__":
    die_with_parent(int(sys.argv[1]))
    os.execv(sys.argv[2], sys.argv[2:])  # noqa: S606 - becoming the command is the purpose
