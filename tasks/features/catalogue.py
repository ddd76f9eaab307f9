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
from .feature import Feature

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


def select(has_volume: bool, true_opens: bool) -> tuple[str, ...]:
    """The columns that have a meaning for a source, in the catalogue's order."""
    left = left_out(has_volume, true_opens)
    return tuple(name for name in CATALOGUE if name not in left)


def left_out(has_volume: bool, true_opens: bool) -> dict[str, str]:
    """The columns that have no meaning for a source, each with the reason."""
    reasons: dict[str, str] = {}
    for name, entry in CATALOGUE.items():
        if entry.needs_volume and not has_volume:
            reasons[name] = "the source has no volume"
        elif entry.needs_true_open and not true_opens:
            reasons[name] = "the source's opens repeat the previous close"
    return reasons
