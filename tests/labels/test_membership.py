"""Who belonged when: spells of a file on rows of bars, and what is wrong with a file in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.errors import DataError
from tasks.labels.membership import is_member, parse_membership, read_membership

GOOD = "symbol,from,to\nAAA,2015-01-05,2015-01-07\nAAA,2015-01-09,\nBBB,2015-01-06,2015-01-06\nZZZ,2001-01-01,\n"


def test_rows_belong_in_their_spells_first_and_last_day_included(tmp_path: Path) -> None:
    (tmp_path / "members.csv").write_text("\ufeff" + GOOD, encoding="utf-8")
    days = pd.date_range("2015-01-05", periods=6)
    symbols = np.repeat(np.array(["AAA", "BBB", "CCC"], dtype=object), 6)
    sessions = pd.DatetimeIndex(np.tile(days.to_numpy(), 3))
    found = is_member(symbols, sessions, read_membership(tmp_path / "members.csv"))
    assert found.reshape(3, 6).astype(int).tolist() == [[1, 1, 1, 0, 1, 1], [0, 1, 0, 0, 0, 0], [0] * 6]


def test_the_order_of_rows_does_not_matter() -> None:
    spells = parse_membership(GOOD, "text")
    symbols = np.array(["BBB", "AAA", "BBB", "AAA"], dtype=object)
    sessions = pd.DatetimeIndex(["2015-01-06", "2015-01-08", "2015-01-05", "2030-06-03"])
    assert is_member(symbols, sessions, spells).tolist() == [True, False, False, True]


def test_further_columns_are_ignored_and_columns_may_come_in_any_order() -> None:
    (spell,) = parse_membership("to,note,symbol,from\n,x,AAA,2015-01-05\n", "text")
    assert (spell.symbol, spell.row, spell.last.year) == ("AAA", 1, 9999)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("symbol,start,end\n", r"members\.csv: .*lacks the columns \['from', 'to'\]; it has \['symbol', 'start'"),
        ("", r"lacks the columns"),
        ("symbol,from,to\n", r"holds no row"),
        ("symbol,from,to\nAAA,05/01/2015,\n", r"members\.csv: row 1: from must be a date .*, got '05/01/2015'"),
        ("symbol,from,to\nAAA,2015-01-05,\nBBB,,\n", r"row 2: from must be a date .*, got ''"),
        ("symbol,from,to\nAAA,2015-01-05,soon\n", r"row 1: to must be a date .*, got 'soon'"),
        ("symbol,from,to\nAAA,2015-01-05,2015-01-04\n", r"row 1: AAA leaves before it enters: from 2015-01-05, to"),
        ("symbol,from,to\n ,2015-01-05,\n", r"row 1: symbol is empty"),
        ("symbol,from,to\nAAA,2015-01-05\n", r"row 1: has another number of fields"),
        ("symbol,from,to\nAAA,2015-01-05,,x\n", r"row 1: has another number of fields"),
        (GOOD + "AAA,2015-01-07,2015-01-08\n", r"row 5: AAA from 2015-01-07 overlaps row 1 \(to 2015-01-07\)"),
        ('symbol,from,to\n"AAA,2015-01-05,\n', r"not a CSV file"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "members.csv").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=words):
        read_membership(tmp_path / "members.csv")


def test_five_examples_are_enough() -> None:
    bad = "symbol,from,to\n" + "AAA,never,\n" * 9
    with pytest.raises(DataError, match=r"row 5: [^;]*; and 4 more$"):
        parse_membership(bad, "text")


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.csv: membership cannot be read"):
        read_membership(tmp_path / "none.csv")
    (tmp_path / "latin.csv").write_bytes(b"symbol,from,to\nM\xfcLLER,2015-01-05,\n")
    with pytest.raises(DataError, match=r"latin\.csv: membership cannot be read as UTF-8"):
        read_membership(tmp_path / "latin.csv")


def test_a_file_about_another_universe_is_refused() -> None:
    symbols, sessions = np.array(["XXX"], dtype=object), pd.DatetimeIndex(["2015-01-05"])
    with pytest.raises(DataError, match=r"no bar lies in a spell .*\['XXX'\].*'AAA'"):
        is_member(symbols, sessions, parse_membership(GOOD, "text"))
