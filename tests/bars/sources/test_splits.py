"""A share is split between two nights: nothing that is stored changes, and the snapshot is in today's terms.

The vendor behaves as Yahoo does (it rewrites its whole history at a split); its bars are the S&P 500's of 2018, divided
by four from the made-up split's day on.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pandas as pd
import pytest

from tasks.bars.actions import CorporateAction
from tasks.bars.actions_store import ActionStore
from tasks.bars.describe import SourceDescription
from tasks.bars.ingest import ingest_source
from tasks.bars.sources import reading
from tasks.bars.sources.yahoo import YahooSource
from tasks.bars.store import BarStore
from tasks.contracts import Snapshot
from tasks.storage import read_parquet
from tests.bars.files import LOADERS
from tests.bars.sources.vendor import QUICK, Answer, Asked, Vendor, Waits, chart, yahoo

SPLIT = "2018-12-19"
DESCRIBED = SourceDescription(source="yfinance:SPX")
PRICES = ["open", "high", "low", "close"]


def _quoted() -> pd.DataFrame:
    """What was quoted: cents; a quarter of the price, and four times the shares, from the split on."""
    bars = LOADERS["SP500"]().loc["2018"]
    ratio = pd.Series(1.0, index=bars.index).where(bars.index < pd.Timestamp(SPLIT), 4.0)
    prices = {name: (bars[name] / ratio).round(2) for name in ("Open", "High", "Low", "Close")}
    return pd.DataFrame({**prices, "Volume": bars["Volume"] * ratio})


class Yahoo:
    """Yahoo as it would answer on a day."""

    def __init__(self) -> None:
        self.today = pd.Timestamp("2018-12-18")

    def __call__(self, asked: Asked) -> Answer:
        since = datetime.fromtimestamp(max(int(asked.query["period1"]), 0), UTC).replace(tzinfo=None)
        bars = _quoted().loc[: self.today]
        splits = {SPLIT: 4.0} if self.today >= pd.Timestamp(SPLIT) else {}
        # Cut after scaling: what was sent before the split is divided by it too.
        return Answer(chart("SPX", bars, splits, since))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Yahoo, Vendor]]:
    there = Yahoo()
    with yahoo(there) as vendor:
        source = YahooSource(QUICK, Waits().clock(), vendor.session)
        monkeypatch.setattr(reading, "find_source", lambda _: (source, "SPX"))
        yield there, vendor


def _night(there: Yahoo, day: str) -> Snapshot:
    there.today = pd.Timestamp(day)
    return ingest_source(DESCRIBED, pd.Timestamp(f"{day}T22:30Z"))


def test_a_split_between_two_nights_revises_nothing_and_is_an_event(world: tuple[Yahoo, Vendor]) -> None:
    there, vendor = world
    _night(there, "2018-12-18")
    after = _night(there, "2018-12-19")
    assert len(vendor.asked) == 2
    store = BarStore(DESCRIBED)
    assert set(store.revisions()["revision"]) == {0}
    assert store.read()["close"].tolist() == _quoted().loc[:SPLIT, "Close"].tolist()
    split = CorporateAction(symbol="SPX", session=pd.Timestamp(SPLIT).date(), kind="split", value=4.0)
    assert ActionStore(DESCRIBED).read() == (split,)
    assert not [warning for warning in after.warnings if "restated" in warning or "quarantined" in warning]


def test_the_snapshot_before_is_as_quoted_and_the_one_after_in_the_new_shares(world: tuple[Yahoo, Vendor]) -> None:
    there, _ = world
    before, after = (read_parquet(_night(there, day).bars) for day in ("2018-12-18", "2018-12-19"))
    pd.testing.assert_frame_equal(before[PRICES] / 4, after[PRICES].iloc[:-1], rtol=1e-12)
    assert after["close"].iloc[-1] == _quoted().loc[SPLIT, "Close"]


def test_a_whole_reading_weeks_later_gives_the_same_quotes(world: tuple[Yahoo, Vendor]) -> None:
    there, vendor = world
    for day in ("2018-12-18", "2018-12-19", "2018-12-24", "2018-12-31"):
        _night(there, day)
    whole = [int(asked.query["period1"]) < 0 for asked in vendor.asked]
    assert whole == [True, False, True, True]
    assert set(BarStore(DESCRIBED).revisions()["revision"]) == {0}
