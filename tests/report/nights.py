"""Nights to render: small, made here, of every target, with whatever a test wants changed."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
import pandas as pd

from tasks.contracts import (
    Candidate,
    EngineName,
    EngineResult,
    Ref,
    Rows,
    Snapshot,
    Target,
    TargetName,
    Window,
    WindowName,
)
from tasks.evaluation import Backtest, Decision, Evidence, GateComparison, Leaderboard, NightStatistics, Score
from tasks.problem import Problem
from tasks.report.facts import Facts
from tasks.report.night import Night, Predictions
from tasks.report.series import Floats

SPLIT: tuple[tuple[WindowName, float, float], ...] = (
    ("train", 0.12, 0.5),
    ("validation", 0.51, 0.58),
    ("blending", 0.59, 0.66),
    ("selection", 0.67, 0.70),
    ("fold", 0.71, 0.86),
    ("gate", 0.87, 0.995),
)
PROBABILITY = ("log_loss", "brier", "auc", "calibration_error", "rank_ic", "icir", "turnover", "hit_rate", "base_rate")
METRICS: dict[TargetName, tuple[str, ...]] = {
    "volatility": ("mse", "rmse", "mae", "r2", "qlike", "effective_sample"),
    "return": (
        "mse",
        "rmse",
        "r2_zero",
        "ic",
        "rank_ic",
        "icir",
        "decile_spread",
        "turnover",
        "hit_rate",
        "base_rate",
        "effective_sample",
    ),
    "direction": PROBABILITY,
    "triple_barrier": PROBABILITY,
}
SHA = "0123456789abcdef" * 4


def bars(symbols: tuple[str, ...] = ("SPX",), rows: int = 700, seed: int = 7) -> pd.DataFrame:
    """Geometric random walks on business days."""
    rng = np.random.default_rng(seed)
    session = pd.bdate_range("2015-01-02", periods=rows)
    frames = [
        pd.DataFrame(
            {
                "symbol": symbol,
                "time": session.tz_localize("UTC") + pd.Timedelta(hours=21),
                "session": session,
                "close": 100 * np.exp(np.cumsum(0.01 * rng.standard_normal(rows))),
            }
        )
        for symbol in symbols
    ]
    return pd.concat(frames, ignore_index=True)


def labels(frame: pd.DataFrame, target: TargetName, seed: int = 8) -> pd.DataFrame:
    """Random labels of the target's kind, and windows in time order with gaps between them."""
    rng = np.random.default_rng(seed)
    n = len(frame)
    made = {
        "volatility": -4.8 + 0.4 * rng.standard_normal(n),
        "return": 0.01 * rng.standard_normal(n),
        "direction": (rng.random(n) < 0.55).astype(float),
        "triple_barrier": (rng.random(n) < 0.45).astype(float),
    }[target]
    sessions = np.sort(frame["session"].unique())
    place = np.searchsorted(sessions, frame["session"].to_numpy()) / len(sessions)
    window = np.full(n, "", dtype=object)
    for name, first, last in SPLIT:
        window[(place >= first) & (place < last)] = name
    return frame[["symbol", "time", "session"]].assign(label=made, window=window)


def forecasts(frame: pd.DataFrame, target: TargetName, strength: float, seed: int) -> Floats:
    """Labels seen through noise: the larger ``strength``, the better."""
    rng = np.random.default_rng(seed)
    label = frame["label"].to_numpy(np.float64)
    if target in ("direction", "triple_barrier"):
        noise = 0.05 * rng.standard_normal(len(label))
        return np.asarray(np.clip(0.55 + strength * (label - 0.55) + noise, 0.02, 0.98), dtype=np.float64)
    noise = 0.2 * label.std() * rng.standard_normal(len(label))
    return np.asarray(label.mean() + strength * (label - label.mean()) + noise, dtype=np.float64)


