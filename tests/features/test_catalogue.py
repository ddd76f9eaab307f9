"""What the catalogue promises about itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import talib

from tasks.errors import ConfigurationError
from tasks.features import catalogue, matrix
from tasks.features.feature import MAX_LOOKBACK, Feature, ema, recursive, wilder
from tests.features.market import PRICES, TICK, made_bars

RELIED_ON = (
    *(f"har_{bars}" for bars in (1, 5, 22)),
    *(f"return_{bars}" for bars in (1, 5, 22)),
    *(f"negative_return_{bars}" for bars in (1, 5, 22)),
    "ewma_94",
    "overnight_gap",
)
RARELY_MOVED = ("aroon_", "swing_", "ewma_", "realised_", "cdl_")
"""Columns that an input moves only at times: one side of the range, the floor of one tick, a pattern that occurs."""

ENTRIES = tuple(catalogue.CATALOGUE.values())


def test_there_are_enough_columns_for_every_kind_of_source() -> None:
    assert len(catalogue.CATALOGUE) >= 250
    assert len(catalogue.select(has_volume=True, true_opens=False)) >= 150
    assert len(catalogue.select(has_volume=False, true_opens=False)) >= 150


def test_no_two_entries_share_a_name() -> None:
    names = [entry.name for group in catalogue.GROUPS for entry in group.FEATURES]
    assert len(names) == len(set(names)) == len(catalogue.CATALOGUE)


def test_columns_that_baselines_read_are_there() -> None:
    assert set(RELIED_ON) <= set(catalogue.CATALOGUE)


def test_every_function_of_talib_is_used_or_left_out_with_a_reason() -> None:
    used = {function for entry in ENTRIES for function in entry.functions}
    assert used | set(catalogue.LEFT_OUT) == set(talib.get_functions())
    assert not used & set(catalogue.LEFT_OUT)
    assert all(len(reason) > 10 for reason in catalogue.LEFT_OUT.values())


def test_every_candlestick_pattern_is_a_column() -> None:
    patterns = {function for entry in ENTRIES for function in entry.functions if function.startswith("CDL")}
    assert len(patterns) == 61


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entries_are_complete(entry: Feature) -> None:
    assert 1 <= entry.lookback <= MAX_LOOKBACK
    assert set(entry.inputs) <= {*PRICES, "volume", "session"}
    assert entry.inputs
    assert entry.unit
    assert entry.description.endswith(".")
    assert entry.formula
    assert entry.needs_volume == ("volume" in entry.inputs)
    assert entry.needs_true_open == ("open" in entry.inputs)


def test_columns_depend_on_their_declared_inputs_alone() -> None:
    bars, other = made_bars(3, 900), made_bars(4, 900)
    full = matrix.compute(bars, tuple(catalogue.CATALOGUE), TICK)
    for source in (*PRICES, "volume", "session"):
        replaced = bars[source] + np.arange(900) // 2 if source == "session" else other[source]
        moved = matrix.compute({**bars, source: replaced}, tuple(catalogue.CATALOGUE), TICK)
        differs = ~((full == moved) | (np.isnan(full) & np.isnan(moved))).all(axis=0)
        changed = {name for name, moves in zip(catalogue.CATALOGUE, differs, strict=True) if moves}
        declared = {entry.name for entry in ENTRIES if source in entry.inputs}
        assert changed <= declared, source
        unmoved = {name for name in declared - changed if not name.startswith(RARELY_MOVED)}
        assert not unmoved, source


def test_select_and_left_out_divide_the_catalogue() -> None:
    for volume in (True, False):
        for opens in (True, False):
            kept, left = catalogue.select(volume, opens), catalogue.left_out(volume, opens)
            assert {*kept, *left} == set(catalogue.CATALOGUE)
            assert not set(kept) & set(left)


def test_no_open_leaves_out_the_gap_and_no_volume_the_flows() -> None:
    assert "overnight_gap" in catalogue.left_out(has_volume=True, true_opens=False)
    assert "obv_10" in catalogue.left_out(has_volume=False, true_opens=True)
    assert catalogue.left_out(has_volume=True, true_opens=True) == {}


def test_lookback_is_the_longest_and_unknown_columns_are_named() -> None:
    assert catalogue.lookback(("har_1", "har_22", "return_5")) == 22
    assert catalogue.lookback(()) == 1
    with pytest.raises(ConfigurationError, match="no_such_column"):
        catalogue.lookback(("har_1", "no_such_column"))


def test_recursive_lookbacks_leave_less_than_a_thousandth_of_the_promise() -> None:
    """The weight left of the seed, by filtering an impulse through the averages themselves."""
    for period, stages in ((10, 1), (10, 2), (9, 3)):
        alpha, weights = 2.0 / (period + 1.0), np.eye(1, 1200)[0]
        for _ in range(stages):
            weights = np.convolve(weights, alpha * (1 - alpha) ** np.arange(1200))[:1200]
        bars = recursive(alpha, stages)
        assert weights[bars:].sum() <= 1e-12 < weights[bars - 1 :].sum()
        assert ema(period, stages) == bars + stages * period
    assert wilder(14) == recursive(1 / 14) + 14


def test_entries_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        catalogue.feature("har_1").lookback = 2  # type: ignore[misc]
