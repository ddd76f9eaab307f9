"""How far off a prediction may be: conformal intervals from the errors that the recipe made out of sample.

Split conformal (Vovk, Gammerman and Shafer 2005; Lei et al. 2018, JASA 113), scores normalised by a scale that is
known when the prediction is made: score = |y - f| / s, interval f ± s·Q, Q the ceil((n + 1)·coverage)-th smallest of n
scores. The scores are those of the walk-forward folds: of fits that had not seen the rows.

The scale s: 1 for log volatility, whose errors are nearly as large in calm as in storm. For returns the volatility of
the last 22 bars over the horizon, s = sqrt(h) · exp(har_22) (Parkinson's estimate; see the feature's entry).

Bars are not exchangeable, so the stated coverage is approximate: a model does not adapt by itself. A service that
tells what became of its predictions does, see ``AdaptiveIntervals`` (Gibbs and Candès 2021, NeurIPS).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ...contracts import Target
from ...errors import IntegrityError, ModelInputError
from ...features.matrix import compute, lookback
from .bars import SymbolBars
from .part import read_part

Floats = npt.NDArray[np.float64]

INTERVALS = "intervals.json"
FORMAT = 1
KEPT = 2000
"""At most so many scores are kept; of more, every so-manieth in order, and a radius is the next one above."""
GAMMA = 0.005
"""ACI's step: that of Gibbs and Candès' own experiments."""
VOLATILITY = "har_22"
CLAIM = (
    "Approximate coverage: conformal scores of the walk-forward folds, fixed when the model was made. Markets change, "
    "and this file does not; nothing is promised for a stretch of bars that differs from those. Adapt in service."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scaling:
    """What errors are divided by: nothing (``one``), or the volatility of the last 22 bars over so many bars."""

    kind: Literal["one", "volatility"]
    horizon: int = 1

    @property
    def bars_needed(self) -> int:
        """How many bars of a symbol the scale takes, the predicted one included."""
        return 1 if self.kind == "one" else lookback((VOLATILITY,))

    def at(self, bars: Mapping[str, npt.NDArray[Any]], places: npt.NDArray[np.intp], tick: float) -> Floats:
        """The scales of predictions made at these places of one symbol's bars, (len(places),).

        Raises ModelInputError where there are fewer than ``bars_needed`` bars up to the first of them.
        """
        if self.kind == "one" or not len(places):
            return np.ones(len(places))
        first = int(places.min()) - self.bars_needed + 1
        if first < 0:
            raise ModelInputError(f"an interval needs at least {self.bars_needed} bars, got {int(places.min()) + 1}")
        cut = {name: values[first:] for name, values in bars.items()}
        volatility = compute(cut, (VOLATILITY,), tick)[places - first, 0]
        return np.asarray(math.sqrt(self.horizon) * np.exp(volatility), dtype=np.float64)


def scaling_for(target: Target) -> Scaling:
    """The scale that the errors of a target are divided by."""
    return Scaling(kind="volatility" if target.name == "return" else "one", horizon=target.horizon)


@dataclass(frozen=True, slots=True, kw_only=True)
class Intervals:
    """``scores``, ascending, of ``residuals`` rows on ``dates`` dates (all of them, or ``KEPT`` order statistics).

    measured: figures from the gate window, as evidence, empty where there were none.
    """

    scaling: Scaling
    scores: tuple[float, ...]
    residuals: int
    dates: int
    claim: str = CLAIM
    measured: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT

    def radius(self, coverage: float) -> float:
        """Half the interval's width in units of the scale.

        Raises ModelInputError for a coverage outside (0, 1), or one that needs more residuals than there are.
        """
        if not 0.0 < coverage < 1.0:
            raise ModelInputError(f"interval must be a coverage between 0 and 1, such as 0.9; got {coverage!r}")
        found = self.at_level(1.0 - coverage)
        if math.isinf(found):
            most = self.residuals / (self.residuals + 1)
            raise ModelInputError(
                f"an interval of {coverage:g} needs more residuals than the {self.residuals} that the model has: ask "
                f"for at most {math.floor(most * 1e4) / 1e4:g}"
            )
        return found

    def at_level(self, alpha: float) -> float:
        """The radius at any level of misses: inf where it is too small for the residuals, -inf from 1 on."""
        if alpha >= 1.0:
            return -math.inf
        # (n + 1)·0.9 may come out a rounding above a whole number.
        rank = max(math.ceil(round((self.residuals + 1) * (1.0 - alpha), 9)), 1)
        if rank > self.residuals:
            return math.inf
        return self.scores[math.ceil(rank * len(self.scores) / self.residuals) - 1]

    def bounds(self, prediction: Floats, coverage: float = 0.9, scale: Floats | float = 1.0) -> tuple[Floats, Floats]:
        """Lower and upper ends, (n,) each, of predictions (n,) with their scales (n,) or one for all.

        Raises ModelInputError as ``radius``.
        """
        reach = self.radius(coverage) * np.asarray(scale, dtype=np.float64)
        return prediction - reach, prediction + reach

    def adaptive(self, coverage: float = 0.9, gamma: float = GAMMA, alpha: float | None = None) -> AdaptiveIntervals:
        """Intervals that learn from outcomes, from this start or from a kept ``alpha``; see ``AdaptiveIntervals``."""
        return AdaptiveIntervals(self, coverage, gamma, alpha)


class AdaptiveIntervals:
    """Intervals that learn from outcomes: ACI, alpha += gamma · (asked - missed), for a service that hears of them.

    Tell every date once, when its outcome is known, in order; what came of it may be told late. Over T dates told, with
    at most d more pending at any time, the share missed differs from what was asked by no more than
    (max(a, 1 - a) + gamma·(d + 1)) / (gamma·T), a = 1 - coverage, whatever the market does. ``alpha`` is the whole
    state: keep it, and give it back to go on. Not for several threads at once.
    """

    def __init__(
        self, intervals: Intervals, coverage: float = 0.9, gamma: float = GAMMA, alpha: float | None = None
    ) -> None:
        """Raises ModelInputError for a coverage outside (0, 1), ValueError for a gamma outside (0, 1)."""
        if not 0.0 < gamma < 1.0:
            raise ValueError(f"gamma must lie between 0 and 1, got {gamma}")
        intervals.radius(coverage)
        self.intervals, self.coverage, self.gamma = intervals, coverage, gamma
        self.alpha = 1.0 - coverage if alpha is None else alpha

    def bounds(self, prediction: Floats, scale: Floats | float = 1.0) -> tuple[Floats, Floats]:
        """Lower and upper ends (n,), as of now. The whole line (-inf, inf) where so many fell out that no past error
        is large enough, and an empty interval (inf, -inf) where none has fallen out for that long."""
        reach = self.intervals.at_level(self.alpha) * np.asarray(scale, dtype=np.float64)
        return prediction - reach, prediction + reach

    def update(self, lower: Floats, upper: Floats, outcome: Floats) -> float:
        """What became of one date: the ends that were given then, and the outcomes, (n,) each; the new alpha.

        Raises ValueError for no rows, or an outcome that is not finite.
        """
        found = np.asarray(outcome, dtype=np.float64)
        if not found.size or not np.isfinite(found).all():
            raise ValueError("outcomes must be finite, at least one a date")
        missed = float(np.mean((found < lower) | (found > upper)))
        self.alpha += self.gamma * (1.0 - self.coverage - missed)
        return self.alpha


def bounded(
    intervals: Intervals | None,
    read: Sequence[SymbolBars],
    parts: Sequence[tuple[npt.NDArray[np.intp], Floats]],
    tick: float,
    coverage: float,
) -> tuple[Floats, Floats]:
    """Lower and upper ends of all predictions, one symbol after the other; ``parts`` are places and predictions.

    Raises ModelInputError where the model has no intervals, or as ``Intervals.bounds`` and ``Scaling.at``.
    """
    if intervals is None:
        raise ModelInputError(
            "the model has no intervals: it predicts a probability, which is its own statement of doubt, or it was "
            "logged without walk-forward residuals. Ask without interval"
        )
    scales = [intervals.scaling.at(item.arrays(), at, tick) for item, (at, _) in zip(read, parts, strict=True)]
    return intervals.bounds(np.concatenate([part for _, part in parts]), coverage, np.concatenate(scales))


def read_intervals(bundle: Path) -> Intervals | None:
    """The intervals of a bundle that ``read_manifest`` has verified; None for a model without.

    Raises IntegrityError for a malformed or unknown document, StorageError if it cannot be read.
    """
    path = bundle / INTERVALS
    found: Intervals | None = read_part(path, Intervals, FORMAT, "intervals")
    if found is None:
        return None
    if not 0 < len(found.scores) <= found.residuals or found.scaling.kind not in ("one", "volatility"):
        raise IntegrityError(f"{path}: malformed intervals: {len(found.scores)} scores, scale {found.scaling.kind!r}")
    return found
