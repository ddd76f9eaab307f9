"""Block bootstrap: against arch's, against the exact variance of a resample's mean, and by how often it covers."""

from __future__ import annotations

import math
import time
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from arch.bootstrap import StationaryBootstrap, optimal_block_length
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.signal import lfilter

from tasks.statistics import bootstrap as bs

FloatArray = npt.NDArray[np.float64]


def autoregressive(n: int, rho: float, seed: int) -> FloatArray:
    shocks = np.random.default_rng(seed).normal(size=n + 200)
    return np.asarray(lfilter([1.0], [1.0, -rho], shocks)[200:])


def indices(blocks: bs.Blocks, n: int) -> npt.NDArray[np.int64]:
    """Every resample's rows spelled out."""
    return np.array(
        [
            np.concatenate([(s + np.arange(size)) % n for s, size in zip(start, length, strict=True)])
            for start, length in zip(blocks.start, blocks.length, strict=True)
        ]
    )


@given(n=st.integers(1, 80), length=st.floats(1.0, 40.0), seed=st.integers(0, 1000))
@settings(max_examples=60, deadline=None)
def test_a_resample_is_blocks_that_fill_the_sample(n: int, length: float, seed: int) -> None:
    blocks = bs.draw(n, length, 7, seed)
    assert (blocks.length.sum(axis=1) == n).all()
    assert (blocks.length >= 0).all()
    assert ((blocks.start >= 0) & (blocks.start < n)).all()
    values = np.random.default_rng(seed).normal(size=(n, 2)) + 1e6
    expected = values[indices(blocks, n)].mean(axis=1)
    np.testing.assert_allclose(bs.resampled_means(values, blocks), expected, rtol=1e-13)


def test_blocks_have_geometric_lengths() -> None:
    blocks = bs.draw(5000, 8.0, 200, 3)
    lengths = blocks.length[:, :400].ravel()  # none of these is cut short
    assert lengths.mean() == pytest.approx(8.0, rel=0.02)
    assert np.mean(lengths == 1) == pytest.approx(1 / 8, rel=0.03)
    assert lengths.var() == pytest.approx(8.0 * 7.0, rel=0.04)


@pytest.mark.parametrize(("n", "length"), [(120, 4.0), (120, 15.0), (60, 1.0)])
def test_a_resamples_mean_has_the_variance_of_the_theory(n: int, length: float) -> None:
    """Politis and Romano (1994), lemma 1: circular autocovariances weighted by (1 - 1/length)^lag."""
    x = autoregressive(n, 0.5, n)
    centred = x - x.mean()
    around = np.array([np.mean(centred * np.roll(centred, -lag)) for lag in range(n)])
    p = 1.0 / length
    weight = np.array([(1 - lag / n) * (1 - p) ** lag for lag in range(n)])
    exact = (around[0] + 2.0 * (weight[1:] * around[1:]).sum()) / n
    means = bs.resampled_means(x[:, None], bs.draw(n, length, 40_000, 5))[:, 0]
    assert means.var() == pytest.approx(exact, rel=0.03)
    assert means.mean() == pytest.approx(x.mean(), abs=5 * math.sqrt(exact / 40_000))


def test_resamples_are_distributed_as_archs() -> None:
    x, length = autoregressive(300, 0.4, 1), 9.0
    theirs = StationaryBootstrap(length, x, seed=2).apply(np.mean, reps=4000)[:, 0]
    ours = bs.resampled_means(x[:, None], bs.draw(300, length, 20_000, 2))[:, 0]
    spread = ours.std()
    assert theirs.std() == pytest.approx(spread, rel=0.04)
    for q in (0.01, 0.025, 0.5, 0.975, 0.99):
        assert np.quantile(ours, q) == pytest.approx(np.quantile(theirs, q), abs=0.12 * spread)


def test_the_block_length_is_archs_and_never_below_the_gates_lag() -> None:
    x = autoregressive(1500, 0.8, 4)
    assert bs.block_length(x) == pytest.approx(optimal_block_length(x)["stationary"].iloc[0])
    assert bs.block_length(np.random.default_rng(1).normal(size=1500)) >= 8.0
    assert bs.block_length(np.random.default_rng(1).normal(size=1500), overlap=20) >= 21.0
    assert bs.block_length(np.zeros(500)) == 6.0
    assert bs.block_length(np.arange(40.0), overlap=39) == 10.0


PROCESSES: dict[str, tuple[Callable[[int, int], FloatArray], int]] = {
    "independent": (lambda n, seed: np.random.default_rng(seed).normal(size=n), 0),
    "autoregressive 0.5": (lambda n, seed: autoregressive(n, 0.5, seed), 0),
    "five-bar labels": (
        lambda n, seed: np.convolve(np.random.default_rng(seed).normal(size=n + 4), np.ones(5), "valid"),
        4,
    ),
}


