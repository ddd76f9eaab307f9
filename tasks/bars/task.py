"""Ingest as a Prefect task: bars in, a reference to an immutable snapshot out."""

from __future__ import annotations

from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.bars.describe import from_problem
from tasks.bars.ingest import ingest_source
from tasks.contracts import Snapshot
from tasks.errors import NocturneError
from tasks.masking import at_the_edge
from tasks.problem import Problem


def _a_retry_can_help(_task: Any, _run: Any, state: Any) -> bool:
    return isinstance(state.data, NocturneError) and state.data.retryable


@task(
    name="ingest",
    description="Read bars, check every row, append what is new to the bar store, freeze a snapshot.",
    cache_policy=NO_CACHE,
    retries=2,
    retry_delay_seconds=[2, 10],
    retry_condition_fn=_a_retry_can_help,
)
@at_the_edge
def ingest(problem: Problem) -> Snapshot:
    """The problem's bars as a snapshot. Raises as ``ingest_source`` does; only an unreachable source is tried again."""
    return ingest_source(from_problem(problem), pd.Timestamp.now("UTC"))
