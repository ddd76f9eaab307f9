"""Volatility terms that the field's own models use: HAR, signed returns, EWMA, downside range, overnight gap.

Logarithms of variances are half-logs, that is logarithms of volatilities, per bar and not annualised. Each bar's range
is floored at one tick, so that a bar without a range has a finite logarithm.

Sources: Parkinson (1980) for the range; Corsi (2009), J. Financial Econometrics 7, for HAR; Corsi and Reno (2012) for
signed returns (the leverage effect); RiskMetrics (1996) for the EWMA of weight 0.94; Garman and Klass (1980), Rogers
and Satchell (1991) for the estimators that use the open; Patton and Sheppard (2015) for the share of falling bars.
"""

from __future__ import annotations

import math

from .feature import Feature, recursive
from .rolling import decayed_of, mean_of
from .series import (
    PRICES,
    Array,
    Derived,
    Series,
    choose,
    larger,
    log_ratio,
    log_return,
    logarithm,
    ratio,
    smaller,
)

PARKINSON = 1.0 / (4.0 * math.log(2.0))
TINY_RANGE = 1e-8
"""The floor of a log range where the price is not positive and one tick has no logarithm."""


def tick_range(s: Series) -> Array:
    """The log range of one tick, the floor of every range; TINY_RANGE where the price is not positive."""
    return larger(log_ratio(s["low"] + s.tick, s["low"]), TINY_RANGE)


def log_range(s: Series) -> Array:
    """ln(high / low), not below one tick."""
    return larger(log_ratio(s["high"], s["low"]), s[tick_range])


def parkinson(s: Series) -> Array:
    """Parkinson's variance of each bar."""
    return PARKINSON * s[log_range] ** 2


def squared_return(s: Series) -> Array:
    """The squared return from close to close."""
    return s[log_return] ** 2


def falling_variance(s: Series) -> Array:
    """Parkinson's variance of bars that closed below the previous close, one tick's variance for the others."""
    falling = s[log_return] < 0.0
    return choose(falling, s[parkinson], PARKINSON * s[tick_range] ** 2)


def falling_parkinson(s: Series) -> Array:
    """Parkinson's variance of bars that closed below the previous close, 0 for the others."""
    return choose(s[log_return] < 0.0, s[parkinson], 0.0)


def garman_klass(s: Series) -> Array:
    """Garman and Klass's variance of each bar."""
    body = log_ratio(s["close"], s["open"])
    return 0.5 * log_ratio(s["high"], s["low"]) ** 2 - (2.0 * math.log(2.0) - 1.0) * body**2


def rogers_satchell(s: Series) -> Array:
    """Rogers and Satchell's variance of each bar."""
    up = log_ratio(s["high"], s["close"]) * log_ratio(s["high"], s["open"])
    return up + log_ratio(s["low"], s["close"]) * log_ratio(s["low"], s["open"])


def _floored_half_log(s: Series, variance: Array) -> Array:
    return 0.5 * logarithm(larger(variance, PARKINSON * s[tick_range] ** 2))


def _har(bars: int) -> Feature:
    return Feature(
        name=f"har_{bars}",
        compute=lambda s: 0.5 * logarithm(mean_of(s, parkinson, bars)),
        lookback=bars,
        inputs=("high", "low"),
        unit="log volatility per bar",
        description=f"Range volatility of the last {bars} bars (HAR term).",
        formula="1/2 ln mean(ln^2(high/low) / (4 ln 2)), each range floored at one tick; Parkinson 1980, Corsi 2009",
        parameters={"bars": bars},
    )


def _return(bars: int) -> Feature:
    return Feature(
        name=f"return_{bars}",
        compute=lambda s: log_ratio(s["close"], s.lagged("close", bars)),
        lookback=bars + 1,
        inputs=("close",),
        unit="log return",
        description=f"Return from close to close over {bars} bars.",
        formula="ln(close / close n bars ago)",
        parameters={"bars": bars},
    )


