"""State carried from bar to bar: what the batch gives from the same start, every column, thousands of bars."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tasks.features import matrix
from tasks.features.last import Last
from tasks.features.running import Running
from tasks.features.series import BASE
from tests.features.market import TICK, Bars, cut, index_bars, lean_bars, made_bars
from tests.features.test_guards import CASES
from tests.features.test_last import COLUMNS, LONGEST, ODD, apart, scales


def check_stream(bars: Bars, warm: int, rows: int, every: int = 1) -> None:
    """Every so-manieth of ``rows`` bars after a warm history, against the batch that starts where that does."""
    full = matrix.compute(cut(bars, 0, warm + rows), COLUMNS, TICK)
    running, scale = Running(COLUMNS, TICK), scales(full)
    running.warm(cut(bars, 0, warm))
    numbers = np.stack([bars[name] for name in BASE], axis=1).tolist()
    for at in range(warm, warm + rows):
        running.push(numbers[at], bars["session"][at])
        if at >= LONGEST - 1 and at % every == 0:
            assert not apart(running.row(), full[at], scale), at


@pytest.mark.parametrize(("start", "warm", "every"), [(0, 0, 1), (1500, 900, 5), (3200, 0, 5)])
def test_every_column_of_the_sp500_over_a_thousand_bars(start: int, warm: int, every: int) -> None:
    check_stream(cut(index_bars("sp500"), start), warm, 1010 if warm else LONGEST + 1010, every)


@pytest.mark.needs_data
def test_every_column_of_a_raw_stock_over_a_thousand_bars(market_data: Path) -> None:
    check_stream(lean_bars(market_data, "aapl"), 1200, 1100, 3)


def test_every_column_where_nothing_moves_for_a_while() -> None:
    check_stream(made_bars(3, 1800, calm=True), 800, 900, 5)


@pytest.mark.parametrize("case", ODD)
def test_every_column_of_odd_bars(case: str) -> None:
    check_stream(CASES[case], 800, 300, 7)


def test_rings_move_and_bars_without_a_row_in_between_change_nothing() -> None:
    bars, columns = index_bars("sp500"), ("har_22", "ema_20", "adx_14", "autocorrelation_22", "days_since_previous")
    often, seldom = Running(columns, TICK), Running(columns, TICK)
    numbers = np.stack([bars[name] for name in BASE], axis=1).tolist()
    for at in range(4900):
        for running in (often, seldom):
            running.push(numbers[at], bars["session"][at])
        if at >= often.lookback:
            row = often.row()
            if at % 311 == 0:
                np.testing.assert_allclose(seldom.row(), row, rtol=1e-9, atol=1e-12)
    assert often.count == seldom.count == 4900
    assert len(often) < 2400


def test_a_new_history_forgets_the_old_one() -> None:
    bars = index_bars("sp500")
    running, fresh = Running(COLUMNS, TICK), Running(COLUMNS, TICK)
    running.warm(cut(bars, 0, 900))
    running.row()
    for one in (running, fresh):
        one.warm(cut(bars, 2000, 2800))
    assert running.row().tolist() == fresh.row().tolist()


STREAMED = ("rsi_14", "adx_14", "stochrsi_d", "macd_signal", "natr_14", "cci_40", "ht_dcperiod", "sar", "cdl_doji")


@pytest.mark.parametrize("columns", [STREAMED, ("mom_10",)], ids=lambda names: names[0])
def test_what_talib_computes_is_the_batch_to_the_last_bit(columns: tuple[str, ...]) -> None:
    """``mom_10`` reads a stream of what another stream gives, which no column asked for before."""
    bars = index_bars("sp500")
    full, running = matrix.compute(cut(bars, 0, 1400), columns, TICK), Running(columns, TICK)
    running.warm(cut(bars, 0, 1000))
    numbers = np.stack([bars[name] for name in BASE], axis=1).tolist()
    for at in range(1000, 1000 + min(400, 2 * running.lookback)):  # until the rings are moved
        running.push(numbers[at], bars["session"][at])
        assert running.row().tolist() == full[at].tolist(), at


def test_a_flood_of_volume_leaves_nothing_behind() -> None:
    bars, columns = index_bars("sp500"), ("vwma_20", "mfi_14", "cmf_20", "marketfi_20", "efi_13", "pvo")
    flooded = {**bars, "volume": np.where(np.arange(len(bars["volume"])) == 900, 1e16, bars["volume"] / 1e8)}
    running, last = Running(columns, TICK), Last(columns, TICK)
    running.warm(cut(flooded, 0, 800))
    numbers = np.stack([flooded[name] for name in BASE], axis=1).tolist()
    for at in range(800, 1400):
        running.push(numbers[at], flooded["session"][at])
    expected = last.row(cut(flooded, 1400 - running.lookback, 1400))
    np.testing.assert_allclose(running.row(), expected, rtol=1e-12)


def test_an_overflow_is_that_of_the_tail_and_is_forgotten() -> None:
    bars, columns = cut(index_bars("sp500"), 0, 4000), ("adx_14",)
    numbers = np.stack([bars[name] for name in BASE], axis=1)
    numbers[900, :4] = 1e304
    moved = {**bars, **{name: numbers[:, place] for place, name in enumerate(BASE)}}
    running, last = Running(columns, TICK), Last(columns, TICK)
    running.warm(cut(moved, 0, 890))
    with np.errstate(over="ignore"):
        for at in range(890, 3300):
            running.push(numbers[at].tolist(), bars["session"][at])
            if at < 920 or at > 3280:
                expected = last.row(cut(moved, at + 1 - running.lookback, at + 1))
                np.testing.assert_allclose(running.row(), expected, rtol=1e-9, err_msg=str(at))
