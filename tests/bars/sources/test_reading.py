"""Readings night after night: only what is new is fetched, the rest is stored, and both are one history."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from tasks.bars import files
from tasks.bars.actions import CorporateAction
from tasks.bars.actions_store import ActionStore
from tasks.bars.check import CheckedBars, check_bars
from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import ingest_source
from tasks.bars.sources import reading
from tasks.bars.sources.due import source_digest
from tasks.bars.sources.reading import read_bars
from tasks.bars.sources.source import BarRequest, FetchedBars
from tasks.bars.store import BarStore
from tasks.errors import ConfigurationError, DataError, SourceUnavailableError
from tests.bars.files import LOADERS

NIGHT = "22:30"
Change = Callable[[pd.DataFrame], pd.DataFrame]


class Shelf:
    """A vendor of real bars: it has every session that closed by now, of the symbols on it, and remembers requests."""

    delay = timedelta(0)
    whole_each_week = False

    def __init__(self, *symbols: str) -> None:
        self.symbols = symbols
        self.requests: list[BarRequest] = []
        self.change: Change = lambda bars: bars
        self.silent: dict[str, str] = {}
        self.actions: tuple[CorporateAction, ...] = ()

    def fetch(self, request: BarRequest) -> FetchedBars:
        self.requests.append(request)
        parts = [self._bars(symbol, request) for symbol in self.symbols if symbol not in self.silent]
        return FetchedBars(
            bars=self.change(pd.concat(parts, ignore_index=True)) if parts else _bars("SP500").iloc[:0],
            asked=self.symbols,
            missing=self.silent,
            actions=self.actions,
        )

    def _bars(self, symbol: str, request: BarRequest) -> pd.DataFrame:
        bars = _bars(symbol)
        since = pd.Timestamp(request.since.get(symbol, bars["time"].min()))
        return bars[(bars["time"] >= since) & (bars["time"] <= pd.Timestamp(request.now.date()))]


def _bars(symbol: str) -> pd.DataFrame:
    """2017 and 2018 of the S&P 500 or the NASDAQ; any other name is the S&P 500 at a price of its own."""
    loaded = LOADERS.get(symbol, LOADERS["SP500"])().loc["2017":"2018"]
    factor = 1.0 if symbol in LOADERS else 1.0 + int(symbol[1:]) / 100 if symbol[1:].isdigit() else 2.0
    values = {name.lower(): loaded[name].to_numpy(dtype=float) * factor for name in ("Open", "High", "Low", "Close")}
    return pd.DataFrame({"symbol": symbol, "time": loaded.index, **values, "volume": loaded["Volume"].to_numpy(float)})


@pytest.fixture
def shelf(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Shelf]:
    def made(*symbols: str) -> Shelf:
        stocked = Shelf(*symbols)
        monkeypatch.setattr(reading, "find_source", lambda description: (stocked, description.source))
        return stocked

    return made


DESCRIBED = SourceDescription(source="yfinance:shelf")


def _at(day: str, clock: str = NIGHT) -> pd.Timestamp:
    return pd.Timestamp(f"{day}T{clock}Z")


def _checked(day: str, described: SourceDescription = DESCRIBED) -> CheckedBars:
    return check_bars(read_bars(described, _at(day)).raw, described, _at(day))


def _night(day: str, described: SourceDescription = DESCRIBED) -> object:
    return ingest_source(described, _at(day))


def test_the_first_night_takes_all_and_the_next_asks_for_five_sessions_and_what_is_new(
    shelf: Callable[..., Shelf],
) -> None:
    stocked = shelf("SP500")
    _night("2018-12-18")
    _night("2018-12-20")
    assert [dict(asked.since) for asked in stocked.requests] == [{}, {"SP500": pd.Timestamp("2018-12-12").date()}]
    assert len(BarStore(DESCRIBED).read()) == len(_bars("SP500").query("time <= '2018-12-20'"))


def test_bit_by_bit_gives_the_same_bars_as_all_at_once(shelf: Callable[..., Shelf]) -> None:
    shelf("SP500", "NASDAQ")
    for day in ("2018-11-30", "2018-12-03", "2018-12-14", "2018-12-31"):
        _night(day)
    bit_by_bit = _checked("2018-12-31").frame
    at_once = _checked("2018-12-31", SourceDescription(source="yfinance:another")).frame
    pd.testing.assert_frame_equal(bit_by_bit, at_once)


def test_a_new_symbol_takes_its_whole_history(shelf: Callable[..., Shelf]) -> None:
    shelf("SP500")
    _night("2018-12-18")
    stocked = shelf("SP500", "NASDAQ")
    _night("2018-12-19")
    assert set(stocked.requests[0].since) == {"SP500"}
    assert _checked("2018-12-19").frame["symbol"].nunique() == 2


def test_a_revision_within_the_overlap_is_seen_and_a_later_value_is_used(shelf: Callable[..., Shelf]) -> None:
    stocked = shelf("SP500")
    _night("2018-12-18")

    def revise(bars: pd.DataFrame) -> pd.DataFrame:
        return bars.assign(volume=bars["volume"].where(bars["time"] != pd.Timestamp("2018-12-14"), 1e9))

    stocked.change = revise
    _night("2018-12-19")
    revisions = BarStore(DESCRIBED).revisions()
    assert revisions.loc[revisions["revision"] > 0, "volume"].tolist() == [1e9]
    frame = _checked("2018-12-19").frame
    assert frame.loc[frame["session"] == pd.Timestamp("2018-12-14"), "volume"].tolist() == [1e9]


def test_a_vendor_that_rewrites_its_history_is_read_whole_in_the_first_night_of_a_week(
    shelf: Callable[..., Shelf],
) -> None:
    stocked = shelf("SP500")
    stocked.whole_each_week = True
    for day in ("2018-12-13", "2018-12-14", "2018-12-17", "2018-12-18"):
        _night(day)
    assert [bool(asked.since) for asked in stocked.requests] == [False, True, False, True]


def test_a_backfill_reads_such_a_vendor_whole_once_a_week_of_its_own_time(shelf: Callable[..., Shelf]) -> None:
    stocked = shelf("SP500")
    stocked.whole_each_week = True
    for day in ("2018-12-13", "2018-12-14", "2018-12-17", "2018-12-18"):
        ingest_source(replace(DESCRIBED, as_of=day), _at("2018-12-31"))
    assert [bool(asked.since) for asked in stocked.requests] == [False, True, False, True]


def test_a_bar_that_the_vendor_no_longer_has_stays_and_is_told(shelf: Callable[..., Shelf]) -> None:
    stocked = shelf("SP500")
    _night("2018-12-18")
    stocked.change = lambda bars: bars[bars["time"] != pd.Timestamp("2018-12-14")]
    checked = _checked("2018-12-19")
    assert pd.Timestamp("2018-12-14") in set(checked.frame["session"])
    assert [(f.rule, f.time) for f in checked.findings if f.severity == "warning"] == [
        ("vendor-dropped", "2018-12-14T21:00:00Z"), ("short-history", "")
    ]  # fmt: skip


def test_nothing_for_a_symbol_that_has_history_may_pass_and_writes_nothing(shelf: Callable[..., Shelf]) -> None:
    stocked = shelf("SP500")
    _night("2018-12-18")
    before = BarStore(DESCRIBED).parts()
    stocked.silent = {"SP500": "no bars in the time asked for"}
    with pytest.raises(SourceUnavailableError, match="nothing for symbols that it had bars of before: SP500: no bars"):
        _night("2018-12-19")
    assert BarStore(DESCRIBED).parts() == before


def test_nothing_for_a_symbol_that_never_had_any_is_an_error_that_stays(shelf: Callable[..., Shelf]) -> None:
    shelf("SPYY").silent = {"SPYY": "No data found, symbol may be delisted"}
    with pytest.raises(DataError, match=r"no bars: SPYY: No data found.* check the spelling") as told:
        _night("2018-12-19")
    assert not told.value.retryable
    assert not BarStore(DESCRIBED).parts()


PANEL = tuple(f"A{at:02d}" for at in range(12))


def test_one_symbol_without_an_answer_is_quarantined_and_keeps_its_past(shelf: Callable[..., Shelf]) -> None:
    stocked = shelf(*PANEL)
    _night("2018-12-18")
    stocked.silent = {"A05": "No data found, symbol may be delisted"}
    checked = _checked("2018-12-19")
    assert checked.quarantined == ("A05",)
    assert checked.quarantined_from == {"A05": "2018-12-19"}
    assert checked.frame.groupby("symbol")["session"].max().to_dict()["A05"] == pd.Timestamp("2018-12-18")
    assert [(f.rule, f.symbol) for f in checked.findings if f.severity == "quarantined"] == [("vendor-silent", "A05")]


def test_a_symbol_that_never_came_is_quarantined_by_name(shelf: Callable[..., Shelf]) -> None:
    shelf(*PANEL).silent = {"A05": "not found"}
    checked = _checked("2018-12-19")
    assert checked.quarantined == ("A05",)
    assert [f.detail for f in checked.findings if f.rule == "symbol-missing"] == ["not found"]


def test_a_panel_of_which_much_is_missing_is_the_vendor_s_fault(shelf: Callable[..., Shelf]) -> None:
    stocked = shelf(*PANEL)
    _night("2018-12-18")
    stocked.silent = dict.fromkeys(PANEL[:3], "no bars in the time asked for")
    with pytest.raises(SourceUnavailableError, match="nothing for 3 of 12 symbols"):
        _night("2018-12-19")


def test_many_symbols_that_ended_are_not_the_vendor_s_fault(shelf: Callable[..., Shelf]) -> None:
    stocked = shelf(*PANEL)
    ended = set(PANEL[:3])
    stocked.change = lambda bars: bars[~bars["symbol"].isin(ended) | (bars["time"] <= "2018-12-07")]
    _night("2018-12-18")
    stocked.silent = dict.fromkeys(ended, "no bars in the time asked for")
    assert set(_checked("2018-12-19").quarantined) == ended


def test_a_bar_of_the_future_is_refused(shelf: Callable[..., Shelf]) -> None:
    stocked = shelf("SP500")
    stocked.change = lambda bars: bars.assign(time=bars["time"].where(bars["time"] < bars["time"].max(), "2019-02-01"))
    with pytest.raises(DataError, match="future: yfinance: it begins 2019-02-01"):
        _night("2018-12-19")
    assert not BarStore(DESCRIBED).parts()


def test_the_bar_of_a_session_that_is_open_is_not_used(shelf: Callable[..., Shelf]) -> None:
    shelf("SP500")
    now = _at("2018-12-19", "18:00")
    checked = check_bars(read_bars(DESCRIBED, now).raw, DESCRIBED, now)
    assert checked.frame["session"].max() == pd.Timestamp("2018-12-18")
    assert "unfinished" in {finding.rule for finding in checked.findings}


def test_a_run_of_the_past_that_the_store_reaches_asks_nobody(shelf: Callable[..., Shelf]) -> None:
    stocked = shelf("SP500")
    _night("2018-12-18")
    asked = len(stocked.requests)
    past = SourceDescription(source="yfinance:shelf", as_of="2018-12-10")
    frame = _checked("2018-12-19", past).frame
    assert len(stocked.requests) == asked
    assert frame["session"].max() == pd.Timestamp("2018-12-10")


def test_stored_intraday_bars_keep_their_place(shelf: Callable[..., Shelf]) -> None:
    described = SourceDescription(source="yfinance:hours", bar="1h", label="start", tz="America/New_York")
    stocked = shelf("SP500")
    stocked.fetch = partial(_hours, stocked)  # type: ignore[method-assign]
    _night("2018-12-18", described)
    first = _checked("2018-12-18", described).frame
    assert len(first) == 7 * len(pd.unique(first["session"]))
    assert stocked.requests[-1].since == {"SP500": pd.Timestamp("2018-12-12").date()}
    assert len(BarStore(described).revisions()) == len(first)


def _hours(stocked: Shelf, request: BarRequest) -> FetchedBars:
    """The S&P 500's days of December 2018 as hours from 09:30 on, each with the day's prices times a little."""
    stocked.requests.append(request)
    days = _bars("SP500").query("time >= '2018-12-03' and time <= '2018-12-18'")
    hours = [
        days.assign(time=days["time"] + pd.Timedelta(hours=9.5 + at), volume=days["volume"] / 7) for at in range(7)
    ]
    return FetchedBars(bars=pd.concat(hours, ignore_index=True), asked=("SP500",))


def test_events_come_with_the_days_that_they_should_be_all_of(shelf: Callable[..., Shelf]) -> None:
    stocked = shelf("SP500", "NASDAQ")
    paid = CorporateAction(symbol="SP500", session=pd.Timestamp("2018-12-18").date(), kind="dividend", value=1.5)
    stocked.actions = (paid,)
    _night("2018-12-18")
    stocked.silent = {"NASDAQ": "x"}
    found = read_bars(DESCRIBED, _at("2018-12-19"))
    assert found.actions == (paid,)
    assert [(c.symbols, str(c.first), str(c.last)) for c in found.covered] == [
        (("SP500",), "2018-12-12", "2018-12-19")
    ]  # fmt: skip


WEEKLY = SourceDescription(source="yfinance:")


def test_two_problems_on_one_source_both_have_their_whole_reading_each_week(shelf: Callable[..., Shelf]) -> None:
    """The store is shared; each night asks for its own symbol only."""
    asked: dict[str, list[bool]] = {"SP500": [], "NASDAQ": []}
    for day in ("2018-12-14", "2018-12-17", "2018-12-18", "2018-12-24"):
        for symbol, told in asked.items():
            stocked = shelf(symbol)
            stocked.whole_each_week = True
            _night(day, replace(WEEKLY, symbols=(symbol,)))
            told.append(symbol not in stocked.requests[0].since)
    assert asked == {symbol: [True, True, False, True] for symbol in asked}


def test_a_whole_reading_that_reaches_back_some_days_withdraws_nothing_before_them(shelf: Callable[..., Shelf]) -> None:
    """As hours and minutes of Yahoo's: what is older than its reach it tells no more, bars and events alike."""
    stocked = shelf("SP500")
    stocked.whole_each_week = True
    old = CorporateAction(symbol="SP500", session=pd.Timestamp("2018-11-15").date(), kind="dividend", value=1.5)
    wrong = CorporateAction(symbol="SP500", session=pd.Timestamp("2018-12-13").date(), kind="dividend", value=1.5)
    stocked.actions = (old, wrong)
    _night("2018-12-14")
    stocked.change = lambda bars: bars[bars["time"] >= pd.Timestamp("2018-12-06")]
    stocked.actions = ()
    _night("2018-12-17")
    assert stocked.requests[-1].since == {}
    assert ActionStore(DESCRIBED).read() == (old,)


