"""Many universes, side by side and with a word on how far they are: they know nothing of each other.

Results come in the order of the cases, whatever the number of processes. Progress goes to standard error, the table
to standard output.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

Case = TypeVar("Case")
Outcome = TypeVar("Outcome")

CORES = os.cpu_count() or 1
PAUSE = 15.0
"""Seconds between two lines of progress."""


@contextmanager
def side_by_side(workers: int) -> Iterator[Executor | None]:
    """So many processes, which start with the first case and keep what they have loaded; None for one: this one."""
    if workers <= 1:
        yield None
        return
    # As many threads as processes would step on each other's toes. What a process inherits is read when it starts.
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        yield pool


def lived(
    pool: Executor | None,
    live: Callable[[Case], Outcome],
    cases: Sequence[Case],
    *,
    what: str,
    found: Callable[[Outcome], bool],
) -> list[Outcome]:
    """Each case's outcome, in their order. ``what`` they are and how many of them have ``found`` is said meanwhile.

    ``live`` is a module's function, as other processes find it by its name; without a pool it runs here.
    """
    return _told(pool.map(live, cases) if pool else map(live, cases), len(cases), what, found)


def processor_seconds() -> float:
    """Of this process and of those that it has started and that have ended."""
    mine, theirs = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return mine.ru_utime + mine.ru_stime + theirs.ru_utime + theirs.ru_stime


def _told(outcomes: Iterable[Outcome], several: int, what: str, found: Callable[[Outcome], bool]) -> list[Outcome]:
    begun, known = time.monotonic(), []
    said = begun
    for outcome in outcomes:
        known.append(outcome)
        now = time.monotonic()
        if now - said >= PAUSE:
            said = now
            left = (now - begun) / len(known) * (several - len(known))
            print(
                f"{what}: {len(known)} of {several} done, found in {sum(map(found, known))}, {now - begun:.0f} s, "
                f"about {left:.0f} s to go",
                file=sys.stderr,
                flush=True,
            )
    return known
