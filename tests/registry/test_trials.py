"""How much was tried: kept predictions, and independent things among them."""

from __future__ import annotations

import dataclasses
import logging
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import EngineResult, Snapshot
from tasks.documents import digest
from tasks.errors import StorageError
from tasks.evaluation import Leaderboard
from tasks.problem import Problem
from tasks.registry import trials
from tasks.registry.families import Family, term_of
from tasks.registry.ledger import Ledger
from tasks.storage import write_parquet
from tests.registry.judged import World, fit, score

PROBLEM = Problem(name="p", source="builtin:sp500", target="return")
FAMILY = Family(
    predicts=PROBLEM.predicts,
    symbols=frozenset({"SPX"}),
    series=frozenset(),
    term=term_of(pd.Timestamp("2018-12-31")),
)
ROWS = 500


def board(folder: Path, series: dict[str, np.ndarray], night: str) -> Leaderboard:
    """A night's leaderboard with these joined predictions."""
    table = {"symbol": "SPX", "time": pd.date_range("2015-01-01", periods=ROWS, tz="UTC"), "label": 0.0, **series}
    return Leaderboard(
        scores=tuple(dataclasses.replace(score("net", rank), candidate=name) for rank, name in enumerate(series, 1)),
        rows=ROWS,
        dates=ROWS,
        sha256=f"board-{night}",
        predictions=write_parquet(folder / f"joined-{night}.parquet", pd.DataFrame(table)),
    )


def snapshot(folder: Path) -> Snapshot:
    ref = write_parquet(folder / "bars.parquet", pd.DataFrame({"a": [1]}))
    return Snapshot(
        sha256="s", bars=ref, symbols=("SPX",), first="2015-01-01", last="2018-12-31T21:00:00+00:00", bar="1d",
        calendar="XNYS", true_opens=True, has_volume=True,
    )  # fmt: skip


def counted(ledger: Ledger, tmp_path: Path, night: Leaderboard, name: str = "p") -> int:
    problem = PROBLEM.model_copy(update={"name": name})
    trials.record(ledger, FAMILY, (problem, snapshot(tmp_path), night), (), tmp_path / "kept")
    return trials.count(ledger, FAMILY, tmp_path / "kept")


def test_independent_things_are_counted_over_all_nights(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    one, other, third = rng.normal(size=(3, ROWS))
    near = one + 0.1 * rng.normal(size=ROWS)
    with Ledger.in_memory() as ledger:
        first = board(tmp_path, {"a": one, "b": near}, "1")
        assert counted(ledger, tmp_path, first) == 1, "variations of one thing are one trial"
        assert counted(ledger, tmp_path, first) == 1, "the same night again is nothing new"
        assert counted(ledger, tmp_path, board(tmp_path, {"a": other, "c": third}, "2")) == 3
        assert counted(ledger, tmp_path, board(tmp_path, {"d": -1.0 * other}, "3"), name="renamed") == 4
        assert len(ledger.nights(FAMILY)) == 3
        alone = dataclasses.replace(FAMILY, symbols=frozenset({"NDX"}))
        assert trials.count(ledger, alone, tmp_path / "kept") == 0


def test_kept_predictions_outlive_the_stage_that_made_them(tmp_path: Path) -> None:
    night = board(tmp_path, {"a": np.random.default_rng(1).normal(size=ROWS)}, "1")
    assert night.predictions is not None
    with Ledger.in_memory() as ledger:
        counted(ledger, tmp_path, night)
        Path(night.predictions.path).unlink()
        kept = trials.keep(night.predictions, tmp_path / "kept")
        assert kept.name == f"{night.predictions.sha256}.parquet"
        assert trials.count(ledger, FAMILY, tmp_path / "kept") == 1
        assert [path.name for path in (tmp_path / "kept").iterdir()] == [kept.name], "nothing half-written is left"


def test_predictions_that_were_altered_are_not_kept(tmp_path: Path) -> None:
    night = board(tmp_path, {"a": np.zeros(ROWS)}, "1")
    assert night.predictions is not None
    Path(night.predictions.path).write_bytes(b"other")
    with pytest.raises(StorageError, match="not what was recorded"):
        trials.keep(night.predictions, tmp_path / "kept")
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_lost_file_counts_each_of_its_candidates_apart(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """More trials is the careful side: the deflated Sharpe ratio only falls."""
    one = np.random.default_rng(1).normal(size=ROWS)
    night = board(tmp_path, {"a": one, "b": one}, "1")
    with Ledger.in_memory() as ledger, caplog.at_level(logging.WARNING, "nocturne.registry"):
        assert counted(ledger, tmp_path, night) == 1
        next((tmp_path / "kept").iterdir()).unlink()
        assert trials.count(ledger, FAMILY, tmp_path / "kept") == 2
    assert "left out of the count" in caplog.text


def test_beyond_what_is_loaded_the_count_is_scaled_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    monkeypatch.setattr(trials, "MOST_SERIES", 4)
    with Ledger.in_memory() as ledger:
        for night in range(4):
            series = {f"c{night}-{number}": rng.normal(size=ROWS) for number in range(4)}
            found = counted(ledger, tmp_path, board(tmp_path, series, str(night)))
        assert found == 16


def test_every_candidate_is_noted_with_recipe_and_losses(tmp_path: Path) -> None:
    world = World(tmp_path)
    made = [fit(world, "net", "fit_fold_1", np.zeros(3)), fit(world, "mean", "", np.zeros(3))]
    night = board(tmp_path, {"net": np.zeros(ROWS)}, "1")
    scored = dataclasses.replace(night.scores[0], selection_score=0.2, score=0.3)
    night = dataclasses.replace(night, scores=(scored,), not_refitted={"mean": 0.4, "unknown": 0.5})
    noted = trials.trials_of(night, (EngineResult(engine="any", candidates=tuple(made)),))
    assert [(t.candidate, t.engine, t.selection_loss) for t in noted] == [
        ("net", "autokeras", 0.2),
        ("mean", "baseline", 0.4),
        ("unknown", "", 0.5),
    ]
    assert noted[0].recipe == digest(made[0].recipe)
    assert noted[0].fold_loss == 0.3
    assert math.isnan(noted[1].fold_loss)
    assert noted[2].recipe == ""
