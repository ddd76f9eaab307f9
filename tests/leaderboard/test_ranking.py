"""The leaderboard: who is first, ties, refusals, blocks, and a digest that forgets only the clock."""

from __future__ import annotations

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Candidate, EngineName, Ref, Target
from tasks.documents import from_json, to_json
from tasks.errors import EngineError
from tasks.evaluation import Leaderboard
from tasks.leaderboard.metrics import FloatArray
from tasks.leaderboard.ranking import digest, rank

VOLATILITY = Target(name="volatility", horizon=1, kind="regression", loss="mse")
DIRECTION = Target(name="direction", horizon=1, kind="classification", loss="log_loss")
RETURN = Target(name="return", horizon=1, kind="regression", loss="mse")
ROWS = 500


def candidate(name: str, engine: EngineName = "baseline", seconds: float = 1.0) -> Candidate:
    return Candidate(
        name=name,
        engine=engine,
        recipe={},
        model=f"models/{name}",
        predictions=Ref(path="", sha256="", rows=ROWS),
        train_seconds=seconds,
        predict_us_per_row=seconds,
    )


@pytest.fixture
def rows() -> pd.DataFrame:
    rng = np.random.default_rng(2)
    window = np.repeat(["train", "validation", "blending", "selection", "gate"], 100).astype(object)
    return pd.DataFrame(
        {
            "session": pd.bdate_range("2020-01-01", periods=ROWS),
            "label": np.where(np.arange(ROWS) < ROWS - 1, rng.normal(-4.8, 0.4, ROWS), np.nan),
            "window": window,
        }
    )


def around(rows: pd.DataFrame, spread: float, seed: int = 3) -> FloatArray:
    noise = np.random.default_rng(seed).normal(0, spread, ROWS)
    return np.asarray(rows["label"].to_numpy() + noise, dtype=np.float64)


def test_the_lowest_selection_loss_is_first_and_skill_is_against_the_best_baseline(rows: pd.DataFrame) -> None:
    predictions = {"last": around(rows, 0.5), "har": around(rows, 0.3), "gbm": around(rows, 0.2)}
    names: list[tuple[str, EngineName]] = [("last", "baseline"), ("har", "baseline"), ("gbm", "h2o")]
    board = rank([candidate(*name) for name in names], predictions, rows, VOLATILITY, 5)
    assert [score.candidate for score in board.scores] == ["gbm", "har", "last"]
    assert [score.rank for score in board.scores] == [1, 2, 3]
    selection = (rows["window"] == "selection").to_numpy()
    losses = {name: np.mean((rows["label"] - f)[selection] ** 2) for name, f in predictions.items()}
    for score in board.scores:
        assert score.score == pytest.approx(losses[score.candidate], rel=1e-12)
        assert score.skill == pytest.approx(1 - losses[score.candidate] / losses["har"], rel=1e-12)
        assert score.metric == "mse"
        assert set(score.metrics) == {"mse", "rmse", "mae", "r2", "qlike"}
    assert (board.rows, board.dates) == (100, 100)


def test_only_selection_rows_score(rows: pd.DataFrame) -> None:
    honest, other = around(rows, 0.3), around(rows, 0.3)
    other[(rows["window"] == "gate").to_numpy()] = 99.0
    other[(rows["window"] == "train").to_numpy()] = np.nan
    boards = [rank([candidate("har")], {"har": f}, rows, VOLATILITY, 5) for f in (honest, other)]
    assert boards[0] == boards[1]


def test_smearing_comes_from_validation_and_blending_rows(rows: pd.DataFrame) -> None:
    prediction = around(rows, 0.3)
    board = rank([candidate("har")], {"har": prediction}, rows, VOLATILITY, 5)
    held_out = rows["window"].isin(["validation", "blending"]).to_numpy()
    assert board.smearing["har"] == pytest.approx(np.mean(np.exp(2 * (rows["label"] - prediction)[held_out])))
    prediction[held_out] = np.nan
    without = rank([candidate("har")], {"har": prediction}, rows, VOLATILITY, 5)
    assert without.smearing == {}
    assert "qlike" not in without.scores[0].metrics


def test_ties_go_to_the_simpler_engine_and_then_to_the_name(rows: pd.DataFrame) -> None:
    same = around(rows, 0.3)
    names: list[tuple[str, EngineName]] = [
        ("b", "autokeras"), ("c", "h2o"), ("a", "h2o"), ("z", "linear"), ("y", "baseline"),
    ]  # fmt: skip
    # A loss that is lower in its last digits is rounding and not a rank.
    closer = same + (rows["label"].to_numpy() - same) * 1e-14
    predictions = {name: closer if name == "b" else same for name, _ in names}
    board = rank([candidate(*name) for name in names], predictions, rows, VOLATILITY, 5)
    assert [score.candidate for score in board.scores] == ["y", "z", "a", "c", "b"]
    assert board.scores[-1].score < board.scores[0].score


def test_the_order_of_candidates_changes_nothing(rows: pd.DataFrame) -> None:
    names = [f"m{i}" for i in range(6)]
    predictions = {name: around(rows, 0.3, seed) for seed, name in enumerate(names)}
    boards = [rank([candidate(n) for n in order], predictions, rows, VOLATILITY, 5) for order in (names, names[::-1])]
    assert boards[0] == boards[1]


