"""Splits and dividends as events: what they may be, what a file may hold, and what the store keeps of them."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.bars.actions import CorporateAction, actions_frame, actions_of, each_once, wrong_actions
from tasks.bars.actions_file import parse_actions, read_actions
from tasks.bars.actions_store import ActionStore, Covered
from tasks.bars.describe import SourceDescription
from tasks.bars.readings import NO_LOOKS, Looks, Reading
from tasks.errors import DataError

SPLIT = CorporateAction(symbol="AAPL", session=date(2014, 6, 9), kind="split", value=7.0)
CASH = CorporateAction(symbol="AAPL", session=date(2014, 8, 7), kind="dividend", value=0.47)
THEN = pd.Timestamp("2014-09-01T22:00:00Z")
NIGHT = pd.Timedelta(days=1)
HEADER = "symbol,session,kind,value\n"


@pytest.mark.parametrize(
    ("kind", "value", "words"),
    [
        ("split", 0.0, "more than 0"),
        ("split", -2.0, "more than 0"),
        ("split", 1.0, "not 1"),
        ("split", float("nan"), "give a number"),
        ("dividend", -0.1, "0 or more"),
        ("dividend", float("inf"), "give a number"),
        ("spin-off", 1.0, "a split or a dividend"),
    ],
)
def test_what_no_event_can_be(kind: str, value: float, words: str) -> None:
    with pytest.raises(DataError, match=rf"AAPL 2014-06-09: .*{words}"):
        CorporateAction(symbol="AAPL", session=date(2014, 6, 9), kind=kind, value=value)  # type: ignore[arg-type]


def test_a_frame_holds_them_whole_and_in_order() -> None:
    assert actions_of(actions_frame([CASH, SPLIT])) == (SPLIT, CASH)
    assert actions_of(actions_frame([])) == ()


def test_equal_ones_count_once_and_two_of_one_day_that_differ_are_refused() -> None:
    assert each_once([CASH, SPLIT, CASH]) == (SPLIT, CASH)
    other = CorporateAction(symbol="AAPL", session=CASH.session, kind="dividend", value=0.5)
    with pytest.raises(DataError, match=r"AAPL 2014-08-07: two dividends, 0.47 and 0.5"):
        each_once([CASH, other])


def test_events_that_the_calendar_or_the_price_rules_out_are_named() -> None:
    labels = pd.bdate_range("2014-06-01", "2014-12-31").to_numpy().astype("datetime64[ns]")
    bars = pd.DataFrame({"symbol": "AAPL", "session": labels[:60], "close": 94.0})
    saturday = CorporateAction(symbol="AAPL", session=date(2014, 8, 9), kind="split", value=2.0)
    huge = CorporateAction(symbol="AAPL", session=date(2014, 8, 11), kind="dividend", value=94.0)
    early = CorporateAction(symbol="AAPL", session=date(1987, 6, 15), kind="split", value=2.0)
    found = wrong_actions([SPLIT, CASH, saturday, huge, early], labels, bars)
    assert {action: finding.rule for action, finding in found.items()} == {
        saturday: "wrong-split",
        huge: "wrong-dividend",
    }
    assert "closed on that day" in found[saturday].detail
    assert "not less than the last close before it, 94" in found[huge].detail


def test_a_file_of_events_is_read(tmp_path: Path) -> None:
    path = tmp_path / "actions.csv"
    path.write_text(HEADER + "AAPL,2014-08-07,Dividend,0.47\nAAPL,2014-06-09,split,7\n", encoding="utf-8-sig")
    assert read_actions(str(path)) == (SPLIT, CASH)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("symbol,session,kind\n", r"lack the columns \['value'\]"),
        (HEADER + "AAPL,9.6.2014,split,7\n", r"row 1: session is a date such as 2020-08-31, got '9.6.2014'"),
        (HEADER + "AAPL,2014-06-09,split,7:1\n", "row 1: value is a plain number, got '7:1'"),
        (HEADER + "AAPL,2014-06-09,spin,7\n", "row 1: kind is split or dividend, got 'spin'"),
        (HEADER + ",2014-06-09,split,7\n", "row 1: no symbol"),
        (HEADER + "AAPL,2014-06-09,split,1\n" * 7, "row 5: .*; and 2 more"),
        (HEADER + "AAPL,2014-06-09,split,7\nAAPL,2014-06-09,split,2\n", "two splits, 2 and 7"),
    ],
)
def test_a_wrong_file_is_refused_naming_row_rule_and_value(text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        parse_actions(text, "a.csv")


def test_the_store_keeps_what_was_known_when(tmp_path: Path) -> None:
    book = ActionStore(SourceDescription(source="p.csv"), root=tmp_path)
    mended = CorporateAction(symbol="AAPL", session=CASH.session, kind="dividend", value=0.48)
    assert book.append([SPLIT, CASH], THEN) == 2
    assert book.append([CASH, SPLIT], THEN + NIGHT) == 0
    assert book.append([mended], THEN + 2 * NIGHT) == 1
    whole = Covered(symbols=("AAPL",), first=date.min, last=date.max)
    assert book.after([mended], [whole]) == (mended,)
    assert book.append([mended], THEN + 3 * NIGHT, [whole]) == 1
    assert book.append([mended], THEN + 4 * NIGHT, [whole]) == 0
    looks = Looks((Reading(at=(THEN - NIGHT).isoformat(), asked=(), symbols=("AAPL",)),))
    known = [book.known(THEN + night * NIGHT, looks) for night in range(-1, 4)]
    assert known == [(), (SPLIT, CASH), (SPLIT, CASH), (SPLIT, mended), (mended,)]
    assert book.append([SPLIT], THEN + 5 * NIGHT) == 1
    assert book.read() == (SPLIT, mended)


def test_as_of_a_day_only_events_that_had_happened_and_were_known(tmp_path: Path) -> None:
    book = ActionStore(SourceDescription(source="p.csv"), root=tmp_path)
    book.append([SPLIT, CASH], THEN)
    july = pd.Timestamp("2014-07-01T00:00:00Z")
    # Loaded in one go, it counts from its session on; a reading of July that did not have it says otherwise.
    assert book.known(july, NO_LOOKS) == (SPLIT,)
    look = Reading(at="2014-06-30T22:00:00+00:00", asked=(), symbols=("AAPL",))
    assert book.known(july, Looks((look,))) == ()
    assert book.known(THEN, Looks((look,))) == (SPLIT, CASH)


CLOSE = pd.Timestamp("2014-06-09T20:00:00Z")
DELAY = pd.Timedelta(minutes=30)
QUOTED = pd.DataFrame(
    {"symbol": "AAPL", "time": [CLOSE - 3 * NIGHT, CLOSE], "session": pd.DatetimeIndex(["2014-06-06", "2014-06-09"])}
)


@pytest.mark.parametrize("read", [CLOSE + DELAY, CLOSE + pd.Timedelta(hours=2), THEN])
def test_an_event_is_known_with_the_first_bar_of_its_session_however_much_later_both_were_read(
    read: pd.Timestamp, tmp_path: Path
) -> None:
    book = ActionStore(SourceDescription(source="p.csv"), root=tmp_path)
    book.append([SPLIT], read)
    # Read the evening before in New York, which is its day in UTC already: there was no bar of it to show the event.
    looks = Looks((Reading(at="2014-06-09T02:00:00+00:00", asked=(), symbols=("AAPL",)),))
    assert book.known(CLOSE + DELAY, looks, QUOTED, DELAY) == (SPLIT,)
    assert book.known(pd.Timestamp("2014-06-08T23:00:00Z"), looks, QUOTED, DELAY) == ()


def test_an_event_that_came_after_its_bar_was_not_known_with_it(tmp_path: Path) -> None:
    book = ActionStore(SourceDescription(source="p.csv"), root=tmp_path)
    book.append([SPLIT], CLOSE + NIGHT)
    looks = Looks((Reading(at=(CLOSE + DELAY).isoformat(), asked=(), symbols=("AAPL",)),))
    assert book.known(CLOSE + pd.Timedelta(hours=3), looks, QUOTED, DELAY) == ()
    assert book.known(CLOSE + NIGHT, looks, QUOTED, DELAY) == (SPLIT,)


def test_a_session_that_opens_the_day_before_in_utc_has_its_event_with_its_first_bar(tmp_path: Path) -> None:
    book = ActionStore(SourceDescription(source="p.csv"), root=tmp_path)
    first = pd.Timestamp("2014-06-08T23:30:00Z")
    bars = pd.DataFrame({"symbol": "AAPL", "time": [first], "session": pd.DatetimeIndex(["2014-06-09"])})
    book.append([SPLIT], THEN)
    assert book.known(first + DELAY, NO_LOOKS, bars, DELAY) == (SPLIT,)
    assert book.known(first, NO_LOOKS, bars, DELAY) == ()


def test_a_decade_of_events_is_copied_together_and_reads_the_same(tmp_path: Path) -> None:
    book = ActionStore(SourceDescription(source="p.csv"), root=tmp_path)
    made = [
        CorporateAction(symbol="A", session=day.date(), kind="dividend", value=0.1)
        for day in pd.date_range("2014-01-01", periods=20)
    ]
    for night, action in enumerate(made):
        book.append([action], THEN + night * NIGHT)
    assert book.read() == tuple(made)
    assert len(list(book.folder.glob("*.parquet"))) == len(made)
    copies = list(book.folder.with_name("actions.copied").glob("*.parquet"))
    assert len(copies) == 1
    copies[0].write_bytes(b"damaged")
    assert book.read() == tuple(made)
    assert np.all(np.diff(book.revisions()["session"]) > np.timedelta64(0))