def test_events_of_a_session_that_may_be_cut_are_not_covered(shelf: Callable[..., Shelf]) -> None:
    """Of hours a vendor may have the first session from noon on, and its events were told in the morning."""
    described = SourceDescription(source="yfinance:hours", bar="1h", label="start", tz="America/New_York")
    stocked = shelf("SP500")
    stocked.fetch = partial(_hours, stocked)  # type: ignore[method-assign]
    assert [str(c.first) for c in read_bars(described, _at("2018-12-18")).covered] == ["2018-12-04"]
    _night("2018-12-18", described)
    assert [str(c.first) for c in read_bars(described, _at("2018-12-18")).covered] == ["2018-12-12"]


def test_a_run_of_the_past_asks_nobody_for_a_symbol_that_ended_before(shelf: Callable[..., Shelf]) -> None:
    stocked = shelf("SP500", "NASDAQ")
    stocked.change = lambda bars: bars[(bars["symbol"] != "NASDAQ") | (bars["time"] <= "2018-11-01")]
    _night("2018-12-18")
    asked = len(stocked.requests)
    for day in ("2018-10-15", "2018-12-10", "2018-12-11"):
        _checked("2018-12-19", replace(DESCRIBED, as_of=day))
    assert len(stocked.requests) == asked
    # One that nobody read since then is asked for.
    _checked("2018-12-20", replace(DESCRIBED, as_of="2018-12-19"))
    assert len(stocked.requests) == asked + 1