def test_candidates_that_cannot_be_scored_on_every_row_are_refused_by_name(rows: pd.DataFrame) -> None:
    holes, diverged = around(rows, 0.3), around(rows, 0.3)
    place = np.flatnonzero(rows["window"] == "selection")
    holes[place[:3]] = [np.nan, np.inf, -np.inf]
    diverged[place[0]] = 1e200
    predictions = {"har": around(rows, 0.3), "holes": holes, "short": holes[:10], "diverged": diverged}
    names = ["har", "holes", "short", "diverged", "absent"]
    board = rank([candidate(name) for name in names], predictions, rows, VOLATILITY, 5)
    assert [score.candidate for score in board.scores] == ["har"]
    assert board.refused["holes"] == "3 of 100 predictions on the selection rows are not finite"
    assert board.refused["short"] == "it has 10 predictions for 500 rows"
    assert "1e+200" in board.refused["diverged"]
    assert board.refused["absent"] == "it has no predictions"


def test_what_is_no_probability_is_refused(rows: pd.DataFrame) -> None:
    rows["label"] = (rows["label"] > -4.8).astype(float)
    predictions = {"base": np.full(ROWS, 0.5), "odd": np.full(ROWS, 1.2)}
    board = rank([candidate("base"), candidate("odd")], predictions, rows, DIRECTION, 5)
    assert board.refused == {"odd": "100 of 100 predictions on the selection rows are no probabilities"}
    assert board.scores[0].score == pytest.approx(math.log(2))
    assert set(board.scores[0].metrics) == {"log_loss", "brier", "auc", "calibration_error", "hit_rate", "base_rate"}


def test_without_a_ranked_baseline_there_is_no_leaderboard(rows: pd.DataFrame) -> None:
    predictions = {"har": np.full(ROWS, np.nan), "gbm": around(rows, 0.2)}
    with pytest.raises(EngineError, match=r"no baseline could be ranked \(har: 100 of 100"):
        rank([candidate("har"), candidate("gbm", "h2o")], predictions, rows, VOLATILITY, 5)


def test_two_candidates_of_one_name_are_refused(rows: pd.DataFrame) -> None:
    with pytest.raises(EngineError, match="share a name: har"):
        rank([candidate("har"), candidate("har", "linear")], {"har": around(rows, 0.3)}, rows, VOLATILITY, 5)


@pytest.mark.parametrize(("folds", "count"), [(1, 1), (5, 5), (7, 7), (400, 100)])
def test_blocks_are_consecutive_dates_and_cover_the_selection(rows: pd.DataFrame, folds: int, count: int) -> None:
    prediction = around(rows, 0.3)
    score = rank([candidate("har")], {"har": prediction}, rows, VOLATILITY, folds).scores[0]
    assert len(score.fold_scores) == count
    losses = ((rows["label"] - prediction)[(rows["window"] == "selection").to_numpy()] ** 2).to_numpy()
    expected = [float(part.mean()) for part in np.array_split(losses, count)]
    np.testing.assert_allclose(score.fold_scores, expected, rtol=1e-12)


def test_a_panel_is_cut_into_blocks_by_date(rows: pd.DataFrame) -> None:
    both = pd.concat([rows, rows], ignore_index=True)
    prediction = around(rows, 0.3)
    alone = rank([candidate("har")], {"har": prediction}, rows, VOLATILITY, 7).scores[0]
    panel = rank([candidate("har")], {"har": np.tile(prediction, 2)}, both, VOLATILITY, 7)
    assert (panel.rows, panel.dates) == (200, 100)
    np.testing.assert_allclose(panel.scores[0].fold_scores, alone.fold_scores, rtol=1e-12)


def test_undefined_metrics_are_left_out_and_the_board_survives_json(rows: pd.DataFrame) -> None:
    rows["label"] = rows["label"] + 4.8
    board = rank([candidate("zero")], {"zero": np.zeros(ROWS)}, rows, RETURN, 5)
    assert "ic" not in board.scores[0].metrics
    assert board.scores[0].metrics["r2_zero"] == 0.0
    text = json.dumps(to_json(board), allow_nan=False)
    assert from_json(Leaderboard, json.loads(text)) == board


def test_the_digest_forgets_the_clock_and_nothing_else(rows: pd.DataFrame) -> None:
    prediction = around(rows, 0.3)
    boards = [rank([candidate("har", seconds=s)], {"har": prediction}, rows, VOLATILITY, 5) for s in (1.0, 9.0)]
    assert boards[0].sha256 == boards[1].sha256 == digest(boards[0])
    assert boards[0].scores[0].train_seconds != boards[1].scores[0].train_seconds
    changed = dataclasses.replace(boards[0].scores[0], score=boards[0].scores[0].score * (1 + 1e-9))
    assert digest(dataclasses.replace(boards[0], scores=(changed,))) != boards[0].sha256
    rounding = dataclasses.replace(boards[0].scores[0], score=boards[0].scores[0].score * (1 + 1e-15))
    assert digest(dataclasses.replace(boards[0], scores=(rounding,))) == boards[0].sha256
    assert digest(dataclasses.replace(boards[0], refused={"x": "why"})) != boards[0].sha256
