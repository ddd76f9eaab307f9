"""Who works on something: a process, named so that others can tell for certain that it has ended.

A process's number alone says little: numbers are given again, and mean nothing on another machine, in another
container, or after a restart. So it goes with the moment in which the process was born, by the kernel's own count, and
with the kernel and the space of numbers in which it holds.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import socket
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import psutil

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SPACE = Path("/proc/self/ns/pid")
_BORN = 19  # place of a process's start, in ticks since the machine's, after the name in /proc/PID/stat


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A process: whose, on which host, its number, when it was born, and the kernel in which that holds."""

    user: str
    host: str
    pid: int
    born: str
    kernel: str

    def __str__(self) -> str:
        return f"{self.user}@{self.host}, process {self.pid}"


def me() -> Holder:
    """This process."""
    born = _born(os.getpid()) or ""
    return Holder(user=_user(), host=socket.gethostname(), pid=os.getpid(), born=born, kernel=_kernel())


def is_gone(holder: Holder) -> bool:
    """Whether this process has certainly ended: it ran under this very kernel, and is not there now.

    False where nothing is known: another machine's process, one in another container, one before a restart, one of
    another user's that the machine does not show.
    """
    born = _born(holder.pid) if holder.kernel == _kernel() else None
    return born is not None and born != holder.born


def identity(pid: int) -> str:
    """What tells a process from a later one with its number: the kernel and its birth. Empty if there is none such."""
    born = _born(pid)
    return f"{_kernel()} {born}" if born else ""


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user need not have a name
        return str(os.getuid())


@lru_cache(maxsize=1)
def _kernel() -> str:
    """The boot and the space of process numbers on Linux; elsewhere the host and when it was started."""
    try:
        return f"{_BOOT.read_text().strip()} {_SPACE.readlink()}"
    except OSError:
        return f"{socket.gethostname()} {psutil.boot_time():.0f}"


def _born(pid: int) -> str | None:
    """When a process was born, by a count that no change of the clock moves.

    Empty if there is none, or a dead one; None if that cannot be told: ``hidepid`` hides other users' processes.
    """
    with contextlib.suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if fields[0] in "ZX" else fields[_BORN]
    if _BOOT.exists():
        return None if _answers(pid) else ""
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.NoSuchProcess:
        return ""
    except psutil.AccessDenied:
        return None


def _answers(pid: int) -> bool:
    """Whether the kernel has such a process, whoever's it is and whatever it shows of it."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