@pytest.mark.parametrize("spelling", ["BTC-USD", "btc/usd", "BTC/USD"])
def test_symbols_are_found_however_they_are_spelled(spelling: str, shelf: Callable[..., Shelf]) -> None:
    stocked = shelf("SP500")
    stocked.symbols = ("BTC/USD",)
    described = SourceDescription(source="ccxt:kraken", symbols=(spelling,))
    for day in ("2018-12-18", "2018-12-19"):
        snapshot = ingest_source(described, _at(day))
        assert snapshot.symbols == ("BTC/USD",)
    assert set(stocked.requests[1].since) == {"BTC/USD"}


def test_symbols_of_files_are_what_they_are() -> None:
    assert SourceDescription(source="p.csv", symbols=("btc-usd",)).symbols == ("btc-usd",)
    assert SourceDescription(source="yfinance:", symbols=("aapl", "AAPL")).symbols == ("AAPL",)


def test_the_digest_of_a_vendor_s_source_knows_each_symbol_s_newest_bar_and_what_is_stored(
    shelf: Callable[..., Shelf],
) -> None:
    described = replace(WEEKLY, symbols=("SP500", "NASDAQ"))

    def digest(stamp: str, of: SourceDescription = described) -> str:
        return source_digest(of, pd.Timestamp(stamp, tz="UTC").to_pydatetime())

    stocked = shelf("SP500", "NASDAQ")
    _night("2018-12-17", described)
    stocked.change = lambda bars: bars[(bars["symbol"] == "SP500") | (bars["time"] < "2018-12-18")]
    _night("2018-12-18", described)
    assert digest("2018-12-18T22:40") != digest("2018-12-18T22:41"), "a bar is late: the night must be run again"
    alone = replace(WEEKLY, symbols=("SP500",))
    before = digest("2018-12-18T22:40", alone)
    assert before == digest("2018-12-18T22:41", alone), "it is not this problem's bar"
    stocked.change = lambda bars: bars
    ingest_source(described, _at("2018-12-18", "22:50"))
    settled = digest("2018-12-18T22:51")
    assert settled == digest("2018-12-18T23:51")
    assert before == digest("2018-12-18T22:51", alone), "what came was another problem's"
    stocked.change = lambda bars: bars.assign(volume=bars["volume"].where(bars["time"] != "2018-12-14", 1e9))
    ingest_source(described, _at("2018-12-18", "23:00"))
    restated = digest("2018-12-18T23:51")
    assert restated != settled
    stocked.actions = (
        CorporateAction(symbol="SP500", session=pd.Timestamp("2018-12-18").date(), kind="dividend", value=1.5),
    )
    ingest_source(described, _at("2018-12-18", "23:10"))
    assert digest("2018-12-18T23:51") != restated


