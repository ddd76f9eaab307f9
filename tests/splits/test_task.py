"""The stage of labels and windows: aligned rows, stored once, computed again when damaged."""

from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import arch.data.sp500
import numpy as np
import pandas as pd
import pytest

from tasks.contracts import SEARCH_WINDOWS, FeatureMatrix, FeatureSpec, Rows, Snapshot, Spell
from tasks.errors import ConfigurationError, DataError
from tasks.features.dates import bar_dates
from tasks.problem import Problem
from tasks.splits.task import _days, build_rows, make_rows
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
    features = FeatureMatrix(ref=write_parquet(tmp_path / "features.parquet", matrix), spec=spec, lookback=WARM_UP + 1)
    return snapshot, features


def test_rows_are_aligned_with_the_bars_and_ready_for_every_engine(
    inputs: tuple[Snapshot, FeatureMatrix], bars: pd.DataFrame
) -> None:
    rows = make_rows.fn(problem(), *inputs)
    frame = read_parquet(rows.ref)
    assert list(frame.columns) == [
        "symbol", "time", "session", "label", "label_end", "weight", "window", "scored_by", *rows.fits,
    ]  # fmt: skip
    assert rows.fits == (
        *(f"fit_fold_{k}" for k in range(1, 6)), "fit_gate", *(f"fit_origin_{j}" for j in range(1, 8)), "fit_all",
    )  # fmt: skip
    assert all(frame[name].dtype == bool for name in rows.fits)
    assert len(rows.folds) == 5
    assert not rows.weighted
    assert (frame["time"] == bars["time"]).all()
    assert frame["label"].dtype == np.float64
    assert str(frame["label_end"].dtype) == "datetime64[ns, UTC]"
    assert frame["fit_all"].sum() == len(bars) - WARM_UP - 1
    assert frame.loc[frame["window"] != "", "label"].notna().all()
    assert (frame.loc[frame["window"].isin(SEARCH_WINDOWS), "fit_gate"]).all()
    assert not frame.loc[frame["window"] == "gate", "fit_gate"].any()
    assert set(frame.loc[frame["window"] == "fold", "scored_by"]) == set(rows.fits[:5])
    assert set(frame.loc[frame["window"] == "gate", "scored_by"]) == set(rows.fits[5:-1])
    assert (frame.loc[~frame["window"].isin(["fold", "gate"]), "scored_by"] == "").all()
    assert (frame.loc[frame["label"].notna(), "weight"] == 1.0).all()
    assert rows.windows[-1].effective == rows.windows[-1].dates >= 504
    assert rows.windows[-1].first[:10] == rows.term_start


def test_a_second_run_takes_the_stored_rows_and_a_damaged_file_is_made_anew(
    inputs: tuple[Snapshot, FeatureMatrix], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="nocturne.splits")
    store = StageStore(tmp_path / "stages")
    first = build_rows(problem(), *inputs, store)
    written = Path(first.ref.path).stat().st_mtime_ns
    assert "reused" not in caplog.text
    assert build_rows(problem(seed=7, h2o_models=3), *inputs, store) == first
    assert "rows: labels and windows reused" in caplog.text
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


def with_holes(features: FeatureMatrix, folder: Path, rows: range) -> FeatureMatrix:
    matrix = read_parquet(features.ref)
    matrix.loc[rows.start : rows.stop - 1, "move"] = np.inf
    matrix.loc[rows.start, "momentum"] = np.nan
    return dataclasses.replace(features, ref=write_parquet(folder / "holes.parquet", matrix))


