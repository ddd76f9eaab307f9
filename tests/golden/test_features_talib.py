"""TA-Lib's calls as the catalogue makes them, against the values that TA-Lib's own regression suite publishes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.features.series import Array, Input, Series, true_range
from tasks.features.windows import window_correlation, window_deviation, window_mean

pytestmark = pytest.mark.needs_data

Record = dict[str, str]
Reading = Callable[[Series, Record], Array]
BARS = ("high", "low", "close")
AVERAGES = {"SMA": 0, "EMA": 1, "WMA": 2, "DEMA": 3, "TEMA": 4, "TRIMA": 5, "KAMA": 6, "MAMA": 7, "T3": 8}


def median(s: Series) -> Array:
    """The middle of each bar's range, which the published cycle values are of."""
    return (s["high"] + s["low"]) / 2.0


def _ta(function: str, *inputs: Input, period: str = "optInTimePeriod", output: int = 0) -> Reading:
    def read(s: Series, record: Record) -> Array:
        parameters = {"timeperiod": int(record[period])} if period in record and int(record[period]) > 0 else {}
        return s.ta(function, *inputs, output=output, **parameters)

    return read


def _oscillator(s: Series, record: Record) -> Array:
    name = "PPO" if record["doPercentage"] == "1" else "APO"
    average = AVERAGES[record["optInMethod_2"].rsplit("_", 1)[1]]
    fast, slow = int(record["optInFastPeriod"]), int(record["optInSlowPeriod"])
    return s.ta(name, "close", fastperiod=fast, slowperiod=slow, matype=average)


def _average(s: Series, record: Record) -> Array:
    name = record["optInMAType_1"].rsplit("_", 1)[1]
    return s.ta(name, "close", timeperiod=int(record["optInTimePeriod"]))


def _range(s: Series, record: Record) -> Array:
    if record["doAverage"] == "0":
        return s[true_range]
    return s.ta("ATR", *BARS, timeperiod=int(record["optInTimePeriod"]))


def _macd(output: int) -> Reading:
    return lambda s, record: s.ta(
        "MACD",
        "close",
        output=output,
        fastperiod=int(record["optInFastPeriod"]),
        slowperiod=int(record["optInSlowPeriod"]),
        signalperiod=int(record["optInSignalPeriod_2"]),
    )


def _stochastic(output: int) -> Reading:
    return lambda s, record: s.ta(
        "STOCH",
        *BARS,
        output=output,
        fastk_period=int(record["optInPeriod_0"]),
        slowk_period=int(record["optInPeriod_1"]),
        slowk_matype=0,
        slowd_period=int(record["optInPeriod_2"]),
        slowd_matype=0,
    )


def _bollinger(deviations: float) -> Reading:
    # The catalogue takes each window by itself instead of calling BBANDS: it must still be BBANDS.
    def read(s: Series, record: Record) -> Array:
        bars = int(record["optInTimePeriod"])
        return window_mean(s["close"], bars) + deviations * window_deviation(s["close"], bars)

    return read


def _correlation(s: Series, record: Record) -> Array:
    return window_correlation(s["high"], s["low"], int(record["optInTimePeriod"]))


METASTOCK_TRIX = ("0.221", "-0.009")
"""Of Metastock's seed of an average, although the records do not say so."""

