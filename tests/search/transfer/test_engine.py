"""The transfer engine on made-up bars: what it tries and refuses, what it exports, and that it can be done again."""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.contracts import Backbone, RefitJob, TargetName
from tasks.documents import digest
from tasks.errors import EngineError, EngineKilledError, IntegrityError
from tasks.leaderboard.transfers import worth
from tasks.registry.serving.scorers import load_scorer
from tasks.search import exported, warm
from tasks.search.engine import Fitted, TrainingData
from tests.search.transfer import rows as made

if importlib.util.find_spec("keras") is None:  # importing it here would settle keras's backend
    pytest.skip("the engines extra is not installed", allow_module_level=True)
pytestmark = [
    # keras 3.15's variables and JAX's arrays lack NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

TRAINED = (
    "transfer-features-1",
    "transfer-scratch-tcn",
    "transfer-partial-1",
    "transfer-full-1",
    "transfer-multitask-1",
)


@pytest.fixture(scope="module", autouse=True)
def _home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOCTURNE_HOME", str(tmp_path_factory.mktemp("home")))
        yield Path()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return made.backbone(tmp_path_factory.mktemp("backbone") / "tiny")


def started(
    data: TrainingData,
    backbones: tuple[Backbone, ...],
    scratch: Path,
    mode: str = "search",
    models: int = 2,
    recalled: tuple[Backbone, ...] = (),
) -> Any:
    from tasks.search.transfer.engine import TransferEngine  # noqa: PLC0415

    engine, request = TransferEngine(), made.request_of(data, backbones, mode, recalled=recalled)
    engine.asked(request)
    scratch.mkdir(parents=True, exist_ok=True)
    engine.start(dataclasses.replace(request.budget, models=models), request.seed, scratch)
    return engine


def searched(
    name: TargetName,
    backbones: tuple[Backbone, ...],
    folder: Path,
    models: int = 2,
    recalled: tuple[Backbone, ...] = (),
) -> tuple[list[Fitted], Any]:
    data = made.made_up(name)
    engine = started(data, backbones, folder / "scratch", models=models, recalled=recalled)
    try:
        seen = made.hidden(data, "train", "validation", "blending")
        return engine.search(seen, folder / "out", lambda *_: None), engine
    finally:
        engine.close()


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """One that a recipe of an earlier night starts from."""
    return made.backbone(tmp_path_factory.mktemp("backbone") / "other", seed=11, name="other")


@pytest.fixture(scope="module")
def volatility(
    tiny: Backbone, other: Backbone, tmp_path_factory: pytest.TempPathFactory
) -> tuple[dict[str, Fitted], Any]:
    """Every strategy but the trees, each with its first settings."""
    from tasks.search.transfer import strategies  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategies, "STRATEGIES", tuple(s for s in strategies.STRATEGIES if s not in strategies.GROWN))
        folder = tmp_path_factory.mktemp("volatility")
        found, engine = searched("volatility", (tiny,), folder, models=5, recalled=(other,))
    return {item.name: item for item in found}, engine


def test_every_strategy_leaves_a_candidate_and_the_control_has_no_backbone(
    volatility: tuple[dict[str, Fitted], Any], tiny: Backbone
) -> None:
    found, _ = volatility
    assert set(found) == set(TRAINED)
    control = found["transfer-scratch-tcn"].recipe
    assert control["backbone"] == {}
    assert control["control"] == ""
    for name, item in found.items():
        if name != "transfer-scratch-tcn":
            assert item.recipe["backbone"]["sha256"] == tiny.sha256
            assert item.recipe["control"] == digest(control)
            assert item.recipe["architecture"] == control["architecture"]