def test_rows_beyond_the_lookback_without_a_feature_are_left_out_and_told(
    inputs: tuple[Snapshot, FeatureMatrix], tmp_path: Path
) -> None:
    snapshot, features = inputs
    whole = build_rows(problem(), snapshot, features, StageStore(tmp_path / "stages"))
    assert whole.warnings == ()
    rows = build_rows(
        problem(), snapshot, with_holes(features, tmp_path, range(WARM_UP - 5, 3000)[:20]), StageStore(tmp_path / "s")
    )
    # The first five lie inside the lookback, where nothing is expected.
    assert rows.warnings == (
        "15 of 4,931 rows beyond the features' lookback have a feature without a finite value and are left out "
        "(symbols: SPX 15; columns: move 15)",
    )
    frame = read_parquet(rows.ref)
    assert not frame.loc[: WARM_UP + 14, "fit_all"].any()
    assert frame.loc[WARM_UP + 15, "fit_all"]


def test_too_many_rows_without_a_feature_are_refused(inputs: tuple[Snapshot, FeatureMatrix], tmp_path: Path) -> None:
    snapshot, features = inputs
    store = StageStore(tmp_path / "stages")
    assert build_rows(problem(), snapshot, with_holes(features, tmp_path, range(200, 249)), store).warnings
    with pytest.raises(DataError, match=r"^50 of 4,931 rows .*symbols: SPX 50; columns: move 50, momentum 1\): more"):
        build_rows(problem(), snapshot, with_holes(features, tmp_path, range(200, 250)), store)


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


def test_labels_that_overlap_are_worth_less_and_those_of_barriers_are_weighted(
    inputs: tuple[Snapshot, FeatureMatrix], tmp_path: Path
) -> None:
    store = StageStore(tmp_path / "stages")
    weekly = build_rows(problem(horizon=5), *inputs, store)
    assert not weekly.weighted
    for window in (*weekly.windows, *weekly.folds):
        assert window.effective == pytest.approx(window.rows / 5, rel=0.02)
    barriers = build_rows(problem(target="triple_barrier", horizon=10, profit=0.5, stop=0.5), *inputs, store)
    assert barriers.weighted
    frame = read_parquet(barriers.ref)
    known = frame["label"].notna()
    assert frame.loc[known, "weight"].between(0, 1, inclusive="right").all()
    gate = frame[frame["window"] == "gate"]
    assert barriers.windows[-1].effective == pytest.approx(gate["weight"].sum())
    assert set(frame.loc[known, "label"]) == {0.0, 1.0}
    # Each row is purged by its own label's end: what touches early stays where a later one has to go.
    reach = (frame["label_end"] - frame["time"]).dt.days
    first = frame.loc[frame["scored_by"] == "fit_fold_2", "time"].min()
    near = frame[(frame["time"] < first) & (frame["time"] > first - pd.Timedelta(days=20)) & known]
    kept, left = (reach[near.index[near["fit_fold_2"] == marked]] for marked in (True, False))
    assert len(kept) > 0
    assert len(left) > 0
    assert kept.min() < left.max()


def test_more_folds_are_other_rows_with_a_fit_each(inputs: tuple[Snapshot, FeatureMatrix], tmp_path: Path) -> None:
    rows = build_rows(problem(folds=9), *inputs, StageStore(tmp_path / "stages"))
    assert len(rows.folds) == 9
    assert rows.fits[:9] == tuple(f"fit_fold_{k}" for k in range(1, 10))


def test_who_did_not_belong_has_no_label_and_other_spells_are_other_rows(
    inputs: tuple[Snapshot, FeatureMatrix], tmp_path: Path
) -> None:
    store, file = StageStore(tmp_path / "stages"), tmp_path / "membership.csv"
    file.write_text("symbol,from,to\nSPX,1990-01-01,2005-06-30\nSPX,2005-08-01,\n")
    rows = build_rows(problem(membership=str(file)), *inputs, store)
    frame = read_parquet(rows.ref)
    outside = frame["session"].between("2005-07-01", "2005-07-31")
    assert outside.sum() == 20
    assert not frame.loc[outside, list(rows.fits)].any(axis=None)
    assert frame.loc[outside, "label"].isna().all()
    assert frame.loc[~outside, "fit_all"].sum() == len(frame) - WARM_UP - 1 - 20
    # The same spells in another file are the same rows, other spells are not.
    moved = tmp_path / "same.csv"
    moved.write_text("symbol,from,to\nSPX,2005-08-01,\nSPX,1990-01-01,2005-06-30\n")
    assert build_rows(problem(membership=str(moved)), *inputs, store) == rows
    moved.write_text("symbol,from,to\nSPX,1990-01-01,\n")
    assert build_rows(problem(membership=str(moved)), *inputs, store).ref.sha256 != rows.ref.sha256
    with pytest.raises(DataError, match=r"gone\.csv: membership cannot be read"):
        build_rows(problem(membership=str(tmp_path / "gone.csv")), *inputs, store)


