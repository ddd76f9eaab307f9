"""Leaks in feature columns: entered into the catalogue, computed by the stage, looked for by the truncation test."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pandas as pd

from tasks.bars.describe import from_options
from tasks.bars.ingest import read_accepted
from tasks.contracts import FeatureSpec, Target
from tasks.features import catalogue, matrix
from tasks.features.feature import Feature
from tasks.features.series import Array, Series
from tasks.features.task import CUTS, check_features
from tasks.features.truncation import check_truncation
from tasks.leaderboard import alarm
from tests.leaks.in_bars import half_hours_of, sp500
from tests.leaks.night import Floats, constant, figure, judged, linear, looked_at, night, source_of, walk
from tests.leaks.outcome import Outcome

PLANTED = "planted"
"""What a planted column's name begins with: the store keeps matrices by their columns' names."""


@contextmanager
def entered(name: str, compute: Callable[[Series], Array], lookback: int) -> Iterator[None]:
    """A column in the catalogue, for as long as it takes."""
    catalogue.CATALOGUE[name] = Feature(
        name=name, compute=compute, lookback=lookback, inputs=("close",), unit="1", description="", formula=""
    )
    try:
        yield
    finally:
        del catalogue.CATALOGUE[name]


def shifted() -> Outcome:
    """A row too far: the next bar's return among the features."""

    def next_return(s: Series) -> Array:
        returns = np.diff(np.log(s["close"]), append=np.nan)
        return np.asarray(np.where(np.isfinite(returns), returns, 0.0))

    return _in_a_column(
        "`shift(-1)` in a feature", "the next bar's return as a column of the catalogue", next_return, 1
    )


def centred() -> Outcome:
    """A mean over five bars before and after, as plotting libraries draw it."""

    def centred_mean(s: Series) -> Array:
        mean = pd.Series(s["close"]).rolling(11, center=True, min_periods=1).mean().to_numpy()
        return np.asarray(np.log(s["close"] / mean))

    return _in_a_column(
        "centred rolling mean", "the close over a mean of the five bars before and after, as a column", centred_mean, 11
    )


def _in_a_column(leak: str, planted: str, compute: Callable[[Series], Array], lookback: int) -> Outcome:
    clean = night("return")
    silent = check_features.fn(clean.problem, clean.snapshot, clean.features)
    name = f"{PLANTED}_{compute.__name__}"
    with entered(name, compute, lookback):
        tonight = night("return")
        found = check_features.fn(tonight.problem, tonight.snapshot, tonight.features)
    joined = walk(tonight, {"baseline": constant(), "planted": linear([name], penalty=0.0)})
    value, lower = figure(joined, tonight.target, "planted", "r2")
    alarms = looked_at(joined, tonight.target)
    return Outcome(
        leak=leak,
        planted=planted,
        defence="the truncation test of the live matrix; behind it, the alarm",
        found=f"{len(found)} column named, {_count(found)} values wrong at {CUTS} cuts; of the catalogue's "
        f"{len(clean.features.spec.columns)}, {len(silent)}; the alarm {'speaks' if alarms else 'is silent'}: R² at "
        f"least {lower:.0%}",
        without=f"R² {value:.0%}: the gate says {judged(joined, tonight.target, 'planted').outcome}",
        caught=any(f"'{name}'" in text for text in found) and not silent,
        shown=judged(joined, tonight.target, "planted").outcome == "promoted" and value > 0.01,
    )


def _count(found: tuple[str, ...]) -> int:
    """How many wrong values the first finding counts."""
    return int(found[0].rsplit("(", 1)[1].split()[0]) if found else 0


def joined_too_soon() -> Outcome:
    """Half hours that know how their day will end."""

    def close_of_day(s: Series) -> Array:
        last = pd.Series(s["close"]).groupby(s.session).transform("last").to_numpy()
        return np.asarray(np.log(last / s["close"]))

    def close_of_yesterday(s: Series) -> Array:
        last = pd.Series(s["close"]).groupby(s.session).last()
        known = pd.Series(s.session).map(last.shift(1)).to_numpy(dtype=np.float64)
        return np.asarray(np.nan_to_num(np.log(known / s["close"])))

    source = source_of(half_hours_of(sp500().iloc[-300:].reset_index(drop=True)))
    hours = read_accepted(from_options(source, bar="30min")).frame
    found, values = _on_hours(hours, close_of_day)
    clean, honest = _on_hours(hours, close_of_yesterday, lookback=30)
    value, lower = _correlation(hours, values)
    honest_value, _ = _correlation(hours, honest)
    return Outcome(
        leak="joining daily data on the day it describes instead of the day it was known",
        planted=f"{len(hours):,} half hours made of real days; the day's close joined to each of them",
        defence="the truncation test, whose cuts lie within sessions; behind it, the alarm",
        found=f"{_count(found)} values wrong at {CUTS} cuts; none where yesterday's close is joined ({len(clean)})",
        without=f"rank correlation {value:.2f} with the next return, at least {lower:.2f} (alarm above 0.10); "
        f"yesterday's close: {honest_value:.2f}",
        caught=bool(found) and not clean,
        shown=lower > alarm.STATED["ic"] and abs(honest_value) < 0.1,
    )


def _on_hours(
    hours: pd.DataFrame, compute: Callable[[Series], Array], lookback: int = 1
) -> tuple[tuple[str, ...], Floats]:
    spec = FeatureSpec(columns=(PLANTED,), tick=0.01, bar="30min")
    with entered(PLANTED, compute, lookback):
        values = matrix.panel(hours, spec)
        found = check_truncation(hours, spec, pd.DataFrame(values, columns=[PLANTED]), CUTS, seed=1)
    return found, np.asarray(values[:, 0])


def _correlation(hours: pd.DataFrame, values: Floats) -> tuple[float, float]:
    """Rank correlation of a column with the next bar's return, and its lower 99 % bound."""
    ahead = np.append(np.diff(np.log(hours["close"].to_numpy())), np.nan)
    rows = np.isfinite(ahead) & np.isfinite(values)
    frame = hours.loc[rows, ["symbol", "session"]].reset_index(drop=True).assign(label=ahead[rows], m=values[rows])
    target = Target(name="return", horizon=1, kind="regression", loss="mse")
    found = next(each for each in alarm.bounds(frame, ["m"], [], target) if each.figure == "ic")
    return found.value, found.lower