def test_a_backbone_that_a_recipe_brings_along_serves_that_recipe_alone(
    volatility: tuple[dict[str, Fitted], Any], other: Backbone, tmp_path: Path
) -> None:
    """The search that was handed another one by a recipe has not looked at it; the recipe is fitted from it."""
    assert not any("other" in note or "does best" in note for note in volatility[1].notes)
    data = warm.marked(made.made_up("volatility"))
    known = {"name": "other", "version": "", "sha256": other.sha256}
    recipe = {**volatility[0]["transfer-features-1"].recipe, "backbone": known}
    engine = started(data, (), tmp_path / "scratch", mode="refit", recalled=(other,))
    again = engine.refit(data, RefitJob(name="again", recipe=recipe, rows=warm.FIT), tmp_path / "out")
    assert np.abs(again.native - volatility[0]["transfer-features-1"].native).max() > 1e-6
    with pytest.raises(EngineError, match="none was given"):
        started(data, (), tmp_path / "search", recalled=(other,))


def test_the_exported_network_says_what_keras_says(volatility: tuple[dict[str, Fitted], Any]) -> None:
    data = made.made_up("volatility")
    for item in volatility[0].values():
        scorer, predictions = exported.verified(item, data)
        assert scorer.history == 23
        assert scorer.output == "value"
        rows = np.flatnonzero(data.window == "selection")
        assert np.isfinite(predictions[rows]).all()
        assert np.mean((predictions[rows] - data.y[rows]) ** 2) < 1.3 * np.var(data.y[rows])


def test_a_refit_repeats_the_recipe_exactly(
    volatility: tuple[dict[str, Fitted], Any], tiny: Backbone, tmp_path: Path
) -> None:
    """In another process' engine, on the search's rows, in another order: the same bits."""
    data = warm.marked(made.made_up("volatility"))
    engine = started(data, (tiny,), tmp_path / "scratch", mode="refit")
    for item in reversed(volatility[0].values()):
        job = RefitJob(name="again", recipe=item.recipe, rows=warm.FIT)
        again = engine.refit(data, job, tmp_path / item.name)
        np.testing.assert_array_equal(again.native, item.native)


def test_partial_tuning_moves_the_highest_layers_alone(
    volatility: tuple[dict[str, Fitted], Any], tiny: Backbone
) -> None:
    """What the exported recipes did, told by the networks that are still there."""
    from tasks.search.transfer import networks  # noqa: PLC0415
    from tasks.search.transfer.fitting import loaded_of  # noqa: PLC0415

    _, engine = volatility
    built = engine._workshop._fittings[24]._built
    start = loaded_of(tiny).weights
    for (_, _, frozen, trained, _), network in built.items():
        moved = {
            name for name, value in networks.weights(network.encoder).items() if not np.array_equal(value, start[name])
        }
        layers = [layer.name for layer in networks.lowest_first(network.encoder)]
        fixed = set(network.frozen)
        assert len(fixed) == (round(frozen * len(layers)))
        assert not {name for name in moved if name.split("/")[0] in fixed}
        if not trained:
            assert not moved


def test_weights_that_overlap_count_less_and_classes_give_probabilities(tiny: Backbone, tmp_path: Path) -> None:
    """The barriers' labels are weighted: with other weights, another head."""
    found, _ = searched("triple_barrier", (tiny,), tmp_path / "a")
    data = made.made_up("triple_barrier")
    features = next(item for item in found if item.name == "transfer-features-1")
    _, predictions = exported.verified(features, data)
    rows = np.flatnonzero(data.window == "selection")
    assert ((predictions[rows] > 0) & (predictions[rows] < 1)).all()
    even = dataclasses.replace(warm.marked(data), weighted=False)
    engine = started(even, (tiny,), tmp_path / "b", mode="refit")
    other = engine.refit(even, RefitJob(name="even", recipe=features.recipe, rows=warm.FIT), tmp_path / "c")
    assert np.abs(other.native - features.native).max() > 1e-4


@pytest.fixture(scope="module")
def returns(tiny: Backbone, other: Backbone, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Fitted], Any]:
    """A search with two backbones, in which the control has no time at all."""
    from tasks.search.transfer import engine  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "CONTROL_TIME", 0.0)
        return searched("return", (other, tiny), tmp_path_factory.mktemp("returns"))


