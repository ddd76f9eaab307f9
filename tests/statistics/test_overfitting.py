"""PBO against the procedure written out by its definition, on noise, and on candidates that are truly better."""

from __future__ import annotations

import itertools
import math
import time

import numpy as np
import numpy.typing as npt
import pytest
from scipy import stats

from tasks.statistics.overfitting import backtest_overfitting

FloatArray = npt.NDArray[np.float64]


def by_definition(performance: FloatArray, blocks: int, measure: str) -> float:
    """Section 3.1 of the paper, step by step."""
    parts, logits = np.array_split(np.arange(len(performance)), blocks), []
    for chosen in itertools.combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[b] for b in chosen])
        outside = np.concatenate([parts[b] for b in range(blocks) if b not in chosen])
        scores = []
        for rows in (inside, outside):
            mean, spread = performance[rows].mean(axis=0), performance[rows].std(axis=0)
            scores.append(mean if measure == "mean" else mean / spread)
        rank = stats.rankdata(scores[1])[scores[0].argmax()]
        omega = rank / (performance.shape[1] + 1)
        logits.append(math.log(omega / (1 - omega)))
    return float(np.mean(np.array(logits) <= 1e-12))


@pytest.mark.parametrize("measure", ["mean", "sharpe"])
@pytest.mark.parametrize(("n", "k", "blocks"), [(120, 5, 8), (203, 12, 8), (90, 2, 6), (64, 9, 10)])
def test_it_is_the_procedure_of_the_paper(n: int, k: int, blocks: int, measure: str) -> None:
    performance = np.random.default_rng(n + k).normal(0.02, [[1 + c for c in range(k)]], (n, k))
    ours = backtest_overfitting(performance, blocks=blocks, measure=measure)  # type: ignore[arg-type]
    assert ours == pytest.approx(by_definition(performance, blocks, measure), abs=1e-12)


@pytest.mark.parametrize("measure", ["mean", "sharpe"])
def test_noise_is_a_coin_toss(measure: str) -> None:
    found = [
        backtest_overfitting(np.random.default_rng(seed).normal(size=(640, 20)), measure=measure)  # type: ignore[arg-type]
        for seed in range(60)
    ]
    assert np.mean(found) == pytest.approx(0.5, abs=0.07)


def test_a_truly_better_candidate_is_not_overfitting() -> None:
    performance = np.random.default_rng(1).normal(size=(1280, 20))
    performance[:, 7] += 0.3
    assert backtest_overfitting(performance) < 0.005


def test_candidates_fitted_to_halves_are_overfitting() -> None:
    """What is good in one half of the blocks is bad in the other: the best of a half is the worst of its complement."""
    rng = np.random.default_rng(2)
    signs = np.array([rng.permutation([1.0] * 8 + [-1.0] * 8) for _ in range(40)])
    performance = np.repeat(signs.T, 20, axis=0) + rng.normal(0, 0.1, (320, 40))
    assert backtest_overfitting(performance) > 0.9


def test_candidates_that_are_all_the_same_say_nothing() -> None:
    same = np.repeat(np.random.default_rng(3).normal(size=(160, 1)), 4, axis=1)
    assert backtest_overfitting(same) == 1.0  # the best is the median everywhere


def test_the_order_of_candidates_and_a_common_shift_do_not_matter() -> None:
    performance = np.random.default_rng(4).normal(size=(320, 9))
    found = backtest_overfitting(performance)
    assert backtest_overfitting(performance[:, ::-1]) == found
    assert backtest_overfitting(performance + np.random.default_rng(5).normal(size=(320, 1))) == found


@pytest.mark.parametrize("shape", [(300, 1), (31, 5), (300, 0)])
def test_too_little_to_compare(shape: tuple[int, int]) -> None:
    assert math.isnan(backtest_overfitting(np.zeros(shape)))


def test_a_candidate_without_spread_has_no_sharpe_ratio() -> None:
    performance = np.random.default_rng(6).normal(0.5, 1.0, size=(320, 3))
    performance[:, 0] = 5.0
    assert backtest_overfitting(performance, measure="sharpe") == backtest_overfitting(
        np.column_stack([np.zeros(320), performance[:, 1:]]), measure="sharpe"
    )


def test_what_cannot_be_used_is_refused() -> None:
    with pytest.raises(ValueError, match="even"):
        backtest_overfitting(np.zeros((100, 3)), blocks=5)
    with pytest.raises(ValueError, match="1 candidates, first column 2"):
        backtest_overfitting(_with_nan(), blocks=4)


def _with_nan() -> FloatArray:
    table = np.zeros((64, 3))
    table[5, 2] = np.nan
    return table


def test_sixteen_blocks_take_a_moment() -> None:
    performance = np.random.default_rng(7).normal(size=(1500, 50))
    backtest_overfitting(performance)
    begun = time.process_time()
    backtest_overfitting(performance)
    assert time.process_time() - begun < 1.0
