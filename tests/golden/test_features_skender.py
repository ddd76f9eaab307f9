"""Calls and columns against the values that Skender.Stock.Indicators publishes for its default 502 quotes.

Where a recursive average is seeded otherwise, only the last hundred bars are compared, when both have forgotten it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.features import catalogue
from tasks.features.ichimoku import span_a, span_b
from tasks.features.series import Array, Series, true_range

pytestmark = pytest.mark.needs_data

H, B, V = ("high", "low"), ("high", "low", "close"), ("high", "low", "close", "volume")
STOCH = {"fastk_period": 14, "slowk_period": 3, "slowk_matype": 0, "slowd_period": 3, "slowd_matype": 0}
MACD = {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9}
Reading = Callable[[Series], Array]


def _column(name: str) -> Reading:
    return catalogue.feature(name).compute


def upper_band(s: Series) -> Array:
    """The highest high of 20 bars."""
    return s.ta("DONCHIAN", *H, timeperiod=20)


def lower_band(s: Series) -> Array:
    """The lowest low of 20 bars."""
    return s.ta("DONCHIAN", *H, timeperiod=20, output=2)


EXACT: dict[tuple[str, str], Reading] = {
    ("rsi", "rsi"): lambda s: s.ta("RSI", "close", timeperiod=14),
    ("atr", "atr"): lambda s: s.ta("ATR", *B, timeperiod=14),
    ("atr", "atrp"): lambda s: s.ta("NATR", *B, timeperiod=14),
    ("tr", "tr"): lambda s: s[true_range],
    ("bb", "percentB"): _column("bbands_20_position"),
    ("bb", "width"): _column("bbands_20_width"),
    ("cci", "cci"): lambda s: s.ta("CCI", *B, timeperiod=20),
    ("cmf", "cmf"): _column("cmf_20"),
    ("adl", "adl"): lambda s: s.ta("AD", *V),
    ("ema", "ema"): lambda s: s.ta("EMA", "close", timeperiod=20),
    ("sma", "sma"): lambda s: s.ta("SMA", "close", timeperiod=20),
    ("wma", "wma"): lambda s: s.ta("WMA", "close", timeperiod=14),
    ("hma", "hma"): lambda s: s.ta("HMA", "close", timeperiod=14),
    ("kama", "kama"): lambda s: s.ta("KAMA", "close", timeperiod=10),
    ("kama", "er"): _column("er_10"),
    ("vwma", "vwma"): lambda s: s.ta("VWMA", "close", "volume", timeperiod=14),
    ("donchian", "upperBand"): lambda s: s.lagged(upper_band, 1),  # the bars before
    ("donchian", "lowerBand"): lambda s: s.lagged(lower_band, 1),
    ("heikinashi", "open"): lambda s: s.ta("HA", "open", *B),
    ("heikinashi", "high"): lambda s: s.ta("HA", "open", *B, output=1),
    ("heikinashi", "low"): lambda s: s.ta("HA", "open", *B, output=2),
    ("heikinashi", "close"): lambda s: s.ta("HA", "open", *B, output=3),
    ("mfi", "mfi"): _column("mfi_14"),
    ("obv", "obv"): lambda s: s.ta("OBV", "close", "volume") - s["volume"][0],  # starts at 0 there
    ("roc", "roc"): lambda s: 100.0 * s.ta("ROCP", "close", timeperiod=14),
    ("slope", "slope"): lambda s: s.ta("LINEARREG_SLOPE", "close", timeperiod=14),
    ("stdev", "stdDev"): lambda s: s.ta("STDDEV", "close", timeperiod=14, nbdev=1.0),
    ("stoch", "k"): lambda s: s.ta("STOCH", *B, **STOCH),
    ("stoch", "d"): lambda s: s.ta("STOCH", *B, output=1, **STOCH),
    ("willr", "williamsR"): _column("willr_14"),
    ("ichimoku", "tenkanSen"): lambda s: s.ta("MIDPRICE", *H, timeperiod=9),
    ("ichimoku", "kijunSen"): lambda s: s.ta("MIDPRICE", *H, timeperiod=26),
    ("ichimoku", "senkouSpanA"): lambda s: s.lagged(span_a, 26),
    ("ichimoku", "senkouSpanB"): lambda s: s.lagged(span_b, 26),
}

SETTLED: dict[tuple[str, str], Reading] = {
    ("adx", "adx"): lambda s: s.ta("ADX", *B, timeperiod=14),
    ("adx", "pdi"): lambda s: s.ta("PLUS_DI", *B, timeperiod=14),
    ("adx", "mdi"): lambda s: s.ta("MINUS_DI", *B, timeperiod=14),
    ("adx", "dx"): lambda s: s.ta("DX", *B, timeperiod=14),
    ("aroon", "aroonUp"): _column("aroon_up_25"),  # of two equal extremes there, the earlier counts
    ("aroon", "aroonDown"): _column("aroon_down_25"),
    ("dema", "dema"): lambda s: s.ta("DEMA", "close", timeperiod=14),
    ("tema", "tema"): lambda s: s.ta("TEMA", "close", timeperiod=20),
    ("macd", "macd"): lambda s: s.ta("MACD", "close", **MACD),
    ("macd", "signal"): lambda s: s.ta("MACD", "close", output=1, **MACD),
    ("macd", "histogram"): lambda s: s.ta("MACD", "close", output=2, **MACD),
    ("psar", "sar"): lambda s: s.ta("SAR", *H, acceleration=0.02, maximum=0.2),
}


@pytest.fixture(scope="module")
def quotes(market_data: Path) -> Series:
    frame = pd.read_csv(market_data / "skender" / "quotes" / "default.csv", parse_dates=["date"])
    return Series({**frame, "session": frame["date"].to_numpy().astype("datetime64[D]")}, tick=0.01)


def _published(folder: Path, indicator: str, field: str) -> Array:
    document = json.loads((folder / "skender" / "results" / f"{indicator}.standard.json").read_text())
    return np.array([np.nan if row.get(field) is None else float(row[field]) for row in document])


@pytest.mark.parametrize(("indicator", "field"), sorted(EXACT))
def test_every_bar_agrees(indicator: str, field: str, quotes: Series, market_data: Path) -> None:
    found, published = EXACT[indicator, field](quotes), _published(market_data, indicator, field)
    both = np.isfinite(found) & np.isfinite(published)
    assert both.sum() > 400
    np.testing.assert_allclose(found[both], published[both], rtol=1e-9, atol=1e-9 * float(np.std(published[both])))


@pytest.mark.parametrize(("indicator", "field"), sorted(SETTLED))
def test_settled_bars_agree(indicator: str, field: str, quotes: Series, market_data: Path) -> None:
    found, published = SETTLED[indicator, field](quotes), _published(market_data, indicator, field)
    np.testing.assert_allclose(found[-100:], published[-100:], rtol=1e-8, atol=1e-8 * float(np.nanstd(published)))


def test_the_keltner_half_width_is_two_average_ranges(quotes: Series, market_data: Path) -> None:
    """The middles differ by convention (typical price here, close there); the widths do not."""
    upper, lower = (_published(market_data, "keltner", field) for field in ("upperBand", "lowerBand"))
    bands = [quotes.ta("KC", *B, output=output, timeperiod=20, atrperiod=10, nbdev=2.0) for output in (0, 2)]
    np.testing.assert_allclose((bands[0] - bands[1])[-100:], (upper - lower)[-100:], rtol=1e-8)