@pytest.mark.parametrize("process", PROCESSES)
def test_intervals_cover_about_as_often_as_they_say(process: str) -> None:
    draw, overlap = PROCESSES[process]
    runs = [draw(600, seed) for seed in range(250)]
    inside = [low <= 0 <= high for low, high in (bs.interval(x, overlap=overlap, resamples=500) for x in runs)]
    below = [bs.lower_bound(x, overlap=overlap, resamples=1000) <= 0 for x in runs]
    assert 0.91 <= np.mean(inside) <= 0.985
    assert np.mean(below) >= 0.965


def test_a_skills_interval_resamples_both_losses_on_the_same_dates() -> None:
    baseline = np.random.default_rng(1).gamma(1.0, size=600)
    low, high = bs.skill_interval(0.9 * baseline, baseline)
    assert low == pytest.approx(0.1, abs=1e-12)
    assert high == pytest.approx(0.1, abs=1e-12)
    noisy = 0.9 * baseline + np.random.default_rng(2).normal(0, 0.05, 600)
    low, high = bs.skill_interval(noisy, baseline)
    assert low < 1 - noisy.mean() / baseline.mean() < high
    assert high - low < 0.05


def test_a_baseline_without_loss_leaves_no_skill() -> None:
    assert bs.skill_interval(np.ones(50), np.zeros(50)) == (0.0, 0.0)


def test_a_sharpe_ratios_interval_is_los() -> None:
    def sharpe(means: FloatArray) -> FloatArray:
        return np.asarray(means[..., 0] / np.sqrt(means[..., 1] - means[..., 0] ** 2))

    returns = np.random.default_rng(3).normal(0.05, 1.0, 2000)
    low, high = bs.interval(np.column_stack([returns, returns**2]), sharpe, resamples=4000)
    value = returns.mean() / returns.std()
    error = math.sqrt((1 + value**2 / 2) / 2000)
    assert (low + high) / 2 == pytest.approx(value, abs=0.3 * error)
    assert high - low == pytest.approx(2 * 1.96 * error, rel=0.12)


@given(shift=st.floats(-1e3, 1e3), scale=st.floats(1e-3, 1e3), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_an_interval_of_a_mean_moves_with_its_values(shift: float, scale: float, seed: int) -> None:
    x = autoregressive(120, 0.3, seed)
    low, high = bs.interval(x, seed=seed)
    moved = bs.interval(shift + scale * x, seed=seed)
    assert moved == pytest.approx((shift + scale * low, shift + scale * high), rel=1e-6, abs=1e-6 * scale)


def test_an_interval_depends_on_its_seed_and_on_nothing_else() -> None:
    x = autoregressive(300, 0.2, 9)
    assert bs.interval(x, seed=4) == bs.interval(x.copy(), seed=4)
    assert bs.interval(x, seed=4) != bs.interval(x, seed=5)


def test_wider_levels_give_wider_intervals() -> None:
    x = autoregressive(300, 0.2, 9)
    narrow, wide = bs.interval(x, level=0.8), bs.interval(x, level=0.99)
    assert wide[0] < narrow[0] < x.mean() < narrow[1] < wide[1]
    assert bs.lower_bound(x, level=0.99) < bs.lower_bound(x, level=0.9) < x.mean()


def test_the_stretch_shrinks_as_the_sample_grows() -> None:
    factors = [bs.stretch(n, 8.0, 0.025) for n in (40, 100, 500, 1500, 100_000)]
    assert factors == sorted(factors, reverse=True)
    assert factors[3] == pytest.approx(1.018, abs=0.002)
    assert factors[-1] == pytest.approx(1.0, abs=5e-4)


def test_too_few_dates_have_no_interval() -> None:
    assert all(math.isnan(end) for end in bs.interval(np.arange(19.0)))
    assert math.isnan(bs.lower_bound(np.array([])))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_row(bad: float) -> None:
    x = np.ones((40, 2))
    x[7, 1] = bad
    with pytest.raises(ValueError, match=r"1 of 40 dates.*first row 7"):
        bs.interval(x, bs.skill)


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_that_is_no_probability_is_refused(level: float) -> None:
    with pytest.raises(ValueError, match="between 0 and 1"):
        bs.lower_bound(np.ones(50), level=level)


def test_six_years_of_days_take_milliseconds() -> None:
    x = np.random.default_rng(1).normal(size=(1500, 2)) ** 2
    took = []
    for _ in range(5):
        begun = time.process_time()
        bs.interval(x, bs.skill)
        took.append(time.process_time() - begun)
    assert min(took) < 0.05
