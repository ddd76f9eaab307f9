"""Raw bars in any reasonable types give the same arrays; what cannot be predicted from is refused in words."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ModelInputError
from tasks.registry.serving.bars import BarRules, read_bars
from tests.registry.conftest import make_bars, raw

DAILY = BarRules(bar="1d", symbols=("SPX",))
Change = Callable[[pd.DataFrame], pd.DataFrame]


def whole() -> pd.DataFrame:
    """Bars with whole prices, which every number type can hold."""
    bars = raw(make_bars(sessions=40))
    prices = bars[["open", "high", "low", "close"]].round() * 8
    prices["high"], prices["low"] = prices.max(axis=1), prices.min(axis=1)
    return bars.assign(**prices)


def with_type(dtype: str) -> Change:
    return lambda bars: bars.astype(dict.fromkeys(["open", "high", "low", "close", "volume"], dtype))


ACCEPTED: dict[str, Change] = {
    "integer prices": with_type("int64"),
    "small integers": lambda bars: bars.astype({"open": "int32", "high": "int32", "low": "int32", "close": "int32"}),
    "float32 prices": lambda bars: bars.astype({"open": "f4", "high": "f4", "low": "f4", "close": "f4"}),
    "nullable numbers": with_type("Float64"),
    "nullable integers": with_type("Int64"),
    "arrow numbers": with_type("double[pyarrow]"),
    "decimals": lambda bars: bars.assign(close=bars["close"].map(str).map(Decimal)),
    "object numbers": with_type("object"),
    "another index": lambda bars: bars.set_axis(range(1000, 1000 + 7 * len(bars), 7)),
    "other column order": lambda bars: bars[bars.columns[::-1]],
    "extra columns": lambda bars: bars.assign(adjusted=1.0),
    "milliseconds": lambda bars: bars.assign(time=bars["time"].dt.as_unit("ms")),
    "New York": lambda bars: bars.assign(time=bars["time"].dt.tz_convert("America/New_York")),
    "stamps as objects": lambda bars: bars.assign(time=bars["time"].astype(object)),
    "ISO text": lambda bars: bars.assign(time=[stamp.isoformat() for stamp in bars["time"]]),
    "ISO text with changing offsets": lambda bars: bars.assign(
        time=[stamp.tz_convert("America/New_York").isoformat() for stamp in bars["time"]]
    ),
    "naive stamps": lambda bars: bars.assign(time=bars["time"].dt.tz_convert(None)),
    "session labels": lambda bars: bars.assign(time=bars["time"].dt.tz_convert(None).dt.normalize()),
    "date objects": lambda bars: bars.assign(time=[stamp.date() for stamp in bars["time"]]),
    "date text": lambda bars: bars.assign(time=bars["time"].dt.strftime("%Y-%m-%d")),
    "midnight after the session": lambda bars: bars.assign(time=bars["time"].dt.normalize() + pd.Timedelta(days=1)),
}


@pytest.mark.parametrize("change", ACCEPTED.values(), ids=ACCEPTED)
def test_reasonable_types_give_the_same_numbers_and_sessions(change: Change) -> None:
    plain = read_bars(whole(), DAILY)[0]
    changed = read_bars(change(whole()), DAILY)[0]
    np.testing.assert_array_equal(changed.numbers, plain.numbers)
    np.testing.assert_array_equal(changed.session, plain.session)
    assert changed.numbers.dtype == np.float64


def test_the_session_is_the_day_that_the_bar_closed_on() -> None:
    read = read_bars(whole(), DAILY)[0]
    assert read.session[0] == np.datetime64("2015-01-02")
    assert read.arrays()["session"].dtype == np.dtype("datetime64[D]")


def test_volume_past_32_bits_is_kept_exactly() -> None:
    read = read_bars(whole().assign(volume=2**53 - 1), DAILY)[0]
    assert int(read.arrays()["volume"][-1]) == 2**53 - 1


def at(row: int, **values: object) -> Change:
    def change(bars: pd.DataFrame) -> pd.DataFrame:
        for name, value in values.items():
            bars[name] = bars[name].astype(object)
            bars.loc[row, name] = value  # type: ignore[call-overload]
        return bars

    return change


REFUSED: dict[str, tuple[Change, str]] = {
    "empty": (lambda bars: bars.iloc[:0], "bars are empty"),
    "missing columns": (lambda bars: bars.drop(columns=["low", "volume"]), r"lack the columns \['low', 'volume'\]"),
    "missing time": (lambda bars: bars.drop(columns=["time"]), r"lack the columns \['time'\]"),
    "text in a number": (at(3, close="12,5"), "'close' must hold numbers"),
    "numbers as text": (lambda bars: bars.assign(open=bars["open"].astype(str)), "'open' must hold numbers"),
    "true and false": (lambda bars: bars.assign(open=True), "'open' must hold numbers"),
    "dates as numbers": (lambda bars: bars.assign(close=bars["time"]), "'close' must hold numbers"),
    "NaN": (at(7, high=np.nan), r"'high' missing or infinite: 1 bars, at 2015-01-13"),
    "None": (at(7, volume=None), "'volume' missing or infinite"),
    "infinity": (at(7, close=np.inf), "'close' missing or infinite"),
    "zero price": (at(2, low=0.0), "'low' zero or negative: 1 bars, at 2015-01-06"),
    "negative price": (at(2, low=-1.0), "'low' zero or negative"),
    "high below the close": (at(2, high=1.0), "'high' below the bar|'low' above the bar"),
    "low above the open": (lambda bars: bars.assign(low=bars["high"] + 0), "'low' above the bar"),
    "negative volume": (at(2, volume=-5.0), "'volume' negative"),
    "unsorted": (lambda bars: bars.iloc[::-1], "bars out of time order: sort them by time"),
    "duplicate": (lambda bars: bars.iloc[[0, 1, 1, 2]], "times given twice: 1 bars, at 2015-01-05"),
    "two bars a session": (
        lambda bars: pd.concat([bars, bars.assign(time=bars["time"] - pd.Timedelta(hours=2))]).sort_values("time"),
        "sessions with more than one bar: 40 bars",
    ),
    "weekly bars": (lambda bars: bars.iloc[::5], "takes bars of 1d, these are usually 7 days"),
    "numbers as times": (lambda bars: bars.assign(time=range(len(bars))), "'time' holds numbers"),
    "words as times": (at(0, time="yesterday"), "'time' is not made of dates or times"),
    "no time": (at(4, time=pd.NaT), "1 bars have no time .first: row 4"),
    "zoned and naive times": (at(4, time=pd.Timestamp("2015-01-08 21:00")), "some have a time zone and some have none"),
    "a symbol never seen": (lambda bars: bars.assign(symbol="SPY"), "not trained on SPY; it knows SPX"),
    "a symbol that is no text": (lambda bars: bars.assign(symbol=1), "'symbol' must hold text"),
    "no symbol": (lambda bars: bars.assign(symbol=None), "'symbol' must hold text"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_predicted_from_is_refused(change: Change, message: str) -> None:
    with pytest.raises(ModelInputError, match=message):
        read_bars(change(whole()), DAILY)


def test_at_most_five_examples_are_named() -> None:
    with pytest.raises(ModelInputError, match="20 bars") as caught:
        read_bars(whole().assign(volume=[-1.0, 1.0] * 20), DAILY)
    assert str(caught.value).count("2015-") == 5


def test_another_type_than_a_frame_is_refused() -> None:
    with pytest.raises(ModelInputError, match="must be a pandas DataFrame, got list"):
        read_bars([1, 2], DAILY)  # type: ignore[arg-type]


def test_a_panel_comes_in_any_order_of_symbols_and_names_the_offender() -> None:
    rules = BarRules(bar="1d", symbols=("A", "B", "C"))
    bars = make_bars(("B", "A"), sessions=30)
    by_time = bars.sort_values("time", kind="stable")
    for frame in (bars, by_time):
        read = read_bars(frame, rules)
        assert [item.symbol for item in read] == ["B", "A"]
        np.testing.assert_array_equal(read[1].numbers[3], bars.loc[bars["symbol"] == "A", "close"])
    with pytest.raises(ModelInputError, match="knows 3 symbols"):
        read_bars(bars.drop(columns="symbol"), rules)
    bars.loc[45, "close"] = np.nan
    with pytest.raises(ModelInputError, match=r"^A: 'close' missing"):
        read_bars(bars, rules)


def test_volume_may_be_missing_where_the_model_was_trained_without() -> None:
    read = read_bars(whole().drop(columns="volume"), BarRules(bar="1d", has_volume=False))[0]
    assert read.symbol == ""
    assert not read.numbers[4].any()


def test_negative_prices_are_accepted_where_the_problem_allows_them() -> None:
    bars = whole()
    bars[["open", "high", "low", "close"]] -= 20_000
    assert (read_bars(bars, BarRules(bar="1d", negative_prices=True))[0].numbers[:4] < 0).all()


def hourly(rows: int = 30) -> pd.DataFrame:
    bars = raw(make_bars(sessions=rows))
    return bars.assign(time=pd.date_range("2020-03-02 15:00", periods=rows, freq="h", tz="UTC"))


def test_intraday_bars_need_a_zone_and_their_own_size() -> None:
    rules = BarRules(bar="1h")
    assert read_bars(hourly(), rules)[0].session[0] == np.datetime64("2020-03-02")
    with pytest.raises(ModelInputError, match="need a zone"):
        read_bars(hourly().assign(time=lambda bars: bars["time"].dt.tz_convert(None)), rules)
    with pytest.raises(ModelInputError, match=r"takes bars of 30min, these are usually 0 days 01:00"):
        read_bars(hourly(), BarRules(bar="30min"))
    with pytest.raises(ModelInputError, match="takes daily bars; sessions with more than one bar"):
        read_bars(hourly(), BarRules(bar="1d"))


@given(st.integers(1, 60), st.integers(1, 60))
def test_the_tail_is_the_end_of_the_whole(rows: int, tail: int) -> None:
    bars = raw(make_bars(sessions=rows))
    everything, cut = read_bars(bars, DAILY)[0], read_bars(bars, DAILY, tail)[0]
    np.testing.assert_array_equal(cut.numbers, everything.numbers[:, -tail:])
    np.testing.assert_array_equal(cut.time, everything.time[-tail:])


def test_nothing_is_changed_in_place() -> None:
    bars = whole()
    before = bars.copy(deep=True)
    read_bars(bars, DAILY)
    pd.testing.assert_frame_equal(bars, before)
    assert isinstance(before["time"].iloc[0], dt.datetime)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda bars: bars.assign(volume=pd.Series([10**400] * len(bars), dtype=object)),
            "column 'volume' must hold numbers",
        ),
        (lambda bars: bars.assign(symbol=[["SPX"]] * len(bars)), "column 'symbol' must hold text"),
        (lambda bars: bars.assign(symbol=["SPX", ["SPX"]] * (len(bars) // 2)), "column 'symbol' must hold text"),
        (lambda bars: pd.concat([bars, bars[["close"]]], axis=1), r"several columns of one name: \['close'\]"),
        (lambda bars: pd.concat([bars, bars[["time"]]], axis=1), r"several columns of one name: \['time'\]"),
    ],
    ids=["a huge integer", "lists as symbols", "a list among symbols", "a doubled price", "a doubled time"],
)
def test_what_pandas_trips_over_is_bad_input_too(change: Change, message: str) -> None:
    with pytest.raises(ModelInputError, match=message):
        read_bars(change(whole()), DAILY)
