"""Ichimoku Kinko Hyo (Hosoda) without look-ahead: 9, 26 and 52 bars.

The chart draws the two leading spans 26 bars ahead and the lagging span 26 bars back. Here every line is read where
it was known: the cloud over a bar comes from the spans of 26 bars before, the spans of the bar itself are the cloud
that lies ahead, and the lagging span becomes the close against the close of 26 bars before.
"""

from __future__ import annotations

from .feature import Feature
from .series import Array, Series, larger, log_ratio, smaller

CONVERSION, BASE_LINE, LEADING, DISPLACED = 9, 26, 52, 26
RANGE = ("high", "low")


def _midpoint(s: Series, bars: int) -> Array:
    return s.ta("MIDPRICE", *RANGE, timeperiod=bars)


def span_a(s: Series) -> Array:
    """The mean of conversion and base line, which the chart draws 26 bars ahead."""
    return (_midpoint(s, CONVERSION) + _midpoint(s, BASE_LINE)) / 2.0


def span_b(s: Series) -> Array:
    """The middle of 52 bars' range, which the chart draws 26 bars ahead."""
    return _midpoint(s, LEADING)


def _cloud(s: Series) -> tuple[Array, Array]:
    return s.lagged(span_a, DISPLACED), s.lagged(span_b, DISPLACED)


def _top(s: Series) -> Array:
    return larger(*_cloud(s))


def _bottom(s: Series) -> Array:
    return smaller(*_cloud(s))


INPUTS = {"lagging": ("close",), "cross": RANGE, "cloud_ahead": RANGE}

_ENTRIES = (
    (
        "conversion",
        CONVERSION,
        "Close against the conversion line (Tenkan).",
        "ln(close / middle of 9 bars' range)",
        lambda s: log_ratio(s["close"], _midpoint(s, CONVERSION)),
    ),
    (
        "base",
        BASE_LINE,
        "Close against the base line (Kijun).",
        "ln(close / middle of 26 bars' range)",
        lambda s: log_ratio(s["close"], _midpoint(s, BASE_LINE)),
    ),
    (
        "cross",
        BASE_LINE,
        "Conversion line against base line.",
        "ln(Tenkan / Kijun)",
        lambda s: log_ratio(_midpoint(s, CONVERSION), _midpoint(s, BASE_LINE)),
    ),
    (
        "cloud_top",
        LEADING + DISPLACED,
        "Close against the upper edge of the cloud over this bar.",
        "ln(close / max(span A, span B) of 26 bars before)",
        lambda s: log_ratio(s["close"], s[_top]),
    ),
    (
        "cloud_bottom",
        LEADING + DISPLACED,
        "Close against the lower edge of the cloud over this bar.",
        "ln(close / min(span A, span B) of 26 bars before)",
        lambda s: log_ratio(s["close"], s[_bottom]),
    ),
    (
        "cloud_ahead",
        LEADING,
        "The cloud that this bar casts 26 bars ahead: its colour and thickness.",
        "ln(span A / span B) of this bar",
        lambda s: log_ratio(s[span_a], s[span_b]),
    ),
    (
        "lagging",
        DISPLACED + 1,
        "The lagging span (Chikou) against the close that it is drawn over.",
        "ln(close / close of 26 bars before)",
        lambda s: log_ratio(s["close"], s.lagged("close", DISPLACED)),
    ),
)

FEATURES: tuple[Feature, ...] = tuple(
    Feature(
        name=f"ichimoku_{name}",
        compute=compute,
        lookback=lookback,
        inputs=INPUTS.get(name, ("high", "low", "close")),
        unit="log ratio",
        description=description,
        formula=f"{formula}; Hosoda 1969",
        functions=() if name == "lagging" else ("MIDPRICE",),
        parameters={"conversion": CONVERSION, "base": BASE_LINE, "leading": LEADING, "displacement": DISPLACED},
    )
    for name, lookback, description, formula, compute in _ENTRIES
)