def windows(frame: pd.DataFrame) -> tuple[Window, ...]:
    """The windows as contracts, counted from the frame."""
    found = []
    for name, _, _ in SPLIT:
        part = frame[frame["window"] == name]
        first, last = part["time"].min().isoformat(), part["time"].max().isoformat()
        found.append(Window(name=name, first=first, last=last, rows=len(part), dates=part["time"].nunique()))
    return tuple(found)


def scores(target: TargetName, count: int = 5, seed: int = 3) -> tuple[Score, ...]:
    """A leaderboard of so many candidates, a third of them baselines, with plausible metrics."""
    rng = np.random.default_rng(seed)
    engines: tuple[EngineName, ...] = ("h2o", "linear", "baseline", "autokeras", "baseline")
    losses = np.sort(0.1 + 0.02 * rng.random(count))
    reference = losses[min(2, count - 1)]
    return tuple(
        Score(
            rank=i + 1,
            candidate=f"{engines[i % 5]}-candidate-{i + 1}",
            engine=engines[i % 5],
            metric=METRICS[target][0],
            direction="minimize",
            score=float(loss),
            skill=float(1 - loss / reference),
            metrics={name: float(rng.random()) for name in METRICS[target][1:]} | {METRICS[target][0]: float(loss)},
            fold_scores=tuple(float(loss * (1 + 0.1 * x)) for x in rng.standard_normal(5)),
            skill_interval=(float(-0.05 * rng.random()), float(0.05 * rng.random())),
            p_values={f"{engines[k % 5]}-candidate-{k + 1}": float(rng.random()) for k in range(count) if k != i},
            selection_score=float(loss),
            train_seconds=float(20 * rng.random()),
            predict_us_per_row=float(30 * rng.random()),
        )
        for i, loss in enumerate(losses)
    )


def comparison(rival: str, role: Literal["champion", "baseline"], p: float) -> GateComparison:
    """One rival at the gate."""
    return GateComparison(
        rival=rival, role=role, rival_loss=0.115, challenger_loss=0.112, difference=0.003, statistic=1.9, p_value=p,
        dates=504, lag=5, clark_west_p=p / 2, hln_p=1.1 * p, qlike_worse_p=0.6,
    )  # fmt: skip


def engine(name: EngineName, count: int = 2, **changes: Any) -> EngineResult:
    """An engine that went well, unless changed."""
    made = [
        Candidate(
            name=f"{name}-{i}", engine=name, recipe={}, model=f"{name}-{i}",
            predictions=Ref(path="p.parquet", sha256=SHA, rows=1), train_seconds=1.0, predict_us_per_row=2.0,
        )
        for i in range(count)
    ]  # fmt: skip
    return dataclasses.replace(
        EngineResult(engine=name, candidates=tuple(made), work_seconds=12.0, start_seconds=3.0), **changes
    )