def test_a_control_that_the_clock_ended_says_so_wherever_its_recipe_goes(returns: tuple[list[Fitted], Any]) -> None:
    """And what is compared with it is worth nobody knows, so that it is not promoted."""
    control, features = (
        next(item for item in returns[0] if item.name.startswith(name))
        for name in ("transfer-scratch", "transfer-features")
    )
    assert (control.recipe["late"], control.recipe["epochs"], control.reproducible) == (True, 1, False)
    assert features.recipe["control"] == digest(control.recipe)
    assert "late" not in features.recipe
    losses = {item.name: np.random.default_rng(1).exponential(size=300) for item in (control, features)}
    losses[features.name] = losses[control.name] - 0.1 * np.random.default_rng(2).random(300)
    (line,) = worth(losses, {item.name: item.recipe for item in (control, features)}, 0, 1)
    assert (line.verdict, line.helps_p < 0.05) == ("not known", True)


def test_of_several_backbones_the_best_on_the_validation_rows_is_taken_and_told(
    returns: tuple[list[Fitted], Any],
) -> None:
    found, engine = returns
    (note,) = [note for note in engine.notes if "does best on the validation rows" in note]
    chosen = next(item for item in found if item.name == "transfer-features-1").recipe["backbone"]["name"]
    assert note.startswith(f"backbone {chosen}:")
    assert "other:" in note
    assert "tiny:" in note
    for item in found:  # returns in their own unit, whatever the window's level
        _, predictions = exported.verified(item, made.made_up("return"))
        assert np.nanstd(predictions) < 0.05


def test_the_shift_is_measured_first_and_told(volatility: tuple[dict[str, Fitted], Any]) -> None:
    assert any("AUC" in note for note in volatility[1].notes)


