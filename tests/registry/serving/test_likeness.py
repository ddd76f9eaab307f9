"""Prices on another scale and holes are told; growth, crashes, splits and holidays are not mistaken for them."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import ModelInputError
from tasks.registry.bundle import entry_facts, write_bundle
from tasks.registry.serving.bars import BarRules
from tasks.registry.serving.likeness import LIMIT, Likeness
from tasks.registry.serving.predictor import Predictor
from tests.registry.conftest import make_bars, make_entry, make_night, raw
from tests.registry.scale_survey import Closes, survey

DAY = 86_400 * 10**9
END = int(np.datetime64("2018-12-31T21:00", "ns").astype(np.int64))
KNOWN = Likeness(last={"SPX": (END, 100.0)}, ranges={"SPX": (40.0, 120.0)}, pace=252 / 365.25)


def tail(start: str, closes: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Business days from a date on."""
    days = pd.bdate_range(start, periods=len(closes)) + pd.Timedelta(hours=21)
    return days.to_numpy("datetime64[ns]").astype(np.int64), np.array(closes)


@pytest.mark.parametrize("factor", [100.0, 0.01, 1000.0, 1e4, 1e-4, LIMIT, 1 / LIMIT])
@pytest.mark.parametrize("start", ["2015-01-05", "2018-12-03", "2019-06-03", "2023-10-02"])
def test_a_hundredfold_error_is_told_within_five_years_of_the_training(factor: float, start: str) -> None:
    with pytest.raises(ModelInputError, match=r"^SPX: prices are on another scale than in training: the close of 20"):
        KNOWN.check("SPX", *tail(start, [100.0 * factor] * 30))


@pytest.mark.parametrize(
    ("start", "closes"),
    [
        ("2019-01-02", [100.0 / 20] * 30),  # a split of 1:20 applied to all of history
        ("2019-01-02", [2500.0] * 30),  # a reverse split of 25:1
        ("2019-01-02", list(np.geomspace(100.0, 4.0, 40))),  # a crash by 96 % in two months
        ("2022-01-03", [1400.0] * 30),  # fourteenfold in three years
        ("2025-06-02", [90_000.0] * 30),  # nothing can be said after so long
        ("2019-01-02", [100.0, 100.0, 45.0, 45.0]),  # more than halved overnight
    ],
)
def test_what_happens_to_prices_is_not_refused(start: str, closes: list[float]) -> None:
    KNOWN.check("SPX", *tail(start, closes))


@pytest.mark.parametrize("rows", [slice(0, 10), slice(20, None), slice(14, 15)])
@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_a_unit_error_in_part_of_the_tail_is_told(rows: slice, factor: float) -> None:
    days, closes = tail("2018-12-24", [100.0] * 30)
    closes[rows] *= factor
    with pytest.raises(ModelInputError, match=r"on another scale|prices change their scale: the close"):
        KNOWN.check("SPX", days, closes)


def test_the_message_names_both_closes_and_their_dates() -> None:
    with pytest.raises(ModelInputError) as caught:
        KNOWN.check("SPX", *tail("2018-12-24", [10_000.0] * 30))
    assert str(caught.value) == (
        "SPX: prices are on another scale than in training: the close of 2018-12-31 is 10000, 100 times the 100 of "
        "2018-12-31, where training ended (closes there were 40 to 120): give prices in that unit"
    )


def test_nothing_is_compared_where_nothing_is_known() -> None:
    KNOWN.check("", *tail("2018-12-24", [1e6] * 30))
    KNOWN.check("SPX", *tail("2018-12-24", [-1e6] * 30))
    Likeness(last={}, ranges={}, pace=0.0).check("SPX", np.array([END, END + 900 * DAY]), np.array([1.0, 1.0]))


