"""Momentum indicators: oscillators with bounds of their own as TA-Lib gives them, price differences per range.

A table row is: name, TA-Lib function, inputs, parameters, lookback, output, how the output becomes scale-free.
"""

from __future__ import annotations

from collections.abc import Callable

from .feature import Feature, ema, wilder
from .series import GRID, PRICES, Array, Input, Parameters, Series, by_range, indicator, ratio

CLOSE = ("close",)
RANGE = ("high", "low")
BARS = ("high", "low", "close")
BODY = ("open", "close")
Scaling = Callable[[Series, Array], Array]


def _as_is(_s: Series, values: Array) -> Array:
    return values


def _per_close(s: Series, values: Array) -> Array:
    return ratio(values, s["close"])


UNITS: dict[Scaling, str] = {_as_is: "TA-Lib's own", by_range: "average ranges", _per_close: "ratio"}
SCALED: dict[Scaling, str] = {_as_is: "{}", by_range: "{} / average true range of 20 bars", _per_close: "{} / close"}


def oscillator(
    name: str,
    function: str,
    inputs: tuple[str, ...],
    lookback: int,
    description: str,
    *,
    scaling: Scaling = _as_is,
    unit: str = "",
    output: int = 0,
    grid: bool = False,
    **parameters: float,
) -> Feature:
    """A column made from one output of one TA-Lib function. Price differences are scaled by the average range.

    ``grid``: prices are counted on the grid, where ties have to be exact and the output has no unit of price.
    """
    ranged = scaling is by_range
    read: tuple[Input, ...] = tuple(GRID[PRICES.index(price)] for price in inputs) if grid else inputs
    asked = indicator(function, *read, **parameters)
    return Feature(
        name=name,
        compute=lambda s: scaling(s, s.value(asked, output)),
        lookback=max(lookback, 21) if ranged else lookback,
        inputs=tuple(dict.fromkeys((*inputs, *(BARS if ranged else CLOSE if scaling is _per_close else ())))),
        unit=unit or UNITS[scaling],
        description=description,
        formula=SCALED[scaling].format(function),
        functions=(function, "TRANGE", "SMA") if ranged else (function,),
        parameters=parameters,
    )


def _wad(bars: int) -> Feature:
    def compute(s: Series) -> Array:
        now, before = s.pair(bars, "WAD", *BARS)
        return by_range(s, now - before)

    return Feature(
        name=f"wad_{bars}",
        compute=compute,
        lookback=max(bars + 1, 21),
        inputs=BARS,
        unit="average ranges",
        description=f"Williams' accumulation over {bars} bars.",
        formula="difference of WAD over n bars / average true range: the line itself depends on where history starts",
        functions=("WAD", "TRANGE", "SMA"),
        parameters={"bars": bars},
    )


PERCENT = "percent"
_STOCH: Parameters = {"fastk_period": 14, "slowk_period": 3, "slowk_matype": 0, "slowd_period": 3, "slowd_matype": 0}
_STOCHF: Parameters = {"fastk_period": 5, "fastd_period": 3, "fastd_matype": 0}
_STOCHRSI: Parameters = {"timeperiod": 14, "fastk_period": 14, "fastd_period": 3, "fastd_matype": 0}
_KDJ: Parameters = {"fastk_period": 9, "slowk_period": 3, "slowk_matype": 13, "slowd_period": 3, "slowd_matype": 13}
_SMI: Parameters = {"timeperiod": 13, "fastperiod": 2, "slowperiod": 25, "signalperiod": 9}
_MACD: Parameters = {"fastperiod": 12, "slowperiod": 26, "signalperiod": 9}
_SMI_BARS = 13 + ema(25) + ema(2) + ema(9)
_KDJ_BARS = 9 + wilder(3, 2)

_STOCHASTICS = (
    oscillator("stoch_k", "STOCH", BARS, 18, "Slow stochastic of 14 bars.", unit=PERCENT, **_STOCH),
    oscillator("stoch_d", "STOCH", BARS, 18, "Its average over 3 bars.", unit=PERCENT, output=1, **_STOCH),
    oscillator("stochf_k", "STOCHF", BARS, 7, "Fast stochastic of 5 bars.", unit=PERCENT, **_STOCHF),
    oscillator("stochf_d", "STOCHF", BARS, 7, "Its average over 3 bars.", unit=PERCENT, output=1, **_STOCHF),
    oscillator(
        "stochrsi_k", "STOCHRSI", CLOSE, wilder(14) + 14, "Stochastic of the RSI of 14.", unit=PERCENT, **_STOCHRSI
    ),
    oscillator("stochrsi_d", "STOCHRSI", CLOSE, wilder(14) + 17, "Its average.", unit=PERCENT, output=1, **_STOCHRSI),
    oscillator("kdj_k", "KDJ", BARS, _KDJ_BARS, "K of the KDJ stochastic.", unit=PERCENT, **_KDJ),
    oscillator("kdj_j", "KDJ", BARS, _KDJ_BARS, "J of the KDJ stochastic: 3 K - 2 D.", unit=PERCENT, output=2, **_KDJ),
    oscillator("smi", "SMI", BARS, _SMI_BARS, "Stochastic momentum index.", unit=PERCENT, **_SMI),
    oscillator("smi_signal", "SMI", BARS, _SMI_BARS, "Its signal line.", unit=PERCENT, output=1, **_SMI),
    *(
        oscillator(f"willr_{n}", "WILLR", BARS, n, f"Williams %R of {n} bars.", unit=PERCENT, timeperiod=n)
        for n in (14, 28)
    ),
)

