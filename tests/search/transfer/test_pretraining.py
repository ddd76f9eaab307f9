"""Pre-training learns what is there to learn, from nothing it must not see, and says what it cost."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.backbones import SCALE_FREE
from tasks.errors import ConfigurationError, DataError
from tasks.search.auto_keras import device, use_jax
from tasks.search.transfer import backbone
from tasks.search.transfer.channels import CHANNELS, KNOWN, LOG_RANGE, MASKS, STEP
from tasks.search.transfer.source import HELD, TRAIN, iso, of_sample, source_of
from tests.search.transfer.shifted import market
from tests.search.transfer.test_source import times

if importlib.util.find_spec("keras") is None:
    pytest.skip("the engines extra is not installed", allow_module_level=True)
use_jax(2)
from tasks.search.transfer import descent, evidence, objectives, pretraining  # noqa: E402 - after keras's settings
from tasks.search.transfer.networks import Spec, encoder, load_weights  # noqa: E402

pytestmark = [
    pytest.mark.slow,
    # keras 3.15's variables and JAX's arrays lack NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
SPEC = Spec(architecture="tcn", length=24, width=8, depth=1, embedding=6)
BUDGET = pretraining.Budget(steps=150, seconds=100.0, batch=64, rate=5e-3)
HORIZONS = (1, 5)
TASKS: tuple[objectives.Task, ...] = ("masked", "contrastive", "volatility", "direction")


def trained(**changes: object) -> pretraining.Pretrained:
    """A tiny encoder of a made market with persistent volatility."""
    bars = market(1500, 2)
    given = {"bars": bars, "times": times(bars), "budget": BUDGET, "tasks": TASKS, **changes}
    return pretraining.pretrain(spec=SPEC, seed=1, horizons=HORIZONS, **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def made() -> pretraining.Pretrained:
    return trained()


def test_every_task_is_learned_and_measured_on_held_out_bars(made: pretraining.Pretrained) -> None:
    assert made.tasks == TASKS
    assert [(each.task, each.horizon) for each in made.evidence] == [
        ("masked", 0), ("contrastive", 0), ("volatility", 1), ("volatility", 5), ("direction", 1), ("direction", 5),
    ]  # fmt: skip
    assert made.history[-1][1] < 0.9 * made.history[0][1]
    by_task = {(each.task, each.horizon): each for each in made.evidence}
    assert by_task["contrastive", 0].skill > 0, "windows that overlap are found among strangers"
    assert by_task["volatility", 5].skill > -0.3, "near to what HAR knows"
    for each in made.evidence:
        assert each.low is not None
        assert each.high is not None
        assert each.low <= each.skill <= each.high
        assert each.skill == pytest.approx(1 - each.loss / each.naive)
        assert each.first > iso(int(of_sample(made.source, SPEC.length).times[2000 - 1500]))


def test_the_naive_forecast_of_volatility_is_har_by_least_squares(made: pretraining.Pretrained) -> None:
    source = of_sample(made.source, SPEC.length)
    variance = np.exp(2.0 * source.bars.values[:, LOG_RANGE].astype(float))

    def known(rows: np.ndarray) -> np.ndarray:
        means = [[variance[row - d + 1 : row + 1].mean() for d in (1, 5, 22)] for row in rows]
        return np.column_stack([np.ones(len(rows)), 0.5 * np.log(means)])

    train = source.rows(TRAIN)
    coefficients = np.linalg.lstsq(known(train), source.volatility[train, 0].astype(float))[0]
    rows, _, naive = evidence.row_losses(_network(made), source, SPEC, made.heads, ("volatility",), 1, source)
    wanted = (known(rows) @ coefficients - source.volatility[rows, 0]) ** 2
    assert naive["volatility"][:, 0] == pytest.approx(wanted, abs=1e-5)
    assert set(rows) <= set(source.rows(HELD))


def _network(made: pretraining.Pretrained) -> object:
    network = encoder(SPEC, 9)
    load_weights(network, made.weights)
    return network


def test_what_is_held_out_changes_no_weight(made: pretraining.Pretrained) -> None:
    bars = market(1500, 2)
    held = np.flatnonzero(of_sample(made.source, SPEC.length).part == HELD)
    altered = bars.values.copy()
    altered[held, :KNOWN] *= np.float32(0.5)
    again = trained(bars=replace(bars, values=altered))
    assert all(np.array_equal(again.weights[name], value) for name, value in made.weights.items())
    assert again.evidence != made.evidence
    assert (again.steps, again.reproducible, again.end) == (made.steps, True, made.end)


def test_the_clock_ends_it_and_it_says_so() -> None:
    told: list[str] = []
    budget = replace(BUDGET, steps=10_000, seconds=0.01)
    found = trained(budget=budget, tasks=("direction",), progress=lambda *line: told.append(line[3]))
    assert found.steps < 100
    assert not found.reproducible
    assert told[-1] == "measuring on held-out bars"


def test_the_end_is_the_last_bar_seen_and_importance_is_of_every_weight(made: pretraining.Pretrained) -> None:
    assert made.end == iso(int(times(market(1500, 2)).astype(np.int64).max()))
    assert set(made.fisher) == set(made.weights)
    assert all(made.fisher[name].shape == value.shape for name, value in made.weights.items())
    assert all((value >= 0).all() for value in made.fisher.values())
    assert made.device == device()


def test_what_was_trained_is_a_folder_that_is_read_back(made: pretraining.Pretrained, tmp_path: Path) -> None:
    told = pretraining.manifest(made, name="tiny", bar="1d", channels=list(CHANNELS), other_bars=SCALE_FREE)
    found = backbone.read(backbone.write(tmp_path, told, spec=SPEC, **pretraining.arrays(made)))
    assert found.spec == SPEC
    assert found.backbone.end == made.end
    assert found.manifest["device"] == made.device
    load_weights(encoder(SPEC, 3), found.weights)


def test_a_window_is_covered_by_bars_that_say_nothing_and_told_apart_from_its_neighbours() -> None:
    bars = market(1500, 2)
    source = source_of(bars, times(bars), SPEC.length, HORIZONS)
    rows = source.rows(TRAIN)[:64]
    batch = objectives.draw(source, rows, SPEC, TASKS, np.random.default_rng(1))
    np.testing.assert_array_equal(batch.covered[~batch.hidden], batch.raw[~batch.hidden])
    assert 0.1 < batch.hidden.mean() < 0.4
    assert (batch.covered[batch.hidden][:, 0] == 0).all()
    assert not np.array_equal(batch.later, batch.plain)
    assert (np.abs(batch.later - batch.plain).max(axis=(1, 2)) > 0).mean() > 0.95


def test_some_windows_lack_volumes_or_bodies_where_it_is_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each in about the share that was asked for, whole windows, everything else as it was."""
    raw = market(4000, 1).values.reshape(-1, 10, STEP)
    assert objectives.without(raw, 0.0, np.random.default_rng(1)) is raw
    found = objectives.without(raw, 0.3, np.random.default_rng(1))
    gone = []
    for channel, mask in MASKS:
        lost = (found[:, :, mask] == 0).all(axis=1)
        assert (found[lost][:, :, [channel, mask]] == 0).all()
        np.testing.assert_array_equal(found[~lost][:, :, [channel, mask]], raw[~lost][:, :, [channel, mask]])
        assert lost.mean() == pytest.approx(0.3, abs=0.1)
        gone.append(lost)
    assert (gone[0] != gone[1]).any()
    others = [place for place in range(STEP) if place not in {each for pair in MASKS for each in pair}]
    np.testing.assert_array_equal(found[:, :, others], raw[:, :, others])
    seen, drawn = [], objectives.draw

    def told(*given: Any) -> objectives.Batch:
        seen.append(given[5] if len(given) > 5 else 0.0)
        return drawn(*given)

    monkeypatch.setattr(objectives, "draw", told)
    trained(budget=replace(BUDGET, steps=2), tasks=("direction",))
    assert sorted(set(seen)) == [0, descent.LACKING], "what is learned from, and not what is measured"


