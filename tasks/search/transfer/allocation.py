"""Keep the memory of a training step from one step to the next.

XLA asks the C library for a step's intermediate results at each step. Past some 32 MB glibc takes them from the system
and gives them back each time, and every page is then made anew: half of what a step of these networks costs.
"""

from __future__ import annotations

import ctypes
import functools

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of <malloc.h>
_MOST = 1 << 30


@functools.cache
def keep_memory() -> bool:
    """Have this process keep what it frees, up to a gigabyte; False where the C library is not glibc."""
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    return bool(mallopt(_MMAP_THRESHOLD, _MOST)) and bool(mallopt(_TRIM_THRESHOLD, _MOST))
