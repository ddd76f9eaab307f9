"""Overlap studies: where the close stands against averages, and how wide and where in it bands are.

An average becomes ln(close / average), a band its position (0 at the lower edge, 1 at the upper) and its width
against its middle, a stop its distance in average true ranges.
"""

from __future__ import annotations

from collections.abc import Callable

from .feature import MAX_LOOKBACK, Feature, ema, wilder
from .rolling import deviation_of, mean_of
from .series import Array, Input, Parameters, Series, by_range, choose, indicator, log_ratio, per_price, ratio, typical

CLOSE = ("close",)
RANGE = ("high", "low", "close")


def _average(function: str, period: int, lookback: int, title: str, **parameters: float) -> Feature:
    settings: Parameters = {"timeperiod": period, **parameters}
    average = indicator(function, "close", **settings)
    return Feature(
        name=f"{function.lower()}_{period}",
        compute=lambda s: log_ratio(s["close"], s.value(average)),
        lookback=lookback,
        inputs=CLOSE,
        unit="log ratio",
        description=f"Close against its {title} of {period} bars.",
        formula=f"ln(close / {function})",
        functions=(function,),
        parameters=settings,
    )


def _volume_weighted(name: str, price: Input, period: int, title: str) -> Feature:
    def compute(s: Series) -> Array:
        # VWMA divides by the window's volume unguarded; a window without any volume has no such average.
        traded = s.ta("MAX", "volume", timeperiod=period) > 0.0
        return log_ratio(s["close"], choose(traded, s.ta("VWMA", price, "volume", timeperiod=period), 0.0))

    return Feature(
        name=f"{name}_{period}",
        compute=compute,
        lookback=period,
        inputs=(*(RANGE if price is typical else CLOSE), "volume"),
        unit="log ratio",
        description=f"Close against the {title} of {period} bars; 0 where nothing was traded.",
        formula="ln(close / VWMA)" if price == "close" else "ln(close / VWMA of the typical price)",
        functions=("VWMA",),
        parameters={"timeperiod": period},
    )


def _band(
    function: str, period: int, lookback: int, inputs: tuple[str, ...], title: str, **parameters: float
) -> tuple[Feature, Feature]:
    settings: Parameters = {"timeperiod": period, **parameters}

    band = indicator(function, *inputs, **settings)

    def edge(s: Series, output: int) -> Array:
        return s.value(band, output)

    def place(s: Series) -> Array:
        return _position(s, s["close"], edge(s, 2), edge(s, 0))

    def width(s: Series) -> Array:
        return ratio(edge(s, 0) - edge(s, 2), edge(s, 1))

    return _pair(function, settings, lookback, inputs, title, place, width)


def _bollinger(period: int) -> tuple[Feature, Feature]:
    """As BBANDS, but each window by itself: where prices hardly move, rounding in running sums of squares shows."""

    def deviation(s: Series) -> Array:
        return s.once(("deviation", period), lambda: deviation_of(s, "close", period))

    def mean(s: Series) -> Array:
        return mean_of(s, "close", period)

    def place(s: Series) -> Array:
        lower = mean(s) - 2.0 * deviation(s)
        return _position(s, s["close"], lower, lower + 4.0 * deviation(s))

    def width(s: Series) -> Array:
        return ratio(4.0 * deviation(s), mean(s))

    settings: Parameters = {"timeperiod": period, "nbdevup": 2.0, "nbdevdn": 2.0}
    return _pair("BBANDS", settings, period, CLOSE, f"Bollinger band of {period} bars", place, width)


def _position(s: Series, close: Array, lower: Array, upper: Array) -> Array:
    return per_price(close - lower, upper - lower, s["close"])


