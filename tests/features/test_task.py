"""The stage: what it writes, that it is found again, and that what it reads is verified."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import FeatureMatrix, Snapshot
from tasks.errors import ConfigurationError, DataError, IntegrityError
from tasks.features import catalogue, matrix
from tasks.features.task import build_features, check_features, specification
from tasks.problem import Problem
from tasks.storage import read_parquet, write_parquet
from tests.features.market import cut, made_bars
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


def test_columns_that_need_more_bars_than_wanted_are_left_out_with_the_reason(snapshot: Snapshot) -> None:
    built = _build(PROBLEM.model_copy(update={"max_lookback": 100}), snapshot)
    assert built.lookback <= 100
    assert built.left_out["rsi_14"] == "needs 387 bars, max_lookback is 100"
    assert not set(built.left_out) & set(built.spec.columns)


PANEL = PROBLEM.model_copy(update={"cross_section": "rank", "max_lookback": 22})


@pytest.fixture
def wide(tmp_path: Path) -> Snapshot:
    """24 names of 60 bars: one gone before the end, one listed too lately, one halted on the last day."""
    bars = {f"S{number:02d}": made_bars(number, 60) for number in range(24)}
    bars["S03"] = cut(bars["S03"], 0, 50)
    bars["S04"] = cut(bars["S04"], 45)
    bars["S05"] = cut(bars["S05"], 0, 59)
    frame = frame_of(*bars.items())
    ref = write_parquet(tmp_path / "wide.parquet", frame)
    return Snapshot(
        sha256="d" * 64,
        bars=ref,
        symbols=tuple(bars),
        first="2001-01-01",
        last="2001-03-26",
        bar="1d",
        calendar="XNYS",
        true_opens=True,
        has_volume=True,
    )


def test_a_panel_is_put_on_one_scale_and_its_universe_is_who_is_still_there(wide: Snapshot) -> None:
    built = _build(PANEL, wide)
    assert built.spec.cross_section == "rank"
    assert set(wide.symbols) - set(built.spec.universe) == {"S03", "S04"}
    found = read_parquet(built.ref)
    np.testing.assert_array_equal(
        found[list(built.spec.columns)].to_numpy(), matrix.panel(read_parquet(wide.bars), built.spec)
    )
    assert found["har_5"].abs().max() == 0.5


def test_a_panel_and_its_raw_features_are_different_matrices(wide: Snapshot) -> None:
    paths = {
        _build(PANEL.model_copy(update={"cross_section": how}), wide).ref.path for how in ("none", "rank", "zscore")
    }
    assert len(paths) == 3
    assert _build(PANEL.model_copy(update={"cross_section": "none"}), wide).spec.universe == ()


def test_a_cross_section_of_a_few_names_is_refused_before_anything_is_computed(snapshot: Snapshot) -> None:
    with pytest.raises(ConfigurationError, match=r"'rank' compares at least 20 symbols .*, the bars have 2: .*'none'"):
        specification(PANEL, snapshot)


@pytest.mark.parametrize("how", ["none", "rank"])
def test_the_live_matrix_is_cut_short_and_compared(wide: Snapshot, how: str) -> None:
    problem = PANEL.model_copy(update={"cross_section": how})
    built = _build(problem, wide)
    assert check_features.fn(problem, wide, built) == ()
    frame = read_parquet(built.ref)
    frame["har_1"] = frame.groupby("symbol")["har_1"].shift(-1)
    leaky = write_parquet(Path(built.ref.path).with_name("leaky.parquet"), frame)
    (finding,) = check_features.fn(problem, wide, dataclasses.replace(built, ref=leaky))
    assert finding.startswith("feature 'har_1' of S")


def members(folder: Path, late: str = "S20", first: str = "2001-02-20", until: str = "") -> Path:
    """A file in which 23 names belong throughout, one from a day on, and one until a day."""
    lines = [f"S{n:02d},1990-01-01,{until if n == 7 else ''}" for n in range(24) if f"S{n:02d}" != late]
    path = folder / f"members-{late}-{first}-{until}.csv"
    path.write_text("\n".join(["symbol,from,to", *lines, f"{late},{first},", "ZZ,1990-01-01,", ""]))
    return path


def test_members_alone_are_compared_and_who_is_one_at_the_end_is_the_universe(wide: Snapshot, tmp_path: Path) -> None:
    problem = PANEL.model_copy(update={"membership": str(members(tmp_path, until="2001-03-01"))})
    built = _build(problem, wide)
    assert set(wide.symbols) - set(built.spec.universe) == {"S03", "S04", "S07"}
    assert {spell.symbol for spell in built.spec.spells} == set(wide.symbols)
    bars, found = read_parquet(wide.bars), read_parquet(built.ref)
    np.testing.assert_array_equal(found[list(built.spec.columns)].to_numpy(), matrix.panel(bars, built.spec))
    outside = ((bars["symbol"] == "S20") & (bars["session"] < "2001-02-20")) | (
        (bars["symbol"] == "S07") & (bars["session"] > "2001-03-01")
    )
    assert found.loc[outside, "har_1"].isna().all()
    assert found.loc[~outside, "har_1"].notna().sum() > 1300
    assert check_features.fn(problem, wide, built) == ()
    everybody = _build(PANEL, wide)
    assert check_features.fn(problem, wide, dataclasses.replace(built, ref=everybody.ref)) != ()


def test_who_belonged_when_is_part_of_the_key_and_what_comes_later_of_no_value(wide: Snapshot, tmp_path: Path) -> None:
    def build(file: Path) -> FeatureMatrix:
        return _build(PANEL.model_copy(update={"membership": str(file)}), wide)

    first = build(members(tmp_path))
    moved = tmp_path / "elsewhere.csv"
    lines = members(tmp_path).read_text().splitlines()
    moved.write_text("\n".join([lines[0], *reversed(lines[1:])]))
    assert build(moved) == first
    assert build(members(tmp_path, first="2001-02-21")).ref.sha256 != first.ref.sha256
    # It leaves after the last bar: nobody can have known that.
    announced = build(members(tmp_path, until="2001-04-02"))
    assert announced.ref.path != first.ref.path
    assert (announced.ref.sha256, announced.spec) == (first.ref.sha256, first.spec)
    assert _build(PANEL, wide).ref.sha256 != first.ref.sha256
    assert _build(PANEL, wide).spec.spells == ()


def test_where_nothing_is_compared_membership_changes_no_feature(wide: Snapshot, tmp_path: Path) -> None:
    problem = PANEL.model_copy(update={"cross_section": "none"})
    named = problem.model_copy(update={"membership": str(members(tmp_path))})
    assert _build(named, wide) == _build(problem, wide)


def test_a_membership_of_other_names_or_of_another_time_is_refused(wide: Snapshot, tmp_path: Path) -> None:
    file = tmp_path / "members.csv"
    problem = PANEL.model_copy(update={"membership": str(file)})
    file.write_text("symbol,from,to\n" + "".join(f"X{n:02d},1990-01-01,\n" for n in range(30)))
    with pytest.raises(ConfigurationError, match=r"members\.csv: has spells of 0 of the bars' 24 symbols; .*alike"):
        specification(problem, wide)
    ended = "".join(f"S{n:02d},1990-01-01,{'' if n < 19 else '2001-02-01'}\n" for n in range(24))
    file.write_text("symbol,from,to\n" + ended)
    with pytest.raises(DataError, match=r"members\.csv: 19 symbols .* after 2001-03-23.*bring the file up to date"):
        _build(problem, wide)
    file.unlink()
    with pytest.raises(DataError, match=r"members\.csv: membership cannot be read"):
        _build(problem, wide)
