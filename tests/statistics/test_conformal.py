"""Split conformal and ACI: what theory promises, what MAPIE computes, and what a block of misses looks like."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tasks.statistics.conformal import adapt, covered, radius

Floats = npt.NDArray[np.float64]
levels = st.sampled_from([0.5, 0.8, 0.9, 0.95])


def one_a_date(scores: Floats) -> npt.NDArray[np.int64]:
    return np.arange(len(scores))


def test_the_radius_is_the_finite_sample_order_statistic() -> None:
    scores = np.arange(1.0, 20.0)  # 19 of them: (n + 1) · 0.9 = 18 exactly
    assert radius(scores, 0.9) == 18.0
    assert radius(scores[::-1], 0.9) == 18.0
    assert radius(scores, 0.901) == 19.0
    assert radius(scores, 0.95) == 19.0
    assert radius(scores, 0.951) == math.inf
    assert radius(scores, 0.0) == -math.inf


@pytest.mark.parametrize("broken", [np.array([1.0, np.nan]), np.array([1.0, -1.0]), np.array([np.inf])])
def test_scores_that_are_none_are_refused(broken: Floats) -> None:
    with pytest.raises(ValueError, match="finite and not negative"):
        radius(broken, 0.9)


@settings(deadline=None, max_examples=25)
@given(st.integers(20, 200), levels, st.integers(0, 2**31))
def test_exchangeable_scores_are_covered_as_asked(n: int, coverage: float, seed: int) -> None:
    """Over many draws of calibration set and outcome the share covered is at least what was asked, by binomial error;
    and no more than 1/(n + 1) above it (Lei et al. 2018, theorem 2.2)."""
    draws = 4000
    scores = np.random.default_rng(seed).standard_exponential((draws, n + 1))
    inside = sum(row[-1] <= radius(row[:-1], coverage) for row in scores)
    assert inside >= stats.binom.ppf(1e-6, draws, coverage)
    assert inside <= stats.binom.ppf(1 - 1e-6, draws, min(coverage + 1 / (n + 1), 1.0))


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.floats(0.0, 100.0), min_size=1, max_size=50),
    st.lists(st.one_of(st.floats(0.0, 200.0), st.just(1e300), st.just(0.0)), min_size=1, max_size=300),
    levels,
    st.sampled_from([0.005, 0.05, 0.3, 0.9]),
    st.integers(0, 6),
)
def test_the_long_run_misses_are_bounded_for_any_sequence(
    calibration: list[float], scores: list[float], coverage: float, gamma: float, pending: int
) -> None:
    """Proposition 4.1 of Gibbs and Candès (2021), and what outcomes that come late add to it."""
    found, dates = np.array(scores), len(scores)
    known = np.maximum(np.arange(dates) - pending, 0)
    moved = adapt(np.array(calibration), found, one_a_date(found), known, coverage=coverage, gamma=gamma)
    alpha = 1.0 - coverage
    bound = (max(alpha, coverage) + gamma * (pending + 1)) / (gamma * dates)
    assert abs(moved.missed.mean() - alpha) <= bound + 1e-9
    assert (moved.alpha >= -gamma * (pending + 1) - 1e-9).all()
    assert (moved.alpha <= 1.0 + gamma * (pending + 1) + 1e-9).all()


def test_an_adversary_who_always_misses_gets_the_whole_line() -> None:
    far = np.full(500, 1e9)
    moved = adapt(np.arange(1.0, 101.0), far, one_a_date(far), one_a_date(far), coverage=0.9, gamma=0.02)
    assert np.isinf(moved.radius).any()
    assert moved.missed.mean() == pytest.approx(0.1, abs=0.05)
    assert radius(np.arange(1.0, 101.0), 0.9) < 1e9


def test_a_date_of_several_rows_moves_the_level_by_their_share() -> None:
    date = np.repeat([0, 1, 2], 4)
    scores = np.array([1.0, 1.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    moved = adapt(np.full(50, 5.0), scores, date, np.arange(3), coverage=0.9, gamma=0.01)
    assert moved.missed.tolist() == [0.5, 0.0, 0.0]
    np.testing.assert_allclose(moved.alpha, [0.1, 0.1 + 0.01 * (0.1 - 0.5), 0.1 + 0.01 * (0.2 - 0.5)])


@pytest.mark.parametrize(
    ("date", "known", "message"),
    [
        ([0, 2, 2], [0, 0, 0], "0 to 2 in ascending order"),
        ([0, 2, 1], [0, 0, 0], "0 to 2 in ascending order"),
        ([0, 1, 2], [0, 1, 3], "later one"),
        ([0, 1, 2], [0, 1, 0], "must not decrease"),
    ],
)
def test_what_was_not_known_yet_is_refused(date: list[int], known: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        adapt(np.ones(9), np.ones(3), np.array(date), np.array(known), coverage=0.9, gamma=0.01)


@pytest.fixture(scope="module")
def drifting() -> tuple[Floats, Floats, Floats, Floats]:
    """Features and outcomes, for calibration and for the stream; the stream's noise grows half-way."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(700, 1))
    noise = rng.normal(size=700) * np.where(np.arange(700) < 550, 1.0, 1.3)
    return X[:400], 2 * X[:400, 0] + noise[:400], X[400:], 2 * X[400:, 0] + noise[400:]


