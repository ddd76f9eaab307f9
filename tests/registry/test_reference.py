"""What a bundle says of its training is what the fit learned from, and no row more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tasks.documents import to_json
from tasks.registry import mlflow_store, nights
from tasks.registry.bundle import entry_facts, write_bundle
from tasks.registry.coverage import coverage_since, coverage_tags, gate_coverage, with_coverage
from tasks.registry.records import Entry, LoggedNight, Night
from tasks.registry.reference import training_statistics
from tasks.registry.residuals import intervals
from tasks.registry.service import InService, Served
from tasks.registry.serving.intervals import KEPT, AdaptiveIntervals
from tasks.registry.serving.predictor import Predictor
from tasks.registry.serving.statistics import LEVELS, STATISTICS, read_statistics
from tasks.statistics.conformal import radius
from tasks.storage import read_parquet, read_predictions, write_json, write_parquet
from tests.registry.conftest import COLUMNS, make_bars, make_entry, make_night
from tests.registry.walked import FOLDS, RETURNS, walked_night


def learned(night: Night, fit: str) -> npt.NDArray[np.bool_]:
    return read_parquet(night.rows.ref)[fit].to_numpy(bool)


def test_columns_and_predictions_are_described_over_the_rows_of_the_fit(night: Night, entry: Entry) -> None:
    rows = learned(night, "fit_gate")
    found = training_statistics(night, entry.gated)
    assert found.rows == rows.sum() == 320 - 22 - 60
    assert [column.name for column in found.columns] == list(COLUMNS)
    matrix = read_parquet(night.features.ref)
    for column in (*found.columns, replace(found.prediction, name="prediction")):
        values = (
            read_predictions(entry.gated.predictions)[rows]
            if column.name == "prediction"
            else matrix.loc[rows, column.name].to_numpy()
        )
        np.testing.assert_allclose([column.mean, column.std], [values.mean(), values.std()], rtol=1e-7)
        np.testing.assert_allclose(column.quantiles, np.quantile(values, LEVELS), rtol=1e-7)
        assert (column.quantiles[0], column.quantiles[-1]) == pytest.approx((values.min(), values.max()))


def test_closes_go_through_the_last_label_that_the_fit_saw(night: Night, entry: Entry, bars: pd.DataFrame) -> None:
    gated, shipped = training_statistics(night, entry.gated), training_statistics(night, entry.shipped)
    seen = bars["close"].iloc[: 320 - 60 + 1]  # the last training row's label ends on the gate's first bar here
    assert gated.closes["SPX"] == pytest.approx((seen.min(), seen.max(), seen.iloc[-1]), rel=1e-8)
    assert gated.last_bar == bars["time"].iloc[260].isoformat()
    assert shipped.closes["SPX"][2] == pytest.approx(bars["close"].iloc[-1], rel=1e-8)
    assert shipped.bars_a_year == pytest.approx(261, abs=1)
    assert not shipped.until


def test_a_symbol_that_ended_says_when(tmp_path: Path) -> None:
    bars = make_bars(("AAA", "BBB"), sessions=200)
    night = make_night(tmp_path, bars.drop(range(150, 200)).reset_index(drop=True))
    found = training_statistics(night, make_entry(night).shipped)
    assert found.until == {"AAA": bars["time"].iloc[149].isoformat()}
    assert found.closes["AAA"][2] == pytest.approx(bars["close"].iloc[149], rel=1e-8)


def test_what_a_search_fitted_is_described_over_its_own_windows(night: Night) -> None:
    found = training_statistics(night, night.results[0].candidates[0])
    assert found.rows == learned(night, "fit_gate").sum()


def test_statistics_survive_the_bundle(tmp_path: Path, night: Night, entry: Entry) -> None:
    write_bundle(tmp_path / "bundle", night, entry.shipped, entry_facts(entry, "shipped"))
    assert read_statistics(tmp_path / "bundle") == training_statistics(night, entry.shipped)
    assert Predictor(tmp_path / "bundle").intervals is None  # nobody walked it


def test_a_panel_of_500_symbols_and_150_columns_stays_small(tmp_path: Path, night: Night, entry: Entry) -> None:
    found = training_statistics(night, entry.shipped)
    wide = replace(
        found,
        columns=found.columns[:1] * 150,
        closes={f"SYM{i:03d}": (1234.56789, 2345.67891, 2000.12345) for i in range(500)},
    )
    write_json(tmp_path / STATISTICS, to_json(wide))
    assert (tmp_path / STATISTICS).stat().st_size < 150_000


def test_intervals_are_made_of_the_errors_on_the_folds(tmp_path: Path) -> None:
    night = walked_night(tmp_path, make_bars())
    entry = make_entry(night)
    found = intervals(night, entry.shipped)
    assert found is not None
    kept = pd.read_parquet(tmp_path / "board.parquet")
    errors = (kept["label"] - kept["ridge-0"]).abs().to_numpy()
    assert (found.residuals, found.dates, len(found.scores)) == (FOLDS, FOLDS, FOLDS)
    for coverage in (0.5, 0.8, 0.9, 0.95):
        assert found.radius(coverage) == pytest.approx(radius(errors, coverage), rel=1e-5)
    assert intervals(night, replace(entry.shipped, name="ridge-4")) is None


def test_many_scores_are_thinned_and_err_on_the_wide_side(tmp_path: Path) -> None:
    night = walked_night(tmp_path, make_bars(tuple(f"S{i:02d}" for i in range(20)), sessions=260))
    found = intervals(night, make_entry(night).shipped)
    assert found is not None
    kept = pd.read_parquet(tmp_path / "board.parquet")
    assert (found.residuals, len(found.scores)) == (len(kept), KEPT)
    assert len(kept) > KEPT
    errors = (kept["label"] - kept["ridge-0"]).abs().to_numpy()
    for coverage in np.linspace(0.01, 0.99, 99):
        exact = radius(errors, float(coverage))
        wider = radius(errors, min(float(coverage) + 1.0 / KEPT, 0.9999))
        assert exact * (1 - 1e-5) <= found.radius(float(coverage)) <= wider * (1 + 1e-5)


def test_returns_are_scaled_by_the_volatility_of_the_last_22_bars(tmp_path: Path) -> None:
    bars = make_bars(("AAA", "BBB"), sessions=300)
    night = walked_night(tmp_path, bars, RETURNS)
    found = intervals(night, make_entry(night).shipped)
    assert found is not None
    assert found.scaling.kind == "volatility"
    kept = pd.read_parquet(tmp_path / "board.parquet").merge(
        read_parquet(night.features.ref)[["symbol", "time", "har_22"]], on=["symbol", "time"]
    )
    scores = np.abs(kept["label"]) / np.exp(kept["har_22"])
    assert found.radius(0.9) == pytest.approx(radius(scores.to_numpy(), 0.9), rel=1e-5)


def test_a_model_of_probabilities_has_no_intervals(tmp_path: Path) -> None:
    night = walked_night(tmp_path, make_bars())
    target = replace(night.rows.target, name="direction", kind="classification", loss="log_loss")
    night = replace(night, rows=replace(night.rows, target=target))
    assert intervals(night, make_entry(night).gated) is None
    assert gate_coverage(night, make_entry(night).gated) is None


def test_coverage_on_the_gate_is_counted_with_the_gated_fit_and_travels(tmp_path: Path) -> None:
    night = walked_night(tmp_path, make_bars())
    entry = with_coverage(make_entry(night), night)
    found = gate_coverage(night, entry.gated)
    assert found is not None
    rows = read_parquet(night.rows.ref).assign(prediction=read_predictions(entry.gated.predictions))
    gate = rows[(rows["window"] == "gate") & rows["label"].notna()]
    fixed = intervals(night, entry.gated)
    assert fixed is not None
    inside = (gate["label"] - gate["prediction"]).abs() <= fixed.radius(0.9)
    assert found.fixed.share == pytest.approx(inside.mean())
    assert (found.fixed.dates, found.fixed.rows) == (59, 59)
    assert found.width == pytest.approx(2 * fixed.radius(0.9), rel=1e-5)
    write_bundle(tmp_path / "bundle", night, entry.shipped, entry_facts(entry, "shipped"))
    predictor = Predictor(tmp_path / "bundle")
    assert predictor.intervals is not None
    assert predictor.intervals.measured["fixed"]["share"] == found.fixed.share
    assert predictor.manifest.evidence["intervals"] == json.loads(json.dumps(predictor.intervals.measured))
    assert coverage_tags(entry)["coverage"].startswith(f"asked 0.900; held {found.fixed.share:.3f} on 59 gate dates")


def test_what_the_gate_did_not_measure_is_not_measured_afterwards(tmp_path: Path) -> None:
    night = walked_night(tmp_path, make_bars())
    entry = replace(make_entry(night), gate_metrics=())
    assert with_coverage(entry, night) is entry
    assert coverage_tags(entry) == {}


def test_coverage_since_the_training_is_told_by_the_champions_own_intervals(
    tmp_path: Path, store: mlflow_store.Store
) -> None:
    night = walked_night(tmp_path, make_bars())
    entry = make_entry(night)
    experiment = mlflow_store.experiment(store, "coverage")
    run = mlflow_store.new_run(store, experiment, "night", {})
    logged = LoggedNight(run_id=run, experiment_id=experiment, tracking_uri=store.tracking_uri, url="")
    registered = nights.register(store, night, logged, entry)
    store.client.set_registered_model_alias(registered.name, "champion", registered.version)
    champion = mlflow_store.champion(store, registered.name)
    assert champion is not None
    given: dict[str, Any] = {
        "snapshot": night.snapshot,
        "features": night.features,
        "rows": night.rows,
    }
    one = Served(
        version=champion.version, model_uri=champion.model_uri, gated_uri=champion.gated_uri,
        recipe_sha256=champion.recipe_sha256, training_end=champion.training_end, gated_training_end="",
    )  # fmt: skip
    spoke = InService(champion=(one,), fallback=(), predictions={"champion": entry.shipped.predictions})
    assert coverage_since(store, champion, spoke, **given) == ""  # fitted through the last bar
    earlier = replace(one, training_end=read_parquet(night.rows.ref)["time"].iloc[-41].isoformat())
    said = coverage_since(store, champion, replace(spoke, champion=(earlier,)), **given)
    table = read_parquet(night.rows.ref).assign(prediction=read_predictions(entry.shipped.predictions)).iloc[-40:-1]
    fixed = intervals(night, entry.shipped)
    assert fixed is not None
    inside = ((table["label"] - table["prediction"]).abs() <= fixed.radius(0.9)).mean()
    assert said.startswith(f"version 1: asked 0.900; held {inside:.3f} on 39 live dates as it ships, 95 % interval ")
    tags = store.client.get_registered_model(registered.name).tags
    assert tags["nocturne.coverage"] == said
    assert store.client.get_model_version(registered.name, "1").tags["coverage"].startswith("asked 0.900; held ")


@pytest.mark.parametrize("horizon", [1, 5])
def test_a_service_that_tells_each_outcome_gets_the_adapted_intervals_of_the_evidence(
    tmp_path: Path, horizon: int
) -> None:
    """The batch of the evidence and the class for services are two programs: they must agree."""
    bars = make_bars()
    night = walked_night(tmp_path, bars)
    rows = read_parquet(night.rows.ref)
    ends = bars["time"].shift(-horizon)
    ref = write_parquet(tmp_path / "rows.parquet", rows.assign(label_end=ends, label=rows["label"].where(ends.notna())))
    target = replace(night.rows.target, horizon=horizon)
    night = replace(night, rows=replace(night.rows, ref=ref, target=target))
    gated = make_entry(night).gated
    evidence, fixed = gate_coverage(night, gated), intervals(night, gated)
    assert evidence is not None
    assert fixed is not None
    service = AdaptiveIntervals(fixed)
    table = read_parquet(ref).assign(prediction=read_predictions(gated.predictions))
    gate = table[(table["window"] == "gate") & table["label"].notna()].reset_index(drop=True)
    given: list[tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]] = []
    told, inside = 0, []
    for _, row in gate.iterrows():
        while told < len(given) and gate["label_end"][told] <= row["time"]:
            service.update(*given[told], gate["label"].to_numpy()[told : told + 1])
            told += 1
        given.append(service.bounds(np.array([row["prediction"]])))
        inside.append(bool(given[-1][0][0] <= row["label"] <= given[-1][1][0]))
    assert told == len(gate) - horizon
    assert np.mean(inside) == pytest.approx(evidence.adapted.share)