def test_a_symbol_that_ended_or_gives_no_answer_is_not_waited_for(shelf: Callable[..., Shelf]) -> None:
    def settled() -> bool:
        first, second = (pd.Timestamp(f"2018-12-18T22:{at}Z").to_pydatetime() for at in (40, 41))
        return source_digest(DESCRIBED, first) == source_digest(DESCRIBED, second)

    stocked = shelf("SP500", "NASDAQ", "A01")
    stocked.change = lambda bars: bars[(bars["symbol"] != "NASDAQ") | (bars["time"] <= "2018-12-07")]
    _night("2018-12-17")
    assert not settled()
    stocked.silent = {"A01": "no bars in the time asked for"}
    _night("2018-12-18")
    assert settled()


def test_the_digest_of_a_vendor_s_source_changes_when_a_bar_is_due(shelf: Callable[..., Shelf]) -> None:
    shelf("SP500")

    def digest(stamp: str) -> str:
        return source_digest(DESCRIBED, pd.Timestamp(stamp, tz="UTC").to_pydatetime())

    assert digest("2018-12-18T22:30") != digest("2018-12-18T22:31"), "nothing is stored yet: it must be read"
    _night("2018-12-18")
    assert digest("2018-12-18T22:30") == digest("2018-12-19T21:29"), "Yahoo has a bar half an hour after the close"
    assert digest("2018-12-19T21:30") != digest("2018-12-19T21:31"), "the next bar is due, and not read"
    assert digest("2018-12-18T22:30") != source_digest(SourceDescription(source="yfinance:other"))


def test_unknown_sources_have_no_digest() -> None:
    with pytest.raises(ConfigurationError):
        source_digest(SourceDescription(source="bloomberg:SPY"))


def test_a_file_of_events_is_part_of_the_digest_and_none_changes_nothing(tmp_path: Path) -> None:
    plain = SourceDescription(source="builtin:sp500")
    assert source_digest(plain) == files.source_digest(plain)
    events = tmp_path / "events.csv"
    digests = {source_digest(plain)}
    for text in ("symbol,session,kind,value\n", "symbol,session,kind,value\nSP500,2018-12-18,dividend,1\n"):
        events.write_text(text)
        digests.add(source_digest(replace(plain, actions=str(events))))
    assert len(digests) == 3


def test_an_unchanged_night_of_files_needs_no_heavy_import() -> None:
    code = (
        "import sys; from tasks.bars.describe import SourceDescription;"
        "from tasks.bars.sources.due import source_digest;"
        "source_digest(SourceDescription(source='builtin:sp500'));"
        "print(sorted({'pandas', 'numpy', 'yfinance', 'ccxt', 'pyarrow', 'prefect', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
