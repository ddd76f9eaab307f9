"""An update goes on from its parent on what is new, keeps what it knew, and is compared with training anew."""

from __future__ import annotations

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

from tasks.errors import ConfigurationError, DataError
from tasks.search.auto_keras import use_jax
from tasks.search.transfer.source import HELD, TRAIN, iso, of_sample, source_of
from tests.search.transfer.shifted import market
from tests.search.transfer.test_source import times

if importlib.util.find_spec("keras") is None:
    pytest.skip("the engines extra is not installed", allow_module_level=True)
use_jax(2)
from tasks.search.transfer import continual, pretraining  # noqa: E402 - after keras's settings
from tasks.search.transfer.backbone import Loaded  # noqa: E402
from tasks.search.transfer.networks import Spec  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # keras 3.15's variables and JAX's arrays lack NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
SPEC = Spec(architecture="tcn", length=24, width=4, depth=1, embedding=4)
BUDGET = pretraining.Budget(steps=100, seconds=100.0, batch=32, rate=5e-3)
BARS = market(1800)
SEEN = 1200


@pytest.fixture(scope="module")
def parent() -> Loaded:
    early = replace(BARS, values=BARS.values[:SEEN])
    made = pretraining.pretrain(early, times(BARS)[:SEEN], SPEC, ("volatility",), BUDGET, 1, horizons=(1, 5))
    return continual._loaded(made)


def test_an_update_sees_what_is_new_and_replays_what_was_kept(parent: Loaded) -> None:
    made = continual.update(parent, BARS, times(BARS), BUDGET, 2)
    assert made.steps == BUDGET.steps // continual.COST
    assert made.end > parent.backbone.end
    assert made.tasks == ("volatility",)
    assert [each.horizon for each in made.evidence] == [1, 5]
    assert all(each.first >= parent.backbone.end for each in made.evidence)
    assert any(not np.array_equal(made.weights[name], value) for name, value in parent.weights.items())
    kept, before = of_sample(made.source, SPEC.length), of_sample(parent.source, SPEC.length)
    assert set(before.times[before.rows(TRAIN)]) <= set(kept.times[kept.rows(TRAIN)])
    assert kept.times[kept.rows(HELD)].max() > before.times.max()


def test_a_week_of_many_symbols_is_learned_after_the_parent_was_tried_on_it() -> None:
    panel, days, week = market(700, 20), 690, 5
    stamps = times(panel).reshape(20, -1)
    seen = panel.values.reshape(20, 700, -1)
    before = replace(panel, values=seen[:, :days].reshape(20 * days, -1), starts=np.arange(20) * days)
    made = pretraining.pretrain(
        before, stamps[:, :days].ravel(), SPEC, ("volatility",), replace(BUDGET, steps=20), 1, horizons=(1, 5)
    )
    after = replace(
        panel, values=seen[:, : days + week].reshape(-1, seen.shape[2]), starts=np.arange(20) * (days + week)
    )
    found = continual.update(continual._loaded(made), after, stamps[:, : days + week].ravel(), BUDGET, 2)
    assert [each.of for each in found.evidence] == ["before it learned of them"] * 2
    assert [each.rows for each in found.evidence] == [20 * week, 20], "of five bars ahead one date is known"
    assert all(each.first >= made.end for each in found.evidence), "no part of a label was seen before"
    assert [each.last for each in found.evidence] == [iso(int(times(panel).astype(int)[days + week - 2])), made.end]
    assert any(not np.array_equal(found.weights[name], value) for name, value in made.weights.items()), "it learned"
    old, kept = len(made.source["times"]), len(found.source["times"])
    assert kept - old == 20 * (SPEC.length - 1 + week + 5), "what is new, and what its windows look back on"
    again = of_sample(found.source, SPEC.length)
    assert (again.part == TRAIN).sum() == (made.source["part"] == TRAIN).sum() + 20 * week


def test_weights_that_mattered_are_held_where_they_were(parent: Loaded) -> None:
    """Elastic weight consolidation: by what the parent's tasks depend on, the held ones moved less."""
    moved = []
    for elastic in (0.0, 100.0):
        made = continual.update(parent, BARS, times(BARS), replace(BUDGET, elastic=elastic), 2)
        assert made.steps == BUDGET.steps // continual.COST
        moved.append(
            sum(float((parent.fisher[name] * (made.weights[name] - start) ** 2).sum())
                for name, start in parent.weights.items())
        )  # fmt: skip
    assert 0 < moved[1] < moved[0] / 2


def test_what_looks_at_other_channels_is_not_gone_on_from(parent: Loaded) -> None:
    other = replace(parent, backbone=replace(parent.backbone, channels=("return_1", "har_1")))
    with pytest.raises(ConfigurationError, match="looks at return_1, har_1, and these bars are return_1"):
        continual.update(other, BARS, times(BARS), BUDGET, 2)


def test_of_horizons_longer_than_what_is_new_nothing_is_known(parent: Loaded) -> None:
    source = source_of(BARS, times(BARS), SPEC.length, (22,))
    late = replace(parent, backbone=replace(parent.backbone, end=iso(int(times(BARS).astype(int)[-5]))))
    assert continual._before(late, source, 1) == ()


def test_too_little_that_is_new_is_refused(parent: Loaded) -> None:
    with pytest.raises(DataError, match="too few bars"):
        continual.update(parent, replace(BARS, values=BARS.values[: SEEN + 30]), times(BARS)[: SEEN + 30], BUDGET, 2)


def test_going_on_is_compared_with_training_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    made, pretrain = [], pretraining.pretrain

    def kept(*given: object, **named: object) -> pretraining.Pretrained:
        made.append(pretrain(*given, **named))  # type: ignore[arg-type]
        return made[-1]

    monkeypatch.setattr(pretraining, "pretrain", kept)
    found = continual.compare(
        BARS, times(BARS), SPEC, ("volatility",), BUDGET, 1, rounds=1, share=0.12, horizons=(1, 5)
    )
    (only,) = found.rounds
    assert only.steps == (BUDGET.steps // continual.COST, BUDGET.steps)
    assert found.steps == only.steps
    assert found.target == pytest.approx(only.target)
    low, high = found.difference
    assert low <= found.target[0] - found.target[1] <= high
    assert found.forgetting == pytest.approx(tuple(loss - found.before for loss in only.earlier))
    assert found.before == pytest.approx(np.mean([1 - each.skill for each in made[0].evidence]), rel=1e-3)
    assert found.stale != found.target[1], "what was trained anew is another network"
