"""A recipe that is refreshed every night is still judged on sessions that the judged version had not seen."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from tasks.drift.measure import Material, Subject, measure
from tasks.drift.values import DriftReport
from tasks.errors import RegistryError
from tasks.live import Action
from tasks.registry import mlflow_store, nights, scoring, service
from tasks.registry.coverage import COVERAGE, coverage_since
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store
from tasks.registry.parity import Said
from tasks.registry.records import LoggedNight, Night
from tasks.registry.residuals import intervals
from tasks.registry.service import QUARTER, Served, answering, joined, predictions_in_service, tenure
from tasks.registry.standings import standing, swap
from tasks.storage import read_parquet, read_predictions
from tests.registry.conftest import NAME, candidate, linear_model, make_bars, make_entry
from tests.registry.shown import make_versions
from tests.registry.walked import walked_night

Floats = npt.NDArray[np.float64]
DAYS = pd.bdate_range("2010-01-04", periods=1800)
CLOSES = DAYS.tz_localize("UTC") + pd.Timedelta(hours=21)


def moved(name: str, champion: str, action: Action = "refreshed", fallback: str = "") -> None:
    """The ledger's side of a move."""
    with Ledger.open() as ledger:
        now = standing(ledger, name)
        change = replace(now, champion=champion, fallback=fallback or now.fallback)
        swap(ledger, now, change, action, ("a test's",), "", "test")


def held(store: Store, place: service.Place, version: str, name: str = "spx") -> list[str]:
    with Ledger.open() as ledger:
        return [each.version for each in tenure(store, ledger, name, place, version)]


def fitted(recipe: str, day: int) -> dict[str, str]:
    return {"recipe_sha256": recipe, "training_end": CLOSES[day].isoformat(), "gated_training_end": "2009-12-31"}


def test_a_tenure_begins_with_the_promotion_that_brought_the_recipe_in(store: Store) -> None:
    recipes = ("b", "a", "a", "a", "b", "")
    make_versions(store, "spx", *(fitted(recipe, 10 + place) for place, recipe in enumerate(recipes)))
    moved("spx", "1", "promoted")
    moved("spx", "2", "promoted")
    moved("spx", "3")
    moved("spx", "4")
    assert held(store, "champion", "4") == ["2", "3", "4"]
    moved("spx", "5", "promoted")
    assert held(store, "champion", "5") == ["5"], "version 1 was of this recipe, and another came between"
    moved("spx", "3", "rolled back")
    assert held(store, "champion", "3") == ["2", "3"]
    moved("spx", "6")
    assert held(store, "champion", "6") == ["6"], "a version that does not tell its recipe is nobody's refresh"
    assert held(store, "champion", "1") == ["1"], "the ledger does not know of it: it stands alone"


def test_a_deleted_version_is_passed_over_and_a_lost_holder_is_said(store: Store) -> None:
    make_versions(store, "spx", *(fitted("a", day) for day in (1, 2, 3)))
    for version in ("1", "2", "3"):
        moved("spx", version)
    store.client.delete_model_version("spx", "2")
    assert held(store, "champion", "3") == ["1", "3"]
    store.client.delete_model_version("spx", "3")
    with pytest.raises(RegistryError, match="the champion, version 3, is not in"):
        held(store, "champion", "3")


def test_a_fallback_that_is_fitted_again_is_judged_by_what_it_was_before(store: Store) -> None:
    make_versions(store, "spx", fitted("a", 1), fitted("c", 2), fitted("h", 3), fitted("h", 30))
    moved("spx", "1", "promoted", fallback="2")
    for spare in ("3", "4"):
        moved("spx", "1", "kept ready", fallback=spare)
    assert held(store, "fallback", "4") == ["3", "4"]


def served(day: int) -> Served:
    return Served(
        version=str(day), model_uri="", gated_uri="", recipe_sha256="a",
        training_end=CLOSES[day].isoformat(), gated_training_end=CLOSES[day - 300].isoformat(),
    )  # fmt: skip


