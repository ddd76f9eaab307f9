"""Two samples: scipy's and closed forms' figures, and what cannot be told apart is not."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats

from tasks.search.transfer.two_samples import (
    Coral,
    Floats,
    Logistic,
    auc,
    classifier_auc,
    density_ratio,
    effective_share,
    kolmogorov_smirnov,
    mmd,
    standardised,
)


def gaussian(rows: int, mean: float = 0.0, spread: float = 1.0, seed: int = 1, columns: int = 3) -> Floats:
    return np.random.default_rng(seed).normal(mean, spread, (rows, columns))


def closed_mmd2(gap: float, width: float, columns: int) -> float:
    """Of unit Gaussians whose means are ``gap`` apart in each column; kernel exp(-d² / (2 width))."""
    inside = (width / (width + 2.0)) ** (columns / 2.0)
    return float(2.0 * inside * (1.0 - math.exp(-columns * gap**2 / (2.0 * (width + 2.0)))))


def test_mmd_is_the_closed_form_of_two_gaussians() -> None:
    source, target = gaussian(400), gaussian(400, 0.8, seed=2)
    both = np.concatenate([source, target])
    width = float(np.median(scipy.spatial.distance.pdist(both, "sqeuclidean")))
    found, p = mmd(source, target, 1)
    assert found == pytest.approx(closed_mmd2(0.8, width, 3), rel=0.15)
    assert p == pytest.approx(1 / 201)


def test_mmd_is_the_plain_double_sum() -> None:
    source, target = gaussian(12), gaussian(9, 0.5, seed=3)
    both = np.concatenate([source, target])
    width = np.median(scipy.spatial.distance.pdist(both, "sqeuclidean"))
    k = np.exp(-scipy.spatial.distance.cdist(both, both, "sqeuclidean") / (2 * width))
    within = [sum(k[i, j] for i in part for j in part if i != j) for part in (range(12), range(12, 21))]
    across = sum(k[i, j] for i in range(12) for j in range(12, 21))
    wanted = within[0] / (12 * 11) + within[1] / (9 * 8) - 2 * across / (12 * 9)
    assert mmd(source, target, 1)[0] == pytest.approx(wanted, rel=1e-9)


def test_equal_samples_are_seldom_told_apart() -> None:
    p = [mmd(gaussian(40, seed=2 * s), gaussian(40, seed=2 * s + 1), s, 60)[1] for s in range(60)]
    assert 0.0 < np.mean(np.array(p) < 0.1) < 0.25
    assert scipy.stats.kstest(p, "uniform").pvalue > 0.01


def test_auc_is_mann_and_whitneys() -> None:
    random = np.random.default_rng(4)
    low, high = random.integers(0, 9, 60).astype(float), random.integers(2, 12, 45).astype(float)
    wanted = scipy.stats.mannwhitneyu(high, low).statistic / (60 * 45)
    assert auc(low, high) == pytest.approx(wanted, rel=1e-12)


def test_a_linear_classifier_reaches_what_gaussians_allow() -> None:
    """Unit Gaussians at a distance of d have an AUC of Φ(d / √2)."""
    source, target = gaussian(400, columns=2), gaussian(400, 0.7, seed=2, columns=2)
    found, p = classifier_auc(*standardised(source, target))
    assert found == pytest.approx(scipy.stats.norm.cdf(0.7 * math.sqrt(2) / math.sqrt(2)), abs=0.03)
    assert p < 1e-10
    same, unsure = classifier_auc(gaussian(300), gaussian(300, seed=2))
    assert abs(same - 0.5) < 0.08
    assert unsure > 0.01


def test_ks_is_scipys() -> None:
    one, other = gaussian(150, columns=1)[:, 0], gaussian(90, 0.4, seed=2, columns=1)[:, 0]
    distance, p = kolmogorov_smirnov(one, other)
    wanted = scipy.stats.ks_2samp(one, other)
    assert distance == pytest.approx(wanted.statistic, rel=1e-12)
    assert p == pytest.approx(wanted.pvalue, rel=0.3)


def test_the_density_ratio_of_two_gaussians_is_found() -> None:
    """ln p_t / p_s = g x - g²/2 for unit Gaussians at 0 and g."""
    source, target = gaussian(8000, columns=1), gaussian(8000, 0.7, seed=2, columns=1)
    found = density_ratio(source, target, clip=50.0)
    wanted = np.exp(0.7 * source[:, 0] - 0.245)
    inside = np.abs(source[:, 0]) < 2
    np.testing.assert_allclose(found[inside], (wanted / wanted.mean())[inside], rtol=0.1)
    assert found.mean() == pytest.approx(1.0)
    weighted = np.average(source[:, 0], weights=found)
    assert weighted == pytest.approx(0.7, abs=0.05)


def test_few_rows_are_left_in_effect_where_samples_hardly_meet() -> None:
    far = density_ratio(gaussian(300), gaussian(300, 3.0, seed=2), math.inf)
    near = density_ratio(gaussian(300), gaussian(300, seed=2), math.inf)
    assert effective_share(near) > 0.9
    assert effective_share(far) < 0.2
    clipped = density_ratio(gaussian(300), gaussian(300, 3.0, seed=2), 5.0)
    assert clipped.max() < far.max()
    assert effective_share(far) < effective_share(clipped)
    assert effective_share(np.ones(7)) == pytest.approx(1.0)
    assert effective_share(np.array([1.0, 0.0, 0.0, 0.0])) == pytest.approx(0.25)


def test_the_logistic_models_slope_is_zero() -> None:
    """At the maximum the penalised likelihood's gradient is nil."""
    source, target = gaussian(80), gaussian(50, 0.5, seed=2)
    model = Logistic.of(source, target, penalty=2.0)
    x, y = np.concatenate([source, target]), np.repeat([0.0, 1.0], [80, 50])
    weight = np.where(y > 0, 130 / 100, 130 / 160)
    residual = weight * (y - 1 / (1 + np.exp(-model.logits(x))))
    np.testing.assert_allclose(x.T @ residual, 2.0 * model.slopes, atol=1e-6)
    assert residual.sum() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("ridge", [1.0, 0.01])
