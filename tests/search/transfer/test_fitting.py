"""A head in closed form starts from the one of pre-training, and a frozen encoder is asked once."""

# ruff: noqa: PLC0415 - keras is imported late, after its backend was chosen
from __future__ import annotations

import dataclasses
import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.contracts import Backbone, TargetName
from tests.benchmarks.compilations import compilations
from tests.search.transfer import rows as made

if importlib.util.find_spec("keras") is None:  # importing it here would settle keras's backend
    pytest.skip("the engines extra is not installed", allow_module_level=True)
pytestmark = [
    # keras 3.15's variables and JAX's arrays lack NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]
LENGTH = 24
HEADS = {
    "volatility/kernel": np.linspace(-0.4, 0.4, 8)[:, None],
    "volatility/bias": np.array([0.2]),
    "direction/kernel": np.linspace(0.3, -0.3, 8)[:, None],
    "direction/bias": np.array([-0.1]),
}


@pytest.fixture(scope="module")
def headed(tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    return made.backbone(tmp_path_factory.mktemp("backbone") / "headed", heads=HEADS)


def fitting_of(name: TargetName, folder: Path) -> Any:
    from tasks.search.transfer.embeddings import Embeddings
    from tasks.search.transfer.fitting import Fitting
    from tasks.search.transfer.panel import Panel
    from tasks.storage import StageStore

    panel = Panel.of(made.made_up(name), LENGTH)
    return Fitting(panel, Embeddings(panel.bars, LENGTH, StageStore(folder)))


def recipe_of(fitting: Any, backbone: Backbone | None, strategy: str = "features") -> dict[str, Any]:
    from tasks.search.transfer import strategies
    from tasks.search.transfer.channels import CHANNELS

    known = {**strategies.SETTINGS[strategy], "level": [-4.6, 0.5]}  # type: ignore[index]
    trial = strategies.Trial(strategy=strategy, number=1, settings=known)  # type: ignore[arg-type]
    sizes = {"architecture": "tcn", "length": LENGTH, "width": 8, "depth": 2, "embedding": 8}
    return strategies.recipe_of(
        trial, fitting.panel.data.target, CHANNELS, backbone, sizes, epochs=1, batch=64, seed=3,
        adaptation={"method": "none"},
    )  # fmt: skip


@pytest.mark.parametrize("name", ["volatility", "return", "direction"])
def test_a_frozen_candidate_is_scored_on_the_embeddings_at_hand(
    name: TargetName, headed: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tasks.search.transfer import networks

    fitting = fitting_of(name, tmp_path)
    rows = fitting.panel.fitted(fitting.panel.data.rows("train"), "the train window")
    done, ends = fitting.fit(recipe_of(fitting, headed), headed, rows), fitting.panel.data.rows("selection")
    network = done.network.predict(fitting.panel.bars, ends)
    with monkeypatch.context() as patch:
        patch.setattr(networks, "embed", None)
        patch.setattr(type(done.network), "predict", None)
        found = fitting.predicted(done, ends)
        assert np.isfinite(fitting.loss(done, ends))
    np.testing.assert_allclose(found, network, atol=1e-5)
    assert found.std() > 0


def test_the_head_is_shrunk_towards_the_one_of_pre_training_and_the_controls_towards_nothing(
    headed: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing but the largest penalty left, what is told is the backbone's head, or the window's level."""
    from tasks.search.transfer import heads

    for name, task in (("volatility", "volatility"), ("direction", "direction"), ("return", None)):
        closed = heads.logistic if name == "direction" else heads.ridge
        assert closed.__kwdefaults__ is not None
        monkeypatch.setitem(closed.__kwdefaults__, "penalties", (np.inf,))
        fitting = fitting_of(name, tmp_path)  # type: ignore[arg-type]
        rows = fitting.panel.fitted(fitting.panel.data.rows("train"), "the train window")
        kernel = fitting.fit(recipe_of(fitting, headed), headed, rows).start.kernel
        wanted = np.zeros(8) if task is None else HEADS[f"{task}/kernel"][:, 0]
        np.testing.assert_allclose(kernel, [*wanted, 0.0], atol=1e-7)
        control = fitting.fit(recipe_of(fitting, None, "scratch"), None, rows)
        assert not control.start.kernel.any()


def test_of_several_horizons_the_nearest_heads(headed: Backbone) -> None:
    from tasks.search.transfer.backbone import read
    from tasks.search.transfer.fitting import pretrained_head

    known, several = read(headed), np.array([1, 5, 22])
    heads = {"volatility/kernel": np.ones((8, 1)) * several, "volatility/bias": -1.0 * several}
    loaded = dataclasses.replace(known, heads=heads, source={**known.source, "horizons": several})
    target = made.target_of("volatility")
    for horizon, nearest in ((1, 1), (2, 1), (3, 5), (9, 5), (12, 22), (60, 22)):
        found = pretrained_head(loaded, dataclasses.replace(target, horizon=horizon))
        assert found is not None
        np.testing.assert_array_equal(found.kernel, [*[nearest] * 8, 0.0])
        assert found.bias == -nearest
    assert pretrained_head(loaded, made.target_of("direction")) is None


def test_other_rows_and_another_level_compile_nothing(headed: Backbone, tmp_path: Path) -> None:
    """Folds differ in how many rows they have and in their windows' level: they are no reason to compile."""
    fitting = fitting_of("volatility", tmp_path)
    rows = fitting.panel.fitted(fitting.panel.data.rows("train"), "the train window")
    watched, ends = fitting.panel.data.rows("validation"), fitting.panel.data.rows("selection")
    recipes = [
        (recipe_of(fitting, backbone, name), backbone) for name, backbone in (("scratch", None), ("full", headed))
    ]
    for recipe, backbone in recipes:
        fitting.predicted(fitting.fit(recipe, backbone, rows, watched=watched), ends)
    before = len(compilations())
    for recipe, backbone in recipes:
        recipe["hyperparameters"]["level"] = [-4.2, 0.8]
        losses = [fitting.fit(recipe, backbone, rows[first:], watched=watched[first:]) for first in (0, 61)]
        fitting.predicted(losses[-1], ends[7:])
    assert compilations()[before:] == []
    fitting.fit({**recipes[0][0], "batch": 32}, None, rows)
    assert compilations()[before:], "they are heard"
