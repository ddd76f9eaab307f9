"""What the catalogue says of a column, and how many bars a recursive average remembers.

Travels inside promoted models: relative imports, standard library and NumPy only.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from .series import Array, Series

MAX_LOOKBACK = 756
"""The longest history that a column may ask for, in bars: three years of days."""

FORGOTTEN = 1e-12
"""The weight that is left of the seed of a recursive average after its declared lookback.

A thousandth of the promised 1e-9: the seed may lie many standard deviations of the column away.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Feature:
    """One column: how it is computed, and everything that a reader or a selection has to know of it.

    ``compute`` maps one symbol's bars to a float64 array of their length; NaN only before ``lookback``.
    ``lookback`` counts the bars, the row's own included, that fix the value within 1e-9 of the column's standard
    deviation. ``inputs`` are the columns of the bars that the value depends on. ``functions`` are the TA-Lib
    functions that it is made from; ``formula`` says how, or is the whole definition with its source. ``last`` gives
    the last bar's value where there is a shorter way than ``compute``, see ``Last``.
    """

    name: str
    compute: Callable[[Series], Array]
    lookback: int
    inputs: tuple[str, ...]
    unit: str
    description: str
    formula: str
    functions: tuple[str, ...] = ()
    parameters: Mapping[str, float] = field(default_factory=dict)
    last: Callable[[Series], float] | None = None

    @property
    def needs_volume(self) -> bool:
        """Whether the column has a meaning only where bars carry a volume."""
        return "volume" in self.inputs

    @property
    def needs_true_open(self) -> bool:
        """Whether the column has a meaning only where opens are traded prices and not the previous close again."""
        return "open" in self.inputs

    @property
    def of_date(self) -> bool:
        """Whether the column is made from dates alone: as good as equal for all symbols, it has no cross-section."""
        return self.inputs == ("session",)


@functools.cache
def recursive(alpha: float, stages: int = 1) -> int:
    """Bars after which ``stages`` chained exponential averages of weight ``alpha`` have forgotten their seeds.

    The weight that ``stages`` chained averages leave on what lies k bars back or more is a negative binomial tail: the
    sum over j < stages of C(n, j) alpha^j (1 - alpha)^(n - j), n = k + stages - 1.
    """
    bars = 1
    while _remembered(bars, alpha, stages) > FORGOTTEN:
        bars += 1
    return bars


def ema(period: int, stages: int = 1) -> int:
    """Lookback of ``stages`` chained EMAs of a period (weight 2 / (period + 1)), each seeded by a plain mean."""
    return recursive(2.0 / (period + 1.0), stages) + stages * period


def wilder(period: int, stages: int = 1) -> int:
    """Lookback of ``stages`` chained Wilder averages of a period (weight 1 / period), each seeded by a plain mean."""
    return recursive(1.0 / period, stages) + stages * period


def _remembered(bars: int, alpha: float, stages: int) -> float:
    n = bars + stages - 1
    return sum(math.comb(n, j) * alpha**j * (1.0 - alpha) ** (n - j) for j in range(stages))
