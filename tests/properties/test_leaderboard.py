"""Laws of the leaderboard that hold whatever the candidates are."""

from __future__ import annotations

import dataclasses
import itertools
from functools import lru_cache

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.contracts import EngineName
from tasks.leaderboard.joined import Walked
from tasks.leaderboard.shortlist import LEADING, SIMPLICITY, choose
from tests.leaderboard.walks import VOLATILITY, around, board, candidate, fold_fits, rows_of, walked

Pool = list[tuple[EngineName, float, int]]
FEW = settings(max_examples=12, deadline=None)
spreads = st.floats(0.05, 1.0)
engines = st.sampled_from(SIMPLICITY)
pools = st.lists(st.tuples(engines, spreads, st.integers(0, 3)), min_size=1, max_size=6)


@lru_cache(maxsize=1)
def market() -> pd.DataFrame:
    return rows_of(1050)


def field(pool: Pool) -> list[Walked]:
    """A baseline and whatever was drawn; a small choice of seeds and spreads makes identical forecasts likely."""
    rows = market()
    drawn: Pool = [("baseline", 0.4, 0), *pool]
    return [walked(rows, f"m{i}", around(rows, s, seed), e) for i, (e, s, seed) in enumerate(drawn)]


@FEW
@given(pool=pools, data=st.data())
def test_the_order_of_candidates_changes_nothing(pool: Pool, data: st.DataObject) -> None:
    candidates = field(pool)
    mixed = data.draw(st.permutations(candidates))
    assert repr(board(market(), candidates)) == repr(board(market(), mixed))


@FEW
@given(pool=pools)
def test_ranks_follow_losses_and_skill_follows_ranks(pool: Pool) -> None:
    scores = board(market(), field(pool)).scores
    assert [score.rank for score in scores] == list(range(1, len(scores) + 1))
    losses = [score.score for score in scores]
    assert all(a <= b * (1 + 1e-11) for a, b in itertools.pairwise(losses))
    assert all(a.skill >= b.skill - 1e-11 for a, b in itertools.pairwise(scores))
    best = min(score.score for score in scores if score.engine == "baseline")
    assert max(score.skill for score in scores if score.engine == "baseline") == 0.0
    for score in scores:
        assert np.isclose(score.skill, 1 - score.score / best, atol=1e-12)
        assert np.isclose(np.average(score.fold_scores, weights=fold_sizes()), score.score)
        assert score.skill_interval[0] <= score.skill_interval[1]
        assert all(0.0 <= p <= 1.0 for p in score.p_values.values())


def fold_sizes() -> list[int]:
    rows = market()
    return [int((rows["scored_by"] == name).sum()) for name in fold_fits(rows)]


@FEW
@given(spread=st.floats(0.05, 0.8), more=st.floats(0.01, 1.0), seed=st.integers(1, 50))
def test_more_noise_is_a_worse_rank_a_lower_skill_and_a_larger_p(spread: float, more: float, seed: int) -> None:
    """The same errors, scaled up."""
    rows = market()
    label = rows["label"].fillna(-4.8).to_numpy()
    error = around(rows, 1.0, seed) - label
    pair = [walked(rows, n, label + s * error, "h2o") for n, s in (("less", spread), ("noisy", spread + more))]
    scores = {s.candidate: s for s in board(rows, [walked(rows, "har", around(rows, 0.5, 0)), *pair]).scores}
    assert scores["less"].rank < scores["noisy"].rank
    assert scores["less"].skill > scores["noisy"].skill
    assert scores["less"].metrics["r2"] > scores["noisy"].metrics["r2"]
    if scores["noisy"].skill > 0:  # both better than the baseline: the larger gain is no less sure
        assert scores["less"].p_values["har"] <= scores["noisy"].p_values["har"] + 0.02


@FEW
@given(pair=st.lists(engines, min_size=2, max_size=4), spread=spreads)
def test_identical_predictions_tie_and_the_simpler_engine_leads(pair: list[EngineName], spread: float) -> None:
    rows = market()
    same = around(rows, spread, 1)
    drawn: list[EngineName] = ["baseline", *pair]
    scores = board(rows, [walked(rows, f"m{i}", same.copy(), e) for i, e in enumerate(drawn)]).scores
    expected = sorted((SIMPLICITY.index(e), f"m{i}") for i, e in enumerate(drawn))
    assert [(SIMPLICITY.index(s.engine), s.candidate) for s in scores] == expected
    assert {s.skill for s in scores} == {0.0}
    assert {s.skill_interval for s in scores} == {(0.0, 0.0)}
    assert {p for s in scores for p in s.p_values.values()} == {1.0}


@FEW
@given(pool=pools, extra=spreads)
def test_another_candidate_changes_no_figure_of_the_others(pool: Pool, extra: float) -> None:
    """Unless it is a baseline: then it may be the one that the others are measured against."""
    rows, candidates = market(), field(pool)
    one_more = walked(rows, "x", around(rows, extra, 9), "h2o")
    before = {s.candidate: s for s in board(rows, candidates).scores}
    after = {s.candidate: s for s in board(rows, [*candidates, one_more]).scores}
    for name, score in before.items():
        assert repr(dataclasses.replace(after[name], rank=score.rank)) == repr(score)


@FEW
@given(pool=pools, leaders=st.integers(1, 4), data=st.data())
def test_a_shortlist_holds_every_baseline_and_no_more_leaders_than_asked_for(
    pool: Pool, leaders: int, data: st.DataObject
) -> None:
    rows = market()
    candidates = [candidate(f"m{i}", e) for i, (e, _, _) in enumerate(pool)]
    predictions = {f"m{i}": around(rows, s, seed) for i, (_, s, seed) in enumerate(pool)}
    found, mixed = (
        choose(order, predictions, rows, VOLATILITY, leaders=leaders, ensembles=True)
        for order in (candidates, data.draw(st.permutations(candidates)))
    )
    assert found == mixed
    costly = {c.name for c in candidates if c.engine in LEADING}
    assert {c.name for c in candidates} - costly <= set(found.names)
    assert len(costly & set(found.names)) == min(leaders, len(costly))
    assert set(found.names) | set(found.left) == set(found.losses)
    engine = {c.name: c.engine for c in candidates}
    for name in costly & set(found.names):
        better = [other for other in costly & set(found.left) if found.losses[other] < found.losses[name] * (1 - 1e-11)]
        assert all(engine[other] != engine[name] for other in better), "an engine's better models come first"
        own = [found.losses[other] for other in costly if engine[other] == engine[name]]
        assert not better or found.losses[name] <= min(own) * (1 + 1e-11), "each engine's best walks before a second"
