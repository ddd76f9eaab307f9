"""Rows with real windows, and candidates on them: what the leaderboard is tested with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Candidate, EngineName, Ref, Target
from tasks.evaluation import Leaderboard
from tasks.leaderboard.joined import Walked
from tasks.leaderboard.ranking import rank
from tasks.leaderboard.shortlist import Shortlist
from tasks.splits.windows import assign_windows

FloatArray = npt.NDArray[np.float64]
VOLATILITY = Target(name="volatility", horizon=1, kind="regression", loss="mse")
DIRECTION = Target(name="direction", horizon=1, kind="classification", loss="log_loss")
RETURN = Target(name="return", horizon=1, kind="regression", loss="mse")
BARRIER = Target(name="triple_barrier", horizon=5, kind="classification", loss="log_loss", profit=2.0, stop=2.0)
CALENDAR = pd.bdate_range("1970-01-01", "2030-01-01")


def rows_of(
    dates: int = 1200, *, symbols: int = 1, horizon: int = 1, folds: int = 5, embargo: int = 5, seed: int = 2
) -> pd.DataFrame:
    """Rows as the stage of windows leaves them: daily bars, labels drawn at random, windows of ``assign_windows``."""
    days = pd.bdate_range("2012-01-02", periods=dates)
    closes = (days + pd.Timedelta(hours=21)).tz_localize("UTC")
    ends = np.concatenate([closes[horizon:].to_numpy("datetime64[ns]"), np.full(horizon, np.datetime64("NaT", "ns"))])
    names = np.repeat([f"S{i:03d}" for i in range(symbols)], dates).astype(object)
    label = np.where(
        np.isnat(np.tile(ends, symbols)), np.nan, np.random.default_rng(seed).normal(-4.8, 0.4, len(names))
    )
    frame = pd.DataFrame(
        {
            "symbol": names,
            "time": pd.DatetimeIndex(np.tile(closes.to_numpy("datetime64[ns]"), symbols)).tz_localize("UTC"),
            "session": np.tile(days.to_numpy("datetime64[ns]"), symbols),
            "label": label,
            "label_end": pd.DatetimeIndex(np.tile(ends, symbols)).tz_localize("UTC"),
            "weight": 1.0 / horizon,
        }
    )
    plan = assign_windows(
        pd.DatetimeIndex(frame["time"]),
        pd.DatetimeIndex(frame["session"]),
        pd.DatetimeIndex(frame["label_end"]),
        np.tile(np.arange(dates) >= 20, symbols),
        CALENDAR,
        gate_sessions=150,
        term=40,
        embargo=embargo,
        horizon=horizon,
        folds=folds,
        symbols=names,
    )
    return frame.assign(window=plan.window, scored_by=plan.scored_by, **plan.fits)


def fold_fits(rows: pd.DataFrame) -> list[str]:
    return [name for name in rows.columns if name.startswith("fit_fold_")]


def around(rows: pd.DataFrame, spread: float, seed: int = 3) -> FloatArray:
    """Predictions of every row: the label and noise (the label's mean where there is none)."""
    noise = np.random.default_rng(seed).normal(0, spread, len(rows))
    return np.asarray(rows["label"].fillna(-4.8).to_numpy() + noise, dtype=np.float64)


def walked(
    rows: pd.DataFrame, name: str, prediction: FloatArray, engine: EngineName = "baseline", **changes: Any
) -> Walked:
    """A recipe whose every fit predicts the same, wherever its own fold does not say otherwise."""
    given: dict[str, Any] = {
        "name": name,
        "engine": engine,
        "fits": dict.fromkeys(fold_fits(rows), prediction),
        "search": prediction,
        "lost": {},
        "train_seconds": 1.0,
        "predict_us_per_row": 2.0,
    }
    return Walked(**{**given, **changes})


def board(
    rows: pd.DataFrame, candidates: list[Walked], target: Target = VOLATILITY, shortlist: Shortlist | None = None
) -> Leaderboard:
    """The leaderboard of candidates that were all on the shortlist."""
    chosen = shortlist or Shortlist(names=tuple(c.name for c in candidates))
    return rank(rows, {c.name: c for c in candidates}, target, chosen).leaderboard


def candidate(
    name: str, engine: EngineName = "baseline", recipe: Mapping[str, Any] | None = None, **changes: Any
) -> Candidate:
    """A searched candidate with a recipe of its own, unless one is given."""
    given: dict[str, Any] = {
        "name": name,
        "engine": engine,
        "recipe": {"algorithm": name} if recipe is None else dict(recipe),
        "model": f"models/{name}",
        "predictions": Ref(path="", sha256="", rows=0),
        "train_seconds": 1.0,
        "predict_us_per_row": 2.0,
    }
    return Candidate(**{**given, **changes})
