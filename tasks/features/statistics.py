"""Statistics over a window: regression lines, ranks, correlations, extremes and how long ago they were."""

from __future__ import annotations

from collections.abc import Callable

from .feature import Feature
from .momentum import _per_close, oscillator
from .rolling import correlation_of
from .series import Array, Derived, Series, by_range, indicator, log_ratio, log_return, per_price

CLOSE = ("close",)
Reading = Callable[[Series, int], Array]


def _volume_change(s: Series) -> Array:
    return log_ratio(s["volume"], s.lagged("volume", 1))


def _absolute_return(s: Series) -> Array:
    return abs(s[log_return])


def _earlier_return(s: Series) -> Array:
    return s.lagged(log_return, 1)


def _line(name: str, function: str, bars: int, title: str) -> Feature:
    line = indicator(function, "close", timeperiod=bars)
    return Feature(
        name=f"{name}_{bars}",
        compute=lambda s: log_ratio(s["close"], s.value(line)),
        lookback=bars,
        inputs=CLOSE,
        unit="log ratio",
        description=f"Close against the {title} of {bars} bars.",
        formula=f"ln(close / {function})",
        functions=(function,),
        parameters={"timeperiod": bars},
    )


def _correlation(name: str, pair: tuple[Derived, Derived], bars: int, inputs: tuple[str, ...], title: str) -> Feature:
    return Feature(
        name=f"{name}_{bars}",
        compute=lambda s: correlation_of(s, *pair, bars),
        lookback=bars + 2,
        inputs=inputs,
        unit="correlation",
        description=f"Correlation of {title} over {bars} bars; 0 where one of them is constant.",
        formula="Pearson's correlation",
        parameters={"timeperiod": bars},
    )


def _extreme(name: str, bars: int, compute: Reading, unit: str, description: str) -> Feature:
    function = "AROON" if compute in (_high_age, _low_age) else "MINMAX"
    return Feature(
        name=f"{name}_{bars}",
        compute=lambda s: compute(s, bars),
        lookback=bars + 1 if function == "AROON" else bars,
        inputs=CLOSE,
        unit=unit,
        description=f"{description} of {bars} bars.",
        formula=f"from {function} of the close",
        functions=(function,),
        parameters={"timeperiod": bars},
    )


# AROON and not MINMAXINDEX: where an extreme occurs twice, which one the latter names depends on where history starts.
def _high_age(s: Series, bars: int) -> Array:
    return 1.0 - s.ta("AROON", "close", "close", timeperiod=bars, output=1) / 100.0


def _low_age(s: Series, bars: int) -> Array:
    return 1.0 - s.ta("AROON", "close", "close", timeperiod=bars) / 100.0


def _drawdown(s: Series, bars: int) -> Array:
    return log_ratio(s["close"], s.ta("MINMAX", "close", timeperiod=bars, output=1))


def _place(s: Series, bars: int) -> Array:
    low = s.ta("MINMAX", "close", timeperiod=bars)
    high = s.ta("MINMAX", "close", timeperiod=bars, output=1)
    return per_price(s["close"] - low, high - low, s["close"])


def _extremes(bars: int) -> tuple[Feature, ...]:
    return (
        _extreme("bars_since_high", bars, _high_age, "share of window", "Age of the highest close"),
        _extreme("bars_since_low", bars, _low_age, "share of window", "Age of the lowest close"),
        _extreme("drawdown", bars, _drawdown, "log ratio", "Close against the highest close"),
        _extreme("close_position", bars, _place, "share 0..1", "Place between lowest and highest close"),
    )


def _spread(bars: int) -> Feature:
    return Feature(
        name=f"return_stddev_{bars}",
        compute=lambda s: s.ta("STDDEV", log_return, timeperiod=bars, nbdev=1.0),
        lookback=bars + 1,
        inputs=CLOSE,
        unit="log return",
        description=f"Standard deviation of returns over {bars} bars.",
        formula="STDDEV(ln(close / previous close))",
        functions=("STDDEV",),
        parameters={"timeperiod": bars, "nbdev": 1.0},
    )


FEATURES: tuple[Feature, ...] = (
    _line("linearreg", "LINEARREG", 20, "end of the regression line"),
    _line("tsf", "TSF", 14, "next point of the regression line"),
    *(
        oscillator(
            f"linearreg_slope_{n}",
            "LINEARREG_SLOPE",
            CLOSE,
            n,
            f"Slope of the regression line of {n} bars.",
            scaling=by_range,
            timeperiod=n,
        )
        for n in (10, 20, 60)
    ),
    _line("median", "PERCENTILE", 60, "median close"),
    *(
        oscillator(
            f"percentrank_{n}",
            "PERCENTRANK",
            CLOSE,
            n + 1,
            f"Rank of the close among the {n} before.",
            unit="percent",
            timeperiod=n,
        )
        for n in (60, 252)
    ),
    oscillator("avgdev_20", "AVGDEV", CLOSE, 20, "Mean absolute deviation.", scaling=_per_close, timeperiod=20),
    *(_spread(n) for n in (10, 20)),
    *(
        _correlation("autocorrelation", (log_return, _earlier_return), n, CLOSE, "returns with the ones before")
        for n in (22, 66)
    ),
    _correlation(
        "volume_volatility",
        (_absolute_return, _volume_change),
        22,
        ("close", "volume"),
        "absolute returns with changes of volume",
    ),
    *_extremes(60),
    *_extremes(252),
)