class Doubling:
    """The true line: what MAPIE needs of a model that is not to be fitted again."""

    def __init__(self) -> None:
        self.n_features_in_ = 1
        self.is_fitted_ = True

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def fit(self, X: Floats, y: Floats) -> Doubling:
        return self

    def predict(self, X: Floats) -> Floats:
        return np.asarray(2 * X[:, 0])


def test_mapie_gives_the_same_split_conformal_intervals(drifting: tuple[Floats, Floats, Floats, Floats]) -> None:
    from mapie.regression import SplitConformalRegressor  # noqa: PLC0415 - one second

    past, known, ahead, _ = drifting
    for coverage in (0.5, 0.8, 0.9, 0.95):
        oracle = SplitConformalRegressor(Doubling(), confidence_level=coverage, prefit=True).conformalize(past, known)
        _, ends = oracle.predict_interval(ahead)
        reach = radius(np.abs(known - 2 * past[:, 0]), coverage)
        np.testing.assert_allclose(ends[:, 0, 0], 2 * ahead[:, 0] - reach, rtol=1e-12)
        np.testing.assert_allclose(ends[:, 1, 0], 2 * ahead[:, 0] + reach, rtol=1e-12)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("gamma", [0.002, 0.01])
def test_mapie_moves_the_level_as_we_do(drifting: tuple[Floats, Floats, Floats, Floats], gamma: float) -> None:
    """Its time-series regressor, told one outcome after the other. It keeps alpha inside [0, 1], which is not left
    here."""
    from mapie.conformity_scores import AbsoluteConformityScore  # noqa: PLC0415
    from mapie.regression import TimeSeriesRegressor  # noqa: PLC0415

    past, known, ahead, outcome = drifting
    oracle = TimeSeriesRegressor(Doubling(), method="aci", cv="prefit", conformity_score=AbsoluteConformityScore())
    oracle.fit(past, known)
    theirs, ends = np.empty(300), np.empty((300, 2))
    for t in range(300):
        _, found = oracle.predict(ahead[t : t + 1], confidence_level=0.9, allow_infinite_bounds=True)
        (theirs[t],), ends[t] = oracle.current_alpha.values(), found[0, :, 0]
        oracle.adapt_conformal_inference(ahead[t : t + 1], outcome[t : t + 1], gamma=gamma, confidence_level=0.9)
    scores = np.abs(outcome - 2 * ahead[:, 0])
    dates = one_a_date(scores)
    moved = adapt(np.abs(known - 2 * past[:, 0]), scores, dates, dates, coverage=0.9, gamma=gamma)
    assert moved.alpha.min() > 1 / 401  # below that MAPIE has no interval, and we the whole line
    np.testing.assert_allclose(theirs, moved.alpha, atol=1e-12)
    np.testing.assert_allclose(ends[:, 1] - 2 * ahead[:, 0], moved.radius, rtol=1e-9)
    assert (moved.alpha.max() - moved.alpha.min()) > gamma


def test_coverage_is_the_mean_over_dates_and_its_interval_knows_that_misses_come_together() -> None:
    rng = np.random.default_rng(5)
    dates = np.arange(504)
    scattered = rng.random(504) > 0.1
    found = covered(scattered, dates)
    assert found.share == pytest.approx(scattered.mean())
    assert found.low < 0.9 < found.high
    clumped = (dates // 21) % 10 != 0  # whole months of misses, a tenth of all
    wide = covered(clumped, dates)
    assert wide.high - wide.low > 1.8 * (found.high - found.low)
    assert [wide.worst, wide.best] == pytest.approx([2 / 3, 1.0])
    assert wide.window == 63


def test_a_date_with_many_rows_counts_as_one_date() -> None:
    date = np.array([0] * 98 + [1, 2])
    found = covered(np.array([True] * 98 + [False, False]), date)
    assert found.share == pytest.approx(1 / 3)
    assert (found.rows, found.dates, found.window) == (100, 3, 3)
    assert math.isnan(found.low)
    with pytest.raises(ValueError, match="no rows"):
        covered(np.array([], dtype=bool), np.array([], dtype=np.int64))
