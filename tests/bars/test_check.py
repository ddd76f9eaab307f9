"""The limits of the checks, at and around them, and what they leave alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pandera.errors import SchemaErrors

from tasks.bars.check import CheckedBars
from tasks.bars.refusal import BarsRefusedError
from tasks.bars.schema import _surely_canonical, bars_schema, validate_bars
from tasks.errors import ConfigurationError, DataError
from tests.bars.files import HEADER, NOW, check, panel_lines, with_cell, write, year_of

PANEL = f"symbol,{HEADER}"


def _panel(folder: Path, years: int, symbols: int, broken: dict[int, int]) -> Path:
    """So many years of each symbol; ``broken`` maps a symbol to its number of rows without a close, its first ones."""
    lines: list[str] = []
    for at in range(symbols):
        bars = [_times(line, 1 + at / 100) for year in range(2019 - years, 2019) for line in year_of("SP500", year)]
        bars[: broken.get(at, 0)] = [with_cell(line, "close", "") for line in bars[: broken.get(at, 0)]]
        lines += [f"S{at},{line}" for line in bars]
    return write(folder / "panel.csv", lines, PANEL)


def _times(line: str, factor: float) -> str:
    """The same bar at another price: no two symbols are one series."""
    day, *prices, volume = line.split(",")
    return ",".join([day, *(str(float(price) * factor) for price in prices), volume])


def _rules(checked: CheckedBars, severity: str) -> list[str]:
    return [f.rule for f in checked.findings if f.severity == severity]


def test_in_a_panel_a_broken_row_is_set_aside_and_its_symbol_stays(tmp_path: Path) -> None:
    # 1 of 1,006 rows is below 0.1 %.
    checked = check(_panel(tmp_path, 4, 3, {1: 1}))
    assert _rules(checked, "set_aside") == ["missing-value"]
    assert checked.quarantined == ()
    assert len(checked.frame) == 3 * 1006 - 1
    assert "rows set aside: missing-value 1" in checked.warnings


def test_a_symbol_above_a_thousandth_is_quarantined(tmp_path: Path) -> None:
    checked = check(_panel(tmp_path, 4, 3, {1: 2}))
    assert checked.quarantined == ("S1",)
    assert set(checked.frame["symbol"]) == {"S0", "S2"}
    assert "quarantined: S1" in checked.warnings
    assert len([f for f in checked.findings if f.rule == "missing-value"]) == 2


def test_a_source_above_a_hundredth_is_refused(tmp_path: Path) -> None:
    # 753 rows: 7 are below 1 %, 8 above.
    assert check(_panel(tmp_path, 1, 3, {0: 7})).quarantined == ("S0",)
    with pytest.raises(BarsRefusedError, match=r"8 broken rows of 753 \(1\.06%; 1 % is the limit\)"):
        check(_panel(tmp_path, 1, 3, {0: 8}))


def test_a_source_of_one_symbol_is_refused_for_one_row(tmp_path: Path) -> None:
    with pytest.raises(BarsRefusedError, match="1 broken row in a source of one symbol"):
        check(_panel(tmp_path, 4, 1, {0: 1}))


def test_broken_rows_of_symbols_that_were_not_asked_for_do_not_count(tmp_path: Path) -> None:
    checked = check(_panel(tmp_path, 1, 3, {0: 200}), symbols=("S1", "S2"))
    assert len(checked.frame) == 2 * 251
    assert checked.quarantined == ()


def test_a_symbol_that_the_source_lacks_is_quarantined_and_the_only_one_refused(tmp_path: Path) -> None:
    source = _panel(tmp_path, 1, 2, {})
    checked = check(source, symbols=("S1", "GONE"))
    assert checked.quarantined == ("GONE",)
    with pytest.raises(BarsRefusedError, match="nothing-left"):
        check(source, symbols=("GONE",))


def test_as_of_judges_only_what_was_known_then(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    lines[200] = with_cell(lines[200], "close", "")
    checked = check(write(tmp_path / "p.csv", lines), as_of=lines[199][:10])
    assert len(checked.frame) == 200
    assert _rules(checked, "refused") == []


def test_a_bar_is_finished_at_its_close_and_not_before(tmp_path: Path) -> None:
    source = write(tmp_path / "p.csv", year_of("SP500"))
    close = pd.Timestamp("2018-12-31T21:00:00Z")
    assert len(check(source, now=close).frame) == 251
    assert len(check(source, now=close - pd.Timedelta(seconds=1)).frame) == 250
    # A row for a session that has not opened yet is unfinished too; one further ahead is a wrong stamp.
    assert len(check(source, now=pd.Timestamp("2018-12-31T05:00:00Z")).frame) == 250
    with pytest.raises(BarsRefusedError, match="future"):
        check(source, now=pd.Timestamp("2018-12-20T05:00:00Z"))


def test_the_order_of_rows_and_of_files_changes_nothing(tmp_path: Path) -> None:
    lines = panel_lines(4)
    ordered = check(write(tmp_path / "a" / "panel.csv", lines, PANEL)).frame
    shuffled = list(np.random.default_rng(1).permutation(lines))
    write(tmp_path / "b" / "1.csv", shuffled[:500], PANEL)
    write(tmp_path / "b" / "2.csv", shuffled[500:], PANEL)
    pd.testing.assert_frame_equal(check(tmp_path / "b").frame, ordered)


def test_one_file_a_symbol_takes_the_symbol_from_the_files_name(tmp_path: Path) -> None:
    for name, index in (("BRK.B", "SP500"), ("AAPL", "NASDAQ")):
        write(tmp_path / f"{name}.csv", year_of(index))
    assert check(tmp_path).frame["symbol"].unique().tolist() == ["AAPL", "BRK.B"]
    assert check(f"{tmp_path}/AA*.csv").frame["symbol"].unique().tolist() == ["AAPL"]


@pytest.mark.parametrize("symbol", ["NA", "NULL", "TRUE", "nan", "1E5", "007"])
def test_a_ticker_that_looks_like_something_else_stays_text(symbol: str, tmp_path: Path) -> None:
    source = write(tmp_path / "panel.csv", [f"{symbol},{line}" for line in year_of("SP500")], PANEL)
    assert check(source).frame["symbol"].unique().tolist() == [symbol]


def test_csv_gzip_and_parquet_give_the_same_bars(tmp_path: Path) -> None:
    source = write(tmp_path / "csv" / "p.csv", year_of("SP500"))
    expected = check(source).frame
    table = pd.read_csv(source)
    table.to_csv(tmp_path / "p.csv.gz", index=False)
    table.assign(date=pd.to_datetime(table["date"])).set_index("date").to_parquet(tmp_path / "p.parquet")
    pd.testing.assert_frame_equal(check(tmp_path / "p.csv.gz").frame, expected)
    pd.testing.assert_frame_equal(check(tmp_path / "p.parquet").frame, expected)


def test_adjusted_closes_are_kept_apart_and_never_replace_raw_ones(tmp_path: Path) -> None:
    lines = [f"{line},{float(line.split(',')[4]) / 2}" for line in year_of("SP500")]
    checked = check(write(tmp_path / "p.csv", lines, f"{HEADER},Adj Close"))
    assert checked.adjusted is not None
    assert list(checked.adjusted) == ["symbol", "time", "session", "adj_close", "factor"]
    np.testing.assert_allclose(checked.adjusted["factor"], 0.5, rtol=1e-12)
    assert checked.frame["close"].tolist() == [float(line.split(",")[4]) for line in lines]


def test_a_later_row_of_the_same_file_revises_the_earlier_and_the_earlier_is_kept(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    checked = check(write(tmp_path / "p.csv", [*lines, with_cell(lines[5], "volume", "1")]))
    assert checked.frame["volume"].iloc[5] == 1
    assert checked.superseded is not None
    assert checked.superseded["volume"].tolist() == [float(lines[5].split(",")[5])]


def test_many_contradictions_are_no_revisions(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    with pytest.raises(BarsRefusedError, match="3 rows contradict an earlier one"):
        check(write(tmp_path / "p.csv", [*lines, *(with_cell(line, "volume", "1") for line in lines[:3])]))


def test_a_source_without_volume_is_used_and_says_so(tmp_path: Path) -> None:
    lines = [line.rsplit(",", 1)[0] for line in year_of("SP500")]
    checked = check(write(tmp_path / "p.csv", lines, HEADER.removesuffix(",volume")))
    assert (checked.frame["volume"] == 0).all()
    assert "the source has no volume" in checked.warnings


@pytest.mark.parametrize("bar", ["1h", "5min"])
def test_a_wrong_bar_size_is_refused(bar: str, tmp_path: Path) -> None:
    stamps = pd.date_range("2018-01-02 10:00", "2018-01-02 16:00", freq="15min")
    lines = [f"{stamp:%Y-%m-%d %H:%M},10,11,9,10.5,100" for stamp in stamps]
    with pytest.raises(BarsRefusedError, match="15 minutes apart"):
        check(write(tmp_path / "p.csv", lines), bar=bar, tz="America/New_York")


def test_an_unknown_calendar_is_a_configuration_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="NOWHERE"):
        check(write(tmp_path / "p.csv", year_of("SP500")), calendar="NOWHERE")


def test_years_that_the_calendar_does_not_know_are_refused(tmp_path: Path) -> None:
    lines = [line.replace("2018-", "1960-") for line in year_of("SP500")]
    with pytest.raises(BarsRefusedError, match="calendar-range"):
        check(write(tmp_path / "p.csv", lines), calendar="XTKS")


@pytest.mark.parametrize(
    ("column", "value"),
    [("high", 0.5), ("low", 1e9), ("open", np.nan), ("close", np.inf), ("volume", -1.0), ("open", 0.0)],
)
def test_the_schema_is_a_gate_of_its_own(column: str, value: float, tmp_path: Path) -> None:
    frame = check(write(tmp_path / "p.csv", year_of("SP500"))).frame
    frame.loc[7, column] = value
    with pytest.raises(DataError, match="not a canonical bars frame"):
        validate_bars(frame)


def test_what_keeps_the_contract_needs_no_schema_and_the_schema_agrees(tmp_path: Path) -> None:
    """Every way to break a rule that the schema finds is left to it, and what is not left to it passes there."""
    frame = check(write(tmp_path / "p.csv", year_of("SP500"))).frame
    odd = frame.copy()
    odd["symbol"] = odd["symbol"].astype(object)
    odd.loc[3, "symbol"] = 7
    frames = [
        frame,
        frame.assign(volume=0.0),
        *(_with(frame, name, value) for name in ("open", "high", "low", "close", "volume") for value in NUMBERS),
        _with(frame, "time", pd.NaT),
        _with(frame, "session", pd.NaT),
        frame.assign(session=frame["session"] + pd.Timedelta(1, "ns")),
        frame.assign(session=frame["session"].astype("datetime64[s]")),
        frame.assign(time=frame["time"].dt.tz_convert("Asia/Tokyo")),
        frame.assign(open=frame["open"].astype("float32")),
        frame.assign(symbol=frame["symbol"].astype("category")),
        odd,
        frame.set_index(frame.index + 1),
        frame.iloc[::-1].reset_index(drop=True),
        frame[["time", "symbol", *frame.columns[2:]]],
        pd.concat([frame.iloc[[0]], frame], ignore_index=True),
    ]
    seen = [
        [_surely_canonical(each, negative), _passes(each, negative)] for each in frames for negative in (False, True)
    ]
    assert all(schema or not glance for glance, schema in seen)
    assert seen[:4] == [[True, True]] * 4, "the usual frame is not taken to the schema"
    assert seen.count([False, False]) > 30
    assert seen.count([True, True]) > 4


NUMBERS = (np.nan, np.inf, -np.inf, 2e300, 1e299, 0.0, -1.0, 0.5)


def _with(frame: pd.DataFrame, column: str, value: Any) -> pd.DataFrame:
    return frame.assign(**{column: frame[column].where(frame.index != 7, value)})


def _passes(frame: pd.DataFrame, negative_prices: bool) -> bool:
    try:
        bars_schema(negative_prices).validate(frame, lazy=True)
    except SchemaErrors:
        return False
    return True


def test_the_schema_refuses_another_order_type_or_column(tmp_path: Path) -> None:
    frame = check(write(tmp_path / "p.csv", year_of("SP500")), now=NOW).frame
    wrong = [
        frame.iloc[::-1].reset_index(drop=True),
        frame.assign(volume=frame["volume"].astype("int64")),
        frame.assign(time=frame["time"].dt.tz_localize(None)),
        frame.assign(extra=1.0),
        pd.concat([frame, frame.tail(1)], ignore_index=True),
    ]
    for damaged in wrong:
        with pytest.raises(DataError):
            validate_bars(damaged)
