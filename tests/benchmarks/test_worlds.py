"""The benchmarks' worlds hold what they claim to hold, and a night in miniature promotes what there is to be found."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.search.baselines import HAR, SIGNED
from tests.benchmarks import bench_false_promotion, bench_power, planted, worlds
from tests.benchmarks.nightly import Problem


def strongest(world: worlds.World) -> float:
    """The largest t of any column's correlation with the label, dates taken as independent."""
    x, y = world.features[:-1], world.label[:-1]
    score = (x - x.mean(axis=(0, 1))) * (y - y.mean())[:, :, None]
    by_date = score.mean(axis=1)
    return float(np.abs(by_date.mean(axis=0) / by_date.std(axis=0) * np.sqrt(len(by_date))).max())


def test_a_day_upside_down_is_a_day_with_the_same_range() -> None:
    _, about, _ = worlds.real_days()
    up = np.random.default_rng(1).random(len(about)) < 0.5
    turned = worlds.turned(about, up)
    opened, high, low, close = turned.T
    assert (high >= np.maximum(opened, close)).all()
    assert (low <= np.minimum(opened, close)).all()
    np.testing.assert_allclose(high - low, about[:, 1] - about[:, 2], atol=1e-15)
    np.testing.assert_allclose(np.abs(close), np.abs(about[:, 3]))
    np.testing.assert_array_equal(worlds.turned(turned, up), about)


@pytest.mark.parametrize("kind", ["signs", pytest.param("panel", marks=pytest.mark.slow)])
def test_no_column_knows_the_return(kind: worlds.Kind) -> None:
    # About 200 columns: the largest of their t values is about 3.
    assert strongest(worlds.make(kind, 3)) < 4.5


@pytest.mark.slow
def test_each_dates_returns_are_dealt_among_its_own_names() -> None:
    world, known = worlds.make("panel", 4), worlds.stocks()
    chosen = [known.symbols.index(symbol) for symbol in world.symbols]
    real = worlds.less_mean(worlds.forward_returns(known.log_close[:, chosen]))
    np.testing.assert_allclose(np.sort(world.label[:-1], axis=1), np.sort(real[:-1], axis=1), atol=1e-12)
    assert np.mean(world.label[:-1] == real[:-1]) < 0.1
    np.testing.assert_array_equal(world.features, known.features[:, chosen])


def test_volatility_is_made_by_lhar_and_nothing_else_knows_it() -> None:
    world, model = worlds.make("volatility", 5), worlds.fitted_lhar()
    own = [world.columns.index(name) for name in (*HAR, *SIGNED)]
    x, y = world.features[:-1, 0], world.label[:-1, 0]
    residual = y - model.intercept - x[:, own] @ model.weights
    assert residual.mean() == pytest.approx(0.0, abs=4 * residual.std() / np.sqrt(len(y)))
    assert residual.std() == pytest.approx(model.residual.std(), rel=0.05)
    t = np.array([np.corrcoef(column, residual)[0, 1] for column in x.T]) * np.sqrt(len(y))
    assert np.abs(t).max() < 4.5


def test_worlds_are_repeatable_and_differ() -> None:
    one, again, other = (worlds.make("signs", seed).label[:-1] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_planted_signal_is_as_strong_as_it_says() -> None:
    world = planted.in_index(0.1, "linear", 1)
    x, y = world.features[:-1, 0, world.columns.index("signal_a")], world.label[:-1, 0]
    assert np.corrcoef(x, y)[0, 1] ** 2 == pytest.approx(0.1, abs=0.04)
    hidden = planted.in_index(0.1, "interaction", 1)
    parts = [hidden.features[:-1, 0, hidden.columns.index(name)] for name in ("signal_a", "signal_b")]
    assert all(abs(np.corrcoef(part, y)[0, 1]) < 0.06 for part in parts)
    assert np.corrcoef(parts[0] * parts[1], y)[0, 1] ** 2 == pytest.approx(0.1, abs=0.04)


def test_a_great_signal_is_promoted_and_raises_the_alarm() -> None:
    outcome = bench_power.live(planted.in_index(0.3, "linear", 2), 2)
    assert outcome == bench_power.Outcome(led=True, promoted=True, alarmed=True)


def test_a_problem_through_its_nights_reads_one_gate_and_crowns_a_baseline() -> None:
    world = worlds.make("volatility", 6)
    problem, last = Problem(world, 6), len(world.sessions) - 1
    nights = []
    for session in range(last - 5, last + 1):
        nights.append(problem.night(session))
        problem.crown(nights[-1])
    assert nights[0].decision.outcome == "baseline"
    assert problem.champion is not None
    assert problem.champion[0] == "lhar"
    assert len({night.evidence.term for night in nights}) == 1
    reads = [night.evidence.read for night in nights if night.evidence.read]
    assert reads == list(range(1, len(reads) + 1))
    assert [night.evidence.dates for night in nights] == list(range(749, 755))


@pytest.mark.slow
def test_the_benchmark_runs_and_prints_a_row_a_kind(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench_false_promotion.main(["--universes", "3", "--nights", "3", "--workers", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("|")[2].strip() for line in lines[2:6]] == ["1", "1", "1", "3"]
    assert "of 3 universes promoted something false" in lines[-1]


def test_eight_of_three_hundred_is_the_most_that_the_bound_allows() -> None:
    assert bench_false_promotion.upper_bound(8, 300) < 0.05 < bench_false_promotion.upper_bound(9, 300)
    assert bench_false_promotion.upper_bound(0, 300) == pytest.approx(1 - 0.05 ** (1 / 300))
    assert bench_false_promotion.upper_bound(3, 3) == 1.0
