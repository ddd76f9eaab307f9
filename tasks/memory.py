"""How much memory this process has held at most."""

from __future__ import annotations

import resource
from pathlib import Path

_STATUS = Path("/proc/self/status")


def peak_mb() -> float:
    """The most megabytes of 2**20 bytes that this process's own image was resident with so far.

    Linux's `VmHWM`, which begins anew with a program. The maximum of `getrusage` does not: a child takes over its
    parent's through fork and exec, so that a small process started by a large one calls itself large. It is the answer
    only where there is no `/proc`.
    """
    if not _STATUS.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    held = next(line for line in _STATUS.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(held.split()[1]) / 1024