def test_coral_is_the_papers_formula(ridge: float) -> None:
    """C_s^(-1/2) C_t^(1/2) with regularised covariances (Sun, Feng and Saenko 2016, algorithm 1)."""
    mix = np.random.default_rng(6).normal(size=(3, 3))
    source, target = gaussian(200) @ mix, gaussian(150, 1.0, seed=2)
    c_s, c_t = (np.cov(each, rowvar=False) + ridge * np.eye(3) for each in (source, target))
    wanted = np.linalg.inv(scipy.linalg.sqrtm(c_s)) @ scipy.linalg.sqrtm(c_t)
    np.testing.assert_allclose(Coral.of(source, target, ridge).matrix, np.real(wanted), atol=1e-9)


def test_coral_gives_the_targets_mean_and_covariance() -> None:
    mix = np.random.default_rng(7).normal(size=(3, 3))
    source, target = gaussian(200, 3.0) @ mix, gaussian(150, 1.0, 2.0, seed=2)
    made = Coral.of(source, target, ridge=1e-9).apply(source)
    np.testing.assert_allclose(np.cov(made, rowvar=False), np.cov(target, rowvar=False), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(made.mean(axis=0), target.mean(axis=0), atol=1e-9)


def test_what_differs_by_covariance_alone_is_not_told_apart_after_coral() -> None:
    source, target = gaussian(400), gaussian(400, 2.0, 3.0, seed=2)
    ours, theirs = standardised(source, target)
    assert classifier_auc(ours, theirs)[0] > 0.75
    assert abs(classifier_auc(Coral.of(ours, theirs, 1e-6).apply(ours), theirs)[0] - 0.5) < 0.08
