"""A rollout of two real models on real bars, from the gate's approval to its end, in one process with one server.

``python -m tests.flows.run_rollout folder out.json``. The S&P 500's volatility: the day's own range as champion, HAR as
challenger. The night's end that lets it begin gradually, evenings that see more bars each, a night that refreshes the
champion in between, and the commands. Out comes every document, with the standing after it.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from flows import settings

settings.apply()

from typer.testing import CliRunner  # noqa: E402 - Prefect reads its settings when it is imported

from flows.cli import app  # noqa: E402
from flows.nightly import _begin_takeover  # noqa: E402
from flows.rollout import _rows, rollout  # noqa: E402
from tasks.contracts import Candidate, EngineResult  # noqa: E402
from tasks.documents import digest  # noqa: E402
from tasks.evaluation import Decision, Leaderboard  # noqa: E402
from tasks.features.task import build_features  # noqa: E402
from tasks.live import Standing  # noqa: E402
from tasks.problem import Problem, build  # noqa: E402
from tasks.registry import judgement, mlflow_store, places  # noqa: E402
from tasks.registry.fits import Fits  # noqa: E402
from tasks.registry.ledger import Asked, Ledger  # noqa: E402
from tasks.registry.nights import register  # noqa: E402
from tasks.registry.promotions import history, standing  # noqa: E402
from tasks.registry.records import Entry, LoggedNight, Night  # noqa: E402
from tasks.registry.verification import Subject  # noqa: E402
from tasks.storage import read_parquet, write_parquet  # noqa: E402
from tests.registry.conftest import linear_model, score  # noqa: E402

NAME = "sp500-volatility"
GATED, BEGIN, FIRST, SECOND, LAST = "2013-12-31", "2015-06-30", "2015-07-20", "2015-08-31", "2016-12-30"
COLUMNS = {"plain": ("har_1",), "har": ("har_1", "har_5", "har_22")}


def problem(as_of: str) -> Problem:
    """The demo's problem as it was on a day, which lets a new recipe take over gradually."""
    values = {"name": NAME, "source": "builtin:sp500", "target": "volatility"}
    return build({**values, "takeover": "gradual", "max_lookback": 60, "as_of": as_of}, "demo", {}, "test")


def tonight(folder: Path, as_of: str) -> Night:
    """The bars of a day with their features and rows; nothing was searched."""
    asked = problem(as_of)
    snapshot, rows = _rows(asked)
    board = Leaderboard(scores=tuple(score(name, rank, 0.1 * rank) for rank, name in enumerate(COLUMNS, start=1)),
                        rows=1, dates=1, sha256=as_of)  # fmt: skip
    features = build_features(asked, snapshot)
    made = Night(problem=asked, snapshot=snapshot, features=features, rows=rows, results=(), leaderboard=board,
                 code_version="test")  # fmt: skip
    fitted = tuple(candidate(folder / as_of, made, name) for name in COLUMNS)
    return replace(made, results=(EngineResult(engine="linear", candidates=fitted),))


def candidate(folder: Path, night: Night, name: str) -> Candidate:
    """``plain`` says today's range, ``har`` a regression on all that was known at the end of 2013."""
    frame = read_parquet(night.features.ref, ["time", *COLUMNS[name]])
    label = read_parquet(night.rows.ref, ["label"])["label"].to_numpy(np.float64)
    x = frame[list(COLUMNS[name])].to_numpy(np.float64)
    seen = (frame["time"] <= pd.Timestamp(GATED, tz="UTC")).to_numpy() & np.isfinite(x).all(axis=1) & np.isfinite(label)
    fit: npt.NDArray[np.float64] = np.array([0.0, 1.0])
    if name == "har":
        fit = np.linalg.lstsq(np.column_stack([np.ones(seen.sum()), x[seen]]), label[seen], rcond=None)[0]
    slopes = [float(value) for value in fit[1:]]
    model = linear_model(
        folder / name, COLUMNS[name], intercept=float(fit[0]), coefficients=slopes, center=[0.0] * len(slopes),
        scale=[1.0] * len(slopes), clip=None,
    )  # fmt: skip
    said = pd.DataFrame({"prediction": fit[0] + x @ fit[1:]})
    return Candidate(
        name=name, engine="linear", recipe={"kind": name}, model=str(model), train_seconds=0.1, predict_us_per_row=0.1,
        predictions=write_parquet(folder / f"{name}.parquet", said),
    )  # fmt: skip


