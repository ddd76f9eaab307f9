"""Forgetting: told as it is, and held back by elastic weights and by replay."""

from __future__ import annotations

import dataclasses
import functools
import importlib.util
import types
from typing import Any

import numpy as np
import pytest

from tasks.contracts import Backbone
from tasks.errors import IntegrityError
from tasks.search.auto_keras import use_jax
from tasks.search.transfer.channels import CHANNELS, LOG_RANGE, Bars
from tests.search.transfer.shifted import ends, market

if importlib.util.find_spec("autokeras") is None:
    pytest.skip("the engines extra is not installed", allow_module_level=True)
# keras 3.15's variables and JAX's arrays lack NumPy 2's copy argument.
pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"
)
LENGTH = 16


@pytest.fixture(scope="module", autouse=True)
def keras() -> None:
    use_jax(1)


@dataclasses.dataclass(frozen=True)
class School:
    """A network that learned the volatility of the next bar on a source, and what it takes to train it further."""

    loaded: Any
    encoder: Any
    network: Any
    trainer: Any
    learned: dict[str, Any]
    source: Any
    target: Any

    def tuned(self, epochs: int = 12, **held: Any) -> Any:
        """Tuned from where pre-training left it, to a target that contradicts the source; what was forgotten."""
        from tasks.search.transfer import forgetting, networks  # noqa: PLC0415
        from tasks.search.transfer.training import Schedule  # noqa: PLC0415

        networks.load_weights(self.network, self.learned)
        if epochs:
            self.trainer.fit(self.target, Schedule(learning_rate=5e-3), epochs=epochs, batch=128, seed=1, **held)
        (found,) = forgetting.measured(self.loaded, self.encoder)
        return found

    @functools.cached_property
    def plain(self) -> Any:
        """Tuned with nothing that holds it."""
        return self.tuned()


def sample(bars: Bars, sign: float) -> Any:
    """Labels: the level, and the next bar's log range relative to it, turned around for a sign of -1."""
    from tasks.search.transfer.channels import levels  # noqa: PLC0415
    from tasks.search.transfer.steps import Sample  # noqa: PLC0415

    rows = ends(bars, LENGTH, last=len(bars.values) - 1)
    level = levels(bars, rows, LENGTH)
    return Sample(bars=bars, ends=rows, y=level + sign * (bars.values[rows + 1, LOG_RANGE] - level))


@pytest.fixture(scope="module")
def school(keras: None) -> School:
    from tasks.search.transfer import networks  # noqa: PLC0415
    from tasks.search.transfer.backbone import Loaded  # noqa: PLC0415
    from tasks.search.transfer.source import sample as keep  # noqa: PLC0415
    from tasks.search.transfer.source import source_of  # noqa: PLC0415
    from tasks.search.transfer.training import Schedule, Trainer  # noqa: PLC0415

    spec = networks.Spec(architecture="tcn", length=LENGTH, width=8, depth=1, embedding=4)
    bars = market(1400, 1, 1, roughness=0.1)
    encoder = networks.encoder(spec, 1)
    network = networks.head(encoder, "volatility")
    trainer = Trainer(network, encoder, "regression", functools.partial(networks.inputs_of, spec))
    source = sample(bars, 1.0)
    trainer.fit(source, Schedule(learning_rate=1e-2), epochs=15, batch=128, seed=1)
    kernel, bias = network.get_layer(networks.HEAD).get_weights()
    weights = dict(networks.weights(encoder))
    loaded = Loaded(
        backbone=Backbone(
            name="b", version="1", sha256="0", folder="", end="", bar="1d", channels=CHANNELS, length=LENGTH,
            tasks=("volatility",), architecture="tcn",
        ),
        spec=spec, weights=weights, heads={"volatility/kernel": kernel, "volatility/bias": bias},
        source=keep(source_of(bars, np.arange(1400) * 86_400 * 10**9, LENGTH, (1,)), seed=1),
        fisher=_fisher(encoder, network, source),
        manifest={"evidence": [{"task": "volatility", "horizon": 1, "naive": 0.5}]},
    )  # fmt: skip
    target = sample(market(600, 1, 7, roughness=0.1), -1.0)
    return School(loaded, encoder, network, trainer, networks.weights(network), source, target)


def _fisher(encoder: Any, network: Any, source: Any) -> dict[str, Any]:
    """Mean squared gradients of single rows' squared errors."""
    import jax  # noqa: PLC0415

    from tasks.search.transfer.channels import windows  # noqa: PLC0415

    rows = source.ends[::20]
    x, y = windows(source.bars, rows, LENGTH), np.asarray(source.y[::20], dtype=np.float32)
    others = [variable.value for variable in network.non_trainable_variables]
    values = [variable.value for variable in network.trainable_variables]

    def one(values: Any, x: Any, y: Any) -> Any:
        outputs, _ = network.stateless_call(values, others, x[None])
        return (outputs[0, 0] - y) ** 2

    found = jax.jit(jax.vmap(jax.grad(one), in_axes=(None, 0, 0)))(values, x, y)
    own = {variable.path for variable in encoder.trainable_variables}
    names = [variable.path for variable in network.trainable_variables]
    return {
        name: np.mean(np.asarray(each) ** 2, axis=0) for name, each in zip(names, found, strict=True) if name in own
    }


