"""What a search over transfers tries: the cheapest first, the control always, and tuned as often as the others."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

import pytest

from tasks.contracts import Backbone
from tasks.documents import digest
from tasks.errors import EngineError
from tasks.search.transfer.strategies import (
    DRAWN,
    SETTINGS,
    Strategy,
    Trial,
    backbone_of,
    best,
    compared_with,
    control_of,
    plan,
    recipe_of,
    require_recipe,
)
from tests.search.transfer.rows import target_of


def test_the_cheapest_comes_first_and_the_control_right_after_it() -> None:
    assert [trial.strategy for trial in plan(2, 1)] == ["features", "scratch"]
    assert [trial.strategy for trial in plan(1, 1)] == ["features", "scratch"], "nothing without its control"
    assert [trial.strategy for trial in plan(7, 1)] == [
        "features", "scratch", "partial", "full", "trees", "embeddings", "multitask",
    ]  # fmt: skip
    assert [trial.strategy for trial in plan(5, 1)][-1] == "multitask", "trees are tried for the embeddings' sake"


@pytest.mark.parametrize(("adapt", "seed"), [(False, 1), (True, 1), (False, 2), (True, 9)])
def test_the_control_is_tuned_as_often_as_what_it_is_compared_with(adapt: bool, seed: int) -> None:
    """Wherever the search ends. Settings are counted that differ: a setting that is tried twice is one."""
    trials = plan(500, seed, adapt=adapt)
    tried: dict[str, set[str]] = defaultdict(set)
    for place, trial in enumerate(trials):
        tried[trial.strategy].add(digest(dict(trial.settings)))
        if place >= 1:
            assert all(len(tried["scratch"]) >= len(tried[each]) for each in ("partial", "full", "multitask"))
        assert sum(map(len, tried.values())) == place + 1, f"{trial.name} was tried before"
    assert len(tried["scratch"]) > 30
    assert {*DRAWN} < {*tried}


def test_the_embeddings_are_compared_with_the_same_trees_without_them() -> None:
    trees, embedded = ({k: v for k, v in SETTINGS[each].items() if k != "frozen"} for each in ("trees", "embeddings"))
    assert trees == embedded
    assert control_of("embeddings") == "trees"
    assert {control_of(each) for each in ("features", "partial", "full", "multitask")} == {"scratch"}


@dataclass(frozen=True)
class Outcome:
    trial: Trial
    loss: float


def test_of_equals_the_first_tried_is_taken_and_one_without_a_loss_comes_last() -> None:
    first, second, third = (Trial(strategy="features", number=number) for number in (1, 2, 3))
    found = best([Outcome(third, float("nan")), Outcome(first, 0.2), Outcome(second, 0.2)])
    assert found["features"].trial is first
    both = best([Outcome(first, 0.3), Outcome(second, 0.2), Outcome(Trial(strategy="full", number=1), 0.1)])
    assert [(name, each.loss) for name, each in both.items()] == [("full", 0.1), ("features", 0.2)]


def test_settings_are_drawn_from_the_seed_and_differ() -> None:
    assert plan(30, 4) == plan(30, 4)
    assert plan(30, 4) != plan(30, 5)
    names = [trial.name for trial in plan(30, 4, adapt=True)]
    assert len(set(names)) == len(names)
    partial = [repr(trial.settings) for trial in plan(30, 4) if trial.strategy == "partial"]
    assert len(set(partial)) == len(partial)


def test_what_the_shift_calls_for_is_tried_beside_doing_nothing() -> None:
    adapted = [trial for trial in plan(60, 4, adapt=True, heads=True) if trial.settings.get("adapt")]
    assert {trial.strategy for trial in adapted} == {"features", "partial", "full"}
    assert not any(trial.settings.get("adapt") for trial in plan(60, 4))


def test_an_adaptation_that_a_head_in_closed_form_cannot_do_is_not_tried_there() -> None:
    trials = plan(60, 4, adapt=True, heads=False)
    assert [trial.name for trial in trials if trial.strategy == "features"] == ["transfer-features-1"]
    assert any(trial.settings.get("adapt") for trial in trials)


def test_a_recipe_names_its_control_by_digest_and_foreign_ones_are_refused() -> None:
    target = target_of("direction")
    tiny = Backbone(
        name="tiny", version="1", sha256="t", folder="", end="", bar="1d", channels=(), length=8, tasks=(),
        architecture="tcn",
    )  # fmt: skip
    known: tuple[tuple[Strategy, Backbone | None], ...] = (("scratch", None), ("full", tiny))
    control, tuned = (
        recipe_of(Trial(strategy=s, number=1, settings=SETTINGS[s]), target, ["return_1"], start, {}, epochs=1)
        for s, start in known
    )
    named = compared_with(tuned, control)
    assert named["control"] != compared_with(tuned, {**control, "epochs": 2})["control"]
    require_recipe(named, target)
    with pytest.raises(EngineError, match="wanted"):
        require_recipe(named, target_of("volatility"))
    with pytest.raises(EngineError, match="strategy 'guess' is not known"):
        require_recipe({**named, "strategy": "guess"}, target)


def test_what_names_no_backbone_is_a_control_and_nothing_else_is() -> None:
    target = target_of("direction")
    control = recipe_of(Trial(strategy="trees", number=1), target, ["return_1"], None, {}, epochs=0)
    require_recipe(control, target)
    assert backbone_of(control, ()) is None
    for wrong in ({"strategy": "full"}, {"backbone": {"name": "tiny"}}):
        with pytest.raises(EngineError, match="does not go with the backbone"):
            require_recipe({**control, **wrong}, target)
