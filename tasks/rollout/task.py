"""Prefect's side of a rollout, in the order in which its flow calls it.

```
draft(problem, rows, gated, versions)       the plan but for its read: clip bound, streams, from when dates count
record(plan, snapshot, rows, said, …)       tonight's forecasts of both models, and the outcomes that are there now
assessment(plan, …)                         every date's e-value and step, from all the evidence there is
publish(assessment)                         page, artifact
```

None is cached: what was said and lost is kept by the rollout's own store, once.
"""

from __future__ import annotations

import dataclasses
import logging
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt
import pandas as pd
from prefect import task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE

from tasks.contracts import Ref, Rows, Snapshot
from tasks.documents import digest
from tasks.errors import ConfigurationError
from tasks.masking import at_the_edge
from tasks.problem import Problem
from tasks.rollout import evidence, words
from tasks.rollout.assess import Assessment
from tasks.rollout.plan import LIMIT_DATES, Mode, Plan
from tasks.rollout.reading import last_closed, store_of, where, write_page
from tasks.statistics.eprocess import clip_bound
from tasks.statistics.overlap import label_overlap
from tasks.storage import read_parquet, read_predictions

COLUMNS = ["symbol", "time", "session", "label", "label_end"]
log = logging.getLogger("nocturne.rollout")


@task(name="agree on a rollout", cache_policy=NO_CACHE)
@at_the_edge
def draft(
    problem: Problem,
    rows: Rows,
    gated: tuple[Ref, Ref],
    *,
    versions: tuple[str, str],
    gated_learned: str,
    mode: Mode,
    limit: int = LIMIT_DATES,
) -> Plan:
    """What a rollout of these versions (champion, challenger) from tonight on would be, without its read and level.

    gated: both gated fits' predictions, aligned with the rows; on dates after ``gated_learned`` (ISO) they are out of
    sample, and the clip bound is fixed there. Raises ConfigurationError where that cannot be.
    """
    frame, loss = read_parquet(rows.ref, COLUMNS), rows.target.loss
    champion, challenger = (read_predictions(ref) for ref in gated)
    prior = evidence.earlier_differences(frame, champion, challenger, loss, gated_learned).to_numpy(np.float64)
    now = datetime.now(UTC)
    agreed = Plan(
        id=f"{now:%Y%m%dT%H%M%S%fZ}-v{versions[1]}",
        name=problem.name,
        mode=mode,
        champion=versions[0],
        challenger=versions[1],
        predicts=problem.predicts,
        loss=loss,
        started=now.isoformat(timespec="seconds"),
        after=f"{frame['session'].max():%Y-%m-%d}",
        streams=1 + label_overlap(frame[["symbol", "session"]], rows.target.horizon),
        bound=_bound(problem.name, versions, prior),
        level=problem.alpha / 2,
        limit=limit,
        prior=tuple(prior.tolist()),
    )
    return _identified(agreed)


@task(name="score both models", cache_policy=NO_CACHE)
@at_the_edge
def record(
    plan: Plan, snapshot: Snapshot, rows: Rows, said: tuple[Ref, Ref], *, learned: str, share: float
) -> tuple[int, int]:
    """Note what champion and challenger say of new dates, and what both lost on dates whose labels have ended.

    said: their predictions, aligned with the rows. ``learned``: the close (ISO) of the last bar that one of them
    learned from. The same night again adds nothing. Returns how many rows of each were added.
    """
    store = store_of(plan)
    frame = read_parquet(rows.ref, COLUMNS)
    champion, challenger = (read_predictions(ref) for ref in said)
    known, scored = store.read("forecasts"), store.read("outcomes")
    closed = last_closed(snapshot.calendar, frame)
    new = evidence.new_forecasts(
        frame, champion, challenger, known,
        after=plan.after, learned=learned, share=share, scored=scored, closed=closed,
    )  # fmt: skip
    store.append("forecasts", new)
    spoken = pd.concat([known, new], ignore_index=True) if len(known) else new
    outcomes = evidence.new_outcomes(frame, spoken, scored, loss=plan.loss, bound=plan.bound, streams=plan.streams)
    store.append("outcomes", outcomes)
    log.info("%s: %d new forecasts, %d outcomes", plan.name, len(new), len(outcomes))
    return len(new), len(outcomes)


@task(name="where the rollout stands", cache_policy=NO_CACHE)
@at_the_edge
def assessment(plan: Plan, snapshot: Snapshot | None = None, logs: str = "") -> Assessment:
    """Every date's e-value and step. Where clients' logs lie below ``logs``, they are compared with the house's own."""
    return where(plan, snapshot, logs)


@task(name="rollout page", cache_policy=NO_CACHE)
@at_the_edge
def publish(found: Assessment) -> str:
    """Write the page, leave the artifact in Prefect; returns the page's path."""
    path = write_page(found)
    create_markdown_artifact(
        words.as_markdown(found, path), key=f"rollout-{found.plan.name}", description=words.headline(found)
    )
    return path


def _bound(name: str, versions: tuple[str, str], prior: npt.NDArray[np.float64]) -> float:
    try:
        return clip_bound(prior)
    except ValueError as error:
        raise ConfigurationError(f"{name}: versions {' and '.join(versions)}: {error}") from error


def _identified(plan: Plan) -> Plan:
    """With the digest of what is agreed. Its id is in it: begun again after a stop, it is another rollout."""
    agreed = [plan.name, plan.mode, plan.champion, plan.challenger, plan.after, plan.bound, plan.limit, plan.predicts]
    return dataclasses.replace(plan, evidence=digest([plan.id, *agreed]))
