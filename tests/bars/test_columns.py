"""Vendors' column names, and what is preferred where there are several."""

from __future__ import annotations

import pytest

from tasks.bars.columns import match_columns, named_as_start

CANONICAL = ["time", "open", "high", "low", "close", "volume"]


@pytest.mark.parametrize(
    "names",
    [
        ["Date", "Open", "High", "Low", "Close", "Volume"],
        ["timestamp", "o", "h", "l", "c", "v"],
        ["open_time", "open", "high", "low", "close", "vol"],
        ["timestamp", "1. open", "2. high", "3. low", "4. close", "5. volume"],
        ["<DATE>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>"],
        ["Candlestick.Time", *(f"Candlestick.{name}" for name in ("Open", "High", "Low", "Close", "Volume"))],
        ["", "Open", "High", "Low", "Close", "Tick_Volume"],
        ["__index_level_0__", "Open Price", "High Price", "Low Price", "Close/Last", "Total Volume"],
        ["\ufeffDate", " Open", "High ", "Low", '"Close"', "VOLUME"],
    ],
)
def test_known_names(names: list[str]) -> None:
    assert match_columns(names) == {name: at for at, name in enumerate(CANONICAL)}


def test_order_does_not_matter_and_extras_are_left() -> None:
    found = match_columns(["Volume", "Adj Close", "Close", "Dividends", "Low", "High", "Open", "Date", "Name"])
    assert found == {
        **{"volume": 0, "adj_close": 1, "close": 2, "low": 4, "high": 5, "open": 6},
        **{"time": 7, "symbol": 8},
    }


def test_the_adjusted_close_is_never_taken_for_the_close() -> None:
    assert "close" not in match_columns(["Date", "Open", "High", "Low", "Adj Close"])


def test_a_ticker_is_preferred_to_a_name_and_a_start_to_an_end() -> None:
    found = match_columns(["name", "ticker", "close_time", "open_time", "open", "high", "low", "close"])
    assert (found["symbol"], found["time"]) == (1, 3)


def test_date_and_time_of_day_in_two_columns() -> None:
    found = match_columns(["<TICKER>", "<DATE>", "<TIME>", "<OPEN>", "<HIGH>", "<LOW>", "<CLOSE>", "<VOL>"])
    assert (found["time"], found["clock"], found["symbol"]) == (1, 2, 0)


def test_names_that_say_start() -> None:
    assert named_as_start("Open Time")
    assert named_as_start("open_time")
    assert not named_as_start("timestamp")
