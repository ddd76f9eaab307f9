"""Histories in which nothing drifts, and the same with a shift put in: what the drift monitor is tried on.

bootstrap    the S&P 500's days, strung together from blocks of half a year on average: crises and calms come and go
garch        GJR-GARCH fitted to the S&P 500's returns, simulated with days drawn from its own standardised bars

Each history is one of training and then one of service; LHAR is fitted on the first and predicts the second, HAR is
the fallback. Features
and labels are made by the code that makes them every night. Every detector is the monitor's own, with its own limits
from the training part alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from arch import arch_model
from arch.data import sp500

from tasks.contracts import FeatureSpec
from tasks.drift import measure
from tasks.drift.distribution import distribution
from tasks.drift.losses import compared
from tasks.features import matrix
from tasks.labels.targets import make_labels
from tasks.search.baselines import HAR, SIGNED
from tasks.statistics.drift_loss import adwin, cusum, loss_limits, standardised, stationary_rows
from tests.benchmarks.worlds import PRICES, TICK, VOLATILITY, bars_of

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Kind = Literal["bootstrap", "garch"]
KINDS: tuple[Kind, ...] = ("bootstrap", "garch")

LOOKED_AT = (*HAR, *SIGNED)
COLUMNS = (
    *LOOKED_AT,
    *(
        "ewma_94",
        "rsi_14",
        "mfi_14",
        "bbands_20_position",
        "har_66",
        "return_66",
        "natr_14",
        "adx_14",
        "ichimoku_cross",
    ),
    *("bull_power_13", "vwma_20"),
)
"""What the model looks at, and as many others: the maximum over columns must mean something."""

BLOCK = 126
TRAINING, GATE, SERVICE = 3000, 504, 2016
SETTLING, WARM = 500, 300
CALMEST_CAP = 0.06
"""No day's volatility is above: a GARCH path with these tails would explode once in some thousands of years."""


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """Features (rows, columns), labels (rows,), the sessions of training; the rest is service."""

    features: FloatArray
    label: FloatArray
    training: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarms:
    """Which detector alarms on which session of service: bool (sessions,) each.

    ``exceeded``: the fallback is in the champion's place.
    """

    distribution: BoolArray
    cusum: BoolArray
    adwin: BoolArray
    exceeded: BoolArray

    @property
    def any(self) -> BoolArray:
        """The whole monitor."""
        return np.asarray(self.distribution | self.cusum | self.adwin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Market:
    """The real days: log bars about the previous close (n, 4), volume; GJR's parameters, standardised bars."""

    about: FloatArray
    volume: FloatArray
    parameters: dict[str, float]
    shape: FloatArray
    middle: float


@lru_cache(maxsize=1)
def market() -> Market:
    """The S&P 500 of 1999 to 2018, and GJR-GARCH(1,1) fitted to its returns."""
    frame = sp500.load().rename(columns=str.lower)
    logs = np.log(frame[list(PRICES)].to_numpy(np.float64))
    about = logs[1:] - logs[:-1, 3:]
    fitted = arch_model(100.0 * about[:, 3], o=1).fit(disp="off")
    sigma = np.asarray(fitted.conditional_volatility) / 100.0
    shape = about / sigma[:, None]
    return Market(
        about=about,
        volume=frame["volume"].to_numpy(np.float64)[1:],
        parameters={str(name): float(value) for name, value in fitted.params.items()},
        shape=shape / shape[:, 3].std(),
        middle=float(np.median(sigma)),
    )


def days(kind: Kind, rng: np.random.Generator, n: int) -> tuple[FloatArray, FloatArray]:
    """Log bars about the previous close (n, 4) and volume (n,)."""
    real = market()
    if kind == "bootstrap":
        rows = stationary_rows(rng, len(real.about), BLOCK, 1, n)[0]
        return real.about[rows], real.volume[rows]
    omega, alpha, gamma, beta = (real.parameters[name] for name in ("omega", "alpha[1]", "gamma[1]", "beta[1]"))
    drawn = rng.integers(0, len(real.shape), n + SETTLING)
    found, variance = np.empty((n + SETTLING, 4)), real.middle**2
    for day, row in enumerate(drawn):
        found[day] = real.shape[row] * np.sqrt(variance)
        shock = found[day, 3] ** 2
        variance = omega / 1e4 + (alpha + gamma * (found[day, 3] < 0)) * shock + beta * variance
        variance = min(variance, CALMEST_CAP**2)
    return found[SETTLING:], real.volume[drawn[SETTLING:]]


def history(kind: Kind, seed: int, shift: str = "", service: int = SERVICE) -> History:
    """A history of this kind; ``shift`` (see ``SHIFTS``) begins with service."""
    rng = np.random.default_rng([KINDS.index(kind), seed])
    before = WARM + TRAINING
    about, volume = days(kind, rng, before + service + 1)
    about = _shifted_bars(about, before, shift)
    bars = bars_of(pd.bdate_range("1980-01-01", periods=len(about)), about, volume)
    features = matrix.panel(bars, FeatureSpec(columns=COLUMNS, tick=TICK))[WARM:-1]
    label = make_labels(bars, VOLATILITY, "range", TICK, True).label[WARM:-1]
    if shift == "broken feature":
        features[TRAINING:, COLUMNS.index("har_1")] += np.log(100.0)
    return History(features=features, label=label, training=TRAINING)


SHIFTS = ("mean", "volatility x1.5", "volatility x2", "volatility x3", "broken feature", "relationship")
"""mean: half a daily standard deviation added to every return. broken feature: har_1 in per cent. relationship: the
features tell nothing any more, the label is the mean forecast with the model's own errors."""


def _shifted_bars(about: FloatArray, start: int, shift: str) -> FloatArray:
    shifted = about.copy()
    if shift.startswith("volatility"):
        shifted[start:] *= float(shift.rpartition("x")[2])
    if shift == "mean":
        shifted[start:] += 0.5 * about[:start, 3].std()
    return shifted


def watched(past: History, shift: str = "", seed: int = 1) -> Alarms:
    """Fit, predict, and let the monitor watch every session of service."""
    x, y, training = past.features, past.label, past.training
    looked = [COLUMNS.index(name) for name in LOOKED_AT]
    prediction = _fitted(x[:, looked], y, training)
    gated = _fitted(x[:, looked], y, training - GATE)
    if shift == "relationship":
        usual = prediction[:training].mean()
        y = np.where(np.arange(len(y)) < training, y, usual + y - prediction)
    columns = [*((name, x[:, place]) for place, name in enumerate(COLUMNS)), ("prediction", prediction)]
    found = distribution(columns, np.arange(len(x)), training, measure.WINDOW, measure.DISTRIBUTION)
    reference = ((y - gated) ** 2)[training - GATE : training]
    limits = loss_limits(reference, measure.CUSUM, measure.ADWIN, seed=seed)
    loss = ((y - prediction) ** 2)[training:]
    before, z = (standardised(each, limits.mean, limits.deviation) for each in (reference, loss))
    cumulated, risen = cusum(z) > limits.cusum, adwin(before, z, limits.delta)
    spare = ((y - _fitted(x[:, [COLUMNS.index(name) for name in HAR]], y, training)) ** 2)[training:]
    return Alarms(
        distribution=found.ratio > 1.0,
        cusum=cumulated,
        adwin=risen,
        exceeded=given_up(cumulated | risen, loss, spare),
    )


def given_up(alarm: BoolArray, champion: FloatArray, fallback: FloatArray) -> BoolArray:
    """On which sessions the monitor sends clients to the fallback: bool (sessions,). Losses are by session."""
    found = np.zeros(len(alarm), dtype=bool)
    mine, theirs = pd.Series(champion), pd.Series(fallback)
    for day in np.flatnonzero(alarm):
        better = compared(mine.iloc[: day + 1], theirs.iloc[: day + 1], measure.WINDOW, 0, "")
        found[day] = better is not None and better.p_value < better.level
    return found


def _fitted(x: FloatArray, y: FloatArray, training: int) -> FloatArray:
    design = np.column_stack([np.ones(len(x)), x])
    return np.asarray(design @ np.linalg.lstsq(design[:training], y[:training], rcond=None)[0], dtype=np.float64)