def test_another_version_answers_once_a_quarter_and_the_same_whenever_one_looks() -> None:
    nightly = [served(day) for day in range(1000, 1200)]
    for tonight in (1, 50, 64, 100, 200):
        found = answering(nightly[:tonight], CLOSES[: 1000 + tonight])
        expected = [str(1000 + QUARTER * k) for k in range(1 + (tonight - 1) // QUARTER)]
        assert [each.version for each in found] == expected
    assert [each.version for each in answering([served(1000), served(1062), served(1070)], CLOSES)] == ["1000", "1070"]


def test_no_row_after_the_first_training_is_said_by_a_version_that_learned_from_it() -> None:
    found = answering([served(day) for day in range(1000, 1200)], CLOSES)
    answers = [(each, np.full(len(CLOSES), float(each.version))) for each in found]
    said = joined(answers, CLOSES)
    row = np.arange(len(CLOSES))
    assert (said[row > 1000] < row[row > 1000]).all(), "row t by a version fitted through a session before t"
    assert (said[row <= 1000] == 1000).all()
    recent = (row > 1000) & (row <= 1199)
    assert (row[recent] - said[recent] <= QUARTER).all()


def nightly_report(bent: float, through: int) -> DriftReport:
    """A least-squares model of one column, refitted through every close from session 1,400 on, its slope reversed
    (``bent`` = -1) or kept (1) from session 1,500 on."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=len(DAYS))
    slope = np.where(np.arange(len(DAYS)) < 1500, 1.0, bent)
    label = slope * x + rng.normal(size=len(DAYS))

    def fit(day: int) -> Floats:
        return np.asarray(x * (x[:day] @ label[:day]) / (x[:day] @ x[:day]), dtype=np.float64)

    found = answering([served(day) for day in range(1400, through)], CLOSES[:through])
    ends = [*CLOSES[1:through], pd.NaT]
    stamps = {"time": CLOSES[:through], "session": DAYS[:through], "label_end": ends}
    rows = pd.DataFrame(stamps).assign(label=label[:through])
    rows.loc[through - 1, "label"] = np.nan
    said = joined([(each, fit(int(each.version))) for each in found], CLOSES)[:through]
    subject = Subject(
        name="made", version=str(through - 1), candidate="line", since_version=found[0].version,
        training_end=found[0].training_end, gated_training_end=found[0].gated_training_end,
    )  # fmt: skip
    columns = [("x", x[:through]), ("prediction", said)]
    material = Material(rows=rows, columns=columns, prediction=said, gated=fit(1100)[:through])
    return measure(subject, material, at="", snapshot="")


def test_a_champion_that_is_refreshed_every_night_is_still_watched() -> None:
    """Judged by last night's version alone there is nothing to watch, however long the recipe has been in service."""
    quiet, broken = nightly_report(1.0, 1600), nightly_report(-1.0, 1600)
    assert quiet.state == "within"
    for report in (quiet, broken):
        assert (report.version, report.since_version) == ("1599", "1400")
        assert report.sessions == 199
        assert report.training_sessions == 1401
        assert report.losses is not None
        assert report.losses.sessions == 198
        assert 290 <= report.losses.reference_sessions <= 300
    assert broken.losses is not None
    assert quiet.losses is not None
    assert broken.losses.reference_mean == quiet.losses.reference_mean, "the reference has not absorbed the drift"
    assert {each.name for each in broken.detectors if each.exceeds} >= {"cusum"}
    assert DAYS[1500] < pd.Timestamp(broken.since) <= DAYS[1530]


def test_a_version_of_the_past_that_cannot_be_scored_is_left_out(
    store: Store, night: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    table = read_parquet(night.rows.ref)
    ends = [table["time"].iloc[place].isoformat() for place in (100, 163, 226)]
    told = {"recipe_sha256": "a", "gated_uri": "models:/g"}
    make_versions(store, "spx", *(told | {"training_end": end} for end in ends))
    for version in ("1", "2", "3"):
        moved("spx", version)
    failing = {"models:/spx/2"}

    def ask(_uri: str, uris: list[str], _symbols: object, _snapshot: object, _out: object) -> tuple[Said, ...]:
        size = len(table)
        return tuple(
            Said(uri=uri, predictions=np.full(size, float(uri[-1] == "3")), error="gone" if uri in failing else "",
                 seconds=0)
            for uri in uris
        )  # fmt: skip

    monkeypatch.setattr(scoring, "_ask", ask)
    given: dict[str, Any] = {"champion": "3", "snapshot": night.snapshot, "folder": tmp_path / "service"}
    with Ledger.open() as ledger, caplog.at_level(logging.WARNING, "nocturne.registry"):
        found = predictions_in_service(store, ledger, "spx", fallback="", **given)
        assert [each.version for each in found.champion] == ["1", "3"]
        assert "the champion's version 2 cannot be scored and is left out: gone" in caplog.text
        assert set(found.predictions) == {"champion", "gated"}
        said = read_predictions(found.predictions["champion"])
        assert (np.flatnonzero(said) == np.arange(227, len(table))).all()
        failing |= {"models:/spx/1", "models:/spx/3"}
        with pytest.raises(RegistryError, match="the champion, version 3, cannot be scored"):
            predictions_in_service(store, ledger, "spx", fallback="", **given)


@pytest.mark.slow
def test_predictions_and_coverage_of_a_recipe_are_told_across_its_refreshes(store: Store, tmp_path: Path) -> None:
    """Real bundles: version 1 brought the recipe in 130 sessions ago, 2 and 3 are refreshes, 3 through the last bar."""
    night = walked_night(tmp_path, make_bars())
    entry, bars = make_entry(night), read_parquet(night.snapshot.bars)
    table = read_parquet(night.rows.ref)
    experiment = mlflow_store.experiment(store, "refreshed")
    run = mlflow_store.new_run(store, experiment, "night", {})
    logged = LoggedNight(run_id=run, experiment_id=experiment, tracking_uri=store.tracking_uri, url="")
    shipped = []
    for place, last in enumerate((-131, -66, -1)):
        model = linear_model(tmp_path / f"refresh-{place}", intercept=-0.3 + 0.2 * place)
        fit = candidate(tmp_path / f"refresh-{place}", bars, "fit", "linear", model)
        fit = replace(fit, name=entry.gated.name, recipe=entry.gated.recipe, rows="fit_all")
        shipped.append(read_predictions(fit.predictions))
        end = table["time"].iloc[last].isoformat()
        made = nights.register(store, night, logged, replace(entry, shipped=fit, shipped_training_end=end))
        moved(NAME, made.version)
        store.client.set_registered_model_alias(NAME, "champion", made.version)
    with Ledger.open() as ledger:
        spoke = predictions_in_service(
            store, ledger, NAME, champion="3", fallback="", snapshot=night.snapshot, folder=tmp_path / "service"
        )
    assert [each.version for each in spoke.champion] == ["1", "2", "3"]
    row = np.arange(len(table)) - len(table)
    expected = np.where(row > -66, shipped[1], shipped[0])
    expected[-1] = shipped[1][-1]
    np.testing.assert_allclose(read_predictions(spoke.predictions["champion"]), expected, rtol=1e-12)
    gated = read_predictions(entry.gated.predictions)
    np.testing.assert_allclose(read_predictions(spoke.predictions["gated"]), gated, rtol=1e-12)

    champion = mlflow_store.champion(store, NAME)
    fixed = intervals(night, entry.shipped)
    assert champion is not None
    assert fixed is not None
    given: dict[str, Any] = {"snapshot": night.snapshot, "features": night.features, "rows": night.rows}
    said = coverage_since(store, champion, spoke, **given)
    inside = (np.abs(table["label"].to_numpy() - expected) <= fixed.radius(0.9))[-130:-1].mean()
    assert said.startswith(
        f"version 3, its recipe since version 1: asked 0.900; held {inside:.3f} on 129 live dates as it ships"
    )
    assert store.client.get_registered_model(NAME).tags[COVERAGE] == said

    fresh = replace(spoke, champion=spoke.champion[-1:])
    assert coverage_since(store, champion, fresh, **given) == ""
    assert COVERAGE not in store.client.get_registered_model(NAME).tags, "what it said was of other versions"
