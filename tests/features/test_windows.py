"""Window moments against NumPy on each window, and that they remember nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.features.windows import window_correlation, window_deviation, window_mean


@given(seed=st.integers(0, 2**32 - 1), bars=st.integers(1, 130), level=st.sampled_from([0.0, 1.0, 1e6]))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_moments_are_those_of_each_window(seed: int, bars: int, level: float) -> None:
    x, y = np.random.default_rng(seed).normal(level, 1.0, (2, 200))
    views = [np.lib.stride_tricks.sliding_window_view(values, bars) for values in (x, y)]
    np.testing.assert_allclose(window_mean(x, bars)[bars - 1 :], views[0].mean(axis=1), rtol=1e-13, atol=1e-13)
    np.testing.assert_allclose(window_deviation(x, bars)[bars - 1 :], views[0].std(axis=1), rtol=1e-8, atol=1e-12)
    if bars > 2:
        expected = [np.corrcoef(a, b)[0, 1] for a, b in zip(*views, strict=True)]
        np.testing.assert_allclose(window_correlation(x, y, bars)[bars - 1 :], expected, atol=1e-8)
    for values in (window_mean(x, bars), window_deviation(x, bars)):
        assert np.isnan(values[: bars - 1]).all()


@pytest.mark.parametrize("bars", [5, 20, 22, 66])
def test_a_crash_leaves_no_trace_once_it_is_out_of_the_window(bars: int) -> None:
    calm = np.random.default_rng(0).normal(0.0, 1e-6, 300)
    crash = np.concatenate([[1e6, -1e6], calm])
    for compute in (window_mean, window_deviation):
        np.testing.assert_array_equal(compute(crash, bars)[bars + 1 :], compute(calm, bars)[bars - 1 :])


def test_a_constant_has_no_deviation_and_no_correlation() -> None:
    constant, other = np.full(100, 101.37), np.random.default_rng(1).normal(size=100)
    assert (window_deviation(constant, 20)[19:] == 0.0).all()
    assert (window_correlation(constant, other, 20)[19:] == 0.0).all()
    np.testing.assert_allclose(window_correlation(other, -2.0 * other, 20)[19:], -1.0)
