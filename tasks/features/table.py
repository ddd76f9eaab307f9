"""The feature matrix as a table to look at or to use elsewhere: keys, then one column a feature."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from ..contracts import FeatureSpec
from . import catalogue, matrix

KEYS = ["symbol", "time", "session"]


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureTable:
    """``frame`` has the bars' keys and the columns; ``left_out`` says which columns have no meaning here, and why."""

    frame: pd.DataFrame
    columns: tuple[str, ...]
    lookback: int
    left_out: dict[str, str] = field(default_factory=dict)


def feature_table(bars: pd.DataFrame, *, has_volume: bool, true_opens: bool, tick: float, bar: str) -> FeatureTable:
    """Every column that has a meaning for these canonical bars; NaN inside a column's lookback and nowhere else."""
    spec = FeatureSpec(columns=catalogue.select(has_volume, true_opens), tick=tick, bar=bar)
    values = pd.DataFrame(matrix.panel(bars, spec), columns=list(spec.columns), copy=False)
    return FeatureTable(
        frame=pd.concat([bars[KEYS], values], axis=1),
        columns=spec.columns,
        lookback=catalogue.lookback(spec.columns),
        left_out=catalogue.left_out(has_volume, true_opens),
    )
