"""Background processes: started in sessions of their own, known again by start time, found with all they started.

A pid alone says little: after a reboot or a while it belongs to another program. So each process is remembered with
its birth (``tasks.holder.identity``), and everything that it starts inherits a mark in its environment, which names the
service and the state folder. The mark is no secret.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import psutil

from tasks.storage import PROJECT, not_written

MARK = "NOCTURNE_SERVICE"
LOG_BYTES = 10 * 2**20


def mark(name: str, folder: Path) -> str:
    """What a service's processes carry in their environment."""
    return f"{name}@{folder}"


def start(marked_as: str, command: Sequence[str], environment: Mapping[str, str], log: Path, umask: int) -> int:
    """Start a command in the background, away from this terminal, its output into the log; returns its pid.

    The log is begun anew once it is larger than LOG_BYTES; the earlier one stays beside it. umask: -1 leaves it as it
    is. Raises StorageError if the log cannot be written.
    """
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.is_file() and log.stat().st_size > LOG_BYTES:
            os.replace(log, log.with_suffix(".log.1"))
        with log.open("ab") as stream:
            stream.write(f"--- {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())} starting {marked_as}\n".encode())
            stream.flush()
            process = subprocess.Popen(
                command,
                cwd=PROJECT,
                env={**environment, MARK: marked_as},
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                umask=umask,
            )
            process.returncode = 0  # it is to outlive us: Python need not warn that nobody waited for it
            return process.pid
    except OSError as error:
        raise not_written(log, error) from error


def marked(name: str, folder: Path) -> list[psutil.Process]:
    """Every process that carries this service's mark, wherever it went, and what such a one started without it.

    A model is verified in a process with a clean environment: that one is known by its parents alone.
    """
    ours = {process.pid: process for process, found in _marks() if found == mark(name, folder)}
    grown = bool(ours)
    while grown:
        children = {each.pid: each for each in psutil.process_iter() if _parent(each) in ours}
        grown = not children.keys() <= ours.keys()
        ours = {**children, **ours}
    return list(ours.values())


def _parent(process: psutil.Process) -> int:
    with contextlib.suppress(psutil.Error):
        if process.status() != psutil.STATUS_ZOMBIE:
            return int(process.ppid())
    return 0


def parted(
    found: Sequence[psutil.Process], command: Sequence[str]
) -> tuple[list[psutil.Process], list[psutil.Process]]:
    """The processes that run this very command, and the others: what the former started."""
    mine: list[psutil.Process] = []
    others: list[psutil.Process] = []
    for process in found:
        with contextlib.suppress(psutil.Error):
            (mine if process.cmdline()[1:] == list(command[1:]) else others).append(process)
    return mine, others


def folders() -> dict[str, int]:
    """State folders whose services run on this machine under this user, with one pid of each."""
    return {found.partition("@")[2]: process.pid for process, found in _marks()}


def _marks() -> Iterable[tuple[psutil.Process, str]]:
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            found = process.environ().get(MARK, "")
            if found and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                yield process, found


def memory(processes: Iterable[psutil.Process]) -> int:
    """Resident bytes of these processes together; pages that they share count more than once."""
    total = 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            total += process.memory_info().rss
    return total


def end(processes: Sequence[psutil.Process], seconds: float) -> None:
    """Ask these processes to end, and kill what has not after so many seconds."""
    for process in processes:
        with contextlib.suppress(psutil.Error):
            process.terminate()
    for process in _left(processes, seconds):
        with contextlib.suppress(psutil.Error):
            process.kill()
    _left(processes, 5)


def _left(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Those that still run after so long; a zombie, which waits for a parent that is not us, does not."""
    until = time.monotonic() + seconds
    while True:
        left = [process for process in processes if _runs(process)]
        if not left or time.monotonic() > until:
            return left
        time.sleep(0.1)


def _runs(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False


def last_lines(log: Path, several: int = 12) -> str:
    """The end of a log."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 8192))
            lines = stream.read().decode(errors="replace").splitlines()
    except OSError:
        return ""
    return "\n".join(f"  {line[:300]}" for line in lines[-several:])
