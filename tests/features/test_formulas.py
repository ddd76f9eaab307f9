"""Formulas of the project's own, each against a plain loop over bars."""

from __future__ import annotations

import math

import numpy as np
import pytest

from tasks.features import matrix
from tasks.features.series import Array
from tests.features.market import TICK, Bars, index_bars, made_bars

FOUR_LN_2 = 4.0 * math.log(2.0)


@pytest.fixture(scope="module")
def bars() -> Bars:
    return made_bars(21, 700)


def column(bars: Bars, name: str) -> Array:
    return matrix.compute(bars, (name,), TICK)[:, 0]


def _parkinson(bars: Bars, i: int) -> float:
    high, low = float(bars["high"][i]), float(bars["low"][i])
    return max(math.log(high / low), math.log(1.0 + TICK / low)) ** 2 / FOUR_LN_2


def _return(bars: Bars, i: int, over: int = 1) -> float:
    return math.log(bars["close"][i] / bars["close"][i - over])


def _floor(bars: Bars, i: int) -> float:
    return math.log(1.0 + TICK / bars["low"][i])


@pytest.mark.parametrize("days", [1, 5, 22, 66])
def test_har_terms(days: int, bars: Bars) -> None:
    found = column(bars, f"har_{days}")
    for i in range(days - 1, 700, 13):
        mean = sum(_parkinson(bars, k) for k in range(i - days + 1, i + 1)) / days
        assert found[i] == pytest.approx(0.5 * math.log(mean), abs=1e-12)


@pytest.mark.parametrize("days", [1, 5, 22])
def test_returns_and_their_negative_parts(days: int, bars: Bars) -> None:
    found, negative = column(bars, f"return_{days}"), column(bars, f"negative_return_{days}")
    for i in range(days, 700, 11):
        assert found[i] == pytest.approx(_return(bars, i, days), abs=1e-15)
        assert negative[i] == min(found[i], 0.0)


def test_the_overnight_gap(bars: Bars) -> None:
    found = column(bars, "overnight_gap")
    for i in range(1, 700, 11):
        assert found[i] == pytest.approx(math.log(bars["open"][i] / bars["close"][i - 1]), abs=1e-15)


def test_the_ewma_is_the_riskmetrics_recursion_once_its_seed_is_forgotten() -> None:
    bars = index_bars("sp500")
    found = column(bars, "ewma_94")
    variance = _return(bars, 1) ** 2
    for i in range(2, len(found)):
        variance = 0.94 * variance + 0.06 * _return(bars, i) ** 2
        if i >= 900 and i % 50 == 0:
            assert found[i] == pytest.approx(0.5 * math.log(variance), abs=1e-9)


def test_downside_range_and_share(bars: Bars) -> None:
    level, share = column(bars, "downside_range_22"), column(bars, "downside_share_22")
    for i in range(22, 700, 17):
        window = range(i - 21, i + 1)
        falling = [k for k in window if _return(bars, k) < 0.0]
        floors = [_floor(bars, k) ** 2 / FOUR_LN_2 for k in window if k not in falling]
        total = sum(_parkinson(bars, k) for k in falling)
        assert level[i] == pytest.approx(0.5 * math.log((total + sum(floors)) / 22.0), abs=1e-12)
        assert share[i] == pytest.approx(total / sum(_parkinson(bars, k) for k in window), abs=1e-12)


def test_realised_garman_klass_and_rogers_satchell(bars: Bars) -> None:
    found = matrix.compute(bars, ("realised_22", "garman_klass_22", "rogers_satchell_22"), TICK)
    o, h, lo, c = (np.log(bars[name]) for name in ("open", "high", "low", "close"))
    gk = 0.5 * (h - lo) ** 2 - (2.0 * math.log(2.0) - 1.0) * (c - o) ** 2
    rs = (h - c) * (h - o) + (lo - c) * (lo - o)
    for i in range(22, 700, 19):
        window = slice(i - 21, i + 1)
        expected = [np.mean(np.diff(c)[i - 22 : i] ** 2), gk[window].mean(), rs[window].mean()]
        np.testing.assert_allclose(found[i], 0.5 * np.log(expected), atol=1e-10)


