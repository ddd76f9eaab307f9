"""A state folder of its own for a while: registry, ledger, recipes and stages that nobody may mistake for real."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.storage import home

HOME = "NOCTURNE_HOME"
ELSEWHERE = ("NOCTURNE_TRACKING_URI", "MLFLOW_TRACKING_URI", "NOCTURNE_LEDGER_URL", "NOCTURNE_MLFLOW_URL")


@contextmanager
def apart(folder: Path) -> Iterator[None]:
    """All state lies below ``folder`` while the block runs.

    A tracking server or ledger that the environment names is left alone meanwhile. Variables are changed and never
    taken away: see ``settings.reserve``.
    """
    before = {HOME: str(home()), **{name: os.environ.get(name, "") for name in ELSEWHERE}}
    os.environ.update({HOME: str(folder), **dict.fromkeys(ELSEWHERE, "")})
    try:
        yield
    finally:
        os.environ.update(before)
