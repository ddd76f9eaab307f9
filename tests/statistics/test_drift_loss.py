"""CUSUM and ADWIN on losses: arithmetic, limits by simulation, and what a rise and a fall do to them."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.statistics.drift_limits import censored_run_length
from tasks.statistics.drift_loss import (
    SLACK,
    LossLimits,
    adwin,
    cusum,
    first_passed,
    loss_limits,
    standardised,
    stationary_rows,
)


def losses(seed: int, *shape: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Squared normal errors, as a good model's are."""
    return np.random.default_rng(seed).chisquare(1, shape)


@pytest.fixture(scope="module")
def limits() -> LossLimits:
    return loss_limits(losses(1, 600), 1008, 1008, seed=3)


def test_cusum_is_its_recursion() -> None:
    z = losses(2, 3, 200) - 1.0
    level = np.zeros(3)
    for day in range(200):
        level = np.maximum(0.0, level + z[:, day] - SLACK)
        assert np.allclose(cusum(z)[:, day], level, atol=1e-12)


def test_standardised_losses_are_clipped_and_a_reference_without_spread_still_tells_up_from_down() -> None:
    assert standardised(np.array([1.0, 2.0, 1e9]), 1.0, 0.5).tolist() == [0.0, 2.0, 4.0]
    assert standardised(np.array([0.9, 1.0, 1.1]), 1.0, 0.0).tolist() == [-4.0, 0.0, 4.0]


def test_the_run_length_without_a_change_is_near_what_was_asked(limits: LossLimits) -> None:
    """Against fresh losses, with the one reference that there is: chance may halve or double it."""
    z = standardised(losses(9, 300, 2016), limits.mean, limits.deviation)
    found = censored_run_length(first_passed(cusum(z) > limits.cusum), 2016)
    assert 500 < found < 6000


@pytest.mark.parametrize(("factor", "within"), [(2.0, 60), (3.0, 30), (6.0, 12)])
def test_the_larger_the_rise_the_sooner_it_is_seen(limits: LossLimits, factor: float, within: int) -> None:
    z = standardised(factor * losses(10, 200, 504), limits.mean, limits.deviation)
    assert np.median(first_passed(cusum(z) > limits.cusum)) <= within


def test_a_fall_of_the_loss_is_no_alarm(limits: LossLimits) -> None:
    reference = standardised(losses(1, 600), limits.mean, limits.deviation)
    z = standardised(0.2 * losses(11, 504), limits.mean, limits.deviation)
    assert not (cusum(z) > limits.cusum).any()
    assert not adwin(reference, z, limits.delta).any()


def test_adwin_sees_a_rise_and_its_end(limits: LossLimits) -> None:
    reference = standardised(losses(1, 600), limits.mean, limits.deviation)
    course = np.concatenate([losses(12, 200), 4.0 * losses(13, 300), losses(14, 600)])
    risen = adwin(reference, standardised(course, limits.mean, limits.deviation), limits.delta)
    assert not risen[:200].any()
    assert risen[400:500].all()
    assert not risen[-100:].any()


def test_limits_are_the_same_for_the_same_losses_and_seed() -> None:
    again = [loss_limits(losses(1, 300), 504, 504, seed=5) for _ in range(2)]
    assert again[0] == again[1]


def test_a_longer_run_length_needs_a_higher_limit() -> None:
    few, many = (loss_limits(losses(1, 300), length, 504, seed=5).cusum for length in (252, 2016))
    assert few < many


def test_too_few_losses_are_refused() -> None:
    with pytest.raises(ValueError, match="too few"):
        loss_limits(losses(1, 125), 504, 504)


def test_bootstrap_rows_run_on_in_blocks_and_wrap_around() -> None:
    rows = stationary_rows(np.random.default_rng(1), 50, 25.0, 200, 400)
    follows = (np.diff(rows, axis=1) % 50) == 1
    assert follows.mean() == pytest.approx(1 - 1 / 25 + 1 / 25 / 50, abs=0.01)
    assert rows.min() == 0
    assert rows.max() == 49
