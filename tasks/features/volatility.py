"""Volatility indicators and price transforms: ranges against the price, and where in its bar the close lies."""

from __future__ import annotations

from .feature import Feature, ema, wilder
from .momentum import BARS, RANGE, _per_close, oscillator
from .series import PRICES, Array, Series, by_range, larger, log_ratio, ratio, smaller


def _against(name: str, function: str, inputs: tuple[str, ...], title: str) -> Feature:
    return Feature(
        name=name,
        compute=lambda s: log_ratio(s["close"], s.ta(function, *inputs)),
        lookback=1,
        inputs=inputs if "close" in inputs else (*inputs, "close"),
        unit="log ratio",
        description=f"Close against the {title} price of the bar.",
        formula=f"ln(close / {function})",
        functions=(function,),
    )


def _range_ratio(fast: int, slow: int) -> Feature:
    return Feature(
        name=f"atr_{fast}_{slow}",
        compute=lambda s: ratio(s.ta("ATR", *BARS, timeperiod=fast), s.ta("ATR", *BARS, timeperiod=slow)),
        lookback=wilder(slow) + 1,
        inputs=BARS,
        unit="ratio",
        description=f"Average true range of {fast} bars against {slow}.",
        formula="ATR / ATR",
        functions=("ATR",),
        parameters={"fast": fast, "slow": slow},
    )


HA_BARS = 64
"""The Heikin-Ashi open halves what it remembers at each bar."""


def _heikin_ashi(name: str, description: str, formula: str) -> Feature:
    return Feature(
        name=f"ha_{name}",
        compute=lambda s: by_range(s, _HEIKIN_ASHI[name](s)),
        lookback=HA_BARS,
        inputs=PRICES,
        unit="average ranges",
        description=description,
        formula=f"{formula} / average true range, of Heikin-Ashi candles",
        functions=("HA", "TRANGE", "SMA"),
    )


def _ha(s: Series, output: int) -> Array:
    return s.ta("HA", *PRICES, output=output)


_HEIKIN_ASHI = {
    "body": lambda s: _ha(s, 3) - _ha(s, 0),
    "upper": lambda s: _ha(s, 1) - larger(_ha(s, 0), _ha(s, 3)),
    "lower": lambda s: smaller(_ha(s, 0), _ha(s, 3)) - _ha(s, 2),
}

FEATURES: tuple[Feature, ...] = (
    *(
        oscillator(f"natr_{n}", "NATR", BARS, wilder(n) + 1, f"True range of {n} bars.", unit="percent", timeperiod=n)
        for n in (7, 14, 21)
    ),
    oscillator("true_range", "TRANGE", BARS, 2, "True range.", scaling=_per_close),
    oscillator("adr_14", "ADR", RANGE, 14, "Average range of 14 bars.", scaling=_per_close, timeperiod=14),
    _range_ratio(7, 21),
    oscillator(
        "cvi_10", "CVI", RANGE, ema(10) + 11, "Chaikin's volatility.", unit="percent", timeperiod=10, rocperiod=10
    ),
    oscillator("massi", "MASSI", RANGE, 2 * ema(9) + 25, "Mass index.", unit="sum", fastperiod=9, slowperiod=25),
    oscillator(
        "rvi_14",
        "RVI",
        ("close",),
        wilder(14) + 11,
        "Relative volatility.",
        unit="percent",
        timeperiod=14,
        stddevperiod=10,
    ),
    _against("medprice", "MEDPRICE", RANGE, "median"),
    _against("typprice", "TYPPRICE", BARS, "typical"),
    _against("avgprice", "AVGPRICE", PRICES, "average"),
    _heikin_ashi("body", "Body: positive where rising.", "(close - open)"),
    _heikin_ashi("upper", "Upper shadow.", "(high - larger of open and close)"),
    _heikin_ashi("lower", "Lower shadow.", "(smaller of open and close - low)"),
)
