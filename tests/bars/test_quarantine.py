"""Quarantine acts from the session of a defect on, and never backwards."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tasks.bars.describe import SourceDescription
from tasks.bars.facts import survivors_only
from tasks.bars.ingest import ingest_source
from tasks.bars.refusal import BarsRefusedError
from tasks.storage import read_parquet
from tests.bars.files import NOW, check
from tests.bars.panels import multiply, real_panel, rows_of

PRICES = ["open", "high", "low", "close"]


def _written(folder: Path, frame: pd.DataFrame) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "panel.parquet"
    frame.drop(columns="time").rename(columns={"session": "date"}).to_parquet(target)
    return target


def _hundredfold(frame: pd.DataFrame, symbol: str, at: int, days: int = 3) -> pd.DataFrame:
    changed = frame.copy()
    rows = rows_of(frame, symbol)[at : at + days]
    multiply(changed, rows, PRICES, 100)
    return changed


def test_bars_before_the_defect_stay_and_the_panel_goes_on(tmp_path: Path) -> None:
    frame = _hundredfold(real_panel(), "S2", 400)
    checked = check(_written(tmp_path, frame))
    day = frame["session"].iloc[rows_of(frame, "S2")[400]]
    assert checked.quarantined == ("S2",)
    assert checked.quarantined_from == {"S2": f"{day:%Y-%m-%d}"}
    assert (checked.frame["symbol"] == "S2").sum() == 400
    assert checked.frame.loc[checked.frame["symbol"] == "S2", "session"].max() < day
    assert len(checked.frame) == 5 * 750 + 400
    found = [f for f in checked.findings if f.severity == "quarantined"]
    assert [(f.rule, f.symbol, f.time[:10]) for f in found] == [("unit-error", "S2", f"{day:%Y-%m-%d}")]
    assert found[0].row == rows_of(frame, "S2")[400] + 1


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(at=st.integers(70, 740), symbol=st.sampled_from(["S0", "S3", "S5"]))
def test_what_is_found_later_changes_nothing_before(at: int, symbol: str, tmp_path: Path) -> None:
    clean = real_panel()
    checked = check(_written(tmp_path / str(at), _hundredfold(clean, symbol, at)))
    since = pd.Timestamp(checked.quarantined_from[symbol])
    expected = clean[(clean["symbol"] != symbol) | (clean["session"] < since)].reset_index(drop=True)
    pd.testing.assert_frame_equal(checked.frame, expected)


def test_as_of_before_the_defect_knows_nothing_of_it(tmp_path: Path) -> None:
    frame = _hundredfold(real_panel(), "S2", 400)
    before = frame["session"].iloc[399]
    checked = check(_written(tmp_path, frame), as_of=f"{before:%Y-%m-%d}")
    assert checked.quarantined == ()
    assert len(checked.frame) == 6 * 400


def test_a_source_of_one_symbol_is_refused_instead(tmp_path: Path) -> None:
    frame = _hundredfold(real_panel(symbols=1), "S0", 400)
    with pytest.raises(BarsRefusedError, match="its only symbol breaks the rule unit-error") as caught:
        check(_written(tmp_path, frame))
    assert "times 100" in str(caught.value)
    # Asked for alone, a symbol of a panel is a source of one.
    panel = _written(tmp_path, _hundredfold(real_panel(), "S2", 400))
    with pytest.raises(BarsRefusedError, match="unit-error"):
        check(panel, symbols=("S2",))
    assert check(panel, symbols=("S1", "S3")).quarantined == ()


def test_above_a_hundredth_of_all_rows_the_source_is_refused(tmp_path: Path) -> None:
    frame = real_panel()
    for symbol in ("S1", "S2", "S3"):
        frame = _hundredfold(frame, symbol, 300, days=16)
    with pytest.raises(BarsRefusedError, match=r"48 wrong rows of 4,500 \(1\.07%; 1 % is the limit\)"):
        check(_written(tmp_path, frame))
    assert len(check(_written(tmp_path, _hundredfold(real_panel(), "S1", 300, days=44))).quarantined) == 1


def test_bars_of_a_later_session_are_set_aside_and_their_symbol_stays(tmp_path: Path) -> None:
    frame = real_panel()
    rows = rows_of(frame, "S4")
    frame.loc[rows[[100, 200]], [*PRICES, "volume"]] = frame.loc[rows[[103, 260]], [*PRICES, "volume"]].to_numpy()
    checked = check(_written(tmp_path, frame))
    assert checked.quarantined == ()
    assert len(checked.frame) == 6 * 750 - 2
    assert [f.rule for f in checked.findings if f.severity == "set_aside"] == ["later-bar"] * 2
    assert "rows set aside: later-bar 2" in checked.warnings
    # What is set aside leaves no hole to complain of.
    assert not [f for f in checked.findings if f.rule == "gap"]
    with pytest.raises(BarsRefusedError, match="a later session's"):
        check(_written(tmp_path, frame), symbols=("S4",))


def test_the_snapshot_carries_it_and_the_store_does_not_miss_the_rest(tmp_path: Path) -> None:
    clean = real_panel()
    description = SourceDescription(source=str(_written(tmp_path, clean)))
    ingest_source(description, NOW)
    _written(tmp_path, _hundredfold(clean, "S2", 748, days=2))
    snapshot = ingest_source(description, NOW + pd.Timedelta(days=1))
    assert snapshot.quarantined == ("S2",)
    assert set(snapshot.quarantined_from) == {"S2"}
    assert snapshot.finding_counts["unit-error"] == 1
    assert "quarantined: S2" in snapshot.warnings
    assert not any("gone from the source" in warning for warning in snapshot.warnings)
    assert len(read_parquet(snapshot.bars)) == snapshot.bars.rows == 6 * 750 - 2


def test_a_universe_that_nobody_left_is_one_of_survivors(tmp_path: Path) -> None:
    frame = real_panel()
    assert survivors_only(frame)
    assert not survivors_only(frame[frame["symbol"] == "S0"])
    gone = frame.drop(index=rows_of(frame, "S3")[600:]).reset_index(drop=True)
    assert not survivors_only(gone)
    # A symbol that ends because it was quarantined did not vanish.
    assert survivors_only(gone, ("S3",))
    late = frame.drop(index=rows_of(frame, "S3")[-3:]).reset_index(drop=True)
    assert survivors_only(late)
    assert ingest_source(SourceDescription(source=str(_written(tmp_path, frame))), NOW).survivors_only
