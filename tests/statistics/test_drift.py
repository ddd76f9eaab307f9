"""PSI and Kolmogorov-Smirnov against independent code, and the laws of limits and run lengths."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from tasks.statistics.drift import BEYOND, counts_by_session, cut, distances, ks, psi, scaled, windows_of, with_beyond
from tasks.statistics.drift_limits import censored_run_length, limit_for, run_length, waits
from tasks.statistics.drift_loss import stationary_rows

WINDOW, TRAINING = 63, 1260


def rows(seed: int, n: int = TRAINING + WINDOW) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(seed).normal(size=n)


def test_psi_by_hand() -> None:
    window, reference = np.array([10, 30, 20]), np.array([100, 200, 100])
    p = [10.5 / 61.5, 30.5 / 61.5, 20.5 / 61.5]
    q = [100.5 / 401.5, 200.5 / 401.5, 100.5 / 401.5]
    by_hand = sum((a - b) * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert float(psi(window, reference)) == pytest.approx(by_hand, rel=1e-12)


def test_a_cell_that_is_empty_on_both_sides_counts_as_none() -> None:
    window, reference = np.array([10, 0, 30]), np.array([100, 0, 90])
    assert float(psi(window, reference)) == pytest.approx(float(psi(window[[0, 2]], reference[[0, 2]])), rel=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_ks_is_scipys_to_within_a_hundredth(seed: int) -> None:
    values = rows(seed)
    values[TRAINING:] = values[TRAINING:] * (1 + 0.5 * seed) + 0.2 * seed
    _, later = distances(values, np.arange(len(values)), TRAINING, WINDOW)
    exact = ks_2samp(values[TRAINING:], values[:TRAINING]).statistic
    assert float(later.ks[-1]) <= exact + 1e-12
    assert float(later.ks[-1]) == pytest.approx(exact, abs=0.011)


def test_ks_is_scipys_where_values_lie_on_the_grid() -> None:
    values = np.round(rows(3), 1)
    edges = np.unique(values)
    counts = counts_by_session(values, (np.arange(len(values)) >= TRAINING).astype(np.int64), 2, edges)
    exact = ks_2samp(values[TRAINING:], values[:TRAINING]).statistic
    assert float(ks(counts[1], counts[0])) == pytest.approx(exact, abs=1e-12)


def test_a_training_window_is_compared_with_the_rest_of_training() -> None:
    values = rows(4)
    past, _ = distances(values, np.arange(len(values)), TRAINING, WINDOW)
    edges = with_beyond(cut(values[:TRAINING], 10), values[:TRAINING])
    for start in (0, 500, TRAINING - WINDOW):
        inside = np.zeros(TRAINING, dtype=np.int64)
        inside[start : start + WINDOW] = 1
        counts = counts_by_session(values[:TRAINING], inside, 2, edges)
        assert float(past.psi[start]) == pytest.approx(float(psi(counts[1], counts[0])), rel=1e-12)
    assert len(past.psi) == TRAINING - WINDOW + 1


def test_no_drift_is_not_nought() -> None:
    """The mean over independent rows is about (cells - 1)(1/n + 1/m), and the textbook's 0.25 is often near."""
    found = [float(distances(rows(s), np.arange(TRAINING + WINDOW), TRAINING, WINDOW)[1].psi[-1]) for s in range(60)]
    assert np.mean(found) == pytest.approx(9 * (1 / WINDOW + 1 / TRAINING), rel=0.2)


def test_values_of_another_unit_lie_in_a_cell_of_their_own() -> None:
    values = rows(5)
    usual = distances(values, np.arange(len(values)), TRAINING, WINDOW)[1].psi[-1]
    values[TRAINING:] *= 100.0
    wrong = distances(values, np.arange(len(values)), TRAINING, WINDOW)[1].psi[-1]
    record = values[:TRAINING].max() + 0.9 * BEYOND * np.ptp(values[:TRAINING])
    assert wrong > 10 * usual
    edges = with_beyond(cut(values[:TRAINING], 10), values[:TRAINING])
    assert np.searchsorted(edges, record) == len(edges) - 1, "a record is not another unit"


def test_a_constant_column_that_changes_is_seen_and_one_that_stays_is_not() -> None:
    values = np.full(400, 7.0)
    stays = distances(values, np.arange(400), 337, WINDOW)[1]
    values[337:] = 8.0
    moves = distances(values, np.arange(400), 337, WINDOW)[1]
    assert stays.psi[-1] == 0.0
    assert moves.psi[-1] > 5.0


