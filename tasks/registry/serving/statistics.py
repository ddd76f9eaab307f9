"""What a model learned from, in figures: its feature columns, its own predictions there, each symbol's closes.

Written when the model is logged, into ``statistics.json`` of the bundle. The checks of incoming bars compare against
it, and whoever watches for drift does. Models of an earlier format have none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .part import read_part

STATISTICS = "statistics.json"
FORMAT = 1
LEVELS = tuple(round(0.05 * step, 2) for step in range(21))
"""The shares at which quantiles are kept: 0 (the least), 0.05, …, 1 (the greatest)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnStatistics:
    """One column over the rows that a fit learned from. ``quantiles`` are at ``LEVELS``; std divides by n."""

    name: str
    mean: float
    std: float
    quantiles: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingStatistics:
    """``rows`` that the fit learned from, the first and last bar time among them (ISO UTC), and their distributions.

    columns: what the scorer takes, in its order (a panel's after the date's cross-section). prediction: of the fit
    itself on those rows. closes: by symbol, lowest, highest and last close through the last bar whose label the fit
    saw. until: ISO UTC time of that last bar, by symbol where it is not ``last_bar``. bars_a_year: the median over
    symbols, 0.0 where histories are too short to tell.
    """

    rows: int
    first: str
    last: str
    columns: tuple[ColumnStatistics, ...]
    prediction: ColumnStatistics
    closes: dict[str, tuple[float, float, float]]
    last_bar: str = ""
    until: dict[str, str] = field(default_factory=dict)
    bars_a_year: float = 0.0
    format: int = FORMAT


def read_statistics(bundle: Path) -> TrainingStatistics | None:
    """The statistics of a bundle that ``read_manifest`` has verified; None for a model that was logged without.

    Raises IntegrityError for a malformed or unknown document, StorageError if it cannot be read.
    """
    found: TrainingStatistics | None = read_part(bundle / STATISTICS, TrainingStatistics, FORMAT, "training statistics")
    return found
