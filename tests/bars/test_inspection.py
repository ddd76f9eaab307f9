"""What ``check`` prints: findings by rule, the gravest first, five examples each, within the terminal's width."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import ingest_source
from tasks.bars.inspection import inspect, lines
from tasks.bars.refusal import BarsRefusedError
from tests.bars.files import HEADER, NOW, panel_lines, with_cell, write, year_of


def test_what_the_night_would_refuse_is_not_accepted(tmp_path: Path) -> None:
    source = str(write(tmp_path / "p.csv", year_of("SP500")))
    paid = str(write(tmp_path / "paid.csv", ["p,2018-12-20,dividend,9000"], "symbol,session,kind,value"))
    description = SourceDescription(source=source, actions=paid)
    with pytest.raises(BarsRefusedError, match="not less than the last close before it"):
        ingest_source(description, NOW)
    document = inspect(description, NOW)
    assert (document["rows"], document["accepted"]) == (251, 0)
    assert [found["rule"] for found in document["findings"]] == ["wrong-dividend"]
    assert inspect(SourceDescription(source=source), NOW)["accepted"] == 251


def _document(folder: Path) -> dict[str, object]:
    rows = panel_lines(8)
    rows[300] = "A01," + with_cell(rows[300].removeprefix("A01,"), "close", "?")
    rows[700:702] = [f"{row[:15]}9{row[15:]}" for row in rows[700:702]]
    return inspect(SourceDescription(source=str(write(folder / "panel.csv", rows, f"symbol,{HEADER}"))), NOW)


@pytest.mark.parametrize("width", [80, 100, 120])
def test_no_line_is_wider_than_the_terminal(width: int, tmp_path: Path) -> None:
    printed = lines(_document(tmp_path), width)
    assert max(len(line) for line in printed) <= width


def test_the_gravest_rule_comes_first_and_five_examples_are_enough(tmp_path: Path) -> None:
    printed = lines(_document(tmp_path), 100)
    heads = [line for line in printed if not line.startswith(" ")]
    assert heads[0].startswith("broken-rows: ")
    assert "short-history: 8 (warning)" in heads
    at = printed.index("short-history: 8 (warning)")
    assert printed[at + 6] == "  … and 3 more (--json lists them all)"
    assert printed[-1].startswith("quarantined: A01")
    # All rows are of one file: it need not be named in each line.
    assert not any("panel.csv: close" in line for line in printed)
    assert any("row 301: close is '?'" in line for line in printed)
