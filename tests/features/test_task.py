"""The stage: what it writes, that it is found again, and that what it reads is verified."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import FeatureMatrix, Snapshot
from tasks.errors import IntegrityError
from tasks.features import catalogue, matrix
from tasks.features.task import build_features
from tasks.problem import Problem
from tasks.storage import read_parquet, write_parquet
from tests.features.market import made_bars
from tests.features.test_matrix import frame_of

PROBLEM = Problem(name="made", source="builtin:sp500", tick=0.01)


@pytest.fixture
def snapshot(tmp_path: Path) -> Snapshot:
    frame = frame_of(("A", made_bars(1, 900)), ("B", made_bars(2, 800)))
    ref = write_parquet(tmp_path / "bars.parquet", frame)
    return Snapshot(
        sha256="a" * 64,
        bars=ref,
        symbols=("A", "B"),
        first="2001-01-01",
        last="2004-06-11",
        bar="1d",
        calendar="XNYS",
        true_opens=False,
        has_volume=True,
    )


def _build(problem: Problem, snapshot: Snapshot) -> FeatureMatrix:
    return build_features.fn(problem, snapshot)


def test_the_matrix_is_aligned_with_the_bars(snapshot: Snapshot) -> None:
    built = _build(PROBLEM, snapshot)
    bars, found = read_parquet(snapshot.bars), read_parquet(built.ref)
    assert list(found.columns) == ["symbol", "time", "session", *built.spec.columns]
    pd.testing.assert_frame_equal(found[["symbol", "time", "session"]], bars[["symbol", "time", "session"]])
    np.testing.assert_array_equal(found[list(built.spec.columns)].to_numpy(), matrix.panel(bars, built.spec))
    assert built.ref.rows == len(bars)
    assert built.spec.tick == PROBLEM.tick


def test_columns_without_meaning_are_left_out_with_the_reason(snapshot: Snapshot) -> None:
    built = _build(PROBLEM, snapshot)
    assert built.spec.columns == catalogue.select(has_volume=True, true_opens=False)
    assert "overnight_gap" in built.left_out
    assert built.lookback == catalogue.lookback(built.spec.columns)


def test_the_same_bars_are_computed_once(snapshot: Snapshot) -> None:
    first = _build(PROBLEM, snapshot)
    written = Path(first.ref.path).stat().st_mtime_ns
    again = _build(PROBLEM, snapshot)
    assert again == first
    assert Path(again.ref.path).stat().st_mtime_ns == written


def test_other_bars_or_another_tick_are_another_matrix(snapshot: Snapshot) -> None:
    paths = {
        _build(PROBLEM, snapshot).ref.path,
        _build(PROBLEM, dataclasses.replace(snapshot, sha256="b" * 64)).ref.path,
        _build(PROBLEM.model_copy(update={"tick": 0.05}), snapshot).ref.path,
    }
    assert len(paths) == 3


def test_the_stored_result_names_no_absolute_path(snapshot: Snapshot) -> None:
    built = _build(PROBLEM, snapshot)
    document = json.loads((Path(built.ref.path).parent / "feature_matrix.json").read_text())
    assert document["ref"]["path"] == "matrix.parquet"


def test_damaged_bars_are_refused_and_a_damaged_matrix_computed_again(snapshot: Snapshot) -> None:
    built = _build(PROBLEM, snapshot)
    path = Path(built.ref.path)
    data = path.read_bytes()
    path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    assert _build(PROBLEM, snapshot).ref.sha256 == built.ref.sha256
    bars = Path(snapshot.bars.path)
    bars.write_bytes(bars.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"bars\.parquet"):
        _build(PROBLEM, dataclasses.replace(snapshot, sha256="c" * 64))
