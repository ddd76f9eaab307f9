"""Every kind of bad input, and what must happen: refused, set aside, quarantined, or accepted and said.

The numbers are those of the project's list of bad input. ``python -m tests.faults.show_bad_input`` prints the messages.
"""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.bars.check import CheckedBars
from tasks.bars.describe import SourceDescription, from_options
from tasks.bars.ingest import ingest_source
from tasks.bars.inspection import inspect
from tasks.bars.refusal import BarsRefusedError
from tests.bars.files import HEADER, NOW, check, panel_lines, with_cell, write, year_of

PANEL = f"symbol,{HEADER}"
HOURS = ("10:30", "11:30", "12:30")


@dataclass(frozen=True)
class Case:
    """A kind of bad input. ``says`` must all be in the error (refused) or in a finding's detail (else)."""

    kind: str
    title: str
    build: Callable[[Path], Path]
    rule: str
    says: tuple[str, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    now: pd.Timestamp = NOW

    @property
    def id(self) -> str:
        return f"{self.kind}-{self.title.replace(' ', '-')}"


def _lines() -> list[str]:
    return list(year_of("SP500"))


def _broken(column: str, value: str, at: int = 99) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        lines = _lines()
        lines[at] = with_cell(lines[at], column, value)
        return write(folder / "prices.csv", lines)

    return build


def _bytes(name: str, data: bytes) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return build


def _text() -> bytes:
    return "\n".join([HEADER, *_lines()]).encode()


def _added(*lines: str) -> Callable[[Path], Path]:
    return lambda folder: write(folder / "prices.csv", sorted([*_lines(), *lines]))


def _truncated_parquet(folder: Path) -> Path:
    whole = folder / "whole.parquet"
    pd.DataFrame({"date": ["2018-01-02"], "open": [1.0]}).to_parquet(whole)
    cut = folder / "prices.parquet"
    cut.write_bytes(whole.read_bytes()[:-20])
    return cut


def _epochs(unit: str, change: int | None = None) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        factor = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}[unit]
        lines = _lines()
        stamps = [pd.Timestamp(line.split(",")[0]).value // factor for line in lines]
        if change is not None:
            stamps[change] *= 1000
        return write(
            folder / "prices.csv", [with_cell(line, "date", str(s)) for line, s in zip(lines, stamps, strict=True)]
        )

    return build


def _hourly(*stamps: str) -> Callable[[Path], Path]:
    """Hourly bars of four sessions around the early close of 2018-07-03, and further stamps."""
    days = ("2018-06-29", "2018-07-02", "2018-07-03", "2018-07-05")
    usual = [f"{day} {hour}" for day in days for hour in HOURS]
    lines = [f"{stamp},10,11,9,10.5,100" for stamp in sorted([*usual, *stamps])]
    return lambda folder: write(folder / "prices.csv", lines)


def _device(folder: Path) -> Path:
    os.mkfifo(folder / "pipe.csv")
    return folder / "pipe.csv"


def _link_out(folder: Path) -> Path:
    outside = write(folder / "outside" / "secret.csv", _lines())
    write(folder / "bars" / "A.csv", _lines())
    (folder / "bars" / "B.csv").symlink_to(outside)
    return folder / "bars"


def _long_gap(folder: Path) -> Path:
    return write(folder / "prices.csv", [*year_of("SP500", 2014), *year_of("SP500", 2018)])


def _disagree(folder: Path) -> Path:
    lines = _lines()
    write(folder / "a.csv", [f"X,{line}" for line in lines], PANEL)
    lines[7] = with_cell(lines[7], "volume", "1")
    write(folder / "b.csv", [f"X,{line}" for line in lines], PANEL)
    return folder


def _weekly(folder: Path) -> Path:
    return write(folder / "prices.csv", [line for at, line in enumerate(_lines()) if at % 5 == 0])


def _beside_a_panel(line: str) -> Callable[[Path], Path]:
    """Three whole symbols, and a fourth whose every row is ``line`` at another date."""

    def build(folder: Path) -> Path:
        rows = [line.replace("2018-01-02", bar[:10]) for bar in _lines()]
        return write(folder / "panel.csv", [*panel_lines(3), *rows], PANEL)

    return build


def _times(line: str, factor: float, volume: float = 1.0) -> str:
    """A bar with its prices, and its volume, multiplied."""
    day, *prices, traded = line.split(",")
    return ",".join([day, *(f"{float(price) * factor:.4f}" for price in prices), f"{float(traded) * volume:.0f}"])


def _hundredfold(lines: list[str]) -> list[str]:
    return [_times(line, 100) if 150 <= at < 155 else line for at, line in enumerate(lines)]


def _unapplied_split(lines: list[str]) -> list[str]:
    return [_times(line, 0.5, 2) if at >= 150 else line for at, line in enumerate(lines)]


def _spike(lines: list[str]) -> list[str]:
    return [_times(line, 1.3) if at == 150 else line for at, line in enumerate(lines)]


def _frozen(lines: list[str]) -> list[str]:
    last = lines[149].split(",")[4]
    still = [f"{line[:10]},{last},{last},{last},{last},0" for line in lines]
    return [*lines[:150], *still[150:157], *lines[157:]]


def _hole(sessions: int) -> Callable[[list[str]], list[str]]:
    return lambda lines: lines[:150] + lines[150 + sessions :]


def _later_bar(lines: list[str]) -> list[str]:
    return [lines[at][:10] + lines[154][10:] if at == 150 else line for at, line in enumerate(lines)]


def _no_range(lines: list[str]) -> list[str]:
    flat = [f"{line[:10]},{','.join([line.split(',')[4]] * 4)},{line.split(',')[5]}" for line in lines]
    return [flat[at] if at >= 150 and at % 20 == 0 else line for at, line in enumerate(lines)]


def _repeated_opens(lines: list[str]) -> list[str]:
    """Half of the opens are the previous close; the day's range takes it in."""
    changed = list(lines)
    for at in range(1, len(lines), 2):
        day, _, high, low, close, volume = lines[at].split(",")
        last = lines[at - 1].split(",")[4]
        high, low = max(high, last, key=float), min(low, last, key=float)
        changed[at] = ",".join([day, last, high, low, close, volume])
    return changed


def _lots(lines: list[str]) -> list[str]:
    return [_times(line, 1, 0.01) if at >= 150 else line for at, line in enumerate(lines)]


def _alone(change: Callable[[list[str]], list[str]], index: str = "SP500") -> Callable[[Path], Path]:
    """A source of one symbol with a defect."""
    return lambda folder: write(folder / "prices.csv", change(list(year_of(index))))


def _among(change: Callable[[list[str]], list[str]], index: str = "NASDAQ") -> Callable[[Path], Path]:
    """Three whole symbols, and a fourth, N, with a defect in its 151st bar."""

    def build(folder: Path) -> Path:
        rows = [f"N,{line}" for line in change(list(year_of(index)))]
        return write(folder / "panel.csv", [*panel_lines(3), *rows], PANEL)

    return build


REFUSED = [
    Case("1", "empty file", _bytes("prices.csv", b""), "empty-file", ("prices.csv", "0 bytes")),
    Case("1", "header only", _bytes("prices.csv", HEADER.encode()), "no-rows", ("prices.csv",)),
    Case("2", "truncated gzip", _bytes("prices.csv.gz", gzip.compress(_text())[:-200]), "truncated", ("csv.gz",)),
    Case("2", "truncated Parquet", _truncated_parquet, "truncated", ("prices.parquet",)),
    Case("3", "wrong encoding", _bytes("p.csv", _text() + b"\n2018-12-31,\xe9"), "wrong-encoding", ("0xe9", "row 252")),
    Case("3", "UTF-16", _bytes("prices.csv", _text().decode().encode("utf-16")), "wrong-encoding", ("UTF-16",)),
    Case("4", "missing column", _bytes("prices.csv", b"date,open,high,close\n2018-01-02,1,2,1\n"), "missing-column",
         ("no column for low", "it has date, open, high, close")),
    Case("7", "text in a number column", _broken("close", "abc"), "not-a-number", ("row 100", "close is 'abc'")),
    Case("8", "decimal comma", _broken("close", '"2657,99"'), "decimal-comma", ("row 100", "2657,99")),
    Case("8", "thousands separator", _broken("close", '"2,657.99"'), "thousands-separator", ("row 100", "2,657.99")),
    Case("13", "bar on a holiday", _added("2018-07-04,10,11,9,10,100"), "off-session",
         ("row 128", "2018-07-04 is no session of XNYS")),
    Case("14", "bar after an early close", _hourly("2018-07-03 14:30"), "off-session",
         ("2018-07-03T18:30:00Z", "2018-07-03T17:00:00Z"), {"bar": "1h", "tz": "America/New_York"}),
    Case("16", "timestamp in the future", _added("2031-03-03,10,11,9,10,100"), "future", ("row 252", "2031-03-03")),
    Case("17", "naive intraday times", _hourly(), "naive-time", ("row 1", "2018-06-29T10:30:00"), {"bar": "1h"}),
    Case("18", "hour that a clock change repeats", _hourly("2018-11-04 01:30"), "clock-change",
         ("2018-11-04 01:30",), {"bar": "1h", "tz": "America/New_York", "calendar": "24/7"}),
    Case("19", "mixed epoch units", _epochs("s", change=99), "mixed-time-unit", ("row 100",)),
    Case("20", "NaN", _broken("open", "NaN"), "missing-value", ("row 100", "no value for open")),
    Case("21", "infinity", _broken("high", "inf"), "infinite-value", ("row 100", "infinity in high")),
    Case("22", "zero price", _broken("low", "0"), "price-not-positive", ("row 100", "low 0")),
    Case("22", "negative price", _broken("low", "-37.63"), "price-not-positive", ("low -37.63", "negative_prices")),
    Case("23", "high below low", _broken("high", "1"), "inconsistent-prices", ("row 100", "high 1,")),
    Case("23", "close outside", _broken("close", "99999"), "inconsistent-prices", ("close 99999",)),
    Case("24", "negative volume", _broken("volume", "-5"), "negative-volume", ("row 100", "volume -5")),
    Case("30", "hostile path", lambda _: Path("prices\x07.csv"), "hostile-name", ("prices\\x07.csv",)),
    Case("30", "a path that is a device", _device, "not-a-file", ("pipe.csv",)),
    Case("30", "symbolic link out of the folder", _link_out, "outside-folder", ("B.csv", "secret.csv")),
    Case("30", "file name that is a formula", lambda f: write(f / "=cmd().csv", _lines()), "hostile-name", ("=cmd()",)),
    Case("30", "ticker that changed hands", _long_gap, "long-gap", ("2014-12-31", "2018-01-02")),
    Case("32", "constant", lambda f: write(f / "prices.csv", [f"{line[:10]},5,5,5,5,7" for line in _lines()]),
         "constant", ("every price of 251 bars is 5",)),
    Case("34", "two files that disagree", _disagree, "files-disagree", ("row 8", "b.csv", "became 1", "a.csv")),
    Case("12", "a hole of a month", _alone(_hole(25)), "gap", ("row 151", "25 sessions", "2018-08-06")),
    Case("18", "hour that a clock change skips", _hourly("2018-03-11 02:30"), "clock-change",
         ("2018-03-11 02:30",), {"bar": "1h", "tz": "America/New_York", "calendar": "24/7"}),
    Case("25", "hundredfold unit error", _alone(_hundredfold), "unit-error", ("row 151", "times 100", "2018-08-14")),
    Case("26", "unapplied split", _alone(_unapplied_split), "split", ("row 151", "2:1 split")),
    Case("27", "spike that reverts", _alone(_spike), "spike", ("row 151", "apart from both neighbours")),
    Case("28", "frozen price with no volume", _alone(_frozen), "frozen", ("row 151", "7 bars without trading")),
    Case("38", "bar of a later session", _alone(_later_bar), "later-bar", ("row 151", "2018-08-13", "nobody knew")),
    Case("-", "weekly bars declared daily", _weekly, "bar-size", ("5 sessions apart",)),
    Case("-", "row cut off", _bytes("prices.csv", _text()[:-30]), "ragged-row", ("row 251",)),
    Case("-", "no whole row", _bytes("p.csv", HEADER.encode() + b"\n2018-01-02,1\n"), "ragged-row", ("row 1",)),
    Case("-", "HTML instead of bars", _bytes("p.csv", b"<!DOCTYPE html><html>429</html>"), "not-a-table", ("html",)),
    Case("-", "starts declared as ends", lambda f: write(f / "p.csv", ["2018-01-02T15:00Z,1,2,1,2,3"],
         "open_time,open,high,low,close,volume"), "label-side", ("open_time",), {"bar": "1h"}),
]  # fmt: skip

QUARANTINED = [
    Case("30", "symbol that is a path", _beside_a_panel("../x,2018-01-02,1,2,1,2,5"), "hostile-name", ("../x",)),
    Case("30", "symbol that is a formula", _beside_a_panel("=cmd(),2018-01-02,1,2,1,2,5"), "hostile-name", ("=cmd()",)),
    Case("30", "symbol with a quote", _beside_a_panel('"a\'b",2018-01-02,1,2,1,2,5'), "hostile-name", ("a'b",)),
    Case("32", "one symbol all NaN", _beside_a_panel("EMPTY,2018-01-02,,,,,"), "all-missing", ("EMPTY",)),
    Case("39", "one series under two names", _among(list, "SP500"), "same-series", ("251 of 251", "A00")),
    Case("32", "one symbol constant", _beside_a_panel("STILL,2018-01-02,5,5,5,5,5"), "constant", ("STILL", "is 5")),
]

# Quarantined from the session of the defect on: what came before stays.
LATE = [
    Case("12", "a hole of a month", _among(_hole(25)), "gap", ("25 sessions",)),
    Case("25", "hundredfold unit error", _among(_hundredfold), "unit-error", ("times 100",)),
    Case("26", "unapplied split", _among(_unapplied_split), "split", ("2:1 split",)),
    Case("27", "spike that reverts", _among(_spike), "spike", ("apart from both neighbours",)),
    Case("28", "frozen price with no volume", _among(_frozen), "frozen", ("7 bars without trading",)),
]

SAID = [
    Case("12", "a hole of three sessions", _alone(_hole(3)), "gap", ("3 sessions without a bar",)),
    Case("36", "opens that repeat the previous close", _alone(_repeated_opens), "repeated-opens", ("of 2018",)),
    Case("37", "bars with no range", _alone(_no_range), "no-range", ("5 of 251 bars",)),
    Case("38", "bar of a later session in a panel", _among(_later_bar), "later-bar", ("a later session's",)),
    Case("-", "volume in lots of a hundred", _alone(_lots), "volume-scale", ("times that of the month before",)),
    Case("3", "byte order mark", _bytes("prices.csv", b"\xef\xbb\xbf" + _text()), "byte-order-mark", ("prices.csv",)),
    Case("5", "renamed columns", lambda f: write(f / "prices.csv", _lines(), "Date,O,H,L,Close/Last,Vol."),
         "renamed-column", ("Close/Last as close", "Vol. as volume")),
    Case("6", "unknown extra column", lambda f: write(f / "prices.csv", [f"{line},0" for line in _lines()],
         f"{HEADER},Dividends"), "unknown-column", ("Dividends",)),
    Case("9", "duplicate with the same values", _added(year_of("SP500")[9]), "duplicate", ("row 10", "used once")),
    Case("10", "duplicate with other values", lambda f: write(f / "prices.csv", [*_lines(),
         with_cell(_lines()[9], "volume", "1")]), "conflicting-duplicate", ("became 1", "row 10")),
    Case("11", "rows out of order", lambda f: write(f / "prices.csv", _lines()[::-1]), "out-of-order", ("250 rows",)),
    Case("15", "unfinished last bar", _added(), "unfinished", ("dropped",), now=pd.Timestamp("2018-12-31T19:00Z")),
    Case("19", "epoch seconds", _epochs("s"), "short-history", ("251 bars",)),
    Case("19", "epoch milliseconds", _epochs("ms"), "short-history", ("251 bars",)),
    Case("19", "epoch microseconds", _epochs("us"), "short-history", ("251 bars",)),
    Case("19", "epoch nanoseconds", _epochs("ns"), "short-history", ("251 bars",)),
    Case("31", "too little history", lambda f: write(f / "prices.csv", _lines()[:100]), "short-history", ("100 bars",)),
]  # fmt: skip


def run(case: Case, folder: Path) -> CheckedBars:
    """Check a case's source."""
    return check(case.build(folder), now=case.now, **case.options)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_refused_with_a_message_that_names_it(case: Case, tmp_path: Path) -> None:
    with pytest.raises(BarsRefusedError) as caught:
        run(case, tmp_path)
    message = str(caught.value)
    assert case.rule in message
    for words in case.says:
        assert words in message
    assert caught.value.exit_code == 3
    assert not caught.value.retryable
    assert any(finding.rule == case.rule for finding in caught.value.findings)


@pytest.mark.parametrize("case", SAID, ids=lambda case: case.id)
def test_accepted_and_said(case: Case, tmp_path: Path) -> None:
    checked = run(case, tmp_path)
    details = [f"row {f.row}: {f.detail}" for f in checked.findings if f.rule == case.rule]
    assert details
    for words in case.says:
        assert words in " ".join(details)


UNTOUCHED = [case for case in SAID if case.kind in {"3", "5", "6", "9", "11", "19"}]


@pytest.mark.parametrize("case", UNTOUCHED, ids=lambda case: case.id)
def test_what_is_harmless_changes_no_bar(case: Case, tmp_path: Path) -> None:
    plain = check(write(tmp_path / "plain" / "prices.csv", _lines()))
    pd.testing.assert_frame_equal(run(case, tmp_path).frame, plain.frame)


@pytest.mark.parametrize("case", REFUSED[:8], ids=lambda case: case.id)
def test_a_refused_source_writes_no_bars(case: Case, tmp_path: Path) -> None:
    description = SourceDescription(source=str(case.build(tmp_path)), **case.options)
    with pytest.raises(BarsRefusedError):
        ingest_source(description, case.now)
    assert not list((tmp_path / "home").rglob("*.parquet"))


@pytest.mark.parametrize("case", [*REFUSED, *SAID], ids=lambda case: case.id)
def test_inspect_reports_instead_of_raising(case: Case, tmp_path: Path) -> None:
    report = inspect(SourceDescription(source=str(case.build(tmp_path)), **case.options), case.now)
    assert set(report) == {"rows", "symbols", "accepted", "findings", "quarantined"}
    assert case.rule in {finding["rule"] for finding in report["findings"]}
    assert (report["accepted"] == 0) == (case in REFUSED)


@pytest.mark.parametrize("case", LATE, ids=lambda case: case.id)
def test_quarantine_leaves_what_came_before(case: Case, tmp_path: Path) -> None:
    checked = run(case, tmp_path)
    found = [f for f in checked.findings if f.rule == case.rule]
    assert [(f.severity, f.symbol) for f in found] == [("quarantined", "N")]
    assert all(words in found[0].detail for words in case.says)
    assert checked.quarantined == ("N",)
    assert checked.quarantined_from == {"N": found[0].time[:10]}
    assert checked.frame["symbol"].value_counts().to_dict() == {"A00": 251, "A01": 251, "A02": 251, "N": 150}


@pytest.mark.parametrize("case", QUARANTINED, ids=lambda case: case.id)
def test_a_symbol_is_quarantined_and_the_rest_of_the_panel_goes_on(case: Case, tmp_path: Path) -> None:
    checked = run(case, tmp_path)
    assert len(checked.quarantined) == 1
    found = [f for f in checked.findings if f.rule == case.rule]
    assert [f.severity for f in found] == ["quarantined"]
    assert all(words in f"{found[0].symbol}: {found[0].detail}" for words in case.says)
    assert checked.frame["symbol"].unique().tolist() == ["A00", "A01", "A02"]


def test_of_two_files_that_disagree_only_that_symbol_is_quarantined(tmp_path: Path) -> None:
    write(tmp_path / "y.csv", [f"Y,{line}" for line in _lines()], PANEL)
    checked = check(_disagree(tmp_path))
    assert checked.quarantined == ("X",)
    # Seven of its bars lie before the one in which its files differ.
    assert checked.frame["symbol"].value_counts().to_dict() == {"Y": 251, "X": 7}


def test_two_files_that_agree_are_one_series(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", [f"X,{line}" for line in _lines()[:150]], PANEL)
    write(tmp_path / "b.csv", [f"X,{line}" for line in _lines()[100:]], PANEL)
    checked = check(tmp_path)
    assert len(checked.frame) == 251
    assert sum(f.rule == "duplicate" for f in checked.findings) == 50


def test_a_declared_instrument_may_go_below_zero(tmp_path: Path) -> None:
    lines = _lines()
    lines[99] = f"{lines[99][:10]},17.73,17.85,-40.32,-37.63,1000"
    checked = check(write(tmp_path / "wti.csv", lines), negative_prices=True)
    assert checked.frame["close"].iloc[99] == -37.63


def test_volume_past_32_bits_is_kept_exactly(tmp_path: Path) -> None:
    lines = _lines()
    lines[99] = with_cell(lines[99], "volume", str(2**53 - 1))
    checked = check(write(tmp_path / "prices.csv", lines))
    assert int(checked.frame["volume"].iloc[99]) == 2**53 - 1


def test_a_universe_of_one_out_of_a_panel(tmp_path: Path) -> None:
    checked = check(write(tmp_path / "panel.csv", panel_lines(3), PANEL), symbols=("A01",))
    assert checked.frame["symbol"].unique().tolist() == ["A01"]


def test_a_million_bad_rows_do_not_flood_the_message(tmp_path: Path) -> None:
    lines = [with_cell(line, "close", "?") for line in _lines()]
    with pytest.raises(BarsRefusedError) as caught:
        ingest_source(SourceDescription(source=str(write(tmp_path / "prices.csv", lines))), NOW)
    message = str(caught.value)
    assert message.count("  row ") == 5
    assert "and 246 more" in message
    listed = Path(message.rsplit("All findings: ", 1)[1])
    assert len(pd.read_json(listed)) == len(caught.value.findings)


def test_hostile_text_is_escaped_in_messages(tmp_path: Path) -> None:
    with pytest.raises(BarsRefusedError) as caught:
        check(_broken("close", "\x1b[31mred\x1b[0m")(tmp_path))
    assert "\x1b" not in str(caught.value)
    assert "\\x1b[31mred" in str(caught.value)


def test_options_of_the_command_line_reach_the_description() -> None:
    description = from_options("x.csv", tz="UTC", calendar="24/7", bar="1h", price_scale=1e4, label="start")
    assert (description.tz, description.calendar, description.bar) == ("UTC", "24/7", "1h")
    assert (description.price_scale, description.label) == (1e4, "start")


def test_scaled_prices_are_divided(tmp_path: Path) -> None:
    source = write(tmp_path / "prices.csv", _lines())
    whole, scaled = check(source).frame, check(source, price_scale=1e4).frame
    np.testing.assert_allclose(scaled["close"] * 1e4, whole["close"], rtol=1e-15)
    pd.testing.assert_series_equal(scaled["volume"], whole["volume"])
