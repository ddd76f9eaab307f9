"""What a step frees is there for the next one."""

from __future__ import annotations

import resource

import numpy as np
import pytest

from tasks.search.transfer.allocation import keep_memory

PAGES = 60 * 2**20 // resource.getpagesize()


def pages_made_anew() -> int:
    """Page faults of filling 60 MB, as a step's intermediate results do."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.full(60 * 2**20, 1, dtype=np.uint8)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_large_results_are_not_given_back_and_asked_for_again() -> None:
    if not keep_memory():
        pytest.skip("the C library is not glibc")
    pages_made_anew()
    assert pages_made_anew() < PAGES / 10