def test_what_is_not_known_is_not_to_be_told() -> None:
    """The loss of hidden bars hangs on no output for a channel that the window lacks, and on every other."""
    bars = market(1500, 1)
    source = source_of(bars, times(bars), SPEC.length, HORIZONS)
    batch = objectives.draw(source, source.rows(TRAIN)[:4], SPEC, ("masked",), np.random.default_rng(1), 1.0)
    assert not batch.raw[:, :, [place for pair in MASKS for place in pair]].any()
    network = encoder(SPEC, 3)
    values = [variable.value for variable in network.trainable_variables]
    embeddings, levels, _ = objectives.forward(network, values, [], batch, training=False)
    heads = objectives.heads(("masked",), SPEC, len(HORIZONS), 1)

    def loss(channel: int) -> float:
        bias = heads["masked/bias"].reshape(-1, len(CHANNELS)).copy()
        bias[:, channel] += 1.0
        moved = {**heads, "masked/bias": bias.reshape(-1)}
        return float(np.mean(objectives.losses(("masked",), moved, embeddings, levels, batch)["masked"]))

    plain = float(np.mean(objectives.losses(("masked",), heads, embeddings, levels, batch)["masked"]))
    for channel in range(len(CHANNELS)):
        assert (loss(channel) == plain) == (channel in dict(MASKS))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"tasks": ("masked", "fortune")}, ConfigurationError, "tasks must be some of"),
        ({"tasks": ()}, ConfigurationError, "got none"),
        ({"budget": replace(BUDGET, batch=1)}, ConfigurationError, "two windows a step"),
        ({"bars": market(200), "times": times(market(200))}, DataError, "too few bars to pre-train on"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes: dict[str, object], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        trained(**changes)


def test_drawn_candles_are_trained_on_as_well() -> None:
    drawn = Spec(architecture="image", length=24, width=4, depth=1, embedding=4)
    bars = market(1100)
    found = pretraining.pretrain(
        bars, times(bars), drawn, ("masked",), replace(BUDGET, steps=2, batch=8), 1, horizons=(1,)
    )
    assert [each.task for each in found.evidence] == ["masked"]
