"""Runs of a day that has passed read what was known then, whatever the source says now."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks import storage
from tasks.bars import past
from tasks.bars.actions import CorporateAction
from tasks.bars.actions_store import ActionStore
from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import ingest_source
from tasks.bars.refusal import BarsRefusedError
from tasks.bars.sources import reading
from tasks.bars.sources.source import BarRequest, FetchedBars
from tasks.bars.store import BarStore
from tasks.contracts import Snapshot
from tests.bars.files import HEADER, year_of
from tests.bars.files import write as write_file

FIRST = pd.Timestamp("2018-12-27T23:00:00Z")
"""The night of the last but two sessions of the year."""
NIGHT = pd.Timedelta(days=1)
SPLIT_AT = 120


def _night(folder: Path, lines: list[str], at: pd.Timestamp, **fields: object) -> Snapshot:
    source = str(write_file(folder / "p.csv", lines, fields.pop("header", HEADER)))  # type: ignore[arg-type]
    return ingest_source(SourceDescription(source=source, **fields), at)  # type: ignore[arg-type]


def _lines(until: int = -2) -> list[str]:
    return list(year_of("SP500"))[:until]


def _with_volume(line: str, volume: int) -> str:
    return ",".join([*line.split(",")[:5], str(volume)])


def _split(lines: list[str], at: int = SPLIT_AT, ratio: float = 4.0) -> list[str]:
    """As quoted around a split: prices and volume from a row on in new shares."""
    found = list(lines[:at])
    for line in lines[at:]:
        day, *prices, volume = line.split(",")
        found.append(",".join([day, *(f"{float(p) / ratio:.6f}" for p in prices), f"{float(volume) * ratio:.0f}"]))
    return found


def test_what_was_restated_later_is_not_used(tmp_path: Path) -> None:
    lines = _lines()
    then = _night(tmp_path, lines, FIRST)
    more = list(year_of("SP500"))
    more[9], more[40] = _with_volume(more[9], 7), _with_volume(more[40], 9)
    now = _night(tmp_path, more, FIRST + 6 * NIGHT)
    again = _night(tmp_path, more, FIRST + 9 * NIGHT, as_of="2018-12-27")
    assert again.sha256 == then.sha256
    assert again.sha256 != now.sha256
    assert storage.read_parquet(now.bars)["volume"].iloc[9] == 7
    assert _night(tmp_path, more, FIRST + 9 * NIGHT, as_of="2019-01-03").sha256 == now.sha256


def test_a_bar_that_the_source_dropped_is_there_for_the_nights_that_had_it(tmp_path: Path) -> None:
    lines = _lines()
    then = _night(tmp_path, lines, FIRST)
    gap = [line for at, line in enumerate(lines) if at != 30]
    after = _night(tmp_path, gap, FIRST + NIGHT)
    assert after.bars.rows == then.bars.rows - 1
    assert _night(tmp_path, gap, FIRST + 3 * NIGHT, as_of="2018-12-27").sha256 == then.sha256
    # The night after did not use it, and a run as of that night does not either.
    assert _night(tmp_path, gap, FIRST + 3 * NIGHT, as_of=(FIRST + NIGHT).isoformat()).sha256 == after.sha256
    back = _night(tmp_path, lines, FIRST + 4 * NIGHT)
    assert back.sha256 == then.sha256
    assert len(BarStore(SourceDescription(source=str(tmp_path / "p.csv"))).read()) == len(lines)


def test_a_bar_that_came_late_and_one_that_filled_a_hole_were_not_known_before(tmp_path: Path) -> None:
    lines = _lines()
    late = [line for at, line in enumerate(lines) if at not in (100, len(lines) - 1)]
    then = _night(tmp_path, late, FIRST)
    _night(tmp_path, lines, FIRST + NIGHT)
    assert _night(tmp_path, lines, FIRST + 3 * NIGHT, as_of="2018-12-27").sha256 == then.sha256


def test_history_read_in_one_go_counts_as_known_at_each_close_and_the_snapshot_says_so(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    _night(tmp_path, lines, FIRST + 9 * NIGHT)
    june = _night(tmp_path, lines, FIRST + 9 * NIGHT, as_of="2018-06-29")
    assert june.last == "2018-06-29T20:00:00Z"
    assert any(f"{june.bars.rows:,} bars were first read after 2018-06-30 00:00 UTC" in told for told in june.warnings)
    night = _night(tmp_path, lines, FIRST + 9 * NIGHT, as_of=(FIRST + 9 * NIGHT).isoformat())
    assert not any("first read after" in told for told in night.warnings)


def test_after_a_pause_of_two_weeks_the_missed_nights_have_their_bars(tmp_path: Path) -> None:
    lines = list(year_of("SP500"))
    _night(tmp_path, lines[:-10], pd.Timestamp("2018-12-14T23:00:00Z"))
    _night(tmp_path, lines, FIRST + 9 * NIGHT)
    missed = _night(tmp_path, lines, FIRST + 9 * NIGHT, as_of="2018-12-20")
    assert missed.last == "2018-12-20T21:00:00Z"


def test_a_known_split_is_no_error_and_the_bars_are_in_the_terms_of_the_last(tmp_path: Path) -> None:
    plain = _night(tmp_path, _lines(), FIRST)
    quotes = _split(_lines())
    with pytest.raises(BarsRefusedError, match="4:1 split"):
        _night(tmp_path, quotes, FIRST + NIGHT)
    day = quotes[SPLIT_AT].split(",")[0]
    known = write_file(tmp_path / "known.csv", [f"p,{day},split,4"], "symbol,session,kind,value")
    found = _night(tmp_path, quotes, FIRST + NIGHT, actions=str(known))
    bars, before = storage.read_parquet(found.bars), storage.read_parquet(plain.bars)
    pd.testing.assert_series_equal(bars["close"] * 4, before["close"], check_exact=False, rtol=1e-6)
    assert found.events is None
    # What is stored is what was quoted.
    kept = BarStore(SourceDescription(source=str(tmp_path / "p.csv"))).read()
    assert kept["close"].iloc[0] == pytest.approx(before["close"].iloc[0])
    with pytest.raises(BarsRefusedError, match="4:1 split"):
        _night(tmp_path, quotes, FIRST + NIGHT, actions=str(known), adjust="none")


def test_before_its_session_a_split_has_no_effect(tmp_path: Path) -> None:
    quotes = _split(_lines())
    day = quotes[SPLIT_AT].split(",")[0]
    before = _night(tmp_path, quotes[:SPLIT_AT], FIRST)
    known = write_file(tmp_path / "known.csv", [f"p,{day},split,4", f"p,{day},dividend,1"], "symbol,session,kind,value")
    ahead = _night(tmp_path, quotes[:SPLIT_AT], FIRST, actions=str(known), adjust="splits_and_dividends")
    assert ahead.sha256 == before.sha256
    _night(tmp_path, quotes, FIRST + NIGHT, actions=str(known))
    yesterday = quotes[SPLIT_AT - 1].split(",")[0]
    assert _night(tmp_path, quotes, FIRST + NIGHT, actions=str(known), as_of=yesterday).sha256 == before.sha256


def test_dividends_stay_beside_the_bars_or_enter_them(tmp_path: Path) -> None:
    lines = _lines()
    days = [lines[at].split(",")[0] for at in (50, SPLIT_AT)]
    rows = [f"p,{days[0]},dividend,20", f"p,{days[1]},split,4"]
    known = write_file(tmp_path / "known.csv", rows, "symbol,session,kind,value")
    beside = _night(tmp_path, _split(lines), FIRST, actions=str(known))
    assert beside.events is not None
    told = storage.read_parquet(beside.events)
    assert told[["symbol", "dividend", "split"]].to_numpy().tolist() == [["p", 5.0, 1.0]]
    inside = _night(tmp_path, _split(lines), FIRST, actions=str(known), adjust="splits_and_dividends")
    assert inside.events is None
    prices, total = (storage.read_parquet(found.bars)["close"] for found in (beside, inside))
    step = (total.pct_change() - prices.pct_change()).iloc[50]
    assert step == pytest.approx(5.0 / prices.iloc[49])
    assert (total.pct_change() - prices.pct_change()).drop(50).abs().max() < 1e-12


def test_events_learnt_or_withdrawn_later_are_as_they_were_known(tmp_path: Path) -> None:
    lines, head = _lines(), "symbol,session,kind,value"
    rows = [f"p,{lines[50].split(',')[0]},dividend,20"]
    known = str(write_file(tmp_path / "known.csv", rows, head))
    kind = "splits_and_dividends"
    then = _night(tmp_path, lines, FIRST, actions=known, adjust=kind)
    write_file(tmp_path / "known.csv", [*rows, f"p,{lines[70].split(',')[0]},dividend,10"], head)
    learnt = _night(tmp_path, lines, FIRST + NIGHT, actions=known, adjust=kind)
    write_file(tmp_path / "known.csv", [f"p,{lines[70].split(',')[0]},dividend,10"], head)
    withdrawn = _night(tmp_path, lines, FIRST + 2 * NIGHT, actions=known, adjust=kind)
    nights = [
        _night(tmp_path, lines, FIRST + 9 * NIGHT, actions=known, adjust=kind, as_of=(FIRST + at * NIGHT).isoformat())
        for at in range(3)
    ]
    assert [found.sha256 for found in nights] == [then.sha256, learnt.sha256, withdrawn.sha256]
    assert len({found.sha256 for found in nights}) == 3


class Vendor:
    """Bars as quoted and a split, of which nothing is there before half an hour after a session's close."""

    delay = pd.Timedelta(minutes=30)
    whole_each_week = True

    def __init__(self) -> None:
        rows = [line.split(",") for line in _split(_lines(SPLIT_AT + 2))]
        columns = ("time", "open", "high", "low", "close", "volume")
        self.bars = pd.DataFrame([["SPX", *row] for row in rows], columns=["symbol", *columns])
        self.ex = date.fromisoformat(rows[SPLIT_AT][0])
        self.split = CorporateAction(symbol="SPX", session=self.ex, kind="split", value=4.0)

    def fetch(self, request: BarRequest) -> FetchedBars:
        since, until = request.since.get("SPX", date.min), request.now.date()
        bars = self.bars[(self.bars["time"] >= str(since)) & (self.bars["time"] <= str(until))]
        return FetchedBars(
            bars=bars, asked=("SPX",), actions=(self.split,) if since <= self.split.session <= until else ()
        )


