"""The AutoKeras engine on small made-up data: what it finds, what it exports, and that it can be done again."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tasks.contracts import EngineBudget, EngineRequest, FeatureMatrix, FeatureSpec, RefitJob, Rows, Target, Window
from tasks.documents import to_json
from tasks.errors import ConfigurationError, EngineError
from tasks.registry.serving.scorers import load_scorer
from tasks.search import keras_export, process
from tasks.search.auto_keras import AutoKerasEngine, use_jax
from tasks.search.engine import Fitted, TrainingData
from tasks.search.fold_scaling import FoldScaling
from tasks.search.keras_training import batch_rows, fit_fold
from tasks.storage import write_parquet

if importlib.util.find_spec("autokeras") is None:  # importing it here would settle keras's backend
    pytest.skip("the engines extra is not installed", allow_module_level=True)
pytestmark = [
    # keras-tuner 1.4.8 asks for the thread's name the old way.
    pytest.mark.filterwarnings("ignore:(currentThread|getName)\\(\\) is deprecated:DeprecationWarning"),
    # keras 3.15's variables and JAX's arrays lack NumPy 2's copy argument.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword:DeprecationWarning"),
]

REGRESSION = Target(name="volatility", horizon=1, kind="regression", loss="mse")
CLASSIFICATION = Target(name="direction", horizon=1, kind="classification", loss="log_loss")
BUDGET = EngineBudget(models=3, seconds=600, epochs=25)
COLUMNS = ("linear", "bent", "noise", "few_values", "constant", "outlier")
WINDOWS = {"train": (0, 600), "validation": (605, 800), "blending": (805, 850), "selection": (855, 1050)}
SEARCHED = np.concatenate([np.arange(*WINDOWS[name]) for name in ("train", "validation", "blending")])
Events = list[tuple[int, int, float | None, str]]


def made_up(target: Target) -> TrainingData:
    """1,200 rows of one symbol: a linear and a quadratic effect, a category-like, a constant and a wild column."""
    generator = np.random.default_rng(7)
    n = 1200
    X = generator.normal(size=(n, len(COLUMNS)))
    X[:, 3] = generator.integers(0, 3, n)
    X[:, 4] = 5.0
    X[30, 5] = 1e6
    signal = 1.5 * X[:, 0] + X[:, 1] ** 2 + 0.5 * X[:, 3]
    y = -9.0 + 0.3 * (signal + 0.3 * generator.normal(size=n))
    if target.kind == "classification":
        y = (signal + 0.3 * generator.normal(size=n) > np.median(signal)).astype(float)
    window = np.full(n, "", dtype=object)
    for name, (start, stop) in WINDOWS.items():
        window[start:stop] = name
    days = (np.datetime64("2010-01-04T21:00") + np.arange(n) * np.timedelta64(1, "D")).astype("datetime64[ns]")
    return TrainingData(
        X=X,
        y=y,
        columns=COLUMNS,
        symbols=np.full(n, "XYZ", dtype=object),
        times=days,
        window=window,
        sessions=days,
        weight=np.where(np.arange(n) % 2, 1.0, 0.25),
        fits={"fit_gate": np.arange(n) < 1000, "fit_all": np.ones(n, dtype=bool)},
        target=target,
    )


def hidden(data: TrainingData, *windows: str) -> TrainingData:
    """As the harness hands it over: labels of these windows alone."""
    return dataclasses.replace(data, y=np.where(np.isin(data.window.astype(str), windows), data.y, np.nan))


def selection(data: TrainingData, item: Fitted) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Labels of the selection rows, and what the exported model predicts for them."""
    rows = np.flatnonzero(data.window == "selection")
    return data.y[rows], load_scorer(item.model).predict(data.X[rows])


def searched(target: Target, folder: Path, budget: EngineBudget, seed: int = 3) -> tuple[list[Fitted], Any, Events]:
    events: Events = []
    engine = AutoKerasEngine()
    engine.start(budget, seed, folder / "scratch")
    data = hidden(made_up(target), "train", "validation", "blending")
    found = engine.search(data, folder / "out", lambda *event: events.append(event))
    return found, engine, events


@pytest.fixture(scope="module")
def regression(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Fitted], Any, Events]:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the final fit on train and validation rows must not happen")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(use_jax(2).Tuner, "final_fit", refuse)
        return searched(REGRESSION, tmp_path_factory.mktemp("regression"), BUDGET)