def test_what_was_not_tuned_has_forgotten_nothing(school: School) -> None:
    found = school.tuned(epochs=0)
    assert found.before == found.after
    assert found.increase == 0.0
    assert (found.task, found.horizon, found.naive) == ("volatility", 1, 0.5)
    assert found.rows > 150


def test_the_loss_before_is_that_of_the_network_on_held_out_bars(school: School) -> None:
    from tasks.search.transfer import networks  # noqa: PLC0415
    from tasks.search.transfer.source import HELD, of_sample  # noqa: PLC0415

    kept = of_sample(school.loaded.source, LENGTH)
    rows = kept.rows(HELD)
    networks.load_weights(school.network, school.learned)
    wanted = np.mean((school.trainer.predict(kept.bars, rows) - kept.volatility[rows, 0]) ** 2)
    assert school.tuned(epochs=0).before == pytest.approx(wanted, rel=1e-4)


def test_tuning_to_the_contrary_forgets(school: School) -> None:
    found = school.plain
    assert found.after > 1.2 * found.before
    assert found.interval[0] > 0
    assert found.interval[0] < found.increase < found.interval[1]
    assert found.increase == pytest.approx(found.after / found.before - 1)


def test_elastic_weights_forget_less(school: School) -> None:
    from tasks.search.transfer import forgetting, networks  # noqa: PLC0415

    networks.load_weights(school.network, school.learned)
    anchor = forgetting.elastic(school.encoder, school.loaded.fisher, 10.0)
    assert school.tuned(anchor=anchor).increase < 0.5 * school.plain.increase


def test_a_pull_to_the_start_forgets_less(school: School) -> None:
    from tasks.search.transfer import forgetting, networks  # noqa: PLC0415

    networks.load_weights(school.network, school.learned)
    anchor = forgetting.towards_start(school.encoder, 10.0)
    assert school.tuned(anchor=anchor).increase < 0.5 * school.plain.increase


def test_replay_forgets_less(school: School) -> None:
    from tasks.search.transfer.steps import Companion  # noqa: PLC0415

    companion = Companion(sample=school.source, mixed=3.0)
    assert school.tuned(companion=companion).increase < 0.5 * school.plain.increase


def test_the_anchors_weights_are_those_that_the_step_trains_first(school: School) -> None:
    """A step goes through anchor and variables side by side."""
    from tasks.search.transfer import forgetting  # noqa: PLC0415

    anchor = forgetting.elastic(school.encoder, school.loaded.fisher, 1.0)
    trained = school.trainer._joint.trainable_variables
    assert [id(each) for each in school.encoder.trainable_variables] == [id(each) for each in trained][
        : len(anchor.start)
    ]
    assert [each.shape for each in anchor.importance] == [tuple(v.shape) for v in school.encoder.trainable_variables]
    whole = np.concatenate([each.ravel() for each in anchor.importance])
    assert whole.mean() == pytest.approx(1.0, rel=1e-4)
    assert (whole >= 0).all()


@pytest.mark.parametrize("flaw", ["missing", "shape"])
def test_information_that_does_not_match_is_refused(school: School, flaw: str) -> None:
    from tasks.search.transfer import forgetting  # noqa: PLC0415

    name = next(iter(school.loaded.fisher))
    fisher = {key: value for key, value in school.loaded.fisher.items() if key != name}
    if flaw == "shape":
        fisher[name] = np.zeros(3)
    with pytest.raises(IntegrityError, match=f"does not match: '{name}' has"):
        forgetting.elastic(school.encoder, fisher, 1.0)


def test_a_backbone_without_labels_has_nothing_to_be_measured_by(school: School) -> None:
    from tasks.search.transfer import forgetting  # noqa: PLC0415

    blind = dataclasses.replace(school.loaded, backbone=dataclasses.replace(school.loaded.backbone, tasks=("masked",)))
    assert forgetting.measured(blind, school.encoder) == ()


def test_dates_count_alike_however_many_windows_they_have(keras: None) -> None:
    """Before, after and the increase with its interval are of the same averages."""
    from tasks.search.transfer import forgetting  # noqa: PLC0415

    random = np.random.default_rng(3)
    date = np.repeat(np.arange(60), np.where(np.arange(60) < 5, 200, 2))  # a few dates hold most windows
    before = 1.0 + random.random(len(date))
    after = before * np.where(date < 5, 3.0, 1.1)
    source: Any = types.SimpleNamespace(times=date, horizons=(1,))
    loaded = types.SimpleNamespace(manifest={})
    found = forgetting._line(loaded, "volatility", 0, source, (np.arange(len(date)), before, after))
    assert found.increase == pytest.approx(found.after / found.before - 1.0, rel=1e-12)
    assert found.interval[0] < found.increase < found.interval[1]
    assert found.increase < 0.5, "windows would say 1.7"
