"""How far AutoML is, asked beside the client's own polling, which has no place for it."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any, Self

from tasks.search.engine import Progress
from tasks.search.h2o_cluster import H2OCluster
from tasks.search.h2o_frames import LABEL
from tasks.search.h2o_server import H2OServer

_EVERY_SECONDS = 2.0


class ProgressPoll:
    """While the block runs, reports the models on AutoML's leaderboard (ensembles do not count) and the best loss."""

    def __init__(self, server: H2OServer | H2OCluster, project: str, allowed: int, progress: Progress) -> None:
        self._server, self._project, self._allowed, self._progress = server, project, allowed, progress
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._poll, name="h2o-progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()

    def _poll(self) -> None:
        seen = -1
        while not self._over.wait(_EVERY_SECONDS):
            try:
                board = self._server.get(f"/99/Leaderboards/{self._project}@@{LABEL}")
            except (OSError, ValueError):
                continue
            done = models_done(board)
            if done != seen:
                seen = done
                self._progress(done, self._allowed, best_loss(board), "searching")


def models_done(board: dict[str, Any]) -> int:
    """Base models on a leaderboard document."""
    return sum(not model["name"].startswith("StackedEnsemble") for model in board.get("models") or [])


def best_loss(board: dict[str, Any]) -> float | None:
    """The best validation loss on a leaderboard document, None while there is none."""
    losses = board.get("sort_metrics") or []
    return float(min(losses)) if losses else None
