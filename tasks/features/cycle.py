"""Cycle indicators: Ehlers' Hilbert transform.

Their filters feed back on themselves and their lookback cannot be derived. It is measured instead: on 505 series the
longest that any of them needed to settle within 1e-9 was below 450 bars; declared are 756.
"""

from __future__ import annotations

from .feature import MAX_LOOKBACK, Feature
from .momentum import oscillator
from .series import by_range, log_ratio

CLOSE = ("close",)

TRENDLINE = Feature(
    name="ht_trendline",
    compute=lambda s: log_ratio(s["close"], s.ta("HT_TRENDLINE", "close")),
    lookback=MAX_LOOKBACK,
    inputs=CLOSE,
    unit="log ratio",
    description="Close against the instantaneous trendline.",
    formula="ln(close / HT_TRENDLINE); Ehlers 2001",
    functions=("HT_TRENDLINE",),
)

FEATURES: tuple[Feature, ...] = (
    TRENDLINE,
    oscillator("ht_dcperiod", "HT_DCPERIOD", CLOSE, MAX_LOOKBACK, "Dominant cycle period.", unit="bars"),
    oscillator("ht_inphase", "HT_PHASOR", CLOSE, MAX_LOOKBACK, "In-phase component.", scaling=by_range),
    oscillator("ht_quadrature", "HT_PHASOR", CLOSE, MAX_LOOKBACK, "Quadrature.", scaling=by_range, output=1),
    oscillator("ht_sine", "HT_SINE", CLOSE, MAX_LOOKBACK, "Sine of the cycle's phase.", unit="sine"),
    oscillator("ht_leadsine", "HT_SINE", CLOSE, MAX_LOOKBACK, "The same 45 degrees ahead.", unit="sine", output=1),
)
