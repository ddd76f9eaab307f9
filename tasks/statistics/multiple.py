"""One night's candidates taken together: is any better than the best baseline, which, and which may be the best?

1. SPA (Hansen 2005, JBES 23): the largest of the candidates' studentised mean advantages over the best baseline against
   its bootstrap law; those clearly worse do not count (the consistent p-value).
2. StepM (Romano and Wolf 2005, Econometrica 73): which candidates are better, at a family-wise error.
3. Model confidence set (Hansen, Lunde and Nason 2011, Econometrica 79), range statistic: candidates leave it as long as
   the rest can be told apart.

``arch.bootstrap`` does the work. Its SPA compares mean advantages as they are, so each is divided by its standard error
before it goes in: otherwise the candidate with the widest losses sets the bar for all.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from arch.bootstrap import MCS, SPA, StepM

from tasks.statistics.bootstrap import RESAMPLES, block_length
from tasks.statistics.diebold_mariano import long_run_variance, newey_west_lag

FloatArray = npt.NDArray[np.float64]
SAME = 1e-12
"""Losses whose difference spreads less than this share of their size cannot be told apart by any test."""


def superior_predictive_ability(
    baseline: FloatArray, candidates: FloatArray, *, overlap: int = 0, seed: int = 1, resamples: int = RESAMPLES
) -> float:
    """P-value of "no candidate has a lower expected loss than the baseline"; small means that one has.

    baseline: float64 (n,), candidates: (n, k), losses by date in time order. A candidate that differs from the baseline
    by a constant or not at all is no evidence; 1 where none is left. Raises ValueError on losses that are not finite.
    """
    advantage = _studentised(baseline, candidates, overlap)[0]
    if advantage.shape[1] == 0:
        return 1.0
    size = _block(advantage, overlap)
    test = SPA(np.zeros(len(advantage)), -advantage, block_size=size, reps=resamples, seed=seed)
    test.compute()
    return float(test.pvalues["consistent"])


def superior_candidates(
    baseline: FloatArray,
    candidates: FloatArray,
    *,
    size: float = 0.05,
    overlap: int = 0,
    seed: int = 1,
    resamples: int = RESAMPLES,
) -> tuple[int, ...]:
    """Columns of the candidates (ascending) that StepM finds better than the baseline, family-wise error ``size``.

    Arguments and errors as for ``superior_predictive_ability``.
    """
    advantage, columns = _studentised(baseline, candidates, overlap)
    if advantage.shape[1] == 0:
        return ()
    block = _block(advantage, overlap)
    test = StepM(np.zeros(len(advantage)), -advantage, size=size, block_size=block, reps=resamples, seed=seed)
    test.compute()
    return tuple(sorted(int(columns[place]) for place in test.superior_models))


def confidence_set(
    losses: FloatArray, *, size: float = 0.05, overlap: int = 0, seed: int = 1, resamples: int = RESAMPLES
) -> tuple[int, ...]:
    """Columns (ascending) of losses (n, k) among which the best one is with confidence 1 - ``size``; never empty.

    Candidates with the same losses share their fate; one that is worse than another by the same amount on every date is
    out. Raises ValueError on losses that are not finite, or without a column.
    """
    _check(losses)
    leaders, followers = _distinct(losses)
    kept = leaders
    if len(leaders) > 1:
        chosen = losses[:, leaders]
        block = _block(chosen - chosen.mean(axis=1, keepdims=True), overlap)
        test = MCS(chosen, size, reps=resamples, block_size=block, method="R", seed=seed)
        test.compute()
        kept = [leaders[int(place)] for place in test.included]
    return tuple(sorted(column for leader in kept for column in followers[leader]))


def _studentised(
    baseline: FloatArray, candidates: FloatArray, overlap: int
) -> tuple[FloatArray, npt.NDArray[np.int64]]:
    """Loss advantages over the standard error of their mean (n, m), and which columns of the candidates they are."""
    _check(candidates)
    _check(baseline[:, None])
    advantage = baseline[:, None] - candidates
    scale = np.maximum(np.abs(baseline).max(initial=0.0), np.abs(candidates).max(axis=0, initial=0.0))
    told_apart = np.flatnonzero(np.ptp(advantage, axis=0) > SAME * scale) if len(advantage) > 2 else np.array([], int)
    kept = advantage[:, told_apart]
    lag = newey_west_lag(len(kept), overlap)
    errors = np.array([np.sqrt(long_run_variance(column, lag)) for column in kept.T])
    return np.asarray(kept / errors), told_apart.astype(np.int64)


def _block(columns: FloatArray, overlap: int) -> int:
    """One block length for all: the longest that any column asks for."""
    return max(round(max(block_length(column, overlap) for column in columns.T)), 1)


def _distinct(losses: FloatArray) -> tuple[list[int], dict[int, list[int]]]:
    """Leaders (a column of each group that differs by constants, the lowest), and by leader who has its very losses."""
    leaders: list[int] = []
    followers: dict[int, list[int]] = {}
    scale = SAME * max(float(np.abs(losses).max()), np.finfo(float).tiny)
    for column in np.argsort(losses.mean(axis=0), kind="stable").tolist():
        match = next((k for k in leaders if np.ptp(losses[:, column] - losses[:, k]) <= scale), None)
        if match is None:
            leaders.append(column)
            followers[column] = [column]
        elif np.abs(losses[:, column] - losses[:, match]).max() <= scale:
            followers[match].append(column)
    return leaders, followers


def _check(losses: FloatArray) -> None:
    if losses.ndim != 2 or losses.shape[1] == 0 or losses.shape[0] == 0:
        raise ValueError(f"losses must have a row a date and a column a candidate, got shape {losses.shape}")
    bad = np.flatnonzero(~np.isfinite(losses).all(axis=0))
    if len(bad):
        raise ValueError(f"losses that are not finite in {len(bad)} of {losses.shape[1]} columns, first {bad[0]}")
