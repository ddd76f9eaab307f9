"""A night in MLflow: what is logged, what is registered, and that the alias moves last or not at all."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Candidate, Ref
from tasks.errors import ConfigurationError, RegistryError
from tasks.evaluation import Backtest, GateComparison, Licence, NightStatistics
from tasks.evaluation import Evidence as GateEvidence
from tasks.registry import mlflow_store, nights, parity, projection, scoring, verification
from tasks.registry.bundle import entry_evidence
from tasks.registry.card import description, outcome, version_tags
from tasks.registry.mlflow_store import Store
from tasks.registry.parity import Said
from tasks.registry.records import ChampionInfo, Entry, LoggedNight, Night, Registered
from tasks.storage import home, read_parquet, write_parquet
from tests.registry.conftest import NAME, made_champion, make_entry, takes_its_place


@pytest.fixture
def logged(store: Store) -> LoggedNight:
    """A night's parent run, without its candidates."""
    experiment = mlflow_store.experiment(store, NAME)
    run_id = mlflow_store.new_run(store, experiment, "night", {})
    return LoggedNight(run_id=run_id, experiment_id=experiment, tracking_uri=store.tracking_uri, url="")


def test_of_two_first_nights_at_once_both_find_the_experiment(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    made, look, looks = mlflow_store.experiment(store, NAME), store.client.get_experiment_by_name, []

    def late(name: str) -> Any:
        """At the first look the other's experiment is not there yet."""
        looks.append(name)
        return look(name) if len(looks) > 1 else None

    monkeypatch.setattr(store.client, "get_experiment_by_name", late)
    assert mlflow_store.experiment(store, NAME) == made
    assert len(looks) == 2


def changed(candidate: Candidate, folder: Path, factor: float) -> Candidate:
    """The candidate, as if it had been evaluated with other predictions."""
    predictions = read_parquet(candidate.predictions) * factor
    return replace(candidate, predictions=write_parquet(folder / "changed.parquet", predictions))


def walked(night: Night) -> Night:
    """With figures of the folds, a backtest, the champion's recipe on rank 5, and a candidate that stayed behind."""
    board = night.leaderboard
    first = replace(
        board.scores[0], fold_scores=(0.3, 0.1), skill_interval=(-0.1, 0.3), p_values={"lhar": 0.04, "zero": np.nan}
    )
    champion = replace(board.scores[-1], rank=5, candidate="champion", score=0.4)
    statistics = NightStatistics(spa_p=0.3, superior=(), confidence_set=("a", "b"), overfitting=np.nan, trials=7)
    board = replace(
        board,
        scores=(first, *board.scores[1:], champion),
        backtests=(backtest("ridge-0"), backtest("ridge-1")),
        statistics=statistics,
        not_refitted={"ridge-4": 0.6},
        refused={},
    )
    return replace(night, leaderboard=board)


def backtest(name: str) -> Backtest:
    return Backtest(
        candidate=name, rule="sign", rows="folds", dates=100, annual_return=0.05, excess_return=0.03,
        annual_volatility=0.1, sharpe=0.7, max_drawdown=0.2, turnover=12.0, costs=0.01, break_even_bps=8.0, alpha=0.01,
        beta=0.4, equity=Ref(path="/somewhere/private.parquet", sha256="e", rows=1),
    )  # fmt: skip


def test_a_night_is_one_parent_a_child_a_candidate_and_three_models(store: Store, night: Night) -> None:
    refusing = nights.log_night(store, night)
    child = next(run.data for run in children_of(store, refusing) if run.info.run_name == "ridge-4")
    assert child.tags["refused"] == "no prediction on 3 rows"
    night = walked(night)
    logged = nights.log_night(store, night)
    runs = children_of(store, logged)
    children = {run.info.run_name: run for run in runs}
    assert set(children) == {*(f"ridge-{index}" for index in range(5)), "champion"}
    assert {run.info.status for run in runs} == {"FINISHED"}
    first = children["ridge-0"].data
    assert (first.metrics["mse"], first.metrics["rank"]) == (night.leaderboard.scores[0].score, 1.0)
    assert "qlike" not in first.metrics, "a figure that does not exist is not logged"
    assert (first.metrics["fold_1"], first.metrics["fold_2"], first.metrics["p.lhar"]) == (0.3, 0.1, 0.04)
    assert (first.metrics["skill_low"], first.metrics["skill_high"]) == (-0.1, 0.3)
    assert (first.metrics["folds.sharpe"], first.metrics["folds.max_drawdown"]) == (0.7, 0.2)
    assert json.loads(first.params["recipe.alpha"]) == 0.1
    assert "rank" not in children["ridge-4"].data.metrics
    assert children["ridge-4"].data.metrics["selection_loss"] == 0.6
    assert children["champion"].data.metrics["rank"] == 5.0
    assert [name for name, _ in logged.model_uris] == ["ridge-0", "ridge-1", "ridge-2"]
    parent = store.client.get_run(logged.run_id).data
    assert parent.params["snapshot_sha256"] == night.snapshot.sha256
    assert parent.params["problem.horizon"] == "1"
    assert "100 rows" in parent.params["window.train"]
    assert (parent.metrics["spa_p"], parent.metrics["trials"], parent.metrics["confidence_set"]) == (0.3, 7.0, 2.0)


def children_of(store: Store, logged: LoggedNight) -> list[Any]:
    runs = store.client.search_runs([logged.experiment_id])
    return [run for run in runs if run.data.tags.get("mlflow.parentRunId") == logged.run_id]


def test_artifacts_lie_below_the_state_folder(store: Store, night: Night, entry: Entry, logged: LoggedNight) -> None:
    nights.register(store, night, logged, entry)
    assert list((home() / "mlflow" / "artifacts").rglob("manifest.json"))
    assert not Path("mlruns").exists()


def test_promotion_is_last_and_history_tells_why(store: Store, night: Night, entry: Entry, logged: LoggedNight) -> None:
    assert mlflow_store.champion(store, NAME) is None
    registered = nights.register(store, night, logged, entry)
    assert mlflow_store.champion(store, NAME) is None, "registering moves no alias"
    takes_its_place(store, registered, entry, night)
    verified = store.client.get_model_version(NAME, registered.version).tags["verified"]
    assert float(verified.split()[3]) <= 1e-12
    champion = mlflow_store.champion(store, NAME)
    assert champion is not None
    assert (champion.version, champion.candidate, champion.engine) == ("1", "ridge-0", "linear")
    assert champion.gated_training_end == entry.gated_training_end
    assert champion.gated_uri == registered.gated_uri

    assert champion.recipe == entry.gated.recipe, "it can be fitted again without loading the model"
    assert math.isnan(champion.smearing)
    assert champion.recipe_for(champion.predicts) == ("linear", entry.gated.recipe)

    ref = scoring.champion_predictions(champion, night.snapshot, home() / "champion.parquet")
    gated = read_parquet(entry.gated.predictions)["prediction"]
    pd.testing.assert_series_equal(read_parquet(ref)["prediction"], gated, rtol=1e-12)

    challenger = nights.register(store, night, logged, replace(make_entry(night, "ridge-1")))
    assert challenger.version == "2"
    newest, first = mlflow_store.history(store, NAME)
    assert (newest.aliases, newest.promoted, newest.outcome) == ((), "", "promoted")
    assert (first.aliases, first.outcome) == (("champion",), "promoted")
    assert first.promoted >= first.registered
    assert first.reasons == ("better than every baseline at 0.05",)
    assert mlflow_store.names(store) == (NAME,)


def test_a_recipe_that_is_lost_or_altered_leaves_the_champion_without_one(
    store: Store, night: Night, entry: Entry, logged: LoggedNight, caplog: pytest.LogCaptureFixture
) -> None:
    registered = nights.register(store, night, logged, replace(entry, smearing=1.25))
    made_champion(store, registered)
    champion = mlflow_store.champion(store, NAME)
    assert champion is not None
    assert (champion.recipe, champion.smearing) == (entry.gated.recipe, 1.25)
    file = next((home() / "mlflow" / "artifacts").rglob(f"recipes/{champion.recipe_sha256}.json"))
    file.write_text(file.read_text().replace("0.1", "0.2"))
    for words in ("is not the recipe that was registered", "its recipe is lost"):
        found = mlflow_store.champion(store, NAME)
        assert found is not None
        assert (found.version, found.recipe) == (champion.version, {})
        assert words in caplog.text
        file.unlink(missing_ok=True)


def refused(store: Store, night: Night, entry: Entry, registered: Registered, message: str) -> None:
    """The promotion fails with these words, no alias has moved, and the version says why."""
    with pytest.raises(RegistryError, match=message):
        takes_its_place(store, registered, entry, night)
    assert mlflow_store.champion(store, NAME) is None
    tags = store.client.get_model_version(NAME, registered.version).tags
    assert tags["verified"].startswith("failed: ")
    assert "promoted" not in tags


def test_a_model_that_says_something_else_is_not_promoted(
    store: Store, night: Night, entry: Entry, logged: LoggedNight, tmp_path: Path
) -> None:
    registered = nights.register(store, night, logged, entry)
    off = replace(entry, gated=changed(entry.gated, tmp_path, 1 + 1e-9))
    refused(store, night, off, registered, "it is not what was evaluated")


def test_models_damaged_or_half_uploaded_are_not_promoted(
    store: Store, night: Night, entry: Entry, logged: LoggedNight
) -> None:
    registered = nights.register(store, night, logged, entry)
    gated_id = registered.gated_uri.removeprefix("models:/")
    for bundle in (home() / "mlflow" / "artifacts").rglob("bundle"):
        if gated_id not in bundle.parts:
            (bundle / "manifest.json").unlink()
    refused(store, night, entry, registered, "it was altered or damaged, and was not loaded")


def test_a_version_that_was_never_digested_is_not_promoted(
    store: Store, night: Night, entry: Entry, logged: LoggedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Registered by hand, from whatever a killed upload has left behind in the registry."""
    registered = nights.register(store, night, logged, entry)
    store.client.delete_model_version_tag(NAME, registered.version, "model_sha256")
    monkeypatch.setattr(verification, "prove_all", lambda *_: ((),))
    refused(store, night, entry, registered, "version 1 has no digest: it was not uploaded whole")


def test_a_killed_verification_moves_nothing(
    store: Store, night: Night, entry: Entry, logged: LoggedNight, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = nights.register(store, night, logged, entry)
    (tmp_path / "killed.py").write_text("import os; os.kill(os.getpid(), 9)")
    monkeypatch.setattr(parity, "SCRIPT", tmp_path / "killed.py")
    refused(store, night, entry, registered, "ended with -9")


def test_an_alias_that_mlflow_refuses_is_named_and_put_right_by_the_next_look(
    store: Store, night: Night, entry: Entry, logged: LoggedNight, monkeypatch: pytest.MonkeyPatch
) -> None:
    registered = nights.register(store, night, logged, entry)

    def fail(*_: object) -> None:
        raise OSError("database is locked")

    with monkeypatch.context() as broken:
        broken.setattr(store.client, "set_registered_model_alias", fail)
        with pytest.raises(RegistryError, match=r"could not all be set to epoch 1, .*: database is locked"):
            takes_its_place(store, registered, entry, night)
    assert mlflow_store.champion(store, NAME) is None
    assert "promoted" not in store.client.get_model_version(NAME, "1").tags
    said = projection.mend(store, NAME)
    assert said[0] == f"{NAME}: the alias champion was on none; put back to version 1"
    champion = mlflow_store.champion(store, NAME)
    assert champion is not None
    assert champion.version == "1"
    assert "promoted" in store.client.get_model_version(NAME, "1").tags


def test_one_fit_is_logged_once_and_says_so(store: Store, night: Night, entry: Entry, logged: LoggedNight) -> None:
    alone = replace(entry, shipped=entry.gated, shipped_training_end=entry.gated_training_end)
    registered = nights.register(store, night, logged, alone)
    assert len(list((home() / "mlflow" / "artifacts" / "models").iterdir())) == 1
    version = store.client.get_model_version(NAME, registered.version)
    assert version.tags["refit"] == "none"
    assert "This is the gated fit itself" in str(version.description)


def test_an_unknown_name_lists_those_that_exist(store: Store) -> None:
    with pytest.raises(ConfigurationError, match=r"no registered model 'nothing' in .*; there are: none"):
        mlflow_store.history(store, "nothing")


def test_a_champion_that_does_not_load_cannot_be_scored(night: Night, monkeypatch: pytest.MonkeyPatch) -> None:
    fields: dict[str, Any] = {item.name: "" for item in dataclasses.fields(ChampionInfo)}
    lost = ChampionInfo(**{**fields, "name": NAME, "version": "9"})
    for error in ("gone", ""):
        answer = Said(uri="m", predictions=np.full(3, np.nan), error=error, seconds=0)
        monkeypatch.setattr(scoring, "ask", lambda *_, answer=answer: [answer])
        with pytest.raises(RegistryError, match=f"version 9 cannot be scored: {error}"):
            scoring.champion_predictions(lost, night.snapshot, home() / "champion.parquet")


def test_a_store_that_cannot_be_opened_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"not a database" * 100)
    monkeypatch.setenv("NOCTURNE_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    with pytest.raises(RegistryError, match=r"mlflow\.db: MLflow's store cannot be opened"):
        mlflow_store.open_store()


def test_tags_and_page_carry_decision_evidence_and_what_degraded(night: Night, entry: Entry) -> None:
    comparison = GateComparison(
        rival="lhar",
        role="baseline",
        rival_loss=0.21,
        challenger_loss=0.2,
        difference=0.01,
        statistic=2.5,
        p_value=0.007,
        dates=504,
        lag=1,
    )
    evidence = GateEvidence(
        challenger="ridge-0",
        challenger_engine="linear",
        challenger_recipe_sha256="r",
        best_baseline="lhar",
        comparisons=(comparison,),
        dates=504,
        partial=("h2o failed",),
    )
    licence = Licence(
        recipe_sha256="r", term="2018-12-12", granted=True, increase=0.001, upper=0.004, limit=0.01, origins=7,
        dates=441,
    )  # fmt: skip
    evidence = replace(
        evidence, read=2, level=0.0083, term="2018-12-12", effective=504.0, licence=licence, waivers=("survivorship",)
    )
    full = replace(entry, evidence=evidence, smearing=1.25, title="gbm-7", backtests=(backtest("ridge-0"),))
    tags = version_tags(night, full, "models:/m-1")
    assert (tags["gate_read"], tags["gate_level"], tags["gate_term"]) == ("2", "0.0083", "2018-12-12")
    assert (tags["licence"], tags["licence_upper"], tags["smearing"]) == ("granted", "0.004", "1.25")
    assert (tags["waivers"], tags["candidate"]) == ('["survivorship"]', "gbm-7")
    assert "alarms" not in tags
    told = json.dumps(entry_evidence(full))
    assert '"sharpe": 0.7' in told
    assert "private" not in told, "no path of this machine leaves it"
    assert json.loads(tags["degraded"]) == ["h2o failed"]
    assert json.loads(tags["reasons"]) == ["better than every baseline at 0.05"]
    assert (tags["gate.mse"], tags["owner"], tags["refit"]) == ("0.2", "desk", "through_gate")
    assert tags["training_end"] != tags["gated_training_end"]
    page = description(night, full)
    assert "| lhar | baseline | 0.21 | 0.2 | +0.01 (0.00216 to 0.0178) | 0.007 | 504 |  |  | 1 |" in page
    assert "Read 2 of the gate in the term from 2018-12-12, each test at 0.0083." in page
    assert "7 refits inside the gate" in page
    assert "| folds | sign | 3.00% | 0.70 |  | 20.0% | 12.0 |" in page
    assert "## Waived\n\n- survivorship" in page
    assert page.startswith(f"# {NAME}: gbm-7")
    assert "It was not itself gated" in page
    assert "- h2o failed" in page
    assert f"models:/{NAME}@champion" in page
    other = replace(entry.decision, promote="lhar", outcome="baseline")
    assert outcome(replace(entry, decision=other)) == "not promoted"


def test_metrics_that_are_not_finite_are_left_out(store: Store, logged: LoggedNight) -> None:
    values = {"a": 1.0, "b": np.nan, "c": np.inf, **{f"m{index}": float(index) for index in range(250)}}
    params = {f"p{index}": str(index) for index in range(250)}
    mlflow_store.log_values(store, logged.run_id, params=params, metrics=values)
    data = store.client.get_run(logged.run_id).data
    assert len(data.metrics) == 251
    assert len(data.params) == 250


def test_a_champion_promoted_meanwhile_is_not_overwritten(store: Store, night: Night, entry: Entry) -> None:
    """The decision was made against no champion; by the time of the promotion there is one."""
    logged = nights.log_night(store, night)
    first, second = (nights.register(store, night, logged, entry) for _ in range(2))
    takes_its_place(store, first, entry, night)
    with pytest.raises(RegistryError, match=r"against champion version none, but 1 is champion now"):
        takes_its_place(store, second, entry, night)
    champion = mlflow_store.champion(store, NAME)
    assert champion is not None
    assert champion.version == first.version
    takes_its_place(store, second, entry, night, champion)


def test_a_champion_of_many_symbols_is_asked_only_for_those_it_knows(
    night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bars = pd.DataFrame({"symbol": ["A", "A", "B", "NEW"], "time": pd.to_datetime(["2020-01-02"] * 4, utc=True)})
    snapshot = dataclasses.replace(night.snapshot, bars=write_parquet(tmp_path / "b.parquet", bars))
    fields: dict[str, Any] = {item.name: "" for item in dataclasses.fields(ChampionInfo)}
    info = ChampionInfo(**{**fields, "name": NAME, "version": "9", "symbols": ("A", "B")})

    def ask(_uri: str, _uris: object, asked: Any) -> list[Said]:
        assert asked.symbols == ("A", "B")
        return [Said(uri="m", predictions=np.arange(3.0), error="", seconds=0)]

    monkeypatch.setattr(scoring, "ask", ask)
    ref = scoring.champion_predictions(info, snapshot, tmp_path / "out.parquet")
    np.testing.assert_array_equal(read_parquet(ref)["prediction"], [0.0, 1.0, 2.0, np.nan])
