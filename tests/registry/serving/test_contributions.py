"""Contributions against H2O's own, against shap's exact values, and against the formula; they always add up."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.documents import to_json
from tasks.errors import IntegrityError, ModelInputError
from tasks.registry.records import Night
from tasks.registry.serving import contributions as module
from tasks.registry.serving.bundle import MANIFEST
from tasks.registry.serving.contributions import contributions
from tasks.registry.serving.model_folder import digest, write_model
from tasks.registry.serving.predictor import Predictor
from tasks.registry.serving.scorers import load_scorer
from tasks.registry.serving.shapley import hypercube, shapley
from tasks.registry.serving.statistics import LEVELS, STATISTICS, ColumnStatistics, TrainingStatistics
from tests.registry.conftest import COLUMNS, Mojos, features_of, linear_model, make_bars, mojo_model, raw
from tests.registry.serving.test_panel import SYMBOLS, spec_of
from tests.registry.serving.test_panel import bundle as panel_bundle
from tests.registry.serving.test_predictor import bundle_of
from tests.registry.serving.test_scorers import garch, onnx_model

Floats = npt.NDArray[np.float64]
EXPLAINED = Path(__file__).parents[1] / "mojos" / "explained"
SAID = json.loads((EXPLAINED / "said.json").read_text(encoding="utf-8"))


def logit(p: Any) -> Any:
    return np.log(p) - np.log1p(-p)


def with_statistics(bundle: Path, columns: tuple[str, ...], X: Floats) -> Path:
    """The bundle with what its training rows would have left in it, if nothing did."""
    X = X[np.isfinite(X).all(axis=1)]
    told = [
        ColumnStatistics(name=name, mean=values.mean(), std=values.std(), quantiles=tuple(np.quantile(values, LEVELS)))
        for name, values in zip(columns, X.T, strict=True)
    ]
    found = TrainingStatistics(
        rows=len(X), first="", last="", columns=tuple(told), prediction=replace(told[0], name="prediction"), closes={}
    )
    (bundle / STATISTICS).write_text(json.dumps(to_json(found)))
    return listed(bundle)


def without_statistics(bundle: Path) -> Path:
    (bundle / STATISTICS).unlink(missing_ok=True)
    return listed(bundle)


def listed(bundle: Path) -> Path:
    """Bring the manifest in line with the files."""
    manifest = json.loads((bundle / MANIFEST).read_bytes())
    names = [path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()]
    manifest["files"] = {name: digest(bundle / name) for name in sorted(names) if name != MANIFEST}
    (bundle / MANIFEST).write_text(json.dumps(manifest))
    return bundle


def test_a_linear_model_is_its_terms(tmp_path: Path, night: Night, bars: pd.DataFrame) -> None:
    predictor = Predictor(bundle_of(tmp_path / "bundle", night, linear_model(tmp_path / "linear")))
    said = predictor.explain(raw(bars))
    row = dict(zip(COLUMNS, features_of(bars, COLUMNS)[-1], strict=True))
    terms = {
        name: 0.5 / (i + 1) * min(8.0, max(-8.0, (row[name] - (-5.0 + i)) / (0.7 + 0.1 * i)))
        for i, name in enumerate(COLUMNS)
    }
    assert said["feature"].tolist() == sorted(COLUMNS, key=lambda name: -abs(terms[name]))
    for line in said.to_dict("records"):
        assert line["contribution"] == pytest.approx(terms[line["feature"]], abs=1e-12)
        assert line["value"] == pytest.approx(row[line["feature"]], rel=1e-12)
        assert (line["base"], line["error"], line["link"], line["method"]) == (-0.3, 0.0, "identity", "exact")
    assert said["base"].iloc[0] + said["contribution"].sum() == pytest.approx(said["prediction"].iloc[0], abs=1e-12)
    assert said["prediction"].iloc[0] == predictor.predict(raw(bars))["prediction"].iloc[0]


def test_what_is_not_shown_is_one_line_and_the_sum_stays(tmp_path: Path, night: Night, bars: pd.DataFrame) -> None:
    predictor = Predictor(bundle_of(tmp_path / "bundle", night, linear_model(tmp_path / "linear")))
    everything, two = predictor.explain(raw(bars), top=None), predictor.explain(raw(bars), top=2)
    assert two["feature"].tolist() == [*everything["feature"].iloc[:2], "2 other features"]
    assert np.isnan(two["value"].iloc[2])
    assert two["contribution"].sum() == pytest.approx(everything["contribution"].sum(), abs=1e-14)
    assert predictor.explain(raw(bars), top=3)["feature"].iloc[3] == "1 other feature"
    with pytest.raises(ModelInputError, match="top must be at least 1"):
        predictor.explain(raw(bars), top=0)


def test_a_probability_is_told_in_log_odds(tmp_path: Path, night: Night, bars: pd.DataFrame) -> None:
    model = linear_model(tmp_path / "linear", output="probability", link="logistic")
    said = Predictor(bundle_of(tmp_path / "bundle", night, model)).explain(raw(bars))
    assert set(said["link"]) == {"log-odds"}
    total = said["base"].iloc[0] + said["contribution"].sum()
    assert total == pytest.approx(logit(said["prediction"].iloc[0]), rel=1e-9)


def test_a_constant_has_a_base_and_nothing_else(tmp_path: Path, night: Night, bars: pd.DataFrame) -> None:
    model = linear_model(tmp_path / "constant", columns=())
    explained = module._linear(load_scorer(model), np.empty(0))  # type: ignore[arg-type]
    assert explained.base == -0.3
    assert len(explained.contributions) == 0


@pytest.mark.needs_java
@pytest.mark.parametrize("name", ["gbm-value", "gbm-probability"])
def test_boosted_trees_say_what_h2o_says(tmp_path: Path, mojos: Mojos, name: str) -> None:
    told = SAID["models"][name]
    scorer = load_scorer(explained_model(tmp_path, mojos, name))
    for i, row in enumerate(np.array(SAID["rows"])):
        explained = module._trees(scorer, row)
        assert explained is not None
        np.testing.assert_allclose(explained.contributions, told["contributions"][i], rtol=1e-5, atol=1e-7)
        assert explained.base == pytest.approx(told["base"][i], rel=1e-6)
        assert explained.link == ("log-odds" if name == "gbm-probability" else "identity")
        total, wanted = explained.base + explained.contributions.sum(), told["predictions"][i]
        assert total == pytest.approx(logit(wanted) if explained.link == "log-odds" else wanted, abs=2e-6)


def explained_model(folder: Path, mojos: Mojos, name: str) -> Path:
    output = name.split("-")[1]
    mojo_model(folder, mojos, output)
    shutil.copyfile(EXPLAINED / f"{name}.zip", folder / "model.zip")
    files = {"mojo": "model.zip", "genmodel": "h2o-genmodel.jar"}
    write_model(folder, {"kind": "mojo", "output": output, "columns": SAID["columns"], "files": files})
    return folder


@pytest.mark.needs_java
def test_a_forest_is_not_left_to_the_jar(tmp_path: Path, mojos: Mojos) -> None:
    """H2O's own shares of columns that do nothing make up for a base that is 0.632 of the labels' mean."""
    probability = load_scorer(explained_model(tmp_path / "up", mojos, "drf-probability"))
    scorer = load_scorer(explained_model(tmp_path / "model", mojos, "drf-value"))
    rows, told = np.array(SAID["rows"]), np.array(SAID["models"]["drf-value"]["contributions"])
    assert module._trees(probability, rows[0]) is module._trees(scorer, rows[0]) is None
    drawn = hypercube(np.quantile(rows, LEVELS, axis=0).T, np.array(LEVELS), 64, 0)
    players = list(np.arange(4)[:, None])
    ours = np.array([shapley(scorer.predict, row, drawn, players, 0).values for row in rows])
    idle = [SAID["columns"].index(column) for column in ("har_22", "return_1")]
    ours_mean, told_mean = np.abs(ours[:, idle].mean(axis=0)), np.abs(told[:, idle].mean(axis=0))
    assert (ours_mean < told_mean / 1.5).all()


@pytest.mark.needs_java
def test_trees_are_explained_from_raw_bars(tmp_path: Path, night: Night, mojos: Mojos, bars: pd.DataFrame) -> None:
    model = mojo_model(tmp_path / "mojo", mojos)
    said = Predictor(bundle_of(tmp_path / "bundle", night, model)).explain(raw(bars))
    assert set(said["method"]) == {"TreeSHAP"}
    assert sorted(said["feature"]) == sorted(mojos.columns)
    assert said["base"].iloc[0] + said["contribution"].sum() == pytest.approx(said["prediction"].iloc[0], abs=1e-5)


@pytest.mark.needs_java
def test_a_mojo_without_trees_is_sampled_and_a_linear_one_has_its_coefficients(
    tmp_path: Path, night: Night, mojos: Mojos, bars: pd.DataFrame
) -> None:
    """H2O's GLM: additive in log-odds, so a feature's share is linear in its distance from the training rows."""
    model = mojo_model(tmp_path / "mojo", mojos, "probability")
    X = features_of(bars, mojos.columns)
    predictor = Predictor(with_statistics(bundle_of(tmp_path / "bundle", night, model), mojos.columns, X))
    said = predictor.explain(raw(bars), top=None).set_index("feature")
    assert set(said["method"]) == {"sampled"}
    assert set(said["link"]) == {"log-odds"}
    steps = np.vstack([np.full(4, -4.0), np.eye(4) - 4.0])
    slopes = np.diff(logit(predictor.scorer.predict(steps))[[0, 1, 0, 2, 0, 3, 0, 4]])[::2]
    quantiles = np.quantile(X[np.isfinite(X).all(axis=1)], LEVELS, axis=0).T
    centre = hypercube(quantiles, np.array(LEVELS), 64, 0).mean(axis=0)
    expected = slopes * (X[-1] - centre)
    assert said.loc[list(mojos.columns), "contribution"].tolist() == pytest.approx(expected.tolist(), abs=1e-8)


def test_a_network_is_sampled_and_says_how_surely(tmp_path: Path, night: Night, bars: pd.DataFrame) -> None:
    model = onnx_model(tmp_path / "onnx")[0]
    predictor = Predictor(without_statistics(bundle_of(tmp_path / "bundle", night, model)))
    said = predictor.explain(raw(bars))
    assert set(said["method"]) == {"sampled"}
    assert (said["error"] > 0).all()
    assert said["base"].iloc[0] + said["contribution"].sum() == pytest.approx(said["prediction"].iloc[0], abs=1e-6)
    pd.testing.assert_frame_equal(said, predictor.explain(raw(bars)))
    other = contributions(predictor, raw(bars), seed=1).set_index("feature")["contribution"]
    apart = (said.set_index("feature")["contribution"] - other) / said.set_index("feature")["error"]
    assert (apart.abs() < 5).all()
    assert (apart != 0).any()


def test_a_filter_is_told_by_how_long_ago(tmp_path: Path, night: Night, bars: pd.DataFrame) -> None:
    model = garch(tmp_path / "garch", history=200)
    X = features_of(bars, ("return_1",))
    bundle = with_statistics(bundle_of(tmp_path / "bundle", night, model), ("return_1",), X)
    calm, shaken = raw(bars).copy(), raw(bars).copy()
    last = shaken.index[-1]
    shaken.loc[last, ["low", "close"]] = shaken.loc[last - 1, "close"] * 0.93
    said = {name: Predictor(bundle).explain(frame).set_index("feature") for name, frame in
            (("calm", calm), ("shaken", shaken))}  # fmt: skip
    names = ["return_1, last bar", "return_1, 2 to 5 bars back", "return_1, 6 to 22 bars back",
             "return_1, before the last 22 bars"]  # fmt: skip
    assert sorted(said["calm"].index) == sorted(names)
    assert said["shaken"].index[0] == names[0]
    shares = {name: frame["contribution"].to_dict() for name, frame in said.items()}
    assert shares["shaken"][names[0]] > 10 * abs(shares["calm"][names[0]])
    assert said["shaken"]["value"].to_dict()[names[0]] == pytest.approx(-np.log(0.93), rel=1e-9)


def test_a_model_without_any_reference_says_what_to_do(tmp_path: Path, night: Night, bars: pd.DataFrame) -> None:
    bundle = without_statistics(bundle_of(tmp_path / "bundle", night, garch(tmp_path / "garch", history=200)))
    with pytest.raises(ModelInputError, match="without the statistics of its training rows"):
        Predictor(bundle).explain(raw(bars))


def test_a_panel_is_told_in_ranks(tmp_path: Path) -> None:
    bars = make_bars(SYMBOLS, sessions=400)
    bundle = panel_bundle(tmp_path / "panel", bars, spec_of(universe=SYMBOLS))
    predictor = Predictor(bundle)
    shuffled = pd.concat([part for _, part in reversed(list(bars.groupby("symbol", sort=True)))], ignore_index=True)
    said = predictor.explain(shuffled.drop(columns="session"), top=None)
    predicted = predictor.predict(shuffled.drop(columns="session")).set_index("symbol")["prediction"]
    assert said["symbol"].drop_duplicates().tolist() == list(reversed(SYMBOLS))
    ranks = said[said["feature"] == "return_22"].set_index("symbol")["value"]
    assert sorted(ranks) == pytest.approx(np.linspace(-0.5, 0.5, len(SYMBOLS)).tolist(), abs=1e-9)
    closes = bars.groupby("symbol")["close"].apply(lambda column: column.iloc[-1] / column.iloc[-23])
    assert ranks.sort_values().index.tolist() == closes.sort_values().index.tolist()
    for symbol, part in said.groupby("symbol"):
        assert part["base"].iloc[0] + part["contribution"].sum() == pytest.approx(predicted[symbol], abs=1e-12)
    few = contributions(predictor, shuffled.drop(columns="session"), symbols=["S03"])
    assert set(few["symbol"]) == {"S03"}
    assert few["prediction"].iloc[0] == predicted["S03"]
    with pytest.raises(ModelInputError, match="none of the symbols asked for is predicted: XXX"):
        contributions(predictor, shuffled.drop(columns="session"), symbols=["XXX"])


def test_contributions_that_miss_the_prediction_are_not_shown(
    tmp_path: Path, night: Night, bars: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    predictor = Predictor(bundle_of(tmp_path / "bundle", night, linear_model(tmp_path / "linear")))
    intact = module._linear
    monkeypatch.setattr(module, "_linear", lambda *given: replace(intact(*given), base=0.7))
    with pytest.raises(IntegrityError, match="miss the prediction"):
        predictor.explain(raw(bars))


def crooked(X: Floats) -> Floats:
    """Products, a threshold and a column that does nothing."""
    return np.asarray(X[:, 0] * X[:, 1] + np.where(X[:, 2] > 0, X[:, 0], 0.3) + np.tanh(X[:, 1]))


@pytest.mark.filterwarnings("ignore")  # shap's imports warn of numba's and of matplotlib's future
def test_samples_lie_around_shaps_exact_values() -> None:
    import shap  # noqa: PLC0415

    rng = np.random.default_rng(2)
    background, rows = rng.normal(size=(64, 4)), rng.normal(size=(5, 4))
    explainer = shap.KernelExplainer(crooked, background)  # exact: with four columns it takes every subset
    exact = explainer.shap_values(rows, l1_reg=False, silent=True)
    players = [np.array([i]) for i in range(4)]
    for i, row in enumerate(rows):
        ours = shapley(crooked, row, background, players, seed=i)
        assert ours.base == pytest.approx(float(explainer.expected_value), abs=1e-12)
        assert ours.base + ours.values.sum() == pytest.approx(float(crooked(row[None, :])[0]), abs=1e-12)
        assert (np.abs(ours.values - exact[i]) <= 4 * ours.errors + 1e-12).all()
        assert ours.values[3] == 0.0


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 6), rounds=st.integers(2, 8))
def test_shares_add_up_and_equals_get_equal_shares(seed: int, count: int, rounds: int) -> None:
    rng = np.random.default_rng(seed)
    x, background = rng.normal(size=count), rng.normal(size=(rounds, count))
    x[:] = x[0]
    background[:] = background[:, :1]
    players = [np.array([i]) for i in range(count)]

    def product(X: Floats) -> Floats:
        return np.asarray(np.prod(1.0 + 0.1 * X, axis=1))

    found = shapley(product, x, background, players, seed)
    assert found.base + found.values.sum() == pytest.approx(float(product(x[None, :])[0]), rel=1e-12)
    # The product is symmetric, and all columns are equal everywhere: the exact shares are equal.
    assert (np.abs(found.values - found.values.mean()) <= 6 * found.errors + 0.02).all()


def test_the_background_is_the_training_distribution_without_its_tails() -> None:
    levels = np.array(LEVELS)
    quantiles = np.array([levels, 100 * levels**2])
    drawn = hypercube(quantiles, levels, 100, seed=3)
    assert drawn[:, 0].min() == pytest.approx(0.05)
    assert drawn[:, 0].max() == pytest.approx(0.95)
    assert drawn[:, 0].mean() == pytest.approx(0.5, abs=1e-9)
    assert np.median(drawn[:, 1]) == pytest.approx(25.0, abs=0.5)
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1]).item(1)) < 0.3
