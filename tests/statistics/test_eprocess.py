"""Evidence that may be looked at every night: what it promises under nulls, and what it finds."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.statistics.eprocess import (
    BETS,
    Purses,
    clip_bound,
    clipped,
    dates_to_come,
    first_reach,
    log_e_values,
)
from tests.benchmarks.bench_rollout import NULLS

Floats = npt.NDArray[np.float64]
PATHS, DATES = 1000, 300
values = st.floats(-1.0, 1.0)
paths = st.lists(values, min_size=1, max_size=40).map(lambda found: np.asarray(found, dtype=np.float64))


def wealth(x: Floats, streams: int, after: int) -> float:
    """E after so many dates, straight from the definition: purses, bets, products, open bets lost."""
    purses = []
    for turn in range(streams):
        settled = x[:after][turn::streams]
        is_open = streams > 1 and turn != (after - 1) % streams
        purses.append(np.mean([np.prod(1 + bet * settled) * (1 - bet if is_open else 1) for bet in BETS]))
    return float(np.mean(purses))


@given(x=paths, streams=st.integers(1, 6))
def test_it_is_what_the_definition_says(x: Floats, streams: int) -> None:
    found = np.exp(log_e_values(x, streams))
    expected = [wealth(x, streams, after) for after in range(1, len(x) + 1)]
    assert found == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("streams", [1, 2, 3])
def test_the_mean_over_every_outcome_of_fair_coins_is_at_most_one(streams: int) -> None:
    coins = np.array(list(itertools.product((-1.0, 1.0), repeat=10)))
    mean = np.exp(log_e_values(coins, streams)).mean(axis=0)
    assert (mean <= 1 + 1e-12).all()
    if streams == 1:
        assert mean == pytest.approx(np.ones(10))


def test_whoever_stops_by_what_is_seen_of_open_outcomes_gains_nothing() -> None:
    """Labels over two bars: a pair of dates shares a coin, and when the first is settled the second is known.

    Stopping just before a loss that is already seen beats a plain mean of two purses; with open bets lost it does not.
    """
    coins = np.array(list(itertools.product((-1.0, 1.0), repeat=6)))
    x = np.repeat(coins, 2, axis=1)
    stops = [2 * int(np.argmin(row)) + 1 if row.min() < 0 else x.shape[1] for row in coins]
    plain = [
        np.mean([wealth(row[:stop][turn::2], 1, stop) for turn in (0, 1)]) for row, stop in zip(x, stops, strict=True)
    ]
    assert np.mean(plain) > 1.2
    found = [np.exp(log_e_values(row, 2)[stop - 1]) for row, stop in zip(x, stops, strict=True)]
    assert np.mean(found) <= 1.0


@pytest.mark.parametrize("name", list(NULLS))
def test_false_alarms_stay_below_the_level_however_often_one_looks(name: str) -> None:
    null, streams = NULLS[name]
    d = null(np.random.default_rng([11, list(NULLS).index(name)]), PATHS, DATES)
    log_e = log_e_values(np.clip(d / np.quantile(np.abs(d), 0.99), -1, 1), streams)
    for level in (0.2, 0.05, 0.025):
        assert (first_reach(log_e, level) > 0).mean() <= level + 2 * np.sqrt(level / PATHS)


@pytest.mark.parametrize("streams", [1, 5])
def test_it_finds_what_is_there_and_sooner_where_there_is_more(streams: int) -> None:
    rng = np.random.default_rng(3)
    noise = rng.standard_normal((200, 1500))
    medians = []
    for gain in (0.3, 0.6):
        reached = first_reach(log_e_values(np.clip((noise + gain) / 2.6, -1, 1), streams), 0.025)
        assert (reached > 0).all()
        medians.append(np.median(reached))
    assert medians[1] < medians[0] / 2


@given(x=paths, gains=st.lists(st.floats(0.0, 1.0), min_size=40, max_size=40), streams=st.integers(1, 4))
def test_better_dates_never_make_it_smaller(x: Floats, gains: list[float], streams: int) -> None:
    better = np.minimum(x + np.asarray(gains)[: len(x)], 1.0)
    assert (log_e_values(better, streams) >= log_e_values(x, streams) - 1e-12).all()


@given(x=paths, streams=st.integers(1, 4), data=st.data())
def test_the_order_of_a_purses_dates_does_not_matter(x: Floats, streams: int, data: st.DataObject) -> None:
    shuffled = x.copy()
    for turn in range(streams):
        order = data.draw(st.permutations(range(len(x[turn::streams]))))
        shuffled[turn::streams] = x[turn::streams][list(order)]
    assert log_e_values(shuffled, streams)[-1] == pytest.approx(log_e_values(x, streams)[-1], abs=1e-9)


@given(x=paths, streams=st.integers(1, 4), cut=st.integers(0, 40))
def test_going_on_is_the_same_as_one_go(x: Floats, streams: int, cut: int) -> None:
    purses = Purses(streams)
    parts = [float(purses.add(np.asarray([value]))[0]) for value in x[:cut]]
    more = purses.repeated(3)
    parts += [float(more.add(np.full(3, value))[2]) for value in x[cut:]]
    assert parts == pytest.approx(log_e_values(x, streams).tolist(), abs=1e-12)


def test_what_is_not_between_minus_one_and_one_is_refused() -> None:
    for bad in (1.1, float("nan")):
        with pytest.raises(ValueError, match="clip it first"):
            Purses().add(np.asarray([bad]))
    with pytest.raises(ValueError, match="at least one"):
        Purses(0)


def test_the_bound_is_the_ninety_ninth_percentile_of_sizes() -> None:
    d = np.concatenate([np.linspace(-1, 1, 201), [np.nan]])
    assert clip_bound(d) == pytest.approx(0.99, abs=0.011)
    assert clipped(np.array([-3.0, 0.1, 3.0]), 0.5).tolist() == [-1.0, 0.2, 1.0]
    with pytest.raises(ValueError, match="too few"):
        clip_bound(d[:59])
    with pytest.raises(ValueError, match="same loss"):
        clip_bound(np.zeros(100))
    with pytest.raises(ValueError, match="positive"):
        clipped(d, 0.0)


def test_how_long_it_will_take_is_what_it_takes() -> None:
    rng = np.random.default_rng(9)
    x = np.clip((rng.standard_normal(2000) + 0.25) / 2.6, -1, 1)
    told = dates_to_come(x[:500], x[:0], streams=1, level=0.025, limit=1500)
    fresh = np.clip((rng.standard_normal((400, 1500)) + 0.25) / 2.6, -1, 1)
    real = first_reach(log_e_values(fresh), 0.025)
    assert np.median(told) == pytest.approx(np.median(real), rel=0.35)
    later = dates_to_come(x[:500], x[:60], streams=1, level=0.025, limit=1500)
    assert np.median(later) < np.median(told)
    assert (dates_to_come(-np.abs(x[:100]), x[:0], streams=1, level=0.025, limit=50) == 0).all()
