"""SPA, StepM and the confidence set: size, power, degenerate columns, and a second implementation of each formula."""

from __future__ import annotations

import time

import numpy as np
import numpy.typing as npt
import pytest

from tasks.statistics import bootstrap as bs
from tasks.statistics import multiple as mc
from tasks.statistics.diebold_mariano import long_run_variance, newey_west_lag

FloatArray = npt.NDArray[np.float64]


def losses(seed: int, n: int = 400, k: int = 6, better: float = 0.0) -> tuple[FloatArray, FloatArray]:
    """A baseline's losses and those of k candidates, correlated as forecasts of one target are; the last is better."""
    rng = np.random.default_rng(seed)
    common = rng.gamma(2.0, size=(n, 1))
    own = rng.normal(0, [[0.3 * (1 + column) for column in range(k + 1)]], size=(n, k + 1))
    table = common + own
    table[:, -1] -= better
    return table[:, 0], table[:, 1:]


def hansen(baseline: FloatArray, candidates: FloatArray, seed: int) -> float:
    """Hansen (2005) written out: studentised maximum, recentred at the means that pass the 2 log log n threshold."""
    d = baseline[:, None] - candidates
    n = len(d)
    error = np.array([np.sqrt(long_run_variance(c, newey_west_lag(n, 0))) for c in d.T])
    mean = d.mean(axis=0)
    observed = max(0.0, (np.sqrt(n) * mean / error).max())
    centre = np.where(mean >= -error * np.sqrt(2 * np.log(np.log(n)) / n), mean, 0.0)
    length = max(round(max(bs.block_length(c) for c in d.T)), 1)
    resampled = bs.resampled_means(d, bs.draw(n, length, 3000, seed))
    simulated = (np.sqrt(n) * (resampled - centre) / error).max(axis=1)
    return float(np.mean(np.maximum(simulated, 0.0) >= observed))


@pytest.mark.parametrize(("seed", "better"), [(1, 0.0), (2, 0.1), (3, 0.2), (4, 0.3)])
def test_spa_is_hansens_formula(seed: int, better: float) -> None:
    baseline, candidates = losses(seed, better=better)
    ours = mc.superior_predictive_ability(baseline, candidates, resamples=3000)
    assert ours == pytest.approx(hansen(baseline, candidates, seed), abs=0.03)


def test_spa_rejects_equal_candidates_about_as_often_as_it_says() -> None:
    p = np.array([mc.superior_predictive_ability(*losses(seed, n=250), resamples=200) for seed in range(160)])
    assert np.mean(p < 0.05) < 0.09
    assert np.mean(p < 0.5) > 0.3


def test_spa_is_not_blind_to_a_sharp_advantage_beside_wide_losses() -> None:
    rng = np.random.default_rng(5)
    baseline = rng.gamma(2.0, size=500)
    sharp, wide = baseline - 0.02 + rng.normal(0, 0.1, 500), baseline[:, None] + rng.normal(0, 5.0, (500, 10))
    assert mc.superior_predictive_ability(baseline, np.column_stack([sharp, wide])) < 0.02


def test_stepm_names_those_that_are_better_and_no_other() -> None:
    baseline, candidates = losses(6, n=800, k=5)
    candidates[:, 1] -= 0.3
    candidates[:, 3] -= 0.5
    candidates[:, 4] += 0.5
    assert mc.superior_candidates(baseline, candidates) == (1, 3)


def test_stepm_holds_its_family_wise_error() -> None:
    found = [mc.superior_candidates(*losses(seed, n=250), resamples=200) for seed in range(150)]
    assert np.mean([len(each) > 0 for each in found]) < 0.10


def test_stepm_finds_what_spa_finds_and_nothing_without_it() -> None:
    for seed in range(12):
        baseline, candidates = losses(seed, better=0.15 * (seed % 3))
        p = mc.superior_predictive_ability(baseline, candidates)
        if abs(p - 0.05) > 0.02:
            assert bool(mc.superior_candidates(baseline, candidates)) == (p < 0.05)


