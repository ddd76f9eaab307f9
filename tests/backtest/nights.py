"""What the stages before the backtest leave: a stored snapshot, rows and joined predictions."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks.contracts import Candidate, Rows, Snapshot
from tasks.evaluation import Leaderboard, Score
from tasks.problem import Problem
from tasks.storage import write_parquet
from tests.backtest.markets import exchange_sessions

NAMES = ("good", "noise")


@dataclass(frozen=True)
class Night:
    """A problem with everything its backtest reads; folds from the 150th bar to the 249th, the gate after."""

    problem: Problem
    snapshot: Snapshot
    rows: Rows
    board: Leaderboard
    gated: tuple[Candidate, ...]
    bars: pd.DataFrame


def night(folder: Path, symbols: int = 2, bars: int = 330, **values: Any) -> Night:
    """Made bars on the exchange's sessions; ``good`` knows part of what comes, ``noise`` nothing."""
    fields = {"name": "test", "source": "bars.csv", "target": "return", "horizon": 1, **values}
    problem = Problem(**fields)
    frame = _bars(symbols, bars)
    rng = np.random.default_rng(1)
    ahead = frame.groupby("symbol")["close"].shift(-problem.horizon)
    moved = pd.Series(np.log(ahead.to_numpy(float) / frame["close"].to_numpy(float)))
    classify = problem.objective.kind == "classification"
    frame["label"] = (moved > 0).astype(float).where(moved.notna()) if classify else moved
    frame["label_end"] = frame.groupby("symbol")["time"].shift(-problem.horizon)
    place = frame.groupby("symbol").cumcount()
    frame["window"] = np.select([place < 150, place < 250, frame["label"].notna()], ["train", "fold", "gate"], "")
    known = np.nan_to_num(moved) + rng.normal(0, 0.02, len(frame))
    guessed = rng.normal(0, 0.02, len(frame))
    for name, edge in zip(NAMES, (known, guessed), strict=True):
        frame[name] = 0.5 + np.clip(5 * edge, -0.4, 0.4) if classify else edge
    snapshot = Snapshot(
        sha256="0" * 64, bars=write_parquet(folder / "bars.parquet", frame), symbols=tuple(frame["symbol"].unique()),
        first="", last="", bar="1d", calendar=problem.calendar, true_opens=True, has_volume=True,
    )  # fmt: skip
    rows = Rows(
        ref=write_parquet(folder / "rows.parquet", frame), target=problem.objective, windows=(), purged=0, embargo=5,
        term_start="",
    )  # fmt: skip
    joined = frame.loc[frame["window"] == "fold", ["symbol", "time", "session", "label", "label_end", *NAMES]]
    scores = tuple(
        Score(rank=place, candidate=name, engine="linear", metric="mse", direction="minimize", score=1.0, skill=0.0)
        for place, name in enumerate(NAMES, 1)
    )
    predictions = write_parquet(folder / "joined.parquet", joined.reset_index(drop=True))
    board = Leaderboard(scores=scores, rows=len(joined), dates=100, sha256="", predictions=predictions)
    return Night(problem, snapshot, rows, board, tuple(_gated(folder, frame, name) for name in NAMES), frame)


def _bars(symbols: int, bars: int) -> pd.DataFrame:
    sessions = pd.DatetimeIndex(exchange_sessions("2015-01-02", "2017-12-29")[:bars])
    parts = []
    for place in range(symbols):
        rng = np.random.default_rng(place)
        close = 50.0 * np.exp(np.cumsum(rng.normal(3e-4, 0.015, bars)))
        opens = np.append(close[0], close[:-1]) * np.exp(rng.normal(0, 0.004, bars))
        times = sessions.tz_localize("UTC") + pd.Timedelta(hours=21)
        part = {"symbol": f"S{place:03d}", "time": times, "session": sessions, "open": opens, "close": close}
        parts.append(pd.DataFrame({**part, "volume": rng.uniform(1e5, 1e6, bars)}))
    return pd.concat(parts, ignore_index=True)


def _gated(folder: Path, frame: pd.DataFrame, name: str) -> Candidate:
    stored = write_parquet(
        folder / f"{name}.parquet", frame[["symbol", "time", name]].rename(columns={name: "prediction"})
    )
    return Candidate(
        name=name, engine="linear", recipe={}, model="", predictions=stored, train_seconds=0.0,
        predict_us_per_row=0.0, rows="fit_gate",
    )  # fmt: skip