@pytest.fixture(scope="module")
def classification(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Fitted], Any, Events]:
    return searched(CLASSIFICATION, tmp_path_factory.mktemp("classification"), dataclasses.replace(BUDGET, models=2))


@pytest.mark.slow
def test_the_leading_trials_learn_what_is_there(regression: tuple[list[Fitted], Any, Events]) -> None:
    found, engine, _ = regression
    y, predicted = selection(made_up(REGRESSION), found[0])
    assert [item.engine for item in found] == ["autokeras"] * 3
    assert len({item.name for item in found}) == 3
    assert 1 - np.mean((y - predicted) ** 2) / np.var(y) > 0.7  # all that is linear: 0.54
    assert engine.notes == []
    assert all(item.reproducible and item.train_seconds > 0 and not item.notes for item in found)


@pytest.mark.slow
def test_progress_counts_trials_and_the_best_loss_only_falls(regression: tuple[list[Fitted], Any, Events]) -> None:
    _, _, events = regression
    assert [(done, allowed) for done, allowed, _, _ in events] == [(0, 3), (1, 3), (2, 3), (3, 3), (3, 3)]
    losses = [best for _, _, best, _ in events[1:] if best is not None]
    assert len(losses) == 4
    assert losses == sorted(losses, reverse=True)


@pytest.mark.slow
def test_what_is_exported_repeats_keras_and_holds_no_pickle(regression: tuple[list[Fitted], Any, Events]) -> None:
    data = made_up(REGRESSION)
    for item in regression[0]:
        assert {path.name for path in item.model.iterdir()} == {"model.json", "model.onnx"}
        again = load_scorer(item.model).predict(data.X[item.native_rows])
        assert np.max(np.abs(again - item.native)) <= item.tolerance
        assert item.tolerance == pytest.approx(1e-5 * data.y[SEARCHED].std())
        assert item.native_rows.tolist() == SEARCHED.tolist()


@pytest.mark.slow
def test_candidates_are_fitted_on_all_rows_before_the_selection_window(
    regression: tuple[list[Fitted], Any, Events],
) -> None:
    data = made_up(REGRESSION)
    for item in regression[0]:
        document = json.loads((item.model / "model.json").read_text())
        np.testing.assert_allclose(document["center"], data.X[SEARCHED].mean(axis=0), rtol=1e-12)
        assert document["scale"][4] == 1.0
        assert document["clip"] == 8.0
        assert document["target_center"] == pytest.approx(data.y[SEARCHED].mean())
        assert document["target_scale"] == pytest.approx(data.y[SEARCHED].std())


@pytest.mark.slow
def test_a_recipe_alone_gives_the_candidate_again(regression: tuple[list[Fitted], Any, Events], tmp_path: Path) -> None:
    found, engine, _ = regression
    data = made_up(REGRESSION)
    marked = np.isin(np.arange(len(data.y)), SEARCHED)
    recipe = json.loads(json.dumps(to_json(found[0].recipe)))
    job = RefitJob(name="again", recipe=recipe, rows="fit_gate")
    again = engine.refit(dataclasses.replace(data, fits={"fit_gate": marked}), job, tmp_path)
    np.testing.assert_array_equal(selection(data, again)[1], selection(data, found[0])[1])


@pytest.mark.slow
def test_without_time_for_another_fit_the_trial_itself_is_exported(tmp_path: Path) -> None:
    found, _, _ = searched(REGRESSION, tmp_path, dataclasses.replace(BUDGET, models=1, epochs=2, seconds=-1000))
    (item,) = found
    document = json.loads((item.model / "model.json").read_text())
    np.testing.assert_allclose(document["center"], made_up(REGRESSION).X[:600].mean(axis=0), rtol=1e-12)
    assert not item.reproducible
    assert "fitted on train rows alone: the time budget is used up" in item.notes


@pytest.mark.slow
def test_a_refit_learns_from_the_marked_rows_alone(
    regression: tuple[list[Fitted], Any, Events], tmp_path: Path
) -> None:
    found, engine, _ = regression
    data = made_up(REGRESSION)
    marked = dataclasses.replace(data, y=np.where(data.fits["fit_gate"], data.y, np.nan))
    poisoned = dataclasses.replace(marked, X=np.where(data.fits["fit_gate"][:, None], data.X, data.X + 100))
    job = RefitJob(name="gated", recipe=found[0].recipe, rows="fit_gate")
    first = engine.refit(marked, job, tmp_path / "first")
    second = engine.refit(poisoned, job, tmp_path / "second")
    assert (first.model / "model.json").read_bytes() == (second.model / "model.json").read_bytes()
    document = json.loads((first.model / "model.json").read_text())
    np.testing.assert_allclose(document["center"], data.X[:1000].mean(axis=0), rtol=1e-12)


