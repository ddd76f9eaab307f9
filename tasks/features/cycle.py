"""Cycle indicators: Ehlers' Hilbert transform, on closes counted on a grid (see series).

Their filters feed back on themselves and their lookback cannot be derived. It is measured instead: on 43 stocks, from
14 starts each, the longest that any of them needed to settle within 1e-9 was 436 bars; declared are 756.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import numpy as np

from .feature import MAX_LOOKBACK, Feature
from .series import GRID_CLOSE, GRID_TICK, Array, Parameters, Series, by_range, indicator, log_ratio

# The adaptive weight lies between these limits; TA-Lib's default of 0.05 would remember too long.
MAMA: Parameters = {"fastlimit": 0.5, "slowlimit": 0.1}


def _of_cycle(
    name: str, function: str, output: int, compute: Callable[[Series, Array], Array], *, unit: str, description: str
) -> Feature:
    parameters = MAMA if function == "MAMA" else {}
    asked = indicator(function, GRID_CLOSE, **parameters)
    return Feature(
        name=name,
        compute=lambda s: compute(s, s.value(asked, output)),
        last=(lambda s: _sine_of_phase(s)[output]) if function == "HT_SINE" else None,
        lookback=MAX_LOOKBACK,
        inputs=("high", "low", "close") if compute is _in_ranges else ("close",),
        unit=unit,
        description=description,
        formula=f"{FORMULAS[compute]}; Ehlers 2001".format(function),
        functions=(function, "TRANGE", "SMA") if compute is _in_ranges else (function,),
        parameters=parameters,
    )


def _as_is(_s: Series, values: Array) -> Array:
    return values


def _close_against(s: Series, line: Array) -> Array:
    return log_ratio(s[GRID_CLOSE], line)


def _in_ranges(s: Series, values: Array) -> Array:
    return by_range(s, values * (s.tick * GRID_TICK))


def _sine_of_phase(s: Series) -> tuple[float, float]:
    """Sine and lead sine of the last bar, from the dominant period there: HT_SINE measures a phase at every bar."""
    return s.once(("sine of phase",), lambda: sines(float(s.ta("HT_DCPERIOD", GRID_CLOSE)), smoothed(s)))


def smoothed(s: Series) -> Array:
    """The weighted means of four closes on the grid, of the last 50 bars, latest first."""
    close = s.tail(GRID_CLOSE, PERIODS + 3)[::-1]
    return np.asarray((4.0 * close[:-3] + 3.0 * close[1:-2] + 2.0 * close[2:-1] + close[3:]) * 0.1)


def sines(period: float, smooth: Array) -> tuple[float, float]:
    """TA-Lib's HT_SINE from the smoothed period and the smoothed prices, latest first; both of the last bar."""
    bars = int(period + 0.5)
    sine, cosine = _waves(bars)
    real, imaginary = float(sine.dot(smooth[:bars])), float(cosine.dot(smooth[:bars]))
    # The wave is fitted over whole bars, and the angle is that of a price four bars smoothed.
    degrees = math.degrees(math.atan(real / imaginary)) if imaginary else math.copysign(90.0, real)
    degrees += 90.0 + 360.0 / period + (180.0 if imaginary < 0.0 else 0.0)
    degrees -= 360.0 if degrees > 315.0 else 0.0
    return math.sin(math.radians(degrees)), math.sin(math.radians(degrees + 45.0))


@functools.cache
def _waves(bars: int) -> tuple[Array, Array]:
    angles = np.arange(bars) * (2.0 * np.pi / bars)
    return np.sin(angles), np.cos(angles)


PERIODS = 50
"""The longest cycle that TA-Lib's Hilbert transform admits, in bars."""
FORMULAS = {_as_is: "{}", _close_against: "ln(close / {})", _in_ranges: "{} / average true range of 20 bars"}

FEATURES: tuple[Feature, ...] = (
    _of_cycle(
        "ht_trendline",
        "HT_TRENDLINE",
        0,
        _close_against,
        unit="log ratio",
        description="Close against the instantaneous trend.",
    ),
    _of_cycle("ht_dcperiod", "HT_DCPERIOD", 0, _as_is, unit="bars", description="Dominant cycle period."),
    _of_cycle("ht_inphase", "HT_PHASOR", 0, _in_ranges, unit="average ranges", description="In-phase component."),
    _of_cycle("ht_quadrature", "HT_PHASOR", 1, _in_ranges, unit="average ranges", description="Quadrature component."),
    _of_cycle("ht_sine", "HT_SINE", 0, _as_is, unit="sine", description="Sine of the cycle's phase."),
    _of_cycle("ht_leadsine", "HT_SINE", 1, _as_is, unit="sine", description="The same 45 degrees ahead."),
    _of_cycle(
        "mama", "MAMA", 0, _close_against, unit="log ratio", description="Close against the MESA adaptive average."
    ),
    _of_cycle(
        "fama", "MAMA", 1, _close_against, unit="log ratio", description="Close against the following adaptive average."
    ),
)