def _negative_return(bars: int) -> Feature:
    return Feature(
        name=f"negative_return_{bars}",
        compute=lambda s: smaller(log_ratio(s["close"], s.lagged("close", bars)), 0.0),
        lookback=bars + 1,
        inputs=("close",),
        unit="log return",
        description=f"The return over {bars} bars where it is a loss, else 0 (leverage effect).",
        formula="min(ln(close / close n bars ago), 0); Corsi and Reno 2012",
        parameters={"bars": bars},
    )


def _ewma(decay: float) -> Feature:
    def compute(s: Series) -> Array:
        variance = decayed_of(s, squared_return, decay, recursive(1.0 - decay))
        return 0.5 * logarithm(larger(variance, s[tick_range] ** 2))

    return Feature(
        name=f"ewma_{round(100 * decay)}",
        compute=compute,
        lookback=recursive(1.0 - decay) + 1,
        inputs=("low", "close"),
        unit="log volatility per bar",
        description=f"Exponentially weighted volatility of returns, decay {decay}.",
        formula="1/2 ln of the mean of return^2 with weights decay^k, floored at one tick squared; RiskMetrics 1996",
        parameters={"decay": decay},
    )


def _estimator(
    series: Derived, bars: int, *, name: str, inputs: tuple[str, ...], formula: str, description: str, first: int = 0
) -> Feature:
    return Feature(
        name=f"{name}_{bars}",
        compute=lambda s: _floored_half_log(s, mean_of(s, series, bars)),
        lookback=bars + first,
        inputs=inputs,
        unit="log volatility per bar",
        description=f"{description} over {bars} bars.",
        formula=f"1/2 ln of the plain mean of {formula}, floored at one tick",
        parameters={"bars": bars},
    )


def _realised(bars: int) -> Feature:
    return _estimator(
        squared_return,
        bars,
        name="realised",
        inputs=("low", "close"),
        formula="return^2",
        description="Volatility of returns",
        first=1,
    )


def _downside(bars: int) -> Feature:
    return _estimator(
        falling_variance,
        bars,
        name="downside_range",
        inputs=("high", "low", "close"),
        formula="Parkinson's variance of the bars that closed lower, one tick's for the others",
        description="Range volatility of falling bars",
        first=1,
    )


def _garman_klass_term(bars: int) -> Feature:
    return _estimator(
        garman_klass,
        bars,
        name="garman_klass",
        inputs=PRICES,
        formula="1/2 ln^2(high/low) - (2 ln 2 - 1) ln^2(close/open); Garman and Klass 1980",
        description="Garman-Klass volatility",
    )


def _rogers_satchell_term(bars: int) -> Feature:
    return _estimator(
        rogers_satchell,
        bars,
        name="rogers_satchell",
        inputs=PRICES,
        formula="ln(high/close) ln(high/open) + ln(low/close) ln(low/open); Rogers and Satchell 1991",
        description="Rogers-Satchell volatility",
    )


def _downside_share(bars: int) -> Feature:
    return Feature(
        name=f"downside_share_{bars}",
        compute=lambda s: ratio(mean_of(s, falling_parkinson, bars), mean_of(s, parkinson, bars)),
        lookback=bars + 1,
        inputs=("high", "low", "close"),
        unit="share 0..1",
        description=f"Share of falling bars in the range variance of {bars} bars.",
        formula="mean of Parkinson's variance over bars that closed lower / over all; Patton and Sheppard 2015",
        parameters={"bars": bars},
    )


OVERNIGHT_GAP = Feature(
    name="overnight_gap",
    compute=lambda s: log_ratio(s["open"], s.lagged("close", 1)),
    lookback=2,
    inputs=("open", "close"),
    unit="log return",
    description="Return from the previous close to the open.",
    formula="ln(open / previous close)",
)

FEATURES: tuple[Feature, ...] = (
    *(_har(bars) for bars in (1, 5, 22, 66)),
    *(_return(bars) for bars in (1, 2, 5, 10, 22, 66)),
    *(_negative_return(bars) for bars in (1, 5, 22)),
    _ewma(0.94),
    *(_realised(bars) for bars in (5, 22, 66)),
    *(_downside(bars) for bars in (5, 22)),
    *(_downside_share(bars) for bars in (22, 66)),
    _garman_klass_term(22),
    _rogers_satchell_term(22),
    OVERNIGHT_GAP,
)