@pytest.mark.slow
def test_a_process_of_its_own_finds_the_same(regression: tuple[list[Fitted], Any, Events], tmp_path: Path) -> None:
    data = made_up(REGRESSION)
    result = process.run(request(data, tmp_path), tmp_path / "out")
    assert [candidate.name for candidate in result.candidates] == [item.name for item in regression[0]]
    for candidate, item in zip(result.candidates, regression[0], strict=True):
        assert candidate.recipe == item.recipe
        ours, theirs = (
            selection(data, item)[1],
            selection(data, dataclasses.replace(item, model=Path(candidate.model)))[1],
        )
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.slow
def test_a_direction_is_a_probability(classification: tuple[list[Fitted], Any, Events]) -> None:
    found, _, _ = classification
    y, p = selection(made_up(CLASSIFICATION), found[0])
    assert json.loads((found[0].model / "model.json").read_text())["output"] == "probability"
    assert ((p > 0) & (p < 1)).all()
    assert np.mean(-(y * np.log(p) + (1 - y) * np.log(1 - p))) < 0.5  # a coin: 0.693


@pytest.mark.slow
def test_a_search_out_of_time_says_so_and_a_used_folder_is_searched_again(tmp_path: Path) -> None:
    budget = dataclasses.replace(BUDGET, models=2, seconds=0)
    for _ in range(2):
        found, engine, events = searched(REGRESSION, tmp_path, budget)
        assert [item.name for item in found] == ["autokeras_1"]
        assert not found[0].reproducible
        assert "limit of 0 s" in engine.notes[0]
        assert "limit" in found[0].notes[0]
        assert found[0].recipe["epochs"] == 1
        assert [done for done, *_ in events] == [0, 1, 1]


@pytest.mark.slow
def test_trials_that_all_fail_are_an_error_with_their_cause(
    regression: tuple[list[Fitted], Any, Events], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise ValueError("no such operation")

    monkeypatch.setattr(use_jax(2).Tuner, "adapt", staticmethod(broken))
    with pytest.raises(EngineError, match=r"no AutoKeras trial.*(?s:.*)no such operation"):
        searched(REGRESSION, tmp_path, BUDGET)


@pytest.mark.slow
def test_a_network_that_cannot_be_served_leaves_its_place_to_the_next(
    regression: tuple[list[Fitted], Any, Events], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_the_first(folder: Path, *args: Any) -> None:
        if folder.name == "autokeras_1":
            raise EngineError("autokeras_1: differs: refused")

    monkeypatch.setattr(keras_export, "require_same", refuse_the_first)
    found, engine, _ = searched(REGRESSION, tmp_path, dataclasses.replace(BUDGET, models=2, epochs=1))
    assert [item.name for item in found] == ["autokeras_2"]
    assert engine.notes == ["autokeras_1: differs: refused"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda recipe: recipe | {"kind": "classification"}, "cannot be fitted here"),
        (lambda recipe: recipe | {"engine": "h2o"}, "cannot be fitted here"),
        (lambda recipe: recipe | {"columns": ["linear", "gone"]}, r"lacks \['gone'\]"),
        (lambda recipe: recipe | {"hyperparameters": {"optimizer": "adam"}}, "does not say"),
    ],
)
def test_a_recipe_that_does_not_fit_is_refused(
    regression: tuple[list[Fitted], Any, Events],
    tmp_path: Path,
    change: Callable[[dict[str, Any]], dict[str, Any]],
    message: str,
) -> None:
    found, engine, _ = regression
    job = RefitJob(name="odd", recipe=change(found[0].recipe), rows="fit_all")
    with pytest.raises(EngineError, match=message):
        engine.refit(made_up(REGRESSION), job, tmp_path)