def night(target: TargetName = "volatility", symbols: tuple[str, ...] = ("SPX",), **changes: Any) -> Night:
    """A whole night of a target; ``changes`` replace fields of its facts."""
    frame = bars(symbols)
    rows = labels(frame, target)
    board = scores(target)
    problem = Problem(name=f"spx-{target.replace('_', '-')}", source="builtin:sp500", target=target)
    snapshot = Snapshot(
        sha256=SHA, bars=Ref(path="/data/bars.parquet", sha256=SHA, rows=len(frame)), symbols=symbols,
        first=frame["time"].min().isoformat(), last=frame["time"].max().isoformat(), bar="1d", calendar="XNYS",
        true_opens=False, has_volume=True,
    )  # fmt: skip
    objective = problem.objective
    facts = Facts(
        run_id="20260101T020000-abcd",
        problem=problem.model_dump(mode="json"),
        started="2026-01-01T02:00:00+00:00",
        snapshot=snapshot,
        rows=_rows(objective, rows),
        leaderboard=_leaderboard(target, board),
        decision=Decision(outcome="promoted", promote=board[0].candidate, reasons=("better than every rival",)),
        evidence=Evidence(
            challenger=board[0].candidate, challenger_engine=board[0].engine, challenger_recipe_sha256=SHA,
            best_baseline=board[2].candidate, dates=504, effective=504.0, read=2, level=0.05 / 6,
            gate_losses={board[0].candidate: 0.112, board[2].candidate: 0.115},
            comparisons=(comparison(board[2].candidate, "baseline", 0.03),),
        ),
        engines=tuple(engine(name) for name in ("baseline", "linear", "h2o", "autokeras")),
        importance_of=board[0].candidate,
        importance=(("har_1", 0.5), ("har_22", 0.25), ("return_1", 0.1)),
        version="3",
        model_uri=f"models:/spx-{target}@champion",
        tracking_uri="sqlite:////home/me/var/mlflow.db",
        other_histories=(0.031, 0.012, -0.004, 0.027, 0.019),
        bars_needed=756,
        seconds={"ingest": 1.2, "search": 95.0, "report": 2.0},
        engine_seconds={"h2o": 90.0, "autokeras": 80.0},
        versions={"nocturne": "0.1.0", "h2o": "3.46.0.11"},
        digests={"lock": SHA},
    )  # fmt: skip
    return Night(
        facts=dataclasses.replace(facts, **changes),
        bars=frame,
        labels=rows,
        predictions=_predictions(rows, target, board),
        equities={board[0].candidate: equity()} if facts.leaderboard.backtests else {},
    )


def plain(target: TargetName = "volatility", **changes: Any) -> Night:
    """A night without forecasts to draw, which take most of the time."""
    return dataclasses.replace(night(target, **changes), predictions=())


def _rows(target: Target, frame: pd.DataFrame) -> Rows:
    return Rows(
        ref=Ref(path="/data/rows.parquet", sha256=SHA, rows=len(frame)), target=target, windows=windows(frame),
        purged=5, embargo=5, term_start="2017-06-01T21:00:00+00:00",
    )  # fmt: skip


def _leaderboard(target: TargetName, board: tuple[Score, ...]) -> Leaderboard:
    names = tuple(score.candidate for score in board)
    return Leaderboard(
        scores=board, rows=105, dates=105, sha256=SHA[::-1], not_refitted={"h2o-drf-1": 0.2},
        statistics=NightStatistics(
            spa_p=0.21, superior=(), confidence_set=names[:3], overfitting=0.4, trials=7,
            mincer_zarnowitz={names[0]: (0.01, 0.97, 0.3)},
        ),
        backtests=() if target == "volatility" else tuple(backtest(name) for name in (*names[:3], "buy and hold")),
    )  # fmt: skip


def backtest(name: str) -> Backtest:
    """What a candidate would have earned."""
    return Backtest(
        candidate=name, rule="sign", rows="folds", dates=105, annual_return=0.04, excess_return=0.03,
        annual_volatility=0.15, sharpe=0.2, max_drawdown=0.21, turnover=80.0, costs=0.012, break_even_bps=3.2,
        alpha=-0.01, beta=0.3, alpha_t=-0.4, deflated_sharpe=0.12, capacity=2.5e7,
        illustrative="an index cannot be traded",
    )  # fmt: skip


def equity(rows: int = 105) -> pd.DataFrame:
    """Growth of one, after and before costs, and of holding."""
    rng = np.random.default_rng(5)
    grown = np.exp(np.cumsum(0.01 * rng.standard_normal((rows, 3)), axis=0))
    return pd.DataFrame(grown, columns=["net", "gross", "hold"]).assign(
        session=pd.bdate_range("2016-01-04", periods=rows)
    )


def _predictions(rows: pd.DataFrame, target: TargetName, board: tuple[Score, ...]) -> tuple[Predictions, ...]:
    good, fair = (forecasts(rows, target, strength, seed) for strength, seed in ((0.5, 1), (0.3, 2)))
    return (
        Predictions(candidate=board[0].candidate, role="leader", folds=good, gate=good),
        Predictions(candidate=board[2].candidate, role="baseline", folds=fair, gate=fair),
    )
