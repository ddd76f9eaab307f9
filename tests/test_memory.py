"""A process is told how much memory it held itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ASKED = "from tasks.memory import peak_mb; print(peak_mb())"
STARTED_BY_A_LARGE_ONE = f"""
import subprocess, sys
held = bytearray(300 * 2**20)
print(subprocess.run([sys.executable, "-c", {ASKED!r}], capture_output=True, text=True, check=True).stdout)
"""
LET_GO = f"held = bytearray(300 * 2**20); del held; {ASKED}"


def _peak(program: str) -> float:
    project = Path(__file__).resolve().parents[1]
    return float(
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=project).stdout
    )


def test_what_was_held_and_let_go_counts() -> None:
    assert 300 < _peak(LET_GO) < 400


def test_a_small_process_started_by_a_large_one_is_small() -> None:
    assert 1 < _peak(STARTED_BY_A_LARGE_ONE) < 100
