"""The inspection as a task: what it reads, what it says, and what it keeps for the limits of later nights."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.bars.describe import from_problem
from tasks.bars.ingest import ingest_source
from tasks.contracts import Candidate, EngineResult, Rows
from tasks.evaluation import Backtest, Leaderboard, Score
from tasks.leaderboard.task import inspect, market_of_noise
from tasks.problem import Problem
from tasks.statistics.shuffle import shuffled_labels
from tasks.storage import home, read_json, read_parquet, write_json, write_parquet
from tests.leaks.in_bars import half_hours_of, sp500
from tests.leaks.night import source_of

PROBLEM = Problem(name="made", source="builtin:sp500", target="return")
DATES, FOLD = 1200, 700
SEED = 5


class Made:
    """A night of returns that nothing knows, or that a candidate knows in part."""

    def __init__(self, folder: Path, *, knows: float = 0.0, canary_knows: float = 0.0, sharpe: float = 0.5) -> None:
        random = np.random.default_rng(1)
        sessions = pd.bdate_range("2010-01-04", periods=DATES)
        label = 0.01 * random.standard_normal(DATES)
        place = np.arange(DATES)
        rows = pd.DataFrame(
            {
                "symbol": "A",
                "time": sessions.tz_localize("UTC"),
                "session": sessions,
                "label": np.where(place < DATES - 1, label, np.nan),
                "label_end": (sessions + pd.Timedelta(days=1)).tz_localize("UTC"),
                "scored_by": np.where(place >= FOLD, "fit_fold_1", ""),
                "fit_fold_1": place < FOLD - 5,
            }
        )
        self.rows = Rows(
            ref=write_parquet(folder / "rows.parquet", rows), target=PROBLEM.objective, windows=(), purged=0, embargo=5,
            term_start="",
        )  # fmt: skip
        scored = rows.iloc[FOLD : DATES - 1].reset_index(drop=True).drop(columns=["scored_by", "fit_fold_1"])
        noise = 1e-4 * random.standard_normal(len(scored))
        joined = scored.assign(fold=1, zero=0.0, model=knows * scored["label"] + noise)
        growth = np.cumprod(1.0 + 0.01 * (random.standard_normal(len(scored)) + sharpe / np.sqrt(252)))
        equity = write_parquet(folder / "equity.parquet", pd.DataFrame({"session": scored["session"], "net": growth}))
        self.board = Leaderboard(
            scores=(_score("model", "linear"), _score("zero", "baseline")),
            rows=len(scored), dates=len(scored), sha256="",
            predictions=write_parquet(folder / "joined.parquet", joined),
            backtests=(_backtest(equity),),
        )  # fmt: skip
        shuffled = shuffled_labels(
            rows["label"].to_numpy(), rows["session"].to_numpy(), rows["symbol"].to_numpy(), SEED
        )
        forecast = canary_knows * np.nan_to_num(shuffled) + 1e-5 * random.standard_normal(DATES)
        predictions = write_parquet(folder / "canary.parquet", pd.DataFrame({"prediction": forecast}))
        canary = Candidate(
            name="canary", engine="linear", recipe={}, model="", predictions=predictions, train_seconds=0.0,
            predict_us_per_row=0.0, rows="fit_fold_1", shuffle=SEED,
        )  # fmt: skip
        self.refitted = (EngineResult(engine="linear", candidates=(canary,)),)

    def inspect(self, truncation: tuple[str, ...] = ()) -> tuple[str, ...]:
        found: tuple[str, ...] = inspect.fn(PROBLEM, self.rows, self.board, self.refitted, truncation)
        return found


def _score(name: str, engine: Any) -> Score:
    return Score(rank=1, candidate=name, engine=engine, metric="mse", direction="minimize", score=1.0, skill=0.0)


def _backtest(equity: Any) -> Backtest:
    return Backtest(
        candidate="model", rule="sign", rows="folds", dates=DATES - FOLD, annual_return=0.1, excess_return=0.08,
        annual_volatility=0.16, sharpe=0.5, max_drawdown=0.1, turnover=1.0, costs=0.0, break_even_bps=0.0, alpha=0.0,
        beta=0.0, equity=equity,
    )  # fmt: skip


def kept() -> list[dict[str, float]]:
    return [read_json(path) for path in sorted((home() / "canaries").rglob("*.json"))]


def test_a_clean_night_raises_nothing_and_keeps_its_canary_once(tmp_path: Path) -> None:
    night = Made(tmp_path)
    assert night.inspect() == ()
    assert night.inspect() == ()
    (drawn,) = kept()
    assert set(drawn) == {"r2", "ic", "hit_rate"}


@pytest.mark.parametrize(
    ("plant", "words"),
    [
        ({"knows": 0.1}, "model: R² over the base rate"),
        ({"canary_knows": 0.1}, "fitted on shuffled labels"),
        ({"sharpe": 9.0}, "model: Sharpe ratio after costs"),
    ],
)
def test_each_kind_of_leak_is_named_and_its_canary_not_kept(
    tmp_path: Path, plant: dict[str, float], words: str
) -> None:
    found = Made(tmp_path, **plant).inspect()
    assert any(words in text for text in found)
    assert kept() == []


def test_buy_and_hold_of_a_steep_market_is_no_leak(tmp_path: Path) -> None:
    """The same equity is one under the name of a candidate, and none beside them."""
    night = Made(tmp_path, sharpe=9.0)
    assert any("Sharpe" in text for text in night.inspect())
    (steep,) = night.board.backtests
    held = dataclasses.replace(steep, candidate="buy and hold", rule="hold")
    night.board = dataclasses.replace(night.board, backtests=(held,))
    assert night.inspect() == ()


def test_what_the_truncation_test_found_comes_first(tmp_path: Path) -> None:
    assert Made(tmp_path).inspect(("har_5 changes",)) == ("har_5 changes",)
    assert kept() == []


def test_a_night_without_a_canary_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    night = Made(tmp_path)
    night.refitted = (EngineResult(engine="linear", error="gone"),)
    assert night.inspect() == ()
    assert "no canary was fitted" in caplog.text
    assert kept() == []


def test_a_year_of_canaries_moves_the_limit(tmp_path: Path) -> None:
    """A figure between the stated limit and what canaries reached is no alarm once a year of them is known."""
    night = Made(tmp_path, knows=0.007)
    assert any("R²" in text for text in night.inspect())
    Made(tmp_path / "clean").inspect()
    (folder,) = (home() / "canaries").iterdir()
    for number in range(252):
        write_json(folder / f"{number}.json", {"r2": 0.0199, "ic": 0.19, "hit_rate": 0.09})
    assert not any("R²" in text for text in night.inspect())


@pytest.mark.parametrize("target", ["return", "volatility"])
def test_a_market_of_noise_is_the_problem_on_other_bars(target: Any) -> None:
    problem = Problem(name="made", source="builtin:sp500", target=target, price_scale=2.0)
    snapshot = ingest_source(from_problem(problem), pd.Timestamp.now("UTC"))
    noisy = market_of_noise(problem, snapshot, 3)
    again = ingest_source(from_problem(noisy), pd.Timestamp.now("UTC"))
    assert noisy.name == "made-canary"
    assert noisy.predicts == problem.predicts
    assert (again.sessions, again.first, again.last) == (snapshot.sessions, snapshot.first, snapshot.last)
    assert again.sha256 != snapshot.sha256
    real, made = read_parquet(snapshot.bars), read_parquet(again.bars)
    np.testing.assert_allclose(made["open"].iloc[0], real["open"].iloc[0])
    ranges = np.log(made["high"] / made["low"]) - np.log(real["high"] / real["low"])
    assert (np.abs(ranges).max() < 1e-9) == (target == "return")


def test_intraday_noise_keeps_its_stamps(tmp_path: Path) -> None:
    bars = half_hours_of(sp500().iloc[-40:].reset_index(drop=True))
    problem = Problem(name="made", source=source_of(bars), target="return", bar="30min")
    snapshot = ingest_source(from_problem(problem), pd.Timestamp.now("UTC"))
    again = ingest_source(from_problem(market_of_noise(problem, snapshot, 3)), pd.Timestamp.now("UTC"))
    pd.testing.assert_series_equal(read_parquet(again.bars)["time"], read_parquet(snapshot.bars)["time"])
