"""The Prefect tasks of the backtest: load bars, rows and predictions, evaluate, save equities, return the figures."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.backtest.candidates import TARGETS, Result, evaluate, setting
from tasks.backtest.market import Market, market_of
from tasks.contracts import Candidate, Rows, Snapshot, resolved
from tasks.documents import from_json, to_json
from tasks.evaluation import Backtest, Leaderboard
from tasks.problem import Problem
from tasks.storage import StageStore, read_json, read_parquet, write_json, write_parquet

CODE = (
    "tasks/backtest", "tasks/statistics", "tasks/contracts.py", "tasks/evaluation.py", "tasks/documents.py",
    "tasks/problem.py", "tasks/storage.py",
)  # fmt: skip
FIELDS = (
    "source", "calendar", "target", "horizon", "positions", "commission_bps", "spread_bps", "impact", "borrow_bps",
    "capital",
)  # fmt: skip
BARS = ["symbol", "time", "session", "open", "close", "volume"]
RESULT = "backtests.json"
log = logging.getLogger("nocturne.backtest")


@task(name="backtest", cache_policy=NO_CACHE)
def backtest(problem: Problem, snapshot: Snapshot, rows: Rows, board: Leaderboard, trials: int) -> tuple[Backtest, ...]:
    """Every ranked candidate, and buy-and-hold, on the joined walk-forward rows; nothing for volatility.

    ``trials``: independent trials so far, by which the Sharpe ratios are deflated.
    """
    if problem.target not in TARGETS or board.predictions is None:
        return ()
    stored = board.predictions
    names = [entry.candidate for entry in board.scores]

    def results() -> list[Result]:
        frame = read_parquet(stored)
        where = setting(problem, snapshot, *_market_and_labels(problem, snapshot, rows), frame["time"])
        predictions = {name: frame[name].to_numpy(float) for name in names}
        return evaluate(where, frame[["symbol", "time"]], predictions, "folds", trials)

    return _stored({"predictions": stored.sha256, "trials": trials, **_inputs(problem, snapshot, rows)}, results)


@task(name="backtest on the gate", cache_policy=NO_CACHE)
def backtest_gate(
    problem: Problem, snapshot: Snapshot, rows: Rows, gated: tuple[Candidate, ...], trials: int
) -> tuple[Backtest, ...]:
    """The same on the gate's rows, for fits that saw nothing of them; call it only where the gate has been read."""
    if problem.target not in TARGETS or not gated:
        return ()
    predictions = {candidate.name: candidate.predictions for candidate in gated}

    def results() -> list[Result]:
        keys = read_parquet(rows.ref, ["symbol", "time", "window"])
        inside = (keys["window"] == "gate").to_numpy()
        where = setting(problem, snapshot, *_market_and_labels(problem, snapshot, rows), keys["time"][inside])
        values = {name: read_parquet(ref)["prediction"].to_numpy(float)[inside] for name, ref in predictions.items()}
        return evaluate(where, keys.loc[inside, ["symbol", "time"]], values, "gate", trials)

    digests = {name: ref.sha256 for name, ref in predictions.items()}
    return _stored({"gate": digests, "trials": trials, **_inputs(problem, snapshot, rows)}, results)


def _inputs(problem: Problem, snapshot: Snapshot, rows: Rows) -> dict[str, Any]:
    fields = problem.model_dump(mode="json")
    return {
        "snapshot": snapshot.sha256,
        "quarantined": list(snapshot.quarantined),
        "rows": rows.ref.sha256,
        "problem": {name: fields[name] for name in FIELDS},
    }


def _market_and_labels(problem: Problem, snapshot: Snapshot, rows: Rows) -> tuple[Market, pd.DataFrame]:
    market = market_of(read_parquet(snapshot.bars, BARS), problem.calendar, snapshot.quarantined)
    return market, read_parquet(rows.ref, ["label", "label_end"])


def _stored(inputs: dict[str, Any], results: Callable[[], list[Result]]) -> tuple[Backtest, ...]:
    """The figures from the store, computed first if they are not there."""
    store = StageStore()
    key = store.key("backtest", inputs, CODE)
    folder = store.get("backtest", key)
    if folder is None:
        with store.put("backtest", key) as staging:
            _write(staging, results())
        folder = store.folder("backtest", key)
    told: tuple[Backtest, ...] = resolved(from_json(tuple[Backtest, ...], read_json(folder / RESULT)), str(folder))
    return told


def _write(folder: Path, results: list[Result]) -> None:
    told = []
    for place, result in enumerate(results):
        name = f"equity_{place:03d}.parquet"
        ref = write_parquet(folder / name, result.equity)
        told.append(dataclasses.replace(result.figures, equity=dataclasses.replace(ref, path=name)))
    write_json(folder / RESULT, to_json(tuple(told)))
    log.info("backtest: %d candidates on %d sessions", len(told) - 1, told[-1].dates)