def test_the_device_is_told_and_on_another_than_the_cpu_nothing_is_called_reproducible(
    volatility: tuple[dict[str, Fitted], Any], tiny: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "device: cpu" in volatility[1].notes
    assert all(item.reproducible for item in volatility[0].values())
    monkeypatch.setattr("tasks.search.transfer.engine.device", lambda: "gpu (NVIDIA H100)")
    data = warm.marked(made.made_up("volatility"))
    engine = started(data, (tiny,), tmp_path / "scratch", mode="refit")
    assert engine.notes == ["device: gpu (NVIDIA H100); bit for bit again only on a CPU"]
    recipe = volatility[0]["transfer-features-1"].recipe
    assert not engine.refit(data, RefitJob(name="a", recipe=recipe, rows=warm.FIT), tmp_path / "out").reproducible


def test_what_a_library_raises_costs_its_trial_alone(tiny: Backbone, tmp_path: Path) -> None:
    """Out of memory, say. Without the control there is nothing, and what a second try may mend goes on."""
    from tasks.search.transfer.strategies import Trial  # noqa: PLC0415

    def out_of_memory() -> Any:
        raise RuntimeError("RESOURCE_EXHAUSTED: out of memory\nand a page of details")

    def killed() -> Any:
        raise EngineKilledError("the JVM is gone")

    engine = started(made.made_up(), (tiny,), tmp_path / "scratch")
    assert engine._attempt(Trial(strategy="full", number=2), out_of_memory) is None
    assert engine.notes[-1] == "transfer-full-2: RuntimeError: RESOURCE_EXHAUSTED: out of memory"
    with pytest.raises(RuntimeError):
        engine._attempt(Trial(strategy="scratch", number=1), out_of_memory)
    with pytest.raises(EngineKilledError):
        engine._attempt(Trial(strategy="embeddings", number=1), killed)


def test_a_backbone_that_would_look_ahead_is_refused_with_both_dates(tmp_path: Path) -> None:
    late = made.backbone(tmp_path / "late", end="2011-07-25T21:00:00+00:00")
    with pytest.raises(EngineError, match=r"2011-07-25T21.*2011-07-24T21.*look ahead"):
        started(made.made_up(), (late,), tmp_path / "s")


def test_features_compared_within_a_date_are_refused(tiny: Backbone, tmp_path: Path) -> None:
    from tasks.search.transfer.engine import TransferEngine  # noqa: PLC0415

    with pytest.raises(EngineError, match="cross_section is 'rank'"):
        TransferEngine().asked(made.request_of(made.made_up(), (tiny,), cross_section="rank"))
    with pytest.raises(EngineError, match="none was given"):
        TransferEngine().asked(made.request_of(made.made_up(), ()))


def test_too_few_labels_for_a_fold_are_refused_before_anything_is_fitted(tiny: Backbone, tmp_path: Path) -> None:
    data = made.made_up()
    number = np.arange(len(data.y))
    few = dataclasses.replace(data, fits={**data.fits, "fit_fold_1": (number >= 60) & (number < 120)})
    engine = started(few, (tiny,), tmp_path / "s")
    with pytest.raises(EngineError, match=r"fit_fold_1: 60 rows .* worth 38 labels .* needs 50"):
        engine.search(made.hidden(few, "train", "validation", "blending"), tmp_path, lambda *_: None)


def test_a_recipe_whose_backbone_is_not_there_is_refused(
    volatility: tuple[dict[str, Fitted], Any], tmp_path: Path
) -> None:
    data = warm.marked(made.made_up())
    recipe = volatility[0]["transfer-full-1"].recipe
    engine = started(data, (made.backbone(tmp_path / "x", seed=8, name="other"),), tmp_path / "s", mode="refit")
    with pytest.raises(EngineError, match=r"starts from backbone tiny:.*hands out other:"):
        engine.refit(data, RefitJob(name="a", recipe=recipe, rows=warm.FIT), tmp_path / "m")
    with pytest.raises(EngineError, match="wanted"):
        engine.refit(data, RefitJob(name="a", recipe={**recipe, "engine": "h2o"}, rows=warm.FIT), tmp_path / "m")


def test_altered_weights_are_refused_by_name(tmp_path: Path) -> None:
    tampered = made.backbone(tmp_path / "bad")
    path = Path(tampered.folder) / "weights.npz"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(IntegrityError, match=r"weights\.npz"):
        searched("volatility", (tampered,), tmp_path)


@pytest.mark.needs_java
def test_trees_on_embeddings_are_served_as_they_were_grown(tiny: Backbone, tmp_path: Path, quick_java: None) -> None:
    """The encoder's graph and the MOJO behind it give the cluster's own predictions, and again after a refit."""
    from tasks.search.transfer import strategies  # noqa: PLC0415

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(strategies, "STRATEGIES", ("trees", "embeddings", "scratch"))
        for strategy in strategies.GROWN:
            patch.setitem(strategies.SETTINGS, strategy, {**strategies.SETTINGS[strategy], "trees": 20})
        found, _ = searched("direction", (tiny,), tmp_path, models=3)
    item, control = (next(each for each in found if each.name == f"transfer-{s}-1") for s in ("embeddings", "trees"))
    data = made.made_up("direction")
    assert (control.recipe["backbone"], item.recipe["control"]) == ({}, digest(control.recipe))
    assert (control.recipe["columns"], control.recipe["seed"]) == (item.recipe["columns"], item.recipe["seed"])
    plain, without = exported.verified(control, data)
    assert (plain.columns, plain.history) == (made.COLUMNS, 0), "nothing but the catalogue"
    np.testing.assert_array_equal(control.native_rows, item.native_rows)
    assert np.nanmax(np.abs(without - exported.verified(item, data)[1])) > 1e-3
    scorer, predictions = exported.verified(item, data)
    assert scorer.columns == made.COLUMNS
    assert scorer.history == 23
    assert item.recipe["hyperparameters"]["trees"] <= 20
    tail = load_scorer(item.model).predict(data.X[-40:])[23:]
    np.testing.assert_allclose(tail, predictions[-17:], rtol=0, atol=1e-12)
