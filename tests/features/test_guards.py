"""Prices that stand still, bars without a range, sessions without volume: finite, and by convention mostly 0."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.features import catalogue, matrix
from tests.features.market import PRICES, TICK, Bars, made_bars

COLUMNS = tuple(catalogue.CATALOGUE)
LOOKBACKS = np.array([catalogue.feature(name).lookback for name in COLUMNS])


def _constant(bars: Bars, first: int, last: int, volume: float) -> Bars:
    changed = {name: values.copy() for name, values in bars.items()}
    for name in PRICES:
        changed[name][first:last] = bars["close"][first]
    changed["volume"][first:last] = volume
    return changed


BARS = made_bars(11, 1400)
CASES: dict[str, Bars] = {
    "constant price": _constant(BARS, 0, 1400, 1000.0),
    "constant price, no volume": _constant(BARS, 0, 1400, 0.0),
    "still at the start": _constant(BARS, 0, 400, 0.0),
    "still in the middle": _constant(BARS, 600, 1300, 0.0),
    "still at the end": _constant(BARS, 1000, 1400, 500.0),
    "no volume at all": {**BARS, "volume": np.zeros(1400)},
    "no volume at first": {**BARS, "volume": np.where(np.arange(1400) < 300, 0.0, BARS["volume"])},
    "now and then a trade": {**BARS, "volume": np.where(np.arange(1400) % 97, 0.0, BARS["volume"])},
    "volume past 2^53": {**BARS, "volume": BARS["volume"] * 1e12},
    "closes alone": {**BARS, **dict.fromkeys(PRICES, BARS["close"])},
    "opens repeat the close before": {**BARS, "open": np.append(BARS["close"][:1], BARS["close"][:-1])},
    "prices below zero": {**BARS, **{name: BARS[name] - float(np.median(BARS["close"])) for name in PRICES}},
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_values_are_finite_past_the_lookback(case: str) -> None:
    values = matrix.compute(CASES[case], COLUMNS, TICK)
    settled = np.arange(len(values))[:, None] >= LOOKBACKS - 1
    wrong = {COLUMNS[j] for j in np.flatnonzero((~np.isfinite(values) & settled).any(axis=0))}
    assert not wrong


ZERO_OF_A_CONSTANT = (
    *("return_22", "negative_return_5", "sma_50", "ema_20", "kama_10", "rocp_63", "mom_10", "macd", "ao", "cci_14"),
    *("bbands_20_position", "bbands_20_width", "donchian_55_position", "kc_20_position", "sar", "supertrend_10"),
    *("ichimoku_base", "ichimoku_cloud_top", "fib_retracement_3", "fib_distance_10", "support_3", "resistance_10"),
    *("obv_10", "ad_60", "cmf_20", "adosc", "efi_13", "return_stddev_20", "autocorrelation_22", "linearreg_slope_20"),
    *("natr_14", "true_range", "bop", "ha_body", "close_position_252", "cdl_engulfing", "downside_share_22"),
)


@pytest.mark.parametrize("name", ZERO_OF_A_CONSTANT)
def test_a_constant_price_is_at_zero(name: str) -> None:
    values = matrix.compute(CASES["constant price"], (name,), TICK)
    assert np.abs(values[catalogue.feature(name).lookback - 1 :]).max() < 1e-9


def test_a_constant_price_has_the_volatility_of_one_tick() -> None:
    bars = CASES["constant price"]
    floor = np.log1p(TICK / bars["low"][0])
    har, ewma = matrix.compute(bars, ("har_22", "ewma_94"), TICK)[-1]
    assert har == pytest.approx(0.5 * np.log(floor**2 / (4.0 * np.log(2.0))))
    assert ewma == pytest.approx(np.log(floor))


@pytest.mark.parametrize("name", ["relative_volume_20", "marketfi_20", "vwma_20", "vwap_20", "obv_50", "cmf_20"])
def test_no_volume_counts_as_zero(name: str) -> None:
    values = matrix.compute(CASES["no volume at all"], (name,), TICK)
    assert (values[catalogue.feature(name).lookback - 1 :] == 0.0).all()