@pytest.mark.slow
def test_labels_count_by_their_weight_in_search_and_refit(tmp_path: Path) -> None:
    """Every other label is turned round: where those count little, the fit follows the others."""
    data = made_up(CLASSIFICATION)
    odd = np.arange(len(data.y)) % 2 == 1
    turned = dataclasses.replace(data, y=np.where(odd, 1.0 - data.y, data.y), weight=np.where(odd, 0.05, 1.0))
    engine = AutoKerasEngine()
    engine.start(dataclasses.replace(BUDGET, models=1), 3, tmp_path / "scratch")
    weighted = hidden(dataclasses.replace(turned, weighted=True), "train", "validation", "blending")
    (item,) = engine.search(weighted, tmp_path / "out", lambda *event: None)
    plain = engine.refit(turned, RefitJob(name="plain", recipe=item.recipe, rows="fit_gate"), tmp_path / "plain")
    follows, torn = (selection(data, found) for found in (item, plain))
    assert np.corrcoef(*follows)[0, 1] > 0.6
    assert np.corrcoef(*follows)[0, 1] > np.corrcoef(*torn)[0, 1] + 0.3


def test_a_seed_or_budget_that_autokeras_would_ignore_is_refused(tmp_path: Path) -> None:
    engine = AutoKerasEngine()
    with pytest.raises(ConfigurationError, match="seed must be at least 1, got 0"):
        engine.start(BUDGET, 0, tmp_path)
    with pytest.raises(ConfigurationError, match="at least one trial and one epoch"):
        engine.start(dataclasses.replace(BUDGET, epochs=0), 1, tmp_path)


def test_windows_that_cannot_teach_are_refused(tmp_path: Path) -> None:
    data = made_up(CLASSIFICATION)
    one_class = dataclasses.replace(data, y=np.zeros(len(data.y)))
    with pytest.raises(EngineError, match=r"both 0 and 1, got \[0.0\]"):
        fit_fold(one_class, one_class.rows("train"), COLUMNS)
    with pytest.raises(EngineError, match="0 labelled rows"):
        fit_fold(data, np.array([], dtype=np.int64), COLUMNS)
    with pytest.raises(EngineError, match="no labelled validation rows"):
        AutoKerasEngine().search(hidden(made_up(REGRESSION), "train"), tmp_path, lambda *event: None)


@pytest.mark.parametrize(("rows", "batch"), [(1, 128), (2200, 128), (5000, 256), (400_000, 1024)])
def test_batches_grow_with_the_rows_within_bounds(rows: int, batch: int) -> None:
    assert batch_rows(rows) == batch


def test_scaling_clips_keeps_constants_at_zero_and_comes_back() -> None:
    X = np.array([[0.0, 3.3], [1.0, 3.3], [2.0, 3.3]])
    y = np.array([10.0, 20.0, 60.0])
    scaling = FoldScaling.fit(X, y, scale_target=True)
    np.testing.assert_allclose(scaling.features(np.array([[1e9, 3.3], [1, 3.3]])), [[8, 0], [0, 0]], atol=1e-12)
    assert scaling.features(X).dtype == np.float32
    np.testing.assert_allclose(scaling.original(scaling.targets(y)), y, rtol=1e-6)
    labels = FoldScaling.fit(X, np.array([0.0, 1.0, 1.0]), scale_target=False)
    assert labels.targets(np.array([0.0, 1.0])).tolist() == [[0.0], [1.0]]


def request(data: TrainingData, folder: Path) -> EngineRequest:
    """The same data as files, as the flow hands it to an engine's process."""
    keys = {"symbol": data.symbols, "time": pd.DatetimeIndex(data.times, tz="UTC")}
    features = pd.DataFrame({**keys, **dict(zip(data.columns, data.X.T, strict=True))})
    labels = {"label": data.y, "window": data.window, "weight": data.weight, "session": data.sessions, **data.fits}
    first, last = str(data.times[0]), str(data.times[-1])
    return EngineRequest(
        engine="autokeras",
        mode="search",
        features=FeatureMatrix(
            ref=write_parquet(folder / "features.parquet", features),
            spec=FeatureSpec(columns=data.columns, tick=0.01),
            lookback=0,
        ),
        rows=Rows(
            ref=write_parquet(folder / "rows.parquet", pd.DataFrame({**keys, **labels})),
            target=data.target,
            windows=(Window(name="train", first=first, last=last, rows=600, dates=600),),
            purged=0,
            embargo=0,
            term_start=first,
        ),
        budget=BUDGET,
        seed=3,
    )
