"""The Prefect tasks of the backtest: load bars, rows and predictions, evaluate, save equities, return the figures."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd
from prefect import task
from prefect.cache_policies import NO_CACHE

from tasks.backtest import checks, tear_sheet
from tasks.backtest.candidates import TARGETS, Result, Setting, evaluate, setting
from tasks.backtest.market import Market, market_of, sessions_a_year
from tasks.contracts import Candidate, Ref, Rows, Snapshot, resolved
from tasks.documents import from_json, to_json
from tasks.errors import EngineError
from tasks.evaluation import Backtest, Leaderboard, ZiplineCheck
from tasks.masking import at_the_edge
from tasks.problem import Problem
from tasks.storage import (
    StageStore,
    read_json,
    read_parquet,
    read_predictions,
    sha256_file,
    write_json,
    write_parquet,
    write_text,
)

CODE = (
    "tasks/backtest", "tasks/statistics", "tasks/contracts.py", "tasks/evaluation.py", "tasks/documents.py",
    "tasks/problem.py", "tasks/storage.py", "tasks/templates.py",
)  # fmt: skip
FIELDS = (
    "source", "calendar", "target", "horizon", "positions", "commission_bps", "spread_bps", "impact", "borrow_bps",
    "capital",
)  # fmt: skip
BARS = ["symbol", "time", "session", "open", "close", "volume"]
RESULT, CHECKS, SHEET = "backtests.json", "checks.json", "tear_sheet.html"
log = logging.getLogger("nocturne.backtest")


class Given(NamedTuple):
    """What every backtest of a night starts from."""

    problem: Problem
    snapshot: Snapshot
    rows: Rows


@task(name="backtest", cache_policy=NO_CACHE)
@at_the_edge
def backtest(problem: Problem, snapshot: Snapshot, rows: Rows, board: Leaderboard, trials: int) -> tuple[Backtest, ...]:
    """Every ranked candidate, and buy-and-hold, on the joined walk-forward rows; nothing for volatility.

    ``trials``: independent trials so far, by which the Sharpe ratios are deflated.
    """
    if problem.target not in TARGETS or board.predictions is None:
        return ()
    given, stored = Given(problem, snapshot, rows), board.predictions
    names = [entry.candidate for entry in board.scores]

    def results() -> list[Result]:
        return _evaluated(given, stored, names, trials)[1]

    return _stored({"predictions": stored.sha256, "names": names, "trials": trials, **_inputs(given)}, results)


@task(name="backtest on the gate", cache_policy=NO_CACHE)
@at_the_edge
def backtest_gate(
    problem: Problem, snapshot: Snapshot, rows: Rows, gated: tuple[Candidate, ...], trials: int
) -> tuple[Backtest, ...]:
    """The same on the gate's rows, for fits that saw nothing of them; call it only where the gate has been read."""
    if problem.target not in TARGETS or not gated:
        return ()
    given = Given(problem, snapshot, rows)
    predictions = {candidate.name: candidate.predictions for candidate in gated}

    def results() -> list[Result]:
        keys = read_parquet(rows.ref, ["symbol", "time", "window"])
        inside = (keys["window"] == "gate").to_numpy()
        where = setting(problem, snapshot, *_market_and_labels(given), keys["time"][inside])
        values = {name: read_predictions(ref)[inside] for name, ref in predictions.items()}
        return evaluate(where, keys.loc[inside, ["symbol", "time"]], values, "gate", trials)

    digests = {name: ref.sha256 for name, ref in predictions.items()}
    return _stored({"gate": digests, "trials": trials, **_inputs(given)}, results)


@task(name="zipline check", cache_policy=NO_CACHE)
@at_the_edge
def zipline_check(
    problem: Problem, snapshot: Snapshot, rows: Rows, board: Leaderboard, names: tuple[str, ...]
) -> tuple[ZiplineCheck, ...]:
    """Winner and champion (``names``, those ranked) traded by Zipline in a process of its own; see ``checks.py``.

    Never fails a night: what cannot be checked says why.
    """
    wanted = [name for name in dict.fromkeys(names) if name in {entry.candidate for entry in board.scores}]
    if problem.target not in TARGETS or board.predictions is None or not wanted:
        return ()
    if checks.obstacle(problem):
        return tuple(ZiplineCheck(candidate=name, error=checks.obstacle(problem)) for name in wanted)
    store, given = StageStore(), Given(problem, snapshot, rows)
    inputs = {"predictions": board.predictions.sha256, "names": wanted, **_inputs(given)}
    key = store.key("zipline", inputs, CODE)
    folder = store.get("zipline", key)
    if folder is not None:
        kept: tuple[ZiplineCheck, ...] = from_json(tuple[ZiplineCheck, ...], read_json(folder / CHECKS))
        return kept
    where, results = _evaluated(given, board.predictions, wanted, 1)
    told = tuple(checks.check(problem, snapshot, where, result) for result in results if result.figures.rule != "hold")
    if not any(check.error for check in told):  # what failed for once is tried again the next time
        with store.put("zipline", key) as staging:
            write_json(staging / CHECKS, to_json(told))
    return told


@task(name="tear sheet", cache_policy=NO_CACHE)
@at_the_edge
def draw_tear_sheet(problem: Problem, told: Backtest) -> Ref | None:
    """A page on one backtest, in the store; None, and a warning, where it could not be drawn."""
    if told.equity is None:
        return None
    store = StageStore()
    inputs = {"equity": told.equity.sha256, "figures": to_json(dataclasses.replace(told, equity=None))}
    key = store.key("tear_sheet", {**inputs, "problem": problem.name, "calendar": problem.calendar}, CODE)
    folder = store.get("tear_sheet", key)
    if folder is None:
        try:
            page = tear_sheet.render(told, read_parquet(told.equity), problem.name, sessions_a_year(problem.calendar))
        except EngineError as error:
            log.warning("no tear sheet: %s", error)
            return None
        with store.put("tear_sheet", key) as staging:
            write_text(staging / SHEET, page)
        folder = store.folder("tear_sheet", key)
    return Ref(path=str(folder / SHEET), sha256=sha256_file(folder / SHEET), rows=1)


def _evaluated(given: Given, predictions: Ref, names: list[str], trials: int) -> tuple[Setting, list[Result]]:
    frame = read_parquet(predictions)
    where = setting(given.problem, given.snapshot, *_market_and_labels(given), frame["time"])
    values = {name: frame[name].to_numpy(float) for name in names}
    return where, evaluate(where, frame[["symbol", "time"]], values, "folds", trials)


def _inputs(given: Given) -> dict[str, Any]:
    fields = given.problem.model_dump(mode="json")
    return {
        "snapshot": given.snapshot.sha256,
        "quarantined": list(given.snapshot.quarantined),
        "true_opens": given.snapshot.true_opens,
        "events": given.snapshot.events.sha256 if given.snapshot.events else "",
        "rows": given.rows.ref.sha256,
        "problem": {name: fields[name] for name in FIELDS},
    }


def _market_and_labels(given: Given) -> tuple[Market, pd.DataFrame]:
    snapshot = given.snapshot
    happened = read_parquet(snapshot.events) if snapshot.events else None
    market = market_of(read_parquet(snapshot.bars, BARS), given.problem.calendar, snapshot.quarantined, happened)
    return market, read_parquet(given.rows.ref, ["label", "label_end"])


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
