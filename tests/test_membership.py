"""Who belonged when: spells of a file on rows of bars, and what is wrong with a file in words."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.contracts import Spell
from tasks.errors import DataError
from tasks.membership import belongs, is_member, known_by, parse_membership, present, read_membership

GOOD = "symbol,from,to\nAAA,2015-01-05,2015-01-07\nAAA,2015-01-09,\nBBB,2015-01-06,2015-01-06\nZZZ,2001-01-01,\n"


def test_rows_belong_in_their_spells_first_and_last_day_included(tmp_path: Path) -> None:
    (tmp_path / "members.csv").write_text("\ufeff" + GOOD, encoding="utf-8")
    days = np.tile(np.arange("2015-01-05", "2015-01-11", dtype="datetime64[D]"), 3)
    symbols = np.repeat(np.array(["AAA", "BBB", "CCC"], dtype=object), 6)
    found = is_member(symbols, days, read_membership(tmp_path / "members.csv"))
    assert found.reshape(3, 6).astype(int).tolist() == [[1, 1, 1, 0, 1, 1], [0, 1, 0, 0, 0, 0], [0] * 6]


def test_the_order_of_rows_does_not_matter() -> None:
    spells = parse_membership(GOOD, "text")
    symbols = np.array(["BBB", "AAA", "BBB", "AAA"], dtype=object)
    days = np.array(["2015-01-06", "2015-01-08", "2015-01-05", "2030-06-03"], dtype="datetime64[D]")
    assert is_member(symbols, days, spells).tolist() == [True, False, False, True]


def test_further_columns_are_ignored_and_columns_may_come_in_any_order() -> None:
    (spell,) = parse_membership("to,note,symbol,from\n,x,AAA,2015-01-05\n", "text")
    assert spell == Spell(symbol="AAA", first="2015-01-05")


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
    symbols, days = np.array(["XXX"], dtype=object), np.array(["2015-01-05"], dtype="datetime64[D]")
    with pytest.raises(DataError, match=r"no bar lies in a spell .*\['XXX'\].*'AAA'"):
        is_member(symbols, days, parse_membership(GOOD, "text"))


def test_without_spells_everybody_belongs() -> None:
    symbols, days = np.array(["XXX", "YYY"], dtype=object), np.array(["2015-01-05"] * 2, dtype="datetime64[D]")
    assert belongs(symbols, days, ()).tolist() == [True, True]
    assert present(["XXX", "YYY", "ZZZ"], days, ()).tolist() == [3, 3]


def test_names_are_counted_whether_they_have_bars_or_not() -> None:
    days = np.array(["2015-01-09", "2015-01-06", "2015-01-08", "2015-01-06"], dtype="datetime64[D]")
    assert present(["AAA", "BBB", "QQQ"], days, parse_membership(GOOD, "text")).tolist() == [1, 2, 0, 2]


def test_what_is_known_of_later_days_is_nothing() -> None:
    spells = parse_membership(GOOD, "text")
    kept = known_by(np.datetime64("2015-01-06"), ("AAA", "BBB"), spells)
    assert kept == (
        Spell(symbol="AAA", first="2015-01-05"),
        Spell(symbol="BBB", first="2015-01-06", last="2015-01-06"),
    )
    assert known_by(np.datetime64("2014-12-31"), ("AAA", "BBB"), spells) == ()


@st.composite
def spells_of_three(draw: st.DrawFn) -> tuple[Spell, ...]:
    """Up to three spells each of three names, in January 2020, with at least a day between them."""
    found = []
    for symbol in "ABC":
        cuts = sorted(draw(st.sets(st.integers(1, 30), min_size=2, max_size=6)))
        for first, last in zip(cuts[::2], cuts[1::2], strict=False):
            ends = draw(st.booleans()) or last != cuts[-1]
            found.append(Spell(symbol=symbol, first=_january(first), last=_january(last - 1) if ends else ""))
    return tuple(found)


def _january(day: int) -> str:
    return f"2020-01-{day:02d}"


@given(spells_of_three(), st.integers(1, 31))
def test_until_a_day_all_spells_and_those_known_then_say_the_same(spells: tuple[Spell, ...], day: int) -> None:
    now = np.datetime64(_january(day))
    days = np.tile(np.arange("2020-01-01", "2020-02-01", dtype="datetime64[D]"), 3)
    symbols = np.repeat(np.array(list("ABC"), dtype=object), 31)
    known = known_by(now, "ABC", spells)
    then = days <= now
    expected = [
        any(s.symbol == name and s.first <= str(when) <= (s.last or "9999") for s in spells)
        for name, when in zip(symbols, days, strict=True)
    ]
    member = belongs(symbols, days, known) if known else np.zeros(93, dtype=bool)
    np.testing.assert_array_equal(member[then], np.array(expected)[then])
    if known:
        np.testing.assert_array_equal(present("ABC", days[:31], known), member.reshape(3, 31).sum(axis=0))
        after = member.reshape(3, 31)[:, day:]
        still = [any(s.symbol == name and not s.last for s in known) for name in "ABC"]
        assert (np.array(still) == after.T).all()
