"""What one night's ranking says as a whole: figures over all candidates together, on the rows that ranked them.

- SPA, StepM and the model confidence set: luck of the best of many, against the best baseline and among all.
- PBO: how often the candidate that leads in one half of the dates is below the median in the other half.
- Mincer-Zarnowitz, by candidate: is the forecast unbiased as it stands?

All of them describe one night. What may be promoted is decided on the gate, counting every night.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tasks.evaluation import NightStatistics
from tasks.leaderboard.losses import FloatArray, IntArray
from tasks.statistics.forecast_tests import mincer_zarnowitz
from tasks.statistics.multiple import confidence_set, superior_candidates, superior_predictive_ability
from tasks.statistics.overfitting import backtest_overfitting


@dataclass(frozen=True, slots=True, kw_only=True)
class Ranked:
    """The ranking rows: label and date code (m,), by candidate predictions (m,) and losses by date (dates,)."""

    label: FloatArray
    date: IntArray
    predictions: Mapping[str, FloatArray]
    losses: Mapping[str, FloatArray]
    best_baseline: str
    overlap: int
    seed: int


def night_statistics(ranked: Ranked) -> NightStatistics:
    """Deterministic, whatever the candidates' order; names come out sorted."""
    names = sorted(ranked.losses)
    others = [name for name in names if name != ranked.best_baseline]
    every = _columns(ranked, names)
    inside = confidence_set(every, overlap=ranked.overlap, seed=ranked.seed)
    spa_p, superior = _against_baseline(ranked, others)
    return NightStatistics(
        spa_p=spa_p,
        superior=superior,
        confidence_set=tuple(names[column] for column in inside),
        overfitting=backtest_overfitting(-every),
        mincer_zarnowitz={name: _calibration(ranked, name) for name in names},
    )


def _against_baseline(ranked: Ranked, others: list[str]) -> tuple[float, tuple[str, ...]]:
    """The p-value of "none is better than the best baseline", and those that are."""
    if not others:
        return 1.0, ()
    baseline, losses = ranked.losses[ranked.best_baseline], _columns(ranked, others)
    spa_p = superior_predictive_ability(baseline, losses, overlap=ranked.overlap, seed=ranked.seed)
    better = superior_candidates(baseline, losses, overlap=ranked.overlap, seed=ranked.seed)
    return spa_p, tuple(others[column] for column in better)


def _calibration(ranked: Ranked, name: str) -> tuple[float, float, float]:
    found = mincer_zarnowitz(ranked.label, ranked.predictions[name], ranked.overlap, ranked.date)
    return found.intercept, found.slope, found.p_value


def _columns(ranked: Ranked, names: list[str]) -> FloatArray:
    return np.column_stack([ranked.losses[name] for name in names])
