"""The task reads what the engines left behind, verified, and hands it to the one scorer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Candidate, EngineResult, Rows, Target
from tasks.errors import EngineError, IntegrityError
from tasks.leaderboard.task import score
from tasks.problem import Problem
from tasks.storage import write_parquet

PROBLEM = Problem(name="test", source="builtin:sp500", folds=4)


@pytest.fixture
def rows(tmp_path: Path) -> Rows:
    frame = pd.DataFrame(
        {
            "session": pd.bdate_range("2020-01-01", periods=200),
            "label": np.linspace(-5.0, -4.0, 200),
            "window": np.repeat(["validation", "selection"], 100).astype(object),
        }
    )
    target = Target(name="volatility", horizon=1, kind="regression", loss="mse")
    ref = write_parquet(tmp_path / "rows.parquet", frame)
    return Rows(ref=ref, target=target, windows=(), purged=0, embargo=0, term_start="")


@pytest.fixture
def result(tmp_path: Path) -> EngineResult:
    found = []
    for name, level in (("mean", -4.5), ("low", -5.0)):
        ref = write_parquet(tmp_path / f"{name}.parquet", pd.DataFrame({"prediction": np.full(200, level)}))
        found.append(
            Candidate(
                name=name,
                engine="baseline",
                recipe={},
                model="",
                predictions=ref,
                train_seconds=0,
                predict_us_per_row=0,
            )
        )
    return EngineResult(engine="baseline", candidates=tuple(found))


def test_candidates_of_all_engines_are_scored_and_failed_engines_do_not_stop_it(
    rows: Rows, result: EngineResult
) -> None:
    board = score.fn(PROBLEM, rows, (EngineResult(engine="h2o", error="no Java"), result))
    assert [item.candidate for item in board.scores] == ["mean", "low"]
    assert len(board.scores[0].fold_scores) == 4


def test_no_candidate_at_all_names_every_engine(rows: Rows) -> None:
    with pytest.raises(EngineError, match=r"h2o: no Java; baseline: no candidate"):
        score.fn(PROBLEM, rows, (EngineResult(engine="h2o", error="no Java"), EngineResult(engine="baseline")))


def test_altered_predictions_are_never_scored(rows: Rows, result: EngineResult) -> None:
    path = Path(result.candidates[0].predictions.path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(IntegrityError, match=r"mean\.parquet"):
        score.fn(PROBLEM, rows, (result,))
