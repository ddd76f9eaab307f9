"""Factors from out-of-sample residuals: of the selection window and of earlier folds, never of the fold itself."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from tasks.leaderboard.joined import Walked, join
from tasks.leaderboard.smearing import fold_smearing, gate_smearing
from tests.leaderboard.walks import VOLATILITY, FloatArray, around, board, fold_fits, walked


def factors(rows: pd.DataFrame, candidate: Walked) -> FloatArray:
    return fold_smearing(join(rows, {candidate.name: candidate}, VOLATILITY), candidate, rows)


def test_a_folds_factor_is_from_the_selection_window_and_the_folds_before(rows: pd.DataFrame) -> None:
    search, refit = around(rows, 0.2, 1), around(rows, 0.4, 2)
    found = factors(rows, walked(rows, "har", refit, search=search))
    label, by = rows["label"].to_numpy(), rows["scored_by"].to_numpy()
    fold = rows.loc[rows["window"] == "fold", "scored_by"].to_numpy()
    earlier = list((label - search)[(rows["window"] == "selection").to_numpy()])
    for name in fold_fits(rows):
        expected = np.mean(np.exp(2 * np.array(earlier)))
        np.testing.assert_allclose(found[fold == name], expected, rtol=1e-12)
        earlier += list((label - refit)[by == name])


def test_rows_of_the_selection_window_without_a_prediction_are_left_out(rows: pd.DataFrame) -> None:
    search, refit = around(rows, 0.2, 1), around(rows, 0.4, 2)
    known = rows["window"] == "selection"
    holes = search.copy()
    holes[np.flatnonzero(known)[::3]] = np.nan
    residuals = (rows["label"] - holes)[known].dropna()
    found = factors(rows, walked(rows, "har", refit, search=holes))
    first = rows.loc[rows["window"] == "fold", "scored_by"].to_numpy() == "fit_fold_1"
    np.testing.assert_allclose(found[first], np.mean(np.exp(2 * residuals)), rtol=1e-12)


def test_no_later_row_moves_a_factor(rows: pd.DataFrame) -> None:
    honest = around(rows, 0.3)
    wild = np.where(rows["scored_by"].isin(["fit_fold_4", "fit_fold_5"]), honest + 1.0, honest)
    fold = rows.loc[rows["window"] == "fold", "scored_by"].to_numpy()
    one, other = (factors(rows, walked(rows, "har", f, search=honest)) for f in (honest, wild))
    until_four = fold <= "fit_fold_4"
    np.testing.assert_array_equal(one[until_four], other[until_four])
    assert (one[~until_four] != other[~until_four]).all()


def test_what_a_fit_learned_from_never_counts(rows: pd.DataFrame) -> None:
    honest = around(rows, 0.3)
    overfit = np.where(rows["window"].isin(["train", "validation", "blending"]), rows["label"], honest)
    boards = [board(rows, [walked(rows, "har", f, search=f)]) for f in (honest, overfit)]
    assert boards[0].smearing == boards[1].smearing
    assert boards[0].scores[0].metrics["qlike"] == boards[1].scores[0].metrics["qlike"]


def test_a_recipe_that_no_search_fitted_has_no_factor_in_the_first_fold_and_no_qlike(rows: pd.DataFrame) -> None:
    champion = walked(rows, "champion", around(rows, 0.3), "h2o", search=None)
    found = factors(rows, champion)
    fold = rows.loc[rows["window"] == "fold", "scored_by"].to_numpy()
    assert np.isnan(found[fold == "fit_fold_1"]).all()
    assert np.isfinite(found[fold != "fit_fold_1"]).all()
    ranked = board(rows, [champion, walked(rows, "har", around(rows, 0.4))])
    metrics = {score.candidate: score.metrics for score in ranked.scores}
    assert "qlike" not in metrics["champion"]
    assert "qlike" in metrics["har"]
    assert set(ranked.smearing) == {"champion", "har"}


def test_the_gates_factor_is_from_all_folds(rows: pd.DataFrame) -> None:
    prediction = around(rows, 0.3)
    joined = join(rows, {"har": walked(rows, "har", prediction)}, VOLATILITY)
    place = (rows["window"] == "fold").to_numpy()
    expected = np.mean(np.exp(2 * (rows["label"] - prediction)[place]))
    assert gate_smearing(joined, "har") == pytest.approx(expected, rel=1e-12)
    far = join(rows, {"har": walked(rows, "har", np.full(len(rows), -299.0))}, VOLATILITY)
    assert math.isfinite(gate_smearing(far, "har"))


def test_a_factor_that_overflows_is_left_out_and_qlike_with_it(rows: pd.DataFrame) -> None:
    wild = np.where(rows["window"] == "selection", -1e6, around(rows, 0.3))
    har = walked(rows, "har", around(rows, 0.3), search=wild)
    found = board(rows, [har])
    assert "qlike" not in found.scores[0].metrics
    assert math.isfinite(found.smearing["har"])