def test_the_confidence_set_keeps_the_best_and_drops_the_clearly_worse() -> None:
    rng = np.random.default_rng(8)
    table = rng.gamma(2.0, size=(600, 1)) + rng.normal(0, 0.5, (600, 6)) + [0.0, 0.0, 0.02, 0.2, 0.4, 0.8]
    kept = mc.confidence_set(table)
    assert set(kept) >= {int(table.mean(axis=0).argmin())}
    assert not set(kept) & {3, 4, 5}


def test_the_confidence_set_covers_the_best() -> None:
    rng, covered = np.random.default_rng(9), []
    for _ in range(150):
        table = rng.gamma(2.0, size=(250, 1)) + rng.normal(0, 0.5, (250, 5)) + [0.0, 0.01, 0.02, 0.05, 0.1]
        covered.append(0 in mc.confidence_set(table, resamples=200))
    assert np.mean(covered) >= 0.92


def test_candidates_with_the_same_losses_share_their_fate() -> None:
    baseline, candidates = losses(10, k=3)
    table = np.column_stack([baseline, candidates, candidates[:, 0], baseline])
    kept = mc.confidence_set(table)
    assert (0 in kept) == (5 in kept)
    assert (1 in kept) == (4 in kept)
    assert [c for c in kept if c < 4] == list(mc.confidence_set(table[:, :4]))


def test_what_is_worse_by_a_constant_is_out_of_the_confidence_set() -> None:
    baseline = np.random.default_rng(1).gamma(2.0, size=100)
    assert mc.confidence_set(np.column_stack([baseline + 0.5, baseline])) == (1,)


@pytest.mark.parametrize("offset", [0.0, 0.25])
def test_a_candidate_that_never_differs_is_no_evidence(offset: float) -> None:
    baseline = np.random.default_rng(1).gamma(2.0, size=100)
    same = (baseline - offset)[:, None]
    assert mc.superior_predictive_ability(baseline, same) == 1.0
    assert mc.superior_candidates(baseline, same) == ()


def test_constant_columns_disturb_nothing() -> None:
    baseline, candidates = losses(11, better=0.5)
    widened = np.column_stack([np.full(400, 2.0), candidates, baseline, np.full(400, 2.0)])
    assert mc.superior_predictive_ability(baseline, widened) < 0.05
    assert 6 in mc.superior_candidates(baseline, widened)
    assert 6 in mc.confidence_set(widened)


def test_one_candidate_is_enough() -> None:
    baseline, candidates = losses(12, k=1, better=0.5)
    assert mc.superior_predictive_ability(baseline, candidates) < 0.01
    assert mc.superior_candidates(baseline, candidates) == (0,)
    assert mc.confidence_set(candidates) == (0,)


def test_the_same_seed_gives_the_same_figures() -> None:
    baseline, candidates = losses(13)
    assert mc.superior_predictive_ability(baseline, candidates, seed=3) == mc.superior_predictive_ability(
        baseline, candidates.copy(), seed=3
    )
    assert mc.confidence_set(candidates, seed=3) == mc.confidence_set(candidates, seed=3)


def test_losses_that_are_not_finite_are_refused_with_their_column() -> None:
    baseline, candidates = losses(14)
    candidates[3, 2] = np.nan
    with pytest.raises(ValueError, match="1 of 6 columns, first 2"):
        mc.confidence_set(candidates)
    with pytest.raises(ValueError, match="1 of 6 columns, first 2"):
        mc.superior_candidates(baseline, candidates)


def test_no_candidate_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="a column a candidate"):
        mc.confidence_set(np.empty((10, 0)))


def test_a_nights_statistics_take_little_time() -> None:
    rng = np.random.default_rng(15)
    table = rng.gamma(2.0, size=(1500, 1)) + rng.normal(0, 0.5, (1500, 25))
    begun = time.process_time()
    mc.superior_predictive_ability(table[:, 0], table[:, 1:])
    mc.superior_candidates(table[:, 0], table[:, 1:])
    mc.confidence_set(table)
    assert time.process_time() - begun < 4.0