def _pair(
    function: str,
    settings: Parameters,
    lookback: int,
    inputs: tuple[str, ...],
    title: str,
    *computes: Callable[[Series], Array],
) -> tuple[Feature, Feature]:
    shared: Parameters = {
        "lookback": lookback,
        "functions": () if function == "BBANDS" else (function,),
        "parameters": settings,
    }
    name = f"{function.lower()}_{settings['timeperiod']}"
    return (
        Feature(
            name=f"{name}_position",
            compute=computes[0],
            inputs=tuple(dict.fromkeys((*inputs, "close"))),
            unit="share of the band",
            description=f"Position of the close in the {title}; 0 where the band has no width.",
            formula="(close - lower) / (upper - lower)",
            **shared,
        ),
        Feature(
            name=f"{name}_width",
            compute=computes[1],
            inputs=inputs,
            unit="ratio",
            description=f"Width of the {title}.",
            formula="(upper - lower) / middle",
            **shared,
        ),
    )


SAR = Feature(
    name="sar",
    compute=lambda s: by_range(s, s["close"] - s.ta("SAR", "high", "low", acceleration=0.02, maximum=0.2)),
    lookback=MAX_LOOKBACK,
    inputs=RANGE,
    unit="average ranges",
    description="Distance of the close from the parabolic stop: positive in a rising trend.",
    # Each reversal restarts the stop from the trend's extreme, so two histories meet, bit for bit, after a few.
    formula="(close - SAR) / average true range; Wilder 1978",
    functions=("SAR", "TRANGE", "SMA"),
    parameters={"acceleration": 0.02, "maximum": 0.2},
)

_SUPERTREND: Parameters = {"timeperiod": 10, "multiplier": 3.0}
SUPERTREND = (
    Feature(
        name="supertrend_10",
        compute=lambda s: by_range(s, s["close"] - s.ta("SUPERTREND", "high", "low", "close", **_SUPERTREND)),
        lookback=MAX_LOOKBACK,
        inputs=RANGE,
        unit="average ranges",
        description="Distance of the close from the SuperTrend stop.",
        formula="(close - SUPERTREND) / average true range",
        functions=("SUPERTREND", "TRANGE", "SMA"),
        parameters=_SUPERTREND,
    ),
    Feature(
        name="supertrend_10_trend",
        compute=lambda s: s.ta("SUPERTREND", "high", "low", "close", output=1, **_SUPERTREND),
        lookback=MAX_LOOKBACK,
        inputs=RANGE,
        unit="sign",
        description="Direction of the SuperTrend: 1 rising, -1 falling.",
        formula="SUPERTREND's trend",
        functions=("SUPERTREND",),
        parameters=_SUPERTREND,
    ),
)

FEATURES: tuple[Feature, ...] = (
    *(_average("SMA", n, n, "simple average") for n in (5, 10, 20, 50, 100, 200)),
    *(_average("EMA", n, ema(n), "exponential average") for n in (10, 20, 50)),
    _average("WMA", 20, 20, "weighted average"),
    _average("DEMA", 20, ema(20, 2), "double exponential average"),
    _average("TEMA", 20, ema(20, 3), "triple exponential average"),
    _average("TRIMA", 20, 20, "triangular average"),
    _average("T3", 10, ema(10, 6), "T3 average", vfactor=0.7),
    _average("HMA", 20, 24, "Hull average"),
    _average("ZLEMA", 20, ema(20) + 10, "zero-lag exponential average"),
    _average("RMA", 14, wilder(14), "Wilder average"),
    *(_average("KAMA", n, MAX_LOOKBACK, "Kaufman adaptive average") for n in (5, 10, 20)),
    _average("MIDPOINT", 20, 20, "midpoint of highest and lowest close"),
    *(_volume_weighted("vwma", "close", n, "volume-weighted average") for n in (20, 50)),
    _volume_weighted("vwap", typical, 20, "volume-weighted average price"),
    *_bollinger(20),
    *_bollinger(50),
    *_band("ACCBANDS", 20, 20, RANGE, "acceleration band of 20 bars"),
    *_band("DONCHIAN", 20, 20, ("high", "low"), "Donchian channel of 20 bars"),
    *_band("DONCHIAN", 55, 55, ("high", "low"), "Donchian channel of 55 bars"),
    *_band("KC", 20, max(ema(20), wilder(10)), RANGE, "Keltner channel of 20 bars", atrperiod=10, nbdev=2.0),
    SAR,
    *SUPERTREND,
)
