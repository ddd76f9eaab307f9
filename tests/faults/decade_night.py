"""One night of the simulated decade, by the product's own guard, opening, ingest, store, ledger, journal and record.

What stands in for the rest: the six linear baselines' place is taken by two of them (last value, HAR), fitted by the
engines' own least squares on the engines' own features; they are judged on every session that came since the night
before. There is no Prefect server (a run is a ``FlowRun`` in its context), no search of engines, no MLflow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt
import pandas as pd
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from flows import guard, opening
from tasks import storage
from tasks.bars.describe import from_problem
from tasks.bars.ingest import ingest_source
from tasks.contracts import Snapshot
from tasks.errors import NocturneError
from tasks.features.matrix import compute
from tasks.problem import Problem
from tasks.registry.families import Family, term_of
from tasks.registry.ledger import Ledger, Trial
from tasks.registry.standings import standing, swap
from tasks.search import linear_fit
from tests.faults.simulated import SOURCE, Clock

NAME = "decade"
PROBLEM = Problem(name=NAME, source=SOURCE, target="volatility", engines=("baseline",))
WAITING = PROBLEM.model_copy(update={"fresh_within": 1})
"""In every fifth year the problem asks for fresh bars: its nights wait where they are late."""
RECIPES = {"last_value": ("har_1",), "har": ("har_1", "har_5", "har_22")}
STAGES = ("ingest", "search", "leaderboard", "register", "report")
LOOKBACK = 22
Floats = npt.NDArray[np.float64]


class NoClock:
    """In the place of the clock that measures a night's stages."""

    @contextmanager
    def stage(self, _: str) -> Iterator[None]:
        """Nothing is measured."""
        yield


def run(flow_run: FlowRun, clock: Clock) -> str:
    """The state that a deployment's run ends in: Completed, Skipped, Unchanged, or the name of its error."""
    context: Any = FlowRunContext.model_construct(flow_run=flow_run)
    problem = WAITING if clock.now.year % 5 == 3 else PROBLEM
    with context, _without_a_server(clock):
        try:
            guard.refuse(problem)
            with opening.opened(problem, "", NoClock()) as night:  # type: ignore[arg-type]
                if night.over is not None:
                    return str(night.over.name)
                night.keep(_stages(night, clock))  # type: ignore[arg-type]
        except NocturneError as error:
            return type(error).__name__
    return "Completed"


@contextmanager
def _without_a_server(clock: Clock) -> Iterator[None]:
    """What a night asks Prefect and MLflow is answered here."""
    ingest = mock.Mock(side_effect=lambda problem: ingest_source(from_problem(problem), pd.Timestamp(clock.shown)))
    with (
        mock.patch("flows.late.ingest", ingest),
        mock.patch("flows.late._show"),
        mock.patch("flows.late.tell"),
        mock.patch("flows.opening.tell"),
        mock.patch("flows.opening.deployment", SimpleNamespace(get_id=lambda: "a deployment")),
        mock.patch("flows.opening.champion_now", _champion),
        mock.patch("flows.opening.document", lambda facts: facts.document),
        mock.patch("flows.opening.publish_unchanged"),
    ):
        yield


def _champion(name: str) -> SimpleNamespace | None:
    with Ledger.open() as ledger:
        version = standing(ledger, name).champion
    return SimpleNamespace(version=version) if version else None


def _stages(night: opening.Opening, clock: Clock) -> SimpleNamespace:
    with night.stage("ingest"):
        snapshot = ingest_source(from_problem(PROBLEM), pd.Timestamp(clock.shown))
        night.dead_seen_to()
    with night.stage("search"):
        bars = storage.read_parquet(snapshot.bars)
        models, forecasts = _fitted(bars)
    with night.stage("leaderboard"):
        document = _judged(bars, forecasts, models)
    with night.stage("register"):
        document |= _registered(snapshot, document, night.run)
    with night.stage("report"):
        report = storage.write_text(storage.home() / "reports" / NAME / "newest.html", f"<p>{document['last']}</p>")
    document |= {"run_id": night.run, "report": report.path, "whole": True, "reproducible": True}
    return SimpleNamespace(document=document, decision=SimpleNamespace(outcome="kept"))


