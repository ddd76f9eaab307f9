"""Start a heavy library in a process of its own, bound its time, and say in its own last words why it failed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tasks.errors import EngineError
from tasks.storage import PROJECT


def run_child(module: str, folder: Path, seconds: float, environment: Mapping[str, str] | None = None) -> None:
    """Run ``python -m module folder`` to its end. Raises EngineError if it fails or takes longer than ``seconds``.

    Both children also end themselves after that time, so that none outlives a killed parent by more.
    """
    name = module.rpartition(".")[2]
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, str(folder), str(int(seconds) + 1)],
            env={**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})},
            cwd=PROJECT, capture_output=True, text=True, timeout=seconds, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{name} took longer than {seconds:.0f} s and was ended") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise EngineError(f"{name} ended with {done.returncode}: {' | '.join(said[-3:]) or 'no word'}")
