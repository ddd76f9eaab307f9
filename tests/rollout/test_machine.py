"""The decision by date: what it promotes, what it bounds, and what it never does."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.rollout.machine import LAST, State, Step, allowed, decide, e_text, expected_exposure, stepped, walk
from tasks.rollout.plan import SHARES, Mode, Policy
from tasks.statistics.eprocess import first_reach, log_e_values
from tests.benchmarks.bench_rollout import NULLS

Floats = npt.NDArray[np.float64]
ORDER = {"rolls back": 0, "keeps": 1, "goes on": 2, "promotes": 3}
histories = st.lists(st.floats(-3.0, 3.0), min_size=1, max_size=120).map(lambda found: np.asarray(found, np.float64))
policies = st.builds(
    Policy,
    mode=st.just("gradual"),
    level=st.sampled_from([0.2, 0.025, 0.01]),
    limit=st.integers(1, 100),
    pace=st.integers(0, 8),
)


def steps(d: Floats, policy: Policy, streams: int = 1, bound: float = 1.0) -> list[tuple[State, Step]]:
    return list(walk(d, bound, streams, policy))


def many(x: Floats, policy: Policy, streams: int) -> list[list[tuple[State, Step]]]:
    favour, against, total = log_e_values(x, streams), log_e_values(-x, streams), np.cumsum(x, axis=1)
    return [list(stepped(path, policy)) for path in np.stack([favour, against, x, total], axis=1)]


@given(d=histories, gains=st.lists(st.floats(0.0, 2.0), min_size=120, max_size=120), policy=policies)
def test_better_evidence_never_leads_to_less(d: Floats, gains: list[float], policy: Policy) -> None:
    worse, better = steps(d, policy), steps(d + np.asarray(gains)[: len(d)], policy)
    for (_, low), (_, high) in zip(worse, better, strict=False):
        assert high.share >= low.share
        assert ORDER[high.verb] >= ORDER[low.verb]
    if len(better) < len(worse):
        assert better[-1][1].verb in ("promotes", "keeps")
    if len(worse) < len(better):
        assert worse[-1][1].verb == "rolls back"


@given(d=histories, policy=policies, streams=st.integers(1, 4))
def test_it_never_promotes_below_its_threshold_or_against_the_sum(d: Floats, policy: Policy, streams: int) -> None:
    for state, step in steps(d, policy, streams):
        if step.verb == "promotes":
            assert state.log_e >= -math.log(policy.level)
            assert state.total > 0
            assert state.latest > 0
            assert state.step == LAST - 1
            assert state.dates >= LAST * policy.pace
        if step.verb == "goes on":
            assert step.share == SHARES[step.step] < 1.0


@given(d=histories, policy=policies, streams=st.integers(1, 4))
def test_the_share_rises_by_a_step_on_good_dates_alone(d: Floats, policy: Policy, streams: int) -> None:
    before = 0
    for state, step in steps(d, policy, streams):
        assert step.step <= before + 1
        if state.latest <= 0:
            assert step.step <= before
        if step.verb == "goes on":
            assert step.step <= allowed(state, policy)
        before = step.step


@given(d=histories, policy=policies, cut=st.integers(1, 120))
def test_night_by_night_is_the_same_as_one_go(d: Floats, policy: Policy, cut: int) -> None:
    whole = steps(d, policy)
    assert steps(d[:cut], policy) == whole[:cut]


@given(d=histories, policy=policies)
def test_what_ended_does_not_begin_again(d: Floats, policy: Policy) -> None:
    found = steps(d, policy)
    assert all(not step.ends for _, step in found[:-1])
    assert len(found) <= policy.limit
    assert found[-1][1].ends or len(found) == len(d)


def test_a_shadow_is_shown_to_nobody_and_never_promoted() -> None:
    policy = Policy(mode="shadow", level=0.025, limit=100)
    found = steps(np.ones(120), policy)
    assert {step.share for _, step in found} == {0.0}
    assert {step.verb for _, step in found[:-1]} == {"goes on"}
    assert (found[-1][1].verb, len(found)) == ("keeps", 100)
    assert {step.verb for _, step in steps(-np.ones(50), policy)} == {"goes on"}


def test_it_ends_in_the_four_ways_that_there_are() -> None:
    policy = Policy(mode="gradual", level=0.025, limit=60)
    assert steps(np.ones(60), policy)[-1][1].verb == "promotes"
    assert steps(-np.ones(60), policy)[-1][1].verb == "rolls back"
    coin = np.tile([1.0, -1.0], 30)
    assert steps(coin, policy)[-1][1].verb == "keeps"
    assert steps(coin[:59], policy)[-1][1].verb == "goes on"


def test_a_clipped_disaster_does_not_promote() -> None:
    d = np.concatenate([[-1000.0], np.full(60, 0.9)])
    found = steps(d, Policy(mode="gradual", level=0.025, limit=61))
    assert found[-1][0].log_e > -math.log(0.025)
    assert found[-1][1].verb == "keeps"
    assert found[-1][0].total < 0


def test_the_steps_are_taken_no_faster_than_the_pace() -> None:
    found = steps(np.ones(60), Policy(mode="gradual", level=0.025, limit=60, pace=5))
    first = {step.step: state.dates for state, step in reversed(found)}
    assert first == {0: 1, 1: 5, 2: 10, 3: 15, 4: 20}


@pytest.mark.parametrize("name", ["Gaussian", "GARCH, t 5", "horizon 5, t 4"])
def test_nulls_are_shown_little_and_rarely_rolled_back_or_promoted(name: str) -> None:
    """What is rolled back wrongly is bounded too: these nulls are symmetric, so that both directions are null."""
    null, streams = NULLS[name]
    policy = Policy(mode="gradual", level=0.025, limit=150)
    d = null(np.random.default_rng([13, list(NULLS).index(name)]), 400, policy.limit)
    ends = many(np.clip(d / np.quantile(np.abs(d), 0.99), -1, 1), policy, streams)
    largest = np.mean([max(step.share for _, step in path) for path in ends])
    assert largest <= expected_exposure(policy.level) + 0.02
    assert np.mean([path[-1][1].verb == "promotes" for path in ends]) <= policy.level + 0.016
    assert np.mean([path[-1][1].verb == "rolls back" for path in ends]) <= policy.rollback_level + 0.022


def test_what_the_text_says_of_exposure() -> None:
    assert expected_exposure(1 / 40) == pytest.approx(0.086, abs=5e-4)


def test_waiting_for_the_steps_costs_few_promotions() -> None:
    rng = np.random.default_rng(2)
    d = np.clip((rng.standard_normal((100, 400)) + 0.3) / 2.6, -1, 1)
    policy = Policy(mode="gradual", level=0.025, limit=400)
    ends = [path[-1] for path in many(d, policy, 1)]
    reached = first_reach(log_e_values(d), policy.level)
    promoted = np.array([step.verb == "promotes" for _, step in ends])
    assert promoted.sum() >= 0.95 * (reached > 0).sum()
    dates = np.array([state.dates for state, _ in ends])[promoted]
    assert np.median(dates) <= np.median(reached[reached > 0]) + 10


@pytest.mark.parametrize(
    ("mode", "level", "limit", "pace"), [("gradual", 0.0, 10, 5), ("gradual", 0.1, 0, 5), ("shadow", 0.1, 10, -1)]
)
def test_policies_that_cannot_be(mode: Mode, level: float, limit: int, pace: int) -> None:
    with pytest.raises(ValueError, match=r"level|limit"):
        Policy(mode=mode, level=level, limit=limit, pace=pace)


def test_decide_reads_state_and_policy_alone() -> None:
    policy = Policy(mode="gradual", level=0.025)
    ready = State(dates=30, log_e=4.0, log_against=-3.0, latest=0.5, total=3.0, step=3)
    assert decide(ready, policy).verb == "promotes"
    late = State(dates=policy.limit, log_e=0.0, log_against=0.0, latest=0.5, total=3.0, step=1)
    assert decide(late, policy).verb == "keeps"
    assert e_text(math.log(40.0)) == "40"
    assert e_text(1000.0) == "1e434"
