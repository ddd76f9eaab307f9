"""The stage of labels and windows: aligned rows, stored once, computed again when damaged."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import arch.data.sp500
import numpy as np
import pandas as pd
import pytest

from tasks.contracts import SEARCH_WINDOWS, FeatureMatrix, FeatureSpec, Rows, Snapshot
from tasks.errors import ConfigurationError, DataError
from tasks.problem import Problem
from tasks.splits.task import build_rows, make_rows
from tasks.storage import StageStore, read_parquet, write_parquet

WARM_UP = 100


def problem(**values: Any) -> Problem:
    return Problem(name="test", source="builtin:sp500", **values)


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    raw = arch.data.sp500.load()
    session = pd.DatetimeIndex(raw.index).as_unit("ns")
    return pd.DataFrame(
        {
            "symbol": "SPX",
            "time": session.tz_localize("America/New_York").tz_convert("UTC") + pd.Timedelta(hours=16),
            "session": session,
            **{name.lower(): raw[name].to_numpy(float) for name in ("Open", "High", "Low", "Close", "Volume")},
        }
    )


@pytest.fixture
def inputs(bars: pd.DataFrame, tmp_path: Path) -> tuple[Snapshot, FeatureMatrix]:
    change = np.log(bars["close"]).diff(WARM_UP)
    matrix = bars[["symbol", "time", "session"]].assign(momentum=change, move=bars["close"] / bars["open"] - 1.0)
    snapshot = Snapshot(
        sha256="bars",
        bars=write_parquet(tmp_path / "bars.parquet", bars),
        symbols=("SPX",),
        first="1999-01-04",
        last="2018-12-31",
        bar="1d",
        calendar="XNYS",
        true_opens=False,
        has_volume=True,
    )
    spec = FeatureSpec(columns=("momentum", "move"), tick=0.01)
    features = FeatureMatrix(ref=write_parquet(tmp_path / "features.parquet", matrix), spec=spec, lookback=WARM_UP)
    return snapshot, features


def test_rows_are_aligned_with_the_bars_and_ready_for_every_engine(
    inputs: tuple[Snapshot, FeatureMatrix], bars: pd.DataFrame
) -> None:
    rows = make_rows.fn(problem(), *inputs)
    frame = read_parquet(rows.ref)
    assert list(frame.columns) == [
        "symbol", "time", "session", "label", "label_end", "window", "fit_gate", "fit_all",
    ]  # fmt: skip
    assert (frame["time"] == bars["time"]).all()
    assert frame["label"].dtype == np.float64
    assert str(frame["label_end"].dtype) == "datetime64[ns, UTC]"
    assert frame["fit_all"].sum() == len(bars) - WARM_UP - 1
    assert frame.loc[frame["window"] != "", "label"].notna().all()
    assert (frame.loc[frame["window"].isin(SEARCH_WINDOWS), "fit_gate"]).all()
    assert not frame.loc[frame["window"] == "gate", "fit_gate"].any()
    assert rows.windows[-1].dates >= 504
    assert rows.windows[-1].first[:10] == rows.term_start


def test_a_second_run_takes_the_stored_rows_and_a_damaged_file_is_made_anew(
    inputs: tuple[Snapshot, FeatureMatrix], tmp_path: Path
) -> None:
    store = StageStore(tmp_path / "stages")
    first = build_rows(problem(), *inputs, store)
    written = Path(first.ref.path).stat().st_mtime_ns
    assert build_rows(problem(seed=7, h2o_models=3), *inputs, store) == first
    assert Path(first.ref.path).stat().st_mtime_ns == written
    damaged = bytearray(Path(first.ref.path).read_bytes())
    damaged[len(damaged) // 2] ^= 1
    Path(first.ref.path).write_bytes(bytes(damaged))
    again = build_rows(problem(), *inputs, store)
    assert again == first
    assert len(read_parquet(again.ref)) == first.ref.rows


@pytest.mark.parametrize(
    "change",
    [{"target": "direction"}, {"horizon": 5}, {"embargo": 0}, {"gate_sessions": 600}, {"term": 100}, {"tick": 0.1}],
)
def test_what_the_rows_depend_on_gives_other_rows(
    inputs: tuple[Snapshot, FeatureMatrix], tmp_path: Path, change: dict[str, Any]
) -> None:
    store = StageStore(tmp_path / "stages")
    found: list[Rows] = [build_rows(problem(**values), *inputs, store) for values in ({}, change)]
    assert found[0].ref.path != found[1].ref.path


def test_the_overnight_variance_is_refused_and_leaves_nothing(
    inputs: tuple[Snapshot, FeatureMatrix], tmp_path: Path
) -> None:
    store = StageStore(tmp_path / "stages")
    with pytest.raises(ConfigurationError, match="no true opens"):
        build_rows(problem(variance="total"), *inputs, store)
    assert not any((tmp_path / "stages").rglob("*.parquet"))


def test_a_matrix_of_other_bars_is_refused(inputs: tuple[Snapshot, FeatureMatrix], tmp_path: Path) -> None:
    snapshot, features = inputs
    matrix = read_parquet(features.ref)
    shorter = dataclasses.replace(features, ref=write_parquet(tmp_path / "short.parquet", matrix.iloc[1:]))
    with pytest.raises(DataError, match=r"5,030 rows, the snapshot 5,031"):
        build_rows(problem(), snapshot, shorter, StageStore(tmp_path / "stages"))
    matrix["time"] = matrix["time"].where(matrix.index != 9, matrix["time"] + pd.Timedelta(hours=1))
    shifted = dataclasses.replace(features, ref=write_parquet(tmp_path / "shift.parquet", matrix))
    with pytest.raises(DataError, match=r"not aligned .*row 10 is SPX 1999-01-15"):
        build_rows(problem(), snapshot, shifted, StageStore(tmp_path / "stages"))