def ends(night: Night, name: str, decision: Decision, read_row: int = 0) -> Standing:
    """The end of a night that had this leader or champion and this decision; verified in a clean process."""
    store = mlflow_store.open_store()
    experiment = mlflow_store.experiment(store, NAME)
    run = mlflow_store.new_run(store, experiment, "night", {})
    logged = LoggedNight(run_id=run, experiment_id=experiment, tracking_uri=store.tracking_uri, url="")
    fitted = next(item for item in night.results[0].candidates if item.name == name)
    with Ledger.open() as ledger:
        expected = standing(ledger, NAME)
    entry = Entry(
        shipped=fitted, gated=fitted, shipped_training_end=night.snapshot.last, decision=decision, expected=expected,
        gated_training_end=f"{GATED}T21:00:00+00:00", score=night.leaderboard.scores[0], read_row=read_row,
    )  # fmt: skip
    subject = Subject(registered=register(store, night, logged, entry), entry=entry)
    fits = Fits(gated={}, all_rows={})
    return places.take_places(store, night, logged, fits, subject, mlflow_store.champion(store, NAME))


def won(night: Night) -> int:
    """The gate's read that approves HAR, as the ledger notes it."""
    seen = read_parquet(night.rows.ref, ["symbol", "session", "label", "window"])
    recipe = digest({"kind": "har"})
    asked = Asked(
        problem=NAME, family=judgement.family_of(night.problem, night.snapshot, seen), recipe=recipe, evidence="e",
        dates=[f"{seen['session'].max():%Y-%m-%d}"], alpha=night.problem.alpha,
    )  # fmt: skip
    with Ledger.open() as ledger:
        reading = ledger.spend(asked)
        ledger.record_decision(reading, NAME, recipe, approved())
    return reading.row


def approved() -> Decision:
    """What the gate says of HAR."""
    return Decision(outcome="promoted", promote="har", reasons=("better than every baseline",))


def command(*arguments: str) -> dict[str, Any]:
    """What a command prints as JSON."""
    done = CliRunner().invoke(app, [*arguments, "--set", "max_lookback=60", "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def after(document: dict[str, Any]) -> dict[str, Any]:
    """The document with the standing that it leaves, and without the dates one by one."""
    with Ledger.open() as ledger:
        now = asdict(standing(ledger, NAME))
    return {**{name: value for name, value in document.items() if name != "history"}, "now": now}


def main(folder: Path, out: Path) -> None:
    """From the first champion to the challenger's."""
    first = tonight(folder, BEGIN)
    ends(first, "plain", Decision(outcome="baseline", promote="plain", reasons=("first",)))
    now = ends(first, "har", approved(), won(first))
    _begin_takeover(first.problem, approved(), now, now.challenger)
    found = {"begun": after(command("rollout", NAME))}
    found["first"] = after(rollout(problem(FIRST)))
    refreshed = Decision(outcome="refreshed", promote="plain", reasons=("refitted",))
    ends(tonight(folder, SECOND), "plain", refreshed)
    found["refreshed"] = after(rollout(problem(SECOND)))
    found["last"] = after(command("rollout", NAME, "--score", "--set", f"as_of={LAST}"))
    found["over"] = after(rollout(problem(LAST)))
    with Ledger.open() as ledger:
        found["moves"] = [asdict(move) for move in history(ledger, NAME)][::-1]  # type: ignore[assignment]
        found["outcomes"] = ledger.chain.rows("outcomes")  # type: ignore[assignment]
    out.write_text(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