READINGS: dict[str, tuple[Reading, ...]] = {
    "TA_HT_TRENDLINE_TEST": (_ta("HT_TRENDLINE", median),),
    "TA_HT_DCPERIOD_TEST": (_ta("HT_DCPERIOD", median),),
    "TA_HT_SINE_TEST": (_ta("HT_SINE", median), _ta("HT_SINE", median, output=1)),
    "TA_HT_PHASOR_TEST": (_ta("HT_PHASOR", median), _ta("HT_PHASOR", median, output=1)),
    "TA_RSI_TEST": (_ta("RSI", "close"),),
    "TA_AROON_DOWN_TEST": (_ta("AROON", "high", "low"),),
    "TA_AROON_UP_TEST": (_ta("AROON", "high", "low", output=1),),
    "TA_AROONOSC_TEST": (_ta("AROONOSC", "high", "low"),),
    "TA_CORREL_TEST": (_correlation,),
    "TA_MAX_TEST": (_ta("MAX", "open"),),
    "TA_MIN_TEST": (_ta("MIN", "open"),),
    "TA_MOM_TEST": (_ta("MOM", "close"),),
    "TA_TRIX_TEST": (_ta("TRIX", "close"),),
    "TA_CCI_TEST": (_ta("CCI", *BARS, period="optInTimePeriod1"),),
    "TA_WILLR_TEST": (_ta("WILLR", *BARS, period="optInTimePeriod1"),),
    "TA_NATR_TEST": (_ta("NATR", *BARS, period="optInTimePeriod1"),),
    "TA_MFI_TEST": (_ta("MFI", *BARS, "volume"),),
    "TA_AD_TEST": (_ta("AD", *BARS, "volume"),),
    "TA_ADOSC_3_10_TEST": (_ta("ADOSC", *BARS, "volume"),),
    "TA_AVGPRICE_TEST": (_ta("AVGPRICE", "open", *BARS),),
    "TA_BOP_TEST": (_ta("BOP", "open", *BARS),),
    "TST_DX": (_ta("DX", *BARS),),
    "TST_ADX": (_ta("ADX", *BARS),),
    "TST_ADXR": (_ta("ADXR", *BARS),),
    "TST_PLUS_DI": (_ta("PLUS_DI", *BARS),),
    "TST_MINUS_DI": (_ta("MINUS_DI", *BARS),),
    "TA_ANY_MA_TEST": (_average,),
    "TA_MACD_TEST": (_macd(0), _macd(1), _macd(2)),
    "TEST_STOCH": (_stochastic(0), _stochastic(1)),
    "test_po.c": (_oscillator,),
    "test_trange.c": (_range,),
    "test_bbands.c": (_bollinger(2.0), _bollinger(0.0), _bollinger(-2.0)),
}


def _name(record: Record) -> str:
    return record.get("theFunction") or record.get("id") or record.get("testId") or record["_file"]


def _usable(record: Record) -> bool:
    """Whole-range runs of default compatibility whose averages the catalogue also uses."""
    average = record.get("optInMAType_1") or record.get("optInMethod_3") or ""
    return (
        record.get("expectedRetCode") == "TA_SUCCESS"
        and record.get("startIdx") == "0"
        and record.get("endIdx") == "251"
        and record.get("unstablePeriod", "0") == "0"
        and record.get("compatibility", "TA_COMPATIBILITY_DEFAULT") == "TA_COMPATIBILITY_DEFAULT"
        and _name(record) in READINGS
        and not (_name(record) == "test_bbands.c" and not average.endswith("SMA"))
        and not average.endswith("MAMA")
        and record.get("optInTimePeriod") != "1"
        and record.get("oneOfTheExpectedOutReal") not in METASTOCK_TRIX
    )


def _number(text: str) -> float:
    """A C constant or a sum of constants such as ``252-15`` or ``(-1.97)-(-2.70)``."""
    terms = re.findall(r"([-+]?)\(?\s*([-+]?\d+(?:\.\d+)?)\)?", text.replace(" ", ""))
    return sum(float(value) * (-1.0 if sign == "-" else 1.0) for sign, value in terms)


def _tolerance(text: str, value: float) -> float:
    """The suite's own: about four digits; directional movement is published in whole numbers."""
    return 1.0 if text.endswith(".0") else max(0.011, 2e-4 * abs(value))


def _expected(record: Record, output: int) -> tuple[int, float, float]:
    suffix = "" if "oneOfTheExpectedOutReal" in record else str(output)
    index = _number(record[f"oneOfTheExpectedOutRealIndex{suffix}"])
    text = record[f"oneOfTheExpectedOutReal{suffix}"]
    value = _number(text)
    return int(_number(record["expectedBegIdx"]) + index), value, _tolerance(text, value)


@pytest.fixture(scope="module")
def reference(market_data: Path) -> tuple[Series, list[Record]]:
    folder = market_data / "talib_regtest"
    frame = pd.read_csv(folder / "talib_ref_ohlcv_252.csv")
    bars: dict[str, Any] = {**frame, "session": np.arange(len(frame)).astype("datetime64[D]")}
    records = json.loads((folder / "talib_expected.json").read_text())
    return Series(bars, tick=0.01), [record for record in records if _usable(record)]


def test_published_values_are_met(reference: tuple[Series, list[Record]]) -> None:
    series, records = reference
    wrong, met = [], Counter[str]()
    for record in records:
        for output, reading in enumerate(READINGS[_name(record)]):
            index, value, tolerance = _expected(record, output)
            found = float(reading(series, record)[index])
            met[_name(record)] += 1
            if not abs(found - value) <= tolerance:
                wrong.append((_name(record), output, index, value, found))
    assert not wrong
    assert set(met) == set(READINGS)
    assert met.total() >= 200