@pytest.mark.parametrize("cross_section", ["none", "rank"])
def test_dates_with_too_few_names_have_no_cross_section_and_that_is_no_defect(
    tmp_path: Path, cross_section: str
) -> None:
    """25 names of which 10 come a year later: until then a date has 15, whose compared features are missing."""
    sessions = pd.bdate_range("2004-01-02", periods=1900)
    late = [0] * 15 + [260] * 10
    parts = []
    for number, begin in enumerate(late):
        own = sessions[begin:]
        random = np.random.default_rng(number)
        close = 50 * np.exp(np.cumsum(0.01 * random.standard_normal(len(own))))
        parts.append(
            pd.DataFrame(
                {
                    "symbol": f"S{number:02d}",
                    "time": own.tz_localize("UTC") + pd.Timedelta(hours=21),
                    "session": own,
                    **dict.fromkeys(("open", "close"), close),
                    "high": close * 1.01,
                    "low": close * 0.99,
                    "volume": 1e6,
                    "momentum": random.uniform(-0.5, 0.5, len(own)),
                }
            )
        )
    panel = pd.concat(parts, ignore_index=True)
    few = panel["session"] < sessions[260]
    panel.loc[few, "momentum"] = np.nan
    bars = panel.drop(columns="momentum")
    snapshot = Snapshot(
        sha256="panel", bars=write_parquet(tmp_path / "bars.parquet", bars), symbols=tuple(bars["symbol"].unique()),
        first="", last="", bar="1d", calendar="24/5", true_opens=True, has_volume=True,
    )  # fmt: skip
    matrix = write_parquet(tmp_path / "features.parquet", panel[["symbol", "time", "session", "momentum"]])
    spec = FeatureSpec(columns=("momentum",), tick=0.01, cross_section=cross_section)  # type: ignore[arg-type]
    asked = problem(target="return", calendar="24/5", gate_sessions=200, term=60)
    inputs = (snapshot, FeatureMatrix(ref=matrix, spec=spec, lookback=1), StageStore(tmp_path / "stages"))
    if cross_section == "none":
        with pytest.raises(DataError, match="beyond the features' lookback have a feature without a finite value"):
            build_rows(asked, *inputs)
        return
    rows = build_rows(asked, *inputs)
    assert rows.warnings == (
        "3,900 rows on 260 dates with fewer than 20 names beyond the features' lookback are left out: there is no "
        "cross-section to compare them with",
    )
    frame = read_parquet(rows.ref)
    assert not frame.loc[few.to_numpy(), "fit_all"].any()
    assert frame.loc[~few.to_numpy() & frame["label"].notna(), "fit_all"].all()
    assert rows.windows[-1].effective == pytest.approx(rows.windows[-1].dates)


