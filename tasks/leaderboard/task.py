"""The leaderboard as a Prefect task: read rows and predictions, verified; score; return."""

from __future__ import annotations

import numpy as np
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.contracts import Candidate, EngineResult, Rows
from tasks.errors import EngineError
from tasks.evaluation import Leaderboard
from tasks.leaderboard.metrics import FloatArray
from tasks.leaderboard.ranking import rank
from tasks.problem import Problem
from tasks.storage import read_parquet


@task(name="leaderboard", cache_policy=NO_CACHE)
def score(problem: Problem, rows: Rows, results: tuple[EngineResult, ...]) -> Leaderboard:
    """Score what the engines left behind on the same selection rows; see ``ranking.rank``.

    Raises EngineError if no engine left a candidate, naming each engine's failure.
    """
    candidates = [candidate for result in results for candidate in result.candidates]
    if not candidates:
        causes = "; ".join(f"{result.engine}: {result.error or 'no candidate'}" for result in results)
        raise EngineError(f"no engine left a candidate ({causes})")
    frame = read_parquet(rows.ref, ["session", "label", "window"])
    predictions = {candidate.name: _predictions(candidate) for candidate in candidates}
    return rank(candidates, predictions, frame, rows.target, problem.folds)


def _predictions(candidate: Candidate) -> FloatArray:
    frame = read_parquet(candidate.predictions, ["prediction"])
    return frame["prediction"].to_numpy(dtype=np.float64)
