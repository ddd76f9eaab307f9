"""Worlds in which something is to be found, of a known strength, in real returns.

A signal is a column that knows tomorrow's return as well as the strength says and nothing else about it. It is planted
as a column that every recipe may take (linear), or as the product of two columns, neither of which knows anything by
itself (interaction); products of pairs are columns too, as an engine that finds interactions would make them.

stocks   real residual returns (less the date's mean). The strength is the mean daily correlation with the returns'
         normal scores; from day to day it varies with a standard deviation of 0.12, as measured ICs do
index    the S&P 500's real returns; the strength is the R² of the best linear forecast, the signal being as wide as
         the day's volatility
"""

from __future__ import annotations

import dataclasses
import itertools
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import special

from tests.benchmarks import worlds
from tests.benchmarks.worlds import World

FloatArray = npt.NDArray[np.float64]
Form = Literal["linear", "interaction"]
FORMS: tuple[Form, ...] = ("linear", "interaction")

IC_SPREAD = 0.12
DECOYS = 6
PAIRED = 4


def in_stocks(ic: float, form: Form, seed: int) -> World:
    """All stocks, their real forward returns less the date's mean, decoys from the real features, and the signal."""
    rng, known = np.random.default_rng([7, seed]), worlds.stocks()
    base = World(
        kind="panel",
        target=worlds.NEUTRAL,
        sessions=known.sessions,
        symbols=known.symbols,
        columns=known.columns,
        features=known.features,
        label=worlds.less_mean(worlds.forward_returns(known.log_close)),
    )
    scores = normal_scores(base.label[:-1])
    # What is left of the daily spread once the chance of so many names is taken off.
    spread = np.sqrt(max(IC_SPREAD**2 - 1.0 / len(known.symbols), 0.0))
    daily = np.clip(rng.normal(ic, spread, (len(scores), 1)), -0.99, 0.99)
    return _planted(base, _knowing(scores, daily, rng), form, rng, fixed=("return_5", "return_22"))


def in_index(r2: float, form: Form, seed: int) -> World:
    """The S&P 500's own returns, decoys from its real features, and the signal."""
    rng = np.random.default_rng([8, seed])
    base = worlds.of_one_symbol("signs", worlds.bars_of(*worlds.real_days()), worlds.RETURN)
    # In units of the day's volatility: a signal of one size for all years would shout in quiet ones.
    size = np.exp(base.features[:-1, :, base.columns.index("ewma_94")])
    scores = base.label[:-1] / size
    scores /= np.sqrt(np.mean(scores**2))
    signal = size * _knowing(scores, np.full_like(scores, np.sqrt(r2)), rng)
    return _planted(base, signal / signal.std(), form, rng, fixed=("return_22",))


def normal_scores(values: FloatArray) -> FloatArray:
    """Each date's values (dates, names) as standard normal scores of their ranks."""
    rank = np.argsort(np.argsort(values, axis=1), axis=1)
    scores = special.ndtri((rank + 0.5) / values.shape[1])
    return np.asarray(scores / scores.std(axis=1, keepdims=True))


def _knowing(known: FloatArray, correlation: FloatArray, rng: np.random.Generator) -> FloatArray:
    """A standard normal column with this correlation with what is to be known."""
    return np.asarray(correlation * known + np.sqrt(1.0 - correlation**2) * rng.normal(size=known.shape))


def _planted(base: World, signal: FloatArray, form: Form, rng: np.random.Generator, fixed: tuple[str, ...]) -> World:
    """The world with a few of its columns, the signal (dates - 1, names) in this form, and products of pairs."""
    signal = np.vstack([signal, np.zeros((1, signal.shape[1]))])
    others = [name for name in base.columns if name not in fixed]
    taken = [*fixed, *rng.choice(np.array(others), DECOYS, replace=False).tolist()]
    columns = {name: base.features[:, :, base.columns.index(name)] for name in taken}
    columns = {name: values / values.std() for name, values in columns.items()}
    partner = np.where(rng.random(signal.shape) < 0.5, -1.0, 1.0)
    columns |= {"signal_a": signal if form == "linear" else signal * partner, "signal_b": partner}
    pairs = itertools.combinations(["signal_a", "signal_b", *taken[-PAIRED:]], 2)
    columns |= {f"{one}*{other}": columns[one] * columns[other] for one, other in pairs}
    return dataclasses.replace(base, columns=tuple(columns), features=np.stack(list(columns.values()), axis=2))
