"""Intervals as consumers get them: their ends, their limits, and how they adapt."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.documents import to_json
from tasks.errors import IntegrityError, ModelInputError
from tasks.registry.bundle import entry_facts, write_bundle
from tasks.registry.serving.intervals import CLAIM, INTERVALS, AdaptiveIntervals, Intervals, Scaling, read_intervals
from tasks.registry.serving.predictor import Predictor
from tests.registry.conftest import features_of, linear_model, make_bars, make_entry, raw
from tests.registry.walked import RETURNS, walked_night

ONE = Intervals(scaling=Scaling(kind="one"), scores=tuple(i / 100 for i in range(1, 100)), residuals=99, dates=99)


@pytest.fixture(scope="module")
def predictor(tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """A model of log volatility with intervals."""
    folder = tmp_path_factory.mktemp("intervals")
    night = walked_night(folder, make_bars())
    entry = make_entry(night)
    write_bundle(folder / "bundle", night, entry.shipped, entry_facts(entry, "shipped"))
    return Predictor(folder / "bundle")


def test_ends_lie_symmetrically_around_the_prediction(predictor: Predictor) -> None:
    bars = raw(make_bars())
    plain, wide = predictor.predict(bars, rows="all"), predictor.predict(bars, rows="all", interval=0.9)
    assert list(wide.columns) == [*plain.columns, "lower", "upper"]
    assert wide["prediction"].equals(plain["prediction"])
    assert predictor.intervals is not None
    reach = predictor.intervals.radius(0.9)
    np.testing.assert_allclose(wide["upper"] - wide["prediction"], reach)
    np.testing.assert_allclose(wide["prediction"] - wide["lower"], reach)
    narrow = predictor.predict(bars, interval=0.5)
    assert narrow["upper"].iloc[0] < wide["upper"].iloc[-1]


@pytest.mark.parametrize("asked", [-0.5, 1.0, 90, math.nan])
def test_a_coverage_that_is_none_is_refused(predictor: Predictor, asked: float) -> None:
    with pytest.raises(ModelInputError, match=r"must be a coverage between 0 and 1, such as 0\.9"):
        predictor.predict(raw(make_bars()), interval=asked)


def test_a_coverage_beyond_the_residuals_is_refused_with_what_there_is(predictor: Predictor) -> None:
    with pytest.raises(ModelInputError, match=r"0.999 needs more residuals than the 160 .* at most 0.9937"):
        predictor.predict(raw(make_bars()), interval=0.999)
    assert np.isfinite(predictor.predict(raw(make_bars()), interval=0.9937)["upper"]).all()


def test_the_radius_is_the_order_statistic() -> None:
    assert [ONE.radius(coverage) for coverage in (0.9, 0.905, 0.99, 0.001)] == [0.9, 0.91, 0.99, 0.01]
    assert (ONE.at_level(0.0), ONE.at_level(1.0)) == (math.inf, -math.inf)


def test_a_bundle_claims_approximate_coverage_only(predictor: Predictor) -> None:
    document = json.loads((predictor.bundle / INTERVALS).read_bytes())
    assert document["claim"] == CLAIM
    assert CLAIM.startswith("Approximate coverage")
    assert "Adapt in service" in CLAIM


def test_returns_are_wider_in_a_storm_and_take_22_bars(tmp_path: Path) -> None:
    """A model that needs one bar gives intervals from 22 on; the scale is har_22 of the predicted bar."""
    bars = make_bars(("AAA", "BBB"), sessions=300)
    night = walked_night(tmp_path, bars, RETURNS)
    entry = make_entry(night)
    constant = replace(entry.shipped, model=str(linear_model(tmp_path / "constant", columns=())))
    write_bundle(tmp_path / "bundle", night, constant, entry_facts(entry, "shipped"))
    model = Predictor(tmp_path / "bundle")
    assert model.bars_needed == 1
    given = bars.drop(columns="session")
    said = model.predict(given, rows="last", interval=0.8)
    assert model.intervals is not None
    for symbol, row in said.set_index("symbol").iterrows():
        har = features_of(bars[bars["symbol"] == symbol], ("har_22",))[-1, 0]
        assert row["upper"] - row["prediction"] == pytest.approx(model.intervals.radius(0.8) * math.exp(har), rel=1e-9)
    with pytest.raises(ModelInputError, match="an interval needs at least 22 bars, got 21"):
        model.predict(given.groupby("symbol").tail(21), interval=0.8)
    assert len(model.predict(given.groupby("symbol").tail(21))) == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "not intervals of format 1"),
        ({"scores": []}, "malformed intervals: 0 scores"),
        ({"scaling": {"kind": "other", "horizon": 1}}, "scale 'other'"),
        ({"more": 1}, "no field"),
    ],
)
def test_a_malformed_file_is_refused(tmp_path: Path, change: dict[str, object], message: str) -> None:
    (tmp_path / INTERVALS).write_text(json.dumps(to_json(ONE) | change))
    with pytest.raises(IntegrityError, match=message):
        read_intervals(tmp_path)


def test_a_sound_file_is_read_back(tmp_path: Path) -> None:
    assert read_intervals(tmp_path) is None
    (tmp_path / INTERVALS).write_text(json.dumps(to_json(ONE)))
    assert read_intervals(tmp_path) == ONE
    (tmp_path / INTERVALS).write_text("{")
    with pytest.raises(IntegrityError, match="not a JSON document"):
        read_intervals(tmp_path)


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=4), min_size=1, max_size=200),
    st.sampled_from([0.5, 0.9]),
    st.sampled_from([0.005, 0.2]),
    st.integers(0, 5),
)
def test_told_every_outcome_the_misses_are_bounded_whatever_happens(
    dates: list[list[float]], coverage: float, gamma: float, late: int
) -> None:
    service = ONE.adaptive(coverage, gamma)
    given_then: list[tuple[np.ndarray, np.ndarray]] = []
    missed: list[float] = []
    for told, outcomes in enumerate(dates, start=-late):
        if told > 0:
            service.update(*given_then[told - 1], np.array(dates[told - 1]))
        lower, upper = service.bounds(np.zeros(len(outcomes)))
        given_then.append((lower, upper))
        missed.append(float(np.mean((np.array(outcomes) < lower) | (np.array(outcomes) > upper))))
    bound = (max(coverage, 1 - coverage) + gamma * (late + 1)) / (gamma * len(dates))
    assert abs(np.mean(missed) - (1 - coverage)) <= bound + 1e-9


def test_the_level_is_the_whole_state() -> None:
    rng = np.random.default_rng(1)
    outcomes = rng.normal(size=(60, 1))
    whole, parts = AdaptiveIntervals(ONE), AdaptiveIntervals(ONE)
    for at, outcome in enumerate(outcomes):
        for service in (whole, parts):
            service.update(*service.bounds(np.zeros(1)), outcome)
        if at == 30:
            parts = AdaptiveIntervals(ONE, alpha=parts.alpha)
    assert whole.alpha == parts.alpha != 0.1


def test_what_is_no_outcome_is_refused() -> None:
    service = AdaptiveIntervals(ONE)
    ends = service.bounds(np.zeros(1))
    for outcome in (np.array([np.nan]), np.array([])):
        with pytest.raises(ValueError, match="outcomes must be finite"):
            service.update(*ends, outcome)
    with pytest.raises(ValueError, match="gamma"):
        AdaptiveIntervals(ONE, gamma=0.0)
    assert service.alpha == pytest.approx(0.1)