_STRENGTH = (
    *(
        oscillator(f"rsi_{n}", "RSI", CLOSE, wilder(n), f"Relative strength of {n} bars.", unit=PERCENT, timeperiod=n)
        for n in (7, 14, 21)
    ),
    *(oscillator(f"cci_{n}", "CCI", BARS, n, f"Commodity channel index of {n} bars.", timeperiod=n) for n in (14, 40)),
    oscillator("cmou_14", "CMOU", CLOSE, 15, "Chande momentum of 14 bars.", unit=PERCENT, timeperiod=14),
    oscillator("ultosc", "ULTOSC", BARS, 29, "Ultimate oscillator of 7, 14 and 28 bars.", unit=PERCENT),
    oscillator("tsi", "TSI", CLOSE, ema(25) + ema(13) + 1, "True strength.", firstperiod=25, secondperiod=13),
    oscillator("imi_14", "IMI", BODY, 14, "Intraday momentum of 14 bars.", unit=PERCENT, timeperiod=14),
    oscillator("bop", "BOP", PRICES, 1, "Balance of power: body against range.", unit="share -1..1"),
    oscillator("qstick_10", "QSTICK", BODY, 10, "Average body of 10 bars.", scaling=by_range, timeperiod=10),
)

_TREND = (
    oscillator(
        "adx_14", "ADX", BARS, wilder(14, 2), "Average directional index.", unit=PERCENT, timeperiod=14, grid=True
    ),
    oscillator("adxr_14", "ADXR", BARS, wilder(14, 2) + 14, "Its rating.", unit=PERCENT, timeperiod=14, grid=True),
    oscillator("dx_14", "DX", BARS, wilder(14) + 1, "Directional index.", unit=PERCENT, timeperiod=14, grid=True),
    oscillator(
        "plus_di_14", "PLUS_DI", BARS, wilder(14) + 1, "Rising movement.", unit=PERCENT, timeperiod=14, grid=True
    ),
    oscillator(
        "minus_di_14", "MINUS_DI", BARS, wilder(14) + 1, "Falling movement.", unit=PERCENT, timeperiod=14, grid=True
    ),
    oscillator("aroon_down_25", "AROON", RANGE, 26, "Nearness of the lowest low.", unit=PERCENT, timeperiod=25),
    oscillator("aroon_up_25", "AROON", RANGE, 26, "Nearness of the top.", unit=PERCENT, output=1, timeperiod=25),
    oscillator("aroonosc_14", "AROONOSC", RANGE, 15, "Aroon up less down.", unit=PERCENT, timeperiod=14),
    oscillator("vortex_plus_14", "VORTEX", BARS, 15, "Rising vortex.", unit="ratio", timeperiod=14),
    oscillator("vortex_minus_14", "VORTEX", BARS, 15, "Falling vortex.", unit="ratio", output=1, timeperiod=14),
    oscillator("vhf_28", "VHF", CLOSE, 29, "Vertical horizontal filter: trend or not.", unit="ratio", timeperiod=28),
    *(oscillator(f"er_{n}", "ER", CLOSE, n + 1, f"Efficiency ratio of {n} bars.", timeperiod=n) for n in (10, 50)),
)

_CHANGE = (
    *(
        oscillator(f"rocp_{n}", "ROCP", CLOSE, n + 1, f"Return over {n} bars.", unit="return", timeperiod=n)
        for n in (21, 63, 126, 252)
    ),
    oscillator("mom_10", "MOM", CLOSE, 11, "Change over 10 bars.", scaling=by_range, timeperiod=10),
    oscillator("macd", "MACD", CLOSE, ema(26), "Exponential averages of 12 less 26.", scaling=by_range, **_MACD),
    oscillator("macd_signal", "MACD", CLOSE, ema(26) + ema(9), "Its average.", scaling=by_range, output=1, **_MACD),
    oscillator("macd_hist", "MACD", CLOSE, ema(26) + ema(9), "The rest.", scaling=by_range, output=2, **_MACD),
    oscillator(
        "ppo_10_50", "PPO", CLOSE, 50, "Average of 10 over 50.", unit=PERCENT, fastperiod=10, slowperiod=50, matype=0
    ),
    oscillator(
        "apo_20_100",
        "APO",
        CLOSE,
        100,
        "Average of 20 less 100.",
        scaling=by_range,
        fastperiod=20,
        slowperiod=100,
        matype=0,
    ),
    oscillator("trix_15", "TRIX", CLOSE, ema(15, 3) + 1, "Change of a triple average.", unit=PERCENT, timeperiod=15),
    oscillator("coppock", "COPPOCK", CLOSE, 24, "Coppock curve.", wmaperiod=10, roc1period=11, roc2period=14),
    oscillator("ao", "AO", RANGE, 34, "Awesome oscillator.", scaling=by_range, fastperiod=5, slowperiod=34),
    oscillator("ac", "AC", RANGE, 38, "Accelerator.", scaling=by_range, fastperiod=5, slowperiod=34, signalperiod=5),
    oscillator("dpo_20", "DPO", CLOSE, 31, "Detrended price.", scaling=by_range, timeperiod=20),
    oscillator("bull_power_13", "ERI", BARS, ema(13), "High over average.", scaling=by_range, timeperiod=13),
    oscillator("bear_power_13", "ERI", BARS, ema(13), "Low over average.", scaling=by_range, output=1, timeperiod=13),
    oscillator("fosc_14", "FOSC", CLOSE, 15, "Close over its forecast.", unit=PERCENT, timeperiod=14),
    _wad(20),
)

FEATURES: tuple[Feature, ...] = (*_STOCHASTICS, *_STRENGTH, *_TREND, *_CHANGE)
