"""Every feature column by name, and every TA-Lib function that is not among them with the reason.

Travels inside promoted models: relative imports only.
"""

from __future__ import annotations

from collections.abc import Iterable

from ..errors import ConfigurationError
from . import (
    calendar_features,
    cycle,
    ichimoku,
    momentum,
    overlap,
    patterns,
    statistics,
    swings,
    volatility,
    volatility_terms,
    volume,
)
from .feature import MAX_LOOKBACK, Feature

GROUPS = (
    volatility_terms,
    overlap,
    ichimoku,
    momentum,
    volume,
    volatility,
    cycle,
    statistics,
    swings,
    calendar_features,
    patterns,
)

CATALOGUE: dict[str, Feature] = {entry.name: entry for group in GROUPS for entry in group.FEATURES}
"""Every column by name, in a fixed order."""

_ARITHMETIC = "plain arithmetic; what needs it uses NumPy"
_OF_A_PRICE = "has no meaning for a price, and depends on its unit"
_SAME = "carries the same information as {}"

LEFT_OUT: dict[str, str] = {
    **dict.fromkeys(("ADD", "SUB", "MULT", "DIV", "SUM", "LN", "LOG10", "SQRT"), _ARITHMETIC),
    **dict.fromkeys(("ACOS", "ASIN", "ATAN", "COS", "COSH", "SIN", "SINH", "TAN", "TANH"), _OF_A_PRICE),
    **dict.fromkeys(("CEIL", "FLOOR", "EXP"), _OF_A_PRICE),
    "CUMSUM": "never forgets: depends on where history starts",
    "VWAP": "cumulative from the first bar on, never forgets; vwap_20 is its windowed form",
    "HT_DCPHASE": "an angle that jumps by 360 degrees; ht_sine and ht_leadsine are its smooth form",
    "HT_TRENDMODE": "a flag made of what ht_sine, ht_leadsine and ht_trendline say, at a seventh of the matrix's time",
    "MAXINDEX": "which of two equal highs it names depends on where history starts; bars_since_high uses AROON",
    "MININDEX": "which of two equal lows it names depends on where history starts; bars_since_low uses AROON",
    "MINMAXINDEX": "as MAXINDEX and MININDEX",
    "BBANDS": "its running sums of squares depend on where history starts; bbands_* take each window by itself",
    "CORREL": "its running sums depend on where history starts; the correlations here take each window by itself",
    "BETA": "needs a market beside the symbol, which one symbol's bars do not carry; keeps running sums as CORREL",
    "CMO": _SAME.format("RSI (it is 2 RSI - 100)"),
    "MACDFIX": _SAME.format("MACD (12, 26)"),
    "MACDEXT": _SAME.format("MACD, PPO and APO at other averages"),
    "PLUS_DM": _SAME.format("PLUS_DI, which divides it by the true range"),
    "MINUS_DM": _SAME.format("MINUS_DI, which divides it by the true range"),
    "ROC": _SAME.format("ROCP (times 100)"),
    "ROCR": _SAME.format("ROCP (plus 1)"),
    "ROCR100": _SAME.format("ROCP (plus 1, times 100)"),
    "MA": _SAME.format("the averages that it dispatches to"),
    "MAVP": "needs a period for each bar, which bars do not carry",
    "SAREXT": _SAME.format("SAR, of which it is the form with separate settings for each side"),
    "WCLPRICE": _SAME.format("MEDPRICE and TYPPRICE: ln(close / price) in another proportion"),
    "LINEARREG_ANGLE": _SAME.format("LINEARREG_SLOPE, and depends on the price's unit"),
    "LINEARREG_INTERCEPT": _SAME.format("LINEARREG and LINEARREG_SLOPE"),
    "VAR": _SAME.format("STDDEV, of which it is the square"),
}
"""TA-Lib's functions that no column uses, each with the reason."""


def lookback(columns: Iterable[str]) -> int:
    """Bars needed, the row's own included, until every one of the columns is settled; at least 1.

    Raises ConfigurationError for a column that the catalogue does not have.
    """
    return max((feature(name).lookback for name in columns), default=1)


def feature(name: str) -> Feature:
    """The catalogue's entry. Raises ConfigurationError that names the column."""
    try:
        return CATALOGUE[name]
    except KeyError:
        raise ConfigurationError(f"no feature column is called {name!r}; nocturne features lists them") from None


def select(has_volume: bool, true_opens: bool, max_lookback: int = MAX_LOOKBACK) -> tuple[str, ...]:
    """The columns that have a meaning for a source and need no more bars than that, in the catalogue's order."""
    left = left_out(has_volume, true_opens, max_lookback)
    return tuple(name for name in CATALOGUE if name not in left)


def left_out(has_volume: bool, true_opens: bool, max_lookback: int = MAX_LOOKBACK) -> dict[str, str]:
    """The columns that have no meaning for a source or need more bars than wanted, each with the reason."""
    reasons: dict[str, str] = {}
    for name, entry in CATALOGUE.items():
        if entry.needs_volume and not has_volume:
            reasons[name] = "the source has no volume"
        elif entry.needs_true_open and not true_opens:
            reasons[name] = "the source's opens repeat the previous close"
        elif entry.lookback > max_lookback:
            reasons[name] = f"needs {entry.lookback} bars, max_lookback is {max_lookback}"
    return reasons