def record() -> dict[str, Any]:
    """The last complete night's document; empty before there is one."""
    path = storage.home() / "runs" / NAME / "last.json"
    found: dict[str, Any] = storage.read_json(path)["document"] if path.exists() else {}
    return found


def _fitted(bars: pd.DataFrame) -> tuple[dict[str, Any], dict[str, Floats]]:
    """Each recipe's coefficients, fitted on every labelled row, and the last night's models' forecasts by session."""
    arrays: dict[str, Any] = {name: bars[name].to_numpy(float) for name in ("open", "high", "low", "close", "volume")}
    X = compute({**arrays, "session": bars["session"].to_numpy().astype("datetime64[D]")}, RECIPES["har"], 0.01)
    label = np.r_[X[1:, 0], np.nan]
    rows = np.arange(LOOKBACK, len(X) - 1)
    models, forecasts = {}, {}
    for name, columns in RECIPES.items():
        model = linear_fit.fit(columns, X[rows, : len(columns)].copy(), label[rows])
        weights = model.coefficients / model.scale
        models[name] = [float(model.intercept - weights @ model.center), *weights.tolist()]
        before = np.array(record().get("models", models)[name])
        forecasts[name] = np.r_[np.nan, before[0] + X[:-1, : len(columns)] @ before[1:]] - np.r_[np.nan, label[:-1]]
    return models, forecasts


def _judged(bars: pd.DataFrame, errors: dict[str, Floats], models: dict[str, Any]) -> dict[str, Any]:
    """The errors of the sessions that no night before has judged, and the chain of all that ever were."""
    before = record()
    since = pd.Timestamp(before["last"]) if before else bars["session"].iloc[-2]
    new = np.flatnonzero(bars["session"].to_numpy() > since.to_datetime64())
    days = [str(pd.Timestamp(day).date()) for day in bars["session"].to_numpy()[new]]
    tonight = {day: {name: float(errors[name][at]) for name in RECIPES} for day, at in zip(days, new, strict=True)}
    return {
        "tonight": tonight or before["tonight"],  # the same bars give the same leaderboard, which the ledger knows
        "judged": before.get("judged", 0) + len(days),
        "chain": chained(before.get("chain", ""), days),
        "last": str(bars["session"].iloc[-1].date()),
        "models": models,
    }


def chained(before: str, days: list[str]) -> str:
    """A digest of the sessions in the order in which they were judged."""
    for day in days:
        before = storage.sha256_json([before, day])
    return before


def _registered(snapshot: Snapshot, document: dict[str, Any], run: str) -> dict[str, Any]:
    """The ledger counts the night's trials; in a new month the models become the champion."""
    last = document["last"]
    family = Family(
        predicts=PROBLEM.predicts, symbols=frozenset(snapshot.symbols), series=frozenset(),
        term=term_of(pd.Timestamp(last)), problem=NAME,
    )  # fmt: skip
    row = {"last": last, "leaderboard": storage.sha256_json(document["tonight"]), "snapshot": snapshot.sha256,
           "predictions": "", "rows": len(document["tonight"]), "dates": len(document["tonight"])}  # fmt: skip
    losses = {name: _mean_square(document["tonight"], name) for name in RECIPES}
    with Ledger.open() as ledger:
        ledger.append_trials(NAME, family, row, [
            Trial(candidate=name, engine="baseline", recipe=name, selection_loss=loss, fold_loss=loss)
            for name, loss in losses.items()
        ])  # fmt: skip
        now = standing(ledger, NAME)
        if not now.champion or record().get("last", "")[:7] < last[:7]:
            change = dataclasses.replace(now, champion=str(now.epoch + 1))
            now = swap(ledger, now, change, "refreshed", ("a month has begun",), "", run)
    said = {"outcome": "kept", "promoted": False, "headline": "kept", "reasons": []}
    return {"decision": said | {"champion_version": now.champion}, "leaderboard": []}


def _mean_square(tonight: dict[str, dict[str, float]], name: str) -> float:
    return float(np.mean([errors[name] ** 2 for errors in tonight.values()])) if tonight else float("nan")