def walks(names: int, sessions: pd.DatetimeIndex) -> pd.DataFrame:
    """Bars of random walks."""
    parts = []
    for number in range(names):
        random = np.random.default_rng(number)
        close = 50 * np.exp(np.cumsum(0.01 * random.standard_normal(len(sessions))))
        parts.append(
            pd.DataFrame(
                {
                    "symbol": f"S{number:02d}",
                    "time": sessions.tz_localize("UTC") + pd.Timedelta(hours=21),
                    "session": sessions,
                    **dict.fromkeys(("open", "close"), close),
                    "high": close * 1.01,
                    "low": close * 0.99,
                    "volume": 1e6,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


@pytest.mark.parametrize("neutral", [True, False])
def test_of_who_was_no_member_nothing_is_expected_and_nothing_learned(tmp_path: Path, neutral: bool) -> None:
    """30 names with bars throughout; eight join in the middle, one of them for the last year alone, one left early."""
    sessions = pd.bdate_range("2004-01-02", periods=1900)
    bars, middle, late = walks(30, sessions), sessions[900], sessions[1640]
    first = {f"S{n:02d}": (late if n == 29 else middle) for n in range(22, 30)}
    spells = [Spell(symbol="S00", first="1990-01-01", last=str(sessions[500].date()))]
    spells += [Spell(symbol=f"S{n:02d}", first="1990-01-01") for n in range(1, 22)]
    spells += [Spell(symbol=name, first=str(day.date())) for name, day in first.items()]
    file = tmp_path / "members.csv"
    file.write_text("symbol,from,to\n" + "".join(f"{one.symbol},{one.first},{one.last}\n" for one in spells))
    begins = bars["symbol"].map(first).fillna(pd.Timestamp("1990-01-01"))
    member = (bars["session"] >= begins) & ((bars["symbol"] != "S00") | (bars["session"] <= sessions[500]))
    panel = bars[["symbol", "time", "session"]].assign(momentum=np.where(member, 0.1, np.nan))
    bad = member & (bars["session"] == sessions[700]) & bars["symbol"].isin(["S01", "S02", "S03"])
    panel.loc[bad, "momentum"] = np.nan  # 18 of the universe's 21 members of that day: it would not be served
    spec = FeatureSpec(
        columns=("momentum",), tick=0.01, cross_section="rank", spells=tuple(spells),
        universe=tuple(f"S{n:02d}" for n in range(1, 30)),
    )  # fmt: skip
    snapshot = Snapshot(
        sha256="members", bars=write_parquet(tmp_path / "bars.parquet", bars), symbols=tuple(bars["symbol"].unique()),
        first="", last="", bar="1d", calendar="24/5", true_opens=True, has_volume=True,
    )  # fmt: skip
    features = FeatureMatrix(ref=write_parquet(tmp_path / "f.parquet", panel), spec=spec, lookback=1)
    asked = problem(target="return", calendar="24/5", gate_sessions=200, term=60, membership=str(file), neutral=neutral)
    rows = build_rows(asked, snapshot, features, StageStore(tmp_path / "stages"))
    assert [warning.split(" rows")[0] for warning in rows.warnings] == [f"3 of {int(member.sum()):,}", "18"]
    frame = read_parquet(rows.ref)
    used = frame["fit_all"].to_numpy()
    assert not used[~member].any()
    whole = member & (bars["session"] != sessions[700]) & (bars["session"] < sessions[-1])
    np.testing.assert_array_equal(used, whole)
    assert (frame.loc[frame["window"] != "", "label"].notna()).all()
    if neutral:
        means = frame.groupby("session")["label"].mean().dropna()
        assert means.abs().max() < 1e-15


def test_shorter_bars_belong_by_the_date_in_which_they_close() -> None:
    time = pd.to_datetime(["2020-01-02 23:00", "2020-01-03 00:00", "2020-01-03 01:00"]).tz_localize("UTC")
    bars = pd.DataFrame({"time": time, "session": pd.to_datetime(["2020-01-03"] * 3)})
    assert _days(bars, "1h").astype(str).tolist() == ["2020-01-02", "2020-01-02", "2020-01-03"]
    assert set(_days(bars, "1d").astype(str)) == {"2020-01-03"}
    np.testing.assert_array_equal(_days(bars, "1h"), bar_dates(bars, "1h"))
