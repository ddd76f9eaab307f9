"""The joined rows: each from the fit that ends before it, and from no other."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.errors import DataError, EngineError
from tasks.leaderboard.joined import KEYS, fold_number, join
from tests.leaderboard.walks import BARRIER, VOLATILITY, around, fold_fits, rows_of, walked


@pytest.mark.parametrize(("horizon", "symbols", "embargo"), [(1, 1, 5), (5, 1, 0), (10, 3, 2)])
def test_every_row_is_predicted_by_a_fit_that_had_not_seen_it(horizon: int, symbols: int, embargo: int) -> None:
    """Each fit gives its own number as its prediction, so that the joined column tells who predicted the row."""
    rows = rows_of(symbols=symbols, horizon=horizon, embargo=embargo)
    fits = {name: np.full(len(rows), float(k)) for k, name in enumerate(fold_fits(rows), start=1)}
    found = join(rows, {"har": walked(rows, "har", around(rows, 0.3), fits=fits)}, VOLATILITY)
    column = found.table(["har"])["har"].to_numpy()
    np.testing.assert_array_equal(column, found.frame["fold"])
    for number in range(1, 6):
        learned = rows[rows[f"fit_fold_{number}"]]
        scored = found.frame[found.frame["fold"] == number]
        assert len(scored)
        assert learned["label_end"].max() < scored["time"].min()
        pairs = set(zip(learned["symbol"], learned["time"], strict=True))
        assert not pairs & set(zip(scored["symbol"], scored["time"], strict=True))


def test_the_table_has_the_fold_rows_and_a_column_a_candidate(rows: pd.DataFrame) -> None:
    candidates = {name: walked(rows, name, around(rows, 0.3, seed)) for seed, name in enumerate("ab")}
    table = join(rows, candidates, VOLATILITY).table(["b", "a"])
    assert list(table.columns) == [*KEYS, "b", "a"]
    place = np.flatnonzero(rows["window"] == "fold")
    pd.testing.assert_frame_equal(
        table[["symbol", "time", "session", "label", "label_end"]],
        rows.iloc[place][["symbol", "time", "session", "label", "label_end"]].reset_index(drop=True),
    )
    np.testing.assert_array_equal(table["a"], around(rows, 0.3, 0)[place])


def test_a_candidate_without_a_fold_or_with_holes_is_refused_and_costs_no_other(rows: pd.DataFrame) -> None:
    good = around(rows, 0.3)
    place = np.flatnonzero(rows["scored_by"] == "fit_fold_3")
    holes = np.where(np.arange(len(rows)) == place[4], np.nan, good)
    some = {name: good for name in fold_fits(rows) if name not in ("fit_fold_2", "fit_fold_4")}
    candidates = {
        "har": walked(rows, "har", good),
        "partial": walked(rows, "partial", good, fits=some, lost={"fit_fold_2": "the JVM ran out of memory"}),
        "holes": walked(rows, "holes", good, fits={**dict.fromkeys(fold_fits(rows), good), "fit_fold_3": holes}),
        "short": walked(rows, "short", good[:-1]),
        "diverged": walked(rows, "diverged", np.full(len(rows), 1e9)),
    }
    found = join(rows, candidates, VOLATILITY)
    assert list(found.predictions) == ["har"]
    n = int((rows["window"] == "fold").sum())
    assert found.refused == {
        "partial": "it was not fitted for fold 2, 4 of 5 (the JVM ran out of memory)",
        "holes": f"1 of {n} predictions on the fold rows are not finite",
        "short": f"its fit_fold_1 has {len(rows) - 1:,} predictions for {len(rows):,} rows",
        "diverged": "a prediction on the fold rows is 1e+09 in size: the fit has diverged",
    }


def test_holes_where_another_fit_predicts_do_not_matter(rows: pd.DataFrame) -> None:
    good = around(rows, 0.3)
    fits = {name: np.where(rows["scored_by"] == name, good, np.nan) for name in fold_fits(rows)}
    found = join(rows, {"har": walked(rows, "har", good, fits=fits)}, VOLATILITY)
    assert found.refused == {}


def test_probabilities_are_asked_for_where_the_target_is_one(rows: pd.DataFrame) -> None:
    found = join(rows, {"odd": walked(rows, "odd", np.full(len(rows), 1.5))}, BARRIER)
    assert "are no probabilities" in found.refused["odd"]


def test_a_fit_that_saw_a_scored_row_stops_everything(rows: pd.DataFrame) -> None:
    leaky = rows.copy()
    first = leaky.index[leaky["scored_by"] == "fit_fold_2"][0]
    leaky.loc[first, "fit_fold_2"] = True
    with pytest.raises(DataError, match=r"fit_fold_2 learns from 1 labels that end at or after its first scored row"):
        join(leaky, {"har": walked(rows, "har", around(rows, 0.3))}, VOLATILITY)


def test_a_label_that_reaches_over_a_folds_edge_stops_everything(rows: pd.DataFrame) -> None:
    leaky = rows.copy()
    first = leaky.index[leaky["scored_by"] == "fit_fold_2"][0]
    before = leaky.index[leaky["fit_fold_2"]][-1]
    leaky.loc[before, "label_end"] = leaky["time"].iloc[first]
    with pytest.raises(DataError, match="the windows are not purged"):
        join(leaky, {"har": walked(rows, "har", around(rows, 0.3))}, VOLATILITY)


def test_rows_that_do_not_say_who_scores_them_stop_everything(rows: pd.DataFrame) -> None:
    har = {"har": walked(rows, "har", around(rows, 0.3))}
    with pytest.raises(DataError, match="scored by 'fit_gate', which is no walk-forward fit"):
        join(rows.assign(scored_by="fit_gate"), har, VOLATILITY)
    with pytest.raises(DataError, match="no column says what it may learn from"):
        join(rows.drop(columns="fit_fold_3"), har, VOLATILITY)
    with pytest.raises(EngineError, match="no fold rows"):
        join(rows.assign(window="train"), har, VOLATILITY)


def test_folds_are_numbered_beyond_nine() -> None:
    assert [fold_number(f"fit_fold_{k}") for k in (2, 10)] == [2, 10]