@pytest.fixture
def vendor(monkeypatch: pytest.MonkeyPatch) -> Vendor:
    there = Vendor()
    for module in (reading, past):
        monkeypatch.setattr(module, "find_source", lambda _: (there, "SPX"))
    return there


def test_the_earliest_night_of_an_ex_session_has_the_split(vendor: Vendor) -> None:
    """As of close and delay, which is before its own night read bar and split."""
    described = SourceDescription(source="yfinance:SPX")
    night = pd.Timestamp(f"{vendor.ex}T22:30:00Z")
    ingest_source(described, night - NIGHT)
    live = ingest_source(described, night)
    close = pd.Timestamp(live.last)
    for later in (night, night + 9 * NIGHT):
        again = ingest_source(replace(described, as_of=(close + vendor.delay).isoformat()), later)
        assert again.sha256 == live.sha256
    assert np.log(storage.read_parquet(again.bars)["close"]).diff().abs().max() < 0.1


@pytest.mark.parametrize(
    ("row", "words"),
    [("p,2018-12-25,split,4", "the exchange was closed on that day"), ("p,2018-12-20,dividend,9000", "not less than")],
)
def test_an_event_that_cannot_be_refuses_the_file(row: str, words: str, tmp_path: Path) -> None:
    known = write_file(tmp_path / "known.csv", [row], "symbol,session,kind,value")
    with pytest.raises(BarsRefusedError, match=rf"known.csv refused: a corporate action cannot be.\n.*{words}"):
        _night(tmp_path, _lines(), FIRST, actions=str(known))
    assert not list((storage.home() / "bars").rglob("*.parquet"))


def test_a_vendor_that_rescaled_its_history_after_a_known_split_restated_nothing(tmp_path: Path) -> None:
    lines = _lines()
    description = SourceDescription(source=str(tmp_path / "p.csv"))
    _night(tmp_path, lines, FIRST)
    scaled = _split(lines, at=0)
    ActionStore(description).append(
        [CorporateAction(symbol="p", session=date(2018, 12, 28), kind="split", value=4.0)], FIRST
    )
    # One bar was mended besides: it alone is restated history, and not all that were divided by four.
    scaled[9] = _with_volume(scaled[9], 1)
    moved = scaled[20].split(",")
    scaled[20] = ",".join([moved[0], moved[1], str(float(moved[2]) * 1.05), *moved[3:]])
    after = _night(tmp_path, scaled, FIRST + NIGHT)
    assert after.finding_counts["rescaled"] == 1
    assert after.finding_counts["restated"] == 1