def test_ichimoku_reads_each_line_where_it_was_known(bars: Bars) -> None:
    names = ("conversion", "base", "cross", "cloud_top", "cloud_bottom", "cloud_ahead", "lagging")
    found = matrix.compute(bars, tuple(f"ichimoku_{name}" for name in names), TICK)

    def middle(i: int, n: int) -> float:
        return float(bars["high"][i - n + 1 : i + 1].max() + bars["low"][i - n + 1 : i + 1].min()) / 2.0

    for i in range(80, 700, 23):
        close, then = float(bars["close"][i]), i - 26
        a, b = (middle(then, 9) + middle(then, 26)) / 2.0, middle(then, 52)
        ahead = (middle(i, 9) + middle(i, 26)) / 2.0 / middle(i, 52)
        ratios = [close / middle(i, 9), close / middle(i, 26), middle(i, 9) / middle(i, 26)]
        ratios += [close / max(a, b), close / min(a, b), ahead, close / bars["close"][then]]
        np.testing.assert_allclose(found[i], np.log(ratios), atol=1e-12)


def _range_unit(bars: Bars, i: int) -> float:
    high, low, before = bars["high"][i - 19 : i + 1], bars["low"][i - 19 : i + 1], bars["close"][i - 20 : i]
    return float(np.mean(np.maximum(high, before) - np.minimum(low, before)))


def test_bands_distances_and_flows(bars: Bars) -> None:
    names = ("donchian_20_position", "donchian_20_width", "bbands_20_position", "mom_10", "obv_10", "ad_5", "sma_20")
    found = matrix.compute(bars, names, TICK)
    close, volume = bars["close"], bars["volume"]
    flow = np.sign(np.diff(close, prepend=close[0])) * volume
    span = bars["high"] - bars["low"]
    place = np.divide(2 * close - bars["high"] - bars["low"], span, out=np.zeros(700), where=span > 0)
    for i in range(60, 700, 29):
        window = slice(i - 19, i + 1)
        high, low = bars["high"][window].max(), bars["low"][window].min()
        mean, deviation = close[window].mean(), close[window].std()
        expected = [
            (close[i] - low) / (high - low),
            (high - low) / ((high + low) / 2.0),
            (close[i] - mean + 2.0 * deviation) / (4.0 * deviation),
            (close[i] - close[i - 10]) / _range_unit(bars, i),
            flow[i - 9 : i + 1].sum() / volume[i - 9 : i + 1].sum(),
            (place * volume)[i - 4 : i + 1].sum() / volume[i - 4 : i + 1].sum(),
            math.log(close[i] / mean),
        ]
        np.testing.assert_allclose(found[i], expected, rtol=1e-9, atol=1e-11)


def test_statistics(bars: Bars) -> None:
    names = (
        "autocorrelation_22",
        "volume_volatility_22",
        "return_stddev_20",
        "linearreg_slope_20",
        "bars_since_high_60",
    )
    found = matrix.compute(bars, names, TICK)
    r, v = np.diff(np.log(bars["close"]), prepend=np.nan), np.diff(np.log(bars["volume"]), prepend=np.nan)
    for i in range(70, 700, 31):
        last = slice(i - 21, i + 1)
        closes = bars["close"][i - 60 : i + 1]
        expected = [
            np.corrcoef(r[last], r[i - 22 : i])[0, 1],
            np.corrcoef(np.abs(r[last]), v[last])[0, 1],
            r[i - 19 : i + 1].std(),
            np.polyfit(np.arange(20.0), bars["close"][i - 19 : i + 1], 1)[0] / _range_unit(bars, i),
            (60 - np.flatnonzero(closes == closes.max())[-1]) / 60.0,
        ]
        np.testing.assert_allclose(found[i], expected, rtol=1e-8, atol=1e-10)
