"""Which layers learn when and how fast, what pulls a weight back, and that a training can be repeated."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
from typing import Any

import numpy as np
import pytest

from tasks.errors import EngineError
from tests.search.transfer import rows as made

if importlib.util.find_spec("keras") is None:
    pytest.skip("the engines extra is not installed", allow_module_level=True)
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]


@pytest.fixture(scope="module")
def tools() -> Any:
    """The modules that need keras, a network whose lowest layer is frozen, and rows to learn from."""
    from tasks.search.auto_keras import use_jax  # noqa: PLC0415

    use_jax(2)
    from tasks.search.transfer import networks, training  # noqa: PLC0415
    from tasks.search.transfer.panel import Panel  # noqa: PLC0415

    spec = networks.Spec(architecture="tcn", length=24, width=8, depth=2, embedding=8, dropout=0.1)
    encoder = networks.encoder(spec, 1)
    network = networks.head(encoder, "volatility")
    fixed = networks.freeze(encoder, 0.2)
    trainer = training.Trainer(network, encoder, "regression", functools.partial(networks.inputs_of, spec))
    panel = Panel.of(made.made_up(), 24)
    sample = panel.sample(panel.fitted(panel.data.rows("train"), "train"))
    return networks, training, encoder, network, fixed, trainer, panel, sample, networks.weights(network)


def trained(tools: Any, epochs: int = 2, *, anchor: Any = None, watched: Any = None, **schedule: Any) -> dict[str, Any]:
    """Weights after a training that began at the same weights as every other."""
    networks, training, _, network, _, trainer, _, sample, start = tools
    networks.load_weights(network, start)
    plan = training.Schedule(learning_rate=schedule.pop("learning_rate", 1e-2), **schedule)
    trainer.fit(sample, plan, epochs=epochs, batch=128, seed=7, anchor=anchor, watched=watched)
    found: dict[str, Any] = networks.weights(network)
    return found


def moved(tools: Any, found: dict[str, Any]) -> dict[str, float]:
    """How far each layer's weights went."""
    start = tools[-1]
    distance: dict[str, float] = {}
    for name, value in found.items():
        layer = name.split("/")[0]
        distance[layer] = max(distance.get(layer, 0.0), float(np.abs(value - start[name]).max()))
    return distance


def test_frozen_layers_stay_and_layers_join_from_the_highest_down_an_epoch_each(tools: Any) -> None:
    networks, _, encoder, _, fixed, *_ = tools
    order = [layer.name for layer in networks.lowest_first(encoder)][::-1]
    learning = [name for name in order if name not in fixed]
    assert fixed == ["stem"]
    for epochs in (1, 2, 3):
        distance = moved(tools, trained(tools, epochs, unfreeze_every=1))
        still = {name for name, value in distance.items() if value == 0.0}
        assert still == {*fixed, *learning[epochs - 1 :]}


def test_lower_layers_learn_the_slower(tools: Any) -> None:
    even, slow = (moved(tools, trained(tools, decay=decay)) for decay in (1.0, 0.3))
    assert slow["block_0_a"] < 0.1 * even["block_0_a"]
    assert slow["embedding"] > 0.5 * even["embedding"]


def test_a_pull_keeps_weights_near_their_start(tools: Any) -> None:
    networks, training, encoder, network, *_, start = tools
    networks.load_weights(network, start)
    values = tuple(np.array(variable.value) for variable in encoder.trainable_variables)
    anchor = training.Anchor(strength=1e3, start=values, importance=tuple(np.ones_like(value) for value in values))
    free, held = (moved(tools, trained(tools, 3, anchor=each)) for each in (None, anchor))
    assert held["embedding"] < 0.5 * free["embedding"]


def test_the_same_seed_gives_the_same_network_dropout_included(tools: Any) -> None:
    first, again = trained(tools), trained(tools)
    assert all(np.array_equal(first[name], again[name]) for name in first)


def test_weights_of_zero_teach_nothing(tools: Any) -> None:
    """Rows that count nothing leave the network as if they were not there: padding relies on it."""
    networks, training, _, network, _, trainer, _, sample, start = tools
    networks.load_weights(network, start)
    silent = dataclasses.replace(sample, weight=np.zeros(len(sample.ends)))
    trainer.fit(silent, training.Schedule(learning_rate=1e-2), epochs=1, batch=128, seed=7)
    assert max(moved(tools, networks.weights(network)).values()) == 0.0


def test_watched_rows_decide_when_to_stop_and_the_best_epoch_is_kept(tools: Any) -> None:
    networks, training, _, network, _, trainer, panel, sample, start = tools
    networks.load_weights(network, start)
    watched = panel.watched(panel.data.rows("validation"))
    outcome = trainer.fit(sample, training.Schedule(learning_rate=0.05), epochs=60, batch=128, seed=7, watched=watched)
    assert outcome.epochs == int(np.argmin(outcome.losses)) + 1
    assert len(outcome.losses) <= min(60, outcome.epochs + training.PATIENCE)
    assert trainer.loss(watched) == pytest.approx(min(outcome.losses), rel=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_watched_loss_that_diverges_ends_the_training_at_the_best_epoch_before(
    tools: Any, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    networks, training, _, network, _, trainer, panel, sample, start = tools
    watched = panel.watched(panel.data.rows("validation"))
    told = iter([0.9, 0.8, 0.85, bad, 0.1])
    monkeypatch.setattr(training, "loss_of", lambda *_: next(told))
    networks.load_weights(network, start)
    schedule = training.Schedule(learning_rate=1e-2)
    outcome = trainer.fit(sample, schedule, epochs=5, batch=128, seed=7, watched=watched)
    assert (outcome.epochs, outcome.loss, len(outcome.losses)) == (2, 0.8, 4)
    assert moved(tools, networks.weights(network)) == moved(tools, trained(tools, 2)), "the second epoch's weights"
    monkeypatch.setattr(training, "loss_of", lambda *_: bad)
    with pytest.raises(EngineError, match="training diverged: the watched loss is"):
        trainer.fit(sample, schedule, epochs=5, batch=128, seed=7, watched=watched)


def test_further_labels_look_at_no_bar_after_the_last_row_of_the_fit(tools: Any) -> None:
    panel, sample = tools[6], tools[7]
    first = panel.with_further(sample).extra
    later = panel.bars.values.copy()
    later[sample.ends.max() + 1 :, :5] += 3.0
    changed = dataclasses.replace(panel, bars=dataclasses.replace(panel.bars, values=later))
    np.testing.assert_array_equal(changed.with_further(sample).extra, first)
    assert np.isnan(first[-1]).all()
    assert np.isfinite(first[:-1]).all()
