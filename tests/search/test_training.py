"""What engines are given: labels that the mode forbids are gone, and inconsistent inputs are refused by name."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import EngineRequest, RefitJob
from tasks.errors import EngineError
from tasks.search import training
from tasks.statistics.shuffle import shuffled_labels
from tasks.storage import write_parquet
from tests.search.conftest import BARS, WINDOWS, Ask


def test_a_search_keeps_labels_before_the_selection_window_alone(ask: Ask) -> None:
    data = training.for_search(training.load(ask("baseline")))
    known = np.zeros(BARS, dtype=bool)
    for name in ("train", "validation", "blending"):
        first, last = WINDOWS[name]
        known[first:last] = True
    assert np.array_equal(np.isfinite(data.y), known)
    assert len(data.rows("selection")) == 0
    assert len(data.rows("train")) == 600


def test_an_engine_reads_the_features_that_it_looks_at_and_those_of_the_recipes_that_are_asked_for(ask: Ask) -> None:
    everything = training.load(ask("baseline"))
    some = training.load(ask("baseline"), {"har_5", "unheard_of"})
    assert some.columns == ("har_5",)
    np.testing.assert_array_equal(some.X, everything.take(np.arange(BARS), ("har_5",)))
    job = RefitJob(name="a", recipe={"columns": ["return_1"]}, rows="fit_gate")
    asked = dataclasses.replace(ask("baseline"), mode="refit", jobs=(job,))
    assert set(training.load(asked, {"har_5"}).columns) == {"har_5", "return_1"}


@pytest.mark.parametrize("rows", ["fit_fold_1", "fit_gate", "fit_all"])
def test_a_job_keeps_its_labels_alone(ask: Ask, rows: str) -> None:
    everything = training.load(ask("baseline"))
    job = RefitJob(name="a", recipe={}, rows=rows)
    data = training.for_job(everything, job)
    assert np.array_equal(np.isfinite(data.y), everything.fits[rows] & np.isfinite(everything.y))
    assert len(data.job_rows(job.rows)) == np.isfinite(data.y).sum()


def test_a_canary_knows_permuted_labels_on_the_same_rows_and_no_others(ask: Ask) -> None:
    everything = training.load(ask("baseline", symbols=2))
    plain, canary = (
        training.for_job(everything, RefitJob(name="a", recipe={}, rows="fit_fold_1", shuffle=seed)) for seed in (0, 4)
    )
    np.testing.assert_array_equal(np.isfinite(canary.y), np.isfinite(plain.y))
    permuted = shuffled_labels(everything.y, everything.sessions, everything.symbols, seed=4)
    known = np.isfinite(canary.y)
    np.testing.assert_array_equal(canary.y[known], permuted[known])
    assert np.mean(canary.y[known] == plain.y[known]) < 0.01


def test_weights_are_for_targets_that_have_them_and_of_mean_one(ask: Ask) -> None:
    assert training.load(ask("baseline")).weights(np.arange(100, 200)) is None
    data = training.load(ask("baseline", target="triple_barrier"))
    weights = data.weights(np.arange(100, 200))
    assert weights is not None
    assert weights.mean() == pytest.approx(1.0)
    np.testing.assert_allclose(weights[1] / weights[0], 4.0)


def test_an_unknown_fit_is_refused_by_name(ask: Ask) -> None:
    data = training.load(ask("baseline"))
    with pytest.raises(EngineError, match="no fit is called 'fit_fold_3'; there are fit_fold_1, fit_fold_2, fit_gate"):
        data.job_rows("fit_fold_3")


def test_a_feature_that_a_fit_needs_and_that_is_missing_is_named(ask: Ask, tmp_path: Path) -> None:
    request = ask("baseline")
    features = pd.read_parquet(request.features.ref.path)
    features.loc[662, "har_1"] = np.nan  # between two windows: only refits learn from it
    ref = write_parquet(tmp_path / "features.parquet", features)
    with pytest.raises(EngineError, match=r"har_1 is nan for S0 at .* \(row 662\)"):
        training.load(dataclasses.replace(request, features=dataclasses.replace(request.features, ref=ref)))


def test_columns_are_taken_in_the_order_asked_for(ask: Ask) -> None:
    data = training.load(ask("baseline"))
    rows = np.array([700, 70])
    taken = data.take(rows, ("return_5", "har_1"))
    assert np.array_equal(taken[:, 1], data.X[rows, data.columns.index("har_1")])
    assert np.array_equal(taken[:, 0], data.X[rows, data.columns.index("return_5")])
    with pytest.raises(EngineError, match="lacks \\['har_99'\\]"):
        data.take(rows, ("har_99",))


def test_rows_of_another_snapshot_are_refused(ask: Ask, tmp_path: Path) -> None:
    request = ask("baseline")
    shorter = pd.read_parquet(request.rows.ref.path).iloc[:-1]
    with pytest.raises(EngineError, match="1300 rows and labels 1299"):
        training.load(_with_rows(request, shorter, tmp_path))
    shifted = pd.read_parquet(request.rows.ref.path)
    shifted.loc[5:, "time"] += pd.Timedelta(days=1)
    with pytest.raises(EngineError, match="from row 5 on"):
        training.load(_with_rows(request, shifted, tmp_path))


def test_a_missing_feature_inside_a_window_is_named(ask: Ask, tmp_path: Path) -> None:
    request = ask("baseline")
    features = pd.read_parquet(request.features.ref.path)
    features.loc[700, "ewma_94"] = np.nan
    ref = write_parquet(tmp_path / "features.parquet", features)
    with pytest.raises(EngineError, match=r"ewma_94 is nan for S0 at .* \(row 700\), 1 values"):
        training.load(dataclasses.replace(request, features=dataclasses.replace(request.features, ref=ref)))


def _with_rows(request: EngineRequest, frame: pd.DataFrame, folder: Path) -> EngineRequest:
    ref = write_parquet(folder / "rows.parquet", frame)
    return dataclasses.replace(request, rows=dataclasses.replace(request.rows, ref=ref))
