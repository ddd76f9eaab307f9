"""Calls and columns against the indicator values on SPY that the LEAN project publishes.

Files differ in how many decimals they keep; the tolerance of each says so. Conventions that differ are named.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tasks.features import catalogue
from tasks.features.ichimoku import span_a, span_b
from tasks.features.series import Array, Series, true_range, typical

pytestmark = pytest.mark.needs_data

H, B, V = ("high", "low"), ("high", "low", "close"), ("high", "low", "close", "volume")
Reading = Callable[[Series], Array]
MACD = {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9}

# file, column, reading, absolute tolerance, bars compared (0: all)
PUBLISHED: tuple[tuple[str, str, Reading, float, int], ...] = (
    ("spy_apo.txt", "APO_5_10", lambda s: s.ta("APO", "close", fastperiod=5, slowperiod=10, matype=0), 1e-12, 0),
    ("spy_ppo.txt", "PPO_5_10", lambda s: s.ta("PPO", "close", fastperiod=5, slowperiod=10, matype=0), 1e-12, 0),
    ("spy_aroon_oscillator.txt", "Aroon Oscillator 14", lambda s: s.ta("AROONOSC", *H, timeperiod=14), 1e-5, 0),
    ("spy_atr_wilder.txt", "Average True Range 14", lambda s: s.ta("ATR", *B, timeperiod=14), 1e-5, 100),
    ("spy_bollinger_bands.txt", "%B", catalogue.feature("bbands_20_position").compute, 1e-4, 0),
    ("spy_dema.txt", "DEMA_5", lambda s: s.ta("DEMA", "close", timeperiod=5), 1e-11, 0),
    ("spy_tema.txt", "TEMA_5", lambda s: s.ta("TEMA", "close", timeperiod=5), 1e-11, 0),
    ("spy_trix.txt", "TRIX_5", lambda s: s.ta("TRIX", "close", timeperiod=5), 1e-12, 0),
    ("spy_hma.txt", "HMA_16", lambda s: s.ta("HMA", "close", timeperiod=16), 1e-7, 0),
    ("spy_kama.txt", "KAMA_5", lambda s: s.ta("KAMA", "close", timeperiod=5), 1e-11, 0),
    ("spy_max.txt", "MAX_5", lambda s: s.ta("MAX", "close", timeperiod=5), 0.0, 0),
    ("spy_min.txt", "MIN_5", lambda s: s.ta("MIN", "close", timeperiod=5), 0.0, 0),
    ("spy_mfi.txt", "Money Flow Index 20", lambda s: s.ta("MFI", *V, timeperiod=20), 1e-5, 0),
    ("spy_natr.txt", "NATR_5", lambda s: s.ta("NATR", *B, timeperiod=5), 1e-12, 0),
    ("spy_t3.txt", "T3_5", lambda s: s.ta("T3", "close", timeperiod=5, vfactor=0.7), 1e-11, 0),
    ("spy_tr.txt", "TR", lambda s: s[true_range], 1e-12, 0),
    ("spy_ultosc.txt", "ULTOSC_7_14_28", catalogue.feature("ultosc").compute, 1e-11, 0),
    ("spy_with_adx.txt", "ADX 14", lambda s: s.ta("ADX", *B, timeperiod=14), 1e-4, 100),
    ("spy_with_cci.txt", "Commodity Channel Index (CCI) 14", catalogue.feature("cci_14").compute, 5e-3, 0),
    ("spy_with_indicators.txt", "RSI 14 Wilder", catalogue.feature("rsi_14").compute, 1e-5, 0),
    ("spy_with_keltner.csv", "Middle Band", lambda s: s.ta("SMA", typical, timeperiod=20), 1e-4, 0),
    ("spy_with_macd.txt", "MACD", lambda s: s.ta("MACD", "close", **MACD), 1e-5, 0),
    ("spy_with_williamsR14.txt", "Williams %R 14", catalogue.feature("willr_14").compute, 1e-3, 0),
    ("spy_with_ichimoku.csv", "Tenkan", lambda s: s.ta("MIDPRICE", *H, timeperiod=9), 1e-12, 0),
    ("spy_with_ichimoku.csv", "Kijun", lambda s: s.ta("MIDPRICE", *H, timeperiod=26), 1e-12, 0),
    ("spy_with_ichimoku.csv", "Senkou A", lambda s: s.lagged(span_a, 26), 1e-12, 0),
    ("spy_with_ichimoku.csv", "Senkou B", lambda s: s.lagged(span_b, 26), 1e-12, 0),
)


def _frame(path: Path) -> pd.DataFrame:
    return pd.read_csv(path).rename(columns=str.strip)


def _series(frame: pd.DataFrame) -> Series:
    names = {name: name.lower() for name in map(str, frame) if name.lower() in ("open", *V)}
    bars = {lower: frame[name].to_numpy(dtype=np.float64) for name, lower in names.items()}
    return Series({**bars, "session": np.arange(len(frame)).astype("datetime64[D]")}, tick=0.01)


@pytest.mark.parametrize(
    ("file", "column", "reading", "tolerance", "last"), PUBLISHED, ids=[f"{row[0]}-{row[1]}" for row in PUBLISHED]
)
def test_published_values_are_met(
    file: str, column: str, reading: Reading, tolerance: float, last: int, market_data: Path
) -> None:
    frame = _frame(market_data / "lean_indicator_refs" / file)
    published = pd.to_numeric(frame[column], errors="coerce").to_numpy(dtype=np.float64)
    found = reading(_series(frame))
    both = np.isfinite(found) & np.isfinite(published)
    both[: len(both) - last if last else 0] = False
    assert both.sum() >= 100
    np.testing.assert_allclose(found[both], published[both], rtol=0.0, atol=tolerance)
