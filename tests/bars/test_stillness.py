"""Frozen prices, missing ranges, opens that repeat the close, volume in another unit."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from tasks.bars.defects.opens import repeated_opens
from tasks.bars.defects.stillness import frozen, rangeless
from tasks.bars.defects.volumes import scale_changes
from tasks.bars.describe import SourceDescription
from tasks.bars.facts import opens_by_year, true_opens
from tests.bars.panels import history_of, multiply, real_bars, real_panel, rows_of

PRICES = ["open", "high", "low", "close"]


def _frozen(days: int, volume: float = 0.0) -> pd.DataFrame:
    frame = real_bars().copy()
    frame.loc[2000 : 1999 + days, PRICES] = frame.loc[1999, "close"]
    frame.loc[2000 : 1999 + days, "volume"] = volume
    return frame


def test_real_indices_are_neither_frozen_nor_without_range() -> None:
    for source in ("builtin:sp500", "builtin:nasdaq"):
        h = history_of(real_bars(source))
        assert (frozen(h), rangeless(h), scale_changes(h)) == ([], [], [])


@pytest.mark.parametrize(("days", "expected"), [(4, []), (5, [(2000, 5)]), (30, [(2000, 30)])])
def test_a_week_without_trading_at_one_price_is_frozen(days: int, expected: list[tuple[int, int]]) -> None:
    assert [(d.at, d.rows) for d in frozen(history_of(_frozen(days)))] == expected


def test_a_price_that_is_traded_at_is_not_frozen() -> None:
    assert frozen(history_of(_frozen(10, volume=100.0))) == []
    # Without volume in the source, price and range decide alone.
    assert len(frozen(history_of(_frozen(10, volume=0.0), has_volume=False))) == 1


def test_a_stretch_does_not_run_from_one_symbol_into_the_next() -> None:
    frame = real_panel(symbols=2)
    first, second = rows_of(frame, "S0"), rows_of(frame, "S1")
    edge = np.concatenate([first[-3:], second[:3]])
    frame.loc[edge, PRICES] = 5.0
    frame.loc[edge, "volume"] = 0.0
    assert frozen(history_of(frame)) == []


def test_intraday_bars_may_stand_still_for_most_of_a_session() -> None:
    hourly = SourceDescription(source="x", bar="1h", tz="UTC")
    sessions = real_bars().tail(40)
    frame = sessions.loc[sessions.index.repeat(20)].reset_index(drop=True)
    frame["time"] -= pd.to_timedelta(np.tile(np.arange(20)[::-1], 40), "min")
    frame.loc[100:115, PRICES] = frame.loc[99, "close"]
    frame.loc[100:115, "volume"] = 0.0
    assert frozen(history_of(frame, hourly)) == []
    frame.loc[100:135, PRICES] = frame.loc[99, "close"]
    frame.loc[100:135, "volume"] = 0.0
    assert [d.rows for d in frozen(history_of(frame, hourly))] == [36]


@pytest.mark.parametrize(("share", "expected"), [(0.009, 0), (0.02, 1)])
def test_bars_whose_high_is_the_low(share: float, expected: int) -> None:
    frame = real_bars().copy()
    rows = frame.index[:: int(1 / share)]
    for name in ("open", "high", "low"):
        frame.loc[rows, name] = frame.loc[rows, "close"]
    assert len(rangeless(history_of(frame))) == expected


def test_opens_that_repeat_the_close_are_counted_by_symbol_and_year() -> None:
    found = repeated_opens(history_of(real_bars("builtin:sp500")))
    years = [d.detail.split(" of ")[-1][:4] for d in found]
    assert years == [str(year) for year in (*range(1999, 2008), 2012, 2013)]
    assert found[0].detail == "97% of the 251 opens of 1999 equal the previous close"
    assert repeated_opens(history_of(real_bars())) == []


def test_one_symbol_of_a_panel_is_named_and_does_not_condemn_the_source() -> None:
    frame = real_panel(symbols=12, bars=400)
    rows = rows_of(frame, "S3")
    frame.loc[rows[1:], "open"] = frame.loc[rows[:-1], "close"].to_numpy()
    found = repeated_opens(history_of(frame))
    assert {frame["symbol"].iloc[d.at] for d in found} == {"S3"}
    assert true_opens(frame)
    for symbol in ("S4", "S5"):
        rows = rows_of(frame, symbol)
        frame.loc[rows[1:], "open"] = frame.loc[rows[:-1], "close"].to_numpy()
    assert not true_opens(frame)


def _coarse(tick: float) -> pd.DataFrame:
    """NASDAQ's overnight moves and days at a price of 4, in ticks."""
    frame = real_bars().copy()
    frame[PRICES] = (frame[PRICES] / 600 / tick).round() * tick
    return frame


def test_coarse_ticks_are_no_repeated_opens() -> None:
    # A share of about four dollars opens at the last close on many days because there are few prices.
    frame = _coarse(0.01)
    table = opens_by_year(frame)
    assert (table["share"] > 0.10).sum() > 10
    assert not table["repeated"].any()
    assert true_opens(frame)
    # A market that never closes has no overnight: there the open is the last trade, whatever the tick.
    assert not true_opens(frame, continuous=True)
    rows = np.arange(1, len(frame), 3)
    frame.loc[rows, "open"] = frame.loc[rows - 1, "close"].to_numpy()
    assert not true_opens(frame)


@pytest.mark.parametrize("factor", [100.0, 0.01, 1000.0, 15.0])
def test_volume_in_another_unit_from_one_session_on(factor: float) -> None:
    frame = real_bars().copy()
    multiply(frame, slice(3000, None), "volume", factor)
    found = scale_changes(history_of(frame))
    assert [d.at for d in found] == [3000]


def test_a_month_of_panic_is_no_other_unit() -> None:
    frame = real_bars().copy()
    multiply(frame, slice(3000, 3030), "volume", 20)
    assert scale_changes(history_of(frame)) == []
    frame = real_bars().copy()
    multiply(frame, slice(3000, None), "volume", 4)
    assert scale_changes(history_of(frame)) == []


def test_volume_is_not_looked_at_where_there_is_none() -> None:
    frame = real_bars().assign(volume=0.0)
    assert scale_changes(history_of(frame, has_volume=False)) == []
    assert scale_changes(history_of(frame)) == []