def test_a_hole_in_the_tail_is_told_and_a_few_missing_sessions_are_not() -> None:
    days, closes = tail("2018-06-01", [100.0] * 100)
    KNOWN.check("SPX", np.delete(days, range(50, 57)), np.delete(closes, range(50, 57)))
    with pytest.raises(ModelInputError, match=r"about 1\d bars are missing between 2018-06-01 .* follows 2018-08-09: "):
        KNOWN.check("SPX", np.delete(days, range(50, 64)), np.delete(closes, range(50, 64)))
    with pytest.raises(ModelInputError, match=r"about 28 bars are missing"):  # every third: the usual step is a day
        KNOWN.check("SPX", np.delete(days, range(0, 100, 3)), np.delete(closes, range(0, 100, 3)))


@given(st.integers(1, 400), st.integers(-3000, 3000), st.floats(0.3, 3.0), st.sampled_from([100.0, 0.01]))
def test_an_error_is_told_as_long_as_the_price_moved_less_than_threefold(
    rows: int, days: int, moved: float, factor: float
) -> None:
    """Wherever the tail lies within five years of the training's end, and however long it is."""
    times = END + (days + np.arange(rows)) * DAY
    closes = np.full(rows, 100.0 * moved)
    near = int(np.abs(times - END).min()) <= 5 * 365.25 * DAY
    known = Likeness(last=KNOWN.last, ranges=KNOWN.ranges, pace=1.0)
    known.check("SPX", times, closes)
    if near:
        with pytest.raises(ModelInputError, match="another scale"):
            known.check("SPX", times, closes * factor)


@pytest.mark.parametrize("rows", ["last", "all"])
def test_a_model_refuses_before_it_computes(tmp_path: Path, rows: str) -> None:
    bars = make_bars()
    night = make_night(tmp_path, bars)
    entry = make_entry(night)
    write_bundle(tmp_path / "bundle", night, entry.shipped, entry_facts(entry, "shipped"))
    model, prices = Predictor(tmp_path / "bundle"), ["open", "high", "low", "close"]
    given_bars = raw(bars)
    assert len(model.predict(given_bars, rows=rows))
    pence = given_bars.assign(**{name: given_bars[name] * 100 for name in prices})
    with pytest.raises(ModelInputError, match=r"SPX: prices are on another scale .* 100 times"):
        model.predict(pence, rows=rows)
    labels = pence.assign(time=pence["time"].dt.strftime("%Y-%m-%d"))
    with pytest.raises(ModelInputError, match=r"100 times the 6\d\d"):
        model.predict(labels, rows=rows)


def test_a_check_costs_a_small_part_of_a_prediction() -> None:
    """At most 100 µs on 756 bars, of processor time, the best of some tries."""
    days, closes = tail("2016-01-04", list(100 + np.sin(np.arange(756.0))))
    taken = []
    for _ in range(20):
        begun = clock.process_time_ns()
        for _ in range(50):
            KNOWN.check("SPX", days, closes)
        taken.append((clock.process_time_ns() - begun) / 50)
    assert min(taken) < 100_000


def stocks(data: Path) -> Iterator[Closes]:
    """Every third of 505 stocks over five years: the file is one of those that the data checks accept."""
    frame = pd.read_parquet(data / "sp500_5yr" / "all_stocks_5yr.parquet").sort_values(["symbol", "date"])
    for name in sorted(set(frame["symbol"]))[::3]:
        part = frame[(frame["symbol"] == name).to_numpy()]
        time = pd.to_datetime(part["date"]).to_numpy("datetime64[ns]").astype(np.int64)
        yield Closes("sp500_5yr", name, time, part["close"].to_numpy(np.float64))


@pytest.mark.needs_data
def test_no_real_symbol_is_refused_and_every_hundredfold_error_is_told(market_data: Path) -> None:
    """Training's end at several places, tails at several distances."""
    found = survey(stocks(market_data), ends=3)
    for where, counts in found.items():
        assert counts.refused == 0, where
    for where in ("over the end", "right after", "3 months"):
        assert found[where].caught == 2 * found[where].tails > 500
    assert found["1 year"].caught > 0.995 * 2 * found["1 year"].tails


def test_rules_without_statistics_compare_nothing() -> None:
    assert BarRules(bar="1d").likeness is None
