"""What the page is made from: the facts, and the few columns and arrays that are drawn."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from tasks.report.facts import Facts
from tasks.report.series import Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class Predictions:
    """A candidate's predictions, float64 (n,) aligned with the labels; NaN where there is none."""

    candidate: str
    role: Literal["leader", "baseline"]
    folds: Floats | None = None
    gate: Floats | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """All that the page shows.

    ``bars``: columns symbol, time, close. ``labels``: columns symbol, time, session, label, window, in the same row
    order as each of ``predictions``' arrays. ``equities``: by backtest's name, columns session, net, gross, hold.
    """

    facts: Facts
    bars: pd.DataFrame
    labels: pd.DataFrame
    predictions: tuple[Predictions, ...] = ()
    equities: dict[str, pd.DataFrame] = field(default_factory=dict)