def test_missing_values_count_nowhere_and_a_window_of_them_has_no_distance() -> None:
    values = rows(6)
    values[:100] = np.nan
    past, later = distances(values, np.arange(len(values)), TRAINING, WINDOW)
    assert np.isnan(past.psi[: 100 - WINDOW + 1]).all()
    assert np.isfinite(past.psi[100 - WINDOW + 1 :]).all()
    assert np.isfinite(later.psi).all()


def test_a_panels_rows_are_counted_by_session() -> None:
    values = rows(7, 2000)
    session = np.repeat(np.arange(500), 4)
    order = np.random.default_rng(1).permutation(2000)
    straight = distances(values, session, 400, WINDOW)[1].psi
    shuffled = distances(values[order], session[order], 400, WINDOW)[1].psi
    assert np.array_equal(straight, shuffled)


def test_too_short_a_training_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be compared"):
        distances(rows(1, 200), np.arange(200), 2 * WINDOW - 1, WINDOW)


def test_a_column_s_unit_is_never_below_that_of_independent_rows() -> None:
    flat = np.zeros(400)
    past, later = distances(flat, np.arange(400), 337, WINDOW)
    scale, inside, after = scaled(past, later)
    assert scale.min() >= 0.15
    assert inside.max() == after.max() == 0.0


@given(st.lists(st.integers(0, 5), min_size=3, max_size=30), st.integers(1, 3))
def test_moving_sums_are_sums(counts: list[int], window: int) -> None:
    column = np.array(counts, dtype=np.int64)[:, None]
    found = windows_of(column, window)[:, 0]
    assert found.tolist() == [sum(counts[start : start + window]) for start in range(len(counts) - window + 1)]


@given(st.lists(st.booleans(), min_size=1, max_size=40).filter(any))
def test_waits_are_counted_to_the_next_one_around_the_end(passed: list[bool]) -> None:
    found = waits(np.array(passed))
    n = len(passed)
    for start in range(n):
        assert found[start] == next(ahead for ahead in range(n) if passed[(start + ahead) % n])


@settings(deadline=None, max_examples=8)
@given(st.integers(0, 10_000), st.sampled_from([5.0, 40.0, 200.0]))
def test_the_expected_run_length_is_that_of_simulated_runs(seed: int, block: float) -> None:
    rng = np.random.default_rng(seed)
    statistic = np.convolve(rng.normal(size=420), np.ones(21) / 21, mode="valid")
    passed = statistic > np.quantile(statistic, 0.97)
    exact = run_length(passed, block)
    longest = int(12 * exact)
    drawn = passed[stationary_rows(rng, len(passed), block, 600, longest)]
    firsts = np.where(drawn.any(axis=1), drawn.argmax(axis=1) + 1, longest)
    assert firsts.mean() == pytest.approx(exact, rel=0.25)


@given(st.integers(0, 10_000), st.floats(20, 2000), st.floats(20, 2000))
def test_a_limit_keeps_its_run_length_and_grows_with_it(seed: int, one: float, other: float) -> None:
    statistic = np.random.default_rng(seed).normal(size=500).cumsum()
    lower, higher = sorted((one, other))
    limits = [limit_for(statistic, length, 50.0) for length in (lower, higher)]
    assert limits[0] <= limits[1] <= statistic.max()
    assert run_length(statistic > limits[1], 50.0) >= higher


def test_clusters_make_the_run_longer_than_independent_draws_of_the_same_share() -> None:
    """Why no formula for independent draws will do: one in fifty passes, in a single stretch of a year or scattered."""
    stretch, scattered = np.zeros(2500, dtype=bool), np.zeros(2500, dtype=bool)
    stretch[100:150], scattered[::50] = True, True
    assert run_length(stretch, 252.0) > 10 * run_length(scattered, 252.0)


def test_a_limit_without_a_past_is_refused() -> None:
    with pytest.raises(ValueError, match="missing"):
        limit_for(np.array([1.0, np.nan]), 10.0, 5.0)


def test_run_lengths_of_runs_that_end_count_what_was_watched() -> None:
    assert censored_run_length(np.array([10, 0, 30]), 100) == pytest.approx(70.0)
    assert math.isinf(censored_run_length(np.array([0, 0]), 100))
