"""The registry's tasks at the ledger's side: what a night that died left undone is said, and ends with the alias."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest

from tasks.documents import digest
from tasks.errors import IntegrityError, RegistryError
from tasks.live import Standing
from tasks.registry import places, task
from tasks.registry.fits import Fits
from tasks.registry.judgement import judge
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store
from tasks.registry.records import Entry, LoggedNight, Night, Registered
from tasks.storage import home
from tests.registry.judged import NAME, World, champion_of, fits_of, night_of
from tests.registry.shown import make_versions

GOOD = {"net": 0.5, "zero": 0.0, "mean": 0.0}


def said(caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    with caplog.at_level(logging.WARNING, "nocturne.registry"):
        task.open_registry.fn(NAME)
    return caplog.text


def ended(night: Night, registered: Registered, entry: Entry) -> Standing:
    """The night's last task, where there is nothing to keep as a fallback."""
    logged = LoggedNight(run_id="", experiment_id="", tracking_uri=registered.tracking_uri, url="")
    return task.take_places.fn(night, logged, Fits(gated={}, all_rows={}), entry, registered, None)


def test_a_promotion_that_a_killed_night_left_undone_is_said_and_then_finished(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the ledger's commit and the alias; the next night has one bar more and finishes it."""
    assert said(caplog) == ""
    world = World(tmp_path)
    with Ledger.open() as ledger:
        judge(night_of(world), fits_of(world, GOOD), None, ledger)
    assert "decided to promote net and ended before the alias moved" in said(caplog)

    later = World(tmp_path, last="2019-01-02")
    night = night_of(later)
    verdict = task.judge.fn(night, fits_of(later, GOOD), None)
    assert (verdict.decision.outcome, verdict.evidence.read) == ("promoted", 1)
    make_versions(store, NAME, {})
    monkeypatch.setattr(places, "verify", lambda *_: (1e-13,))
    registered = Registered(
        name=NAME, version="1", model_uri=f"models:/{NAME}/1", gated_uri="", tracking_uri=store.tracking_uri
    )
    assert ended(night, registered, verdict.entry).champion == "1"
    assert said(caplog) == ""


def test_a_verification_that_fails_leaves_the_promotion_undone(
    store: Store, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path)
    night = night_of(world)
    verdict = task.judge.fn(night, fits_of(world, GOOD), None)

    wrong = RegistryError("it is not what was evaluated")
    monkeypatch.setattr(places, "verify", lambda *_: (wrong,))
    registered: Any = Registered(name=NAME, version="1", model_uri="", gated_uri="", tracking_uri=store.tracking_uri)
    with pytest.raises(RegistryError, match="it is not what was evaluated"):
        ended(night, registered, verdict.entry)
    assert "ended before the alias moved" in said(caplog)


def test_trials_and_licences_are_asked_of_the_state_folders_ledger(store: Store, tmp_path: Path) -> None:
    world = World(tmp_path)
    night = night_of(world)
    tonight = (night.problem, night.snapshot, night.rows)
    assert task.count_trials.fn(*tonight, night.leaderboard) == 0, "without predictions nothing is clustered"
    with Ledger.open() as ledger:
        family = task._family(*tonight)
        assert [trial["candidate"] for trial in ledger.nights(family)[0]["trials"]] == ["net", "zero", "mean"]
    champion = champion_of(world)
    gated = fits_of(world, {"champion": 0.0}).gated["champion"]
    assert digest(gated.recipe) == champion.recipe_sha256
    assert task.licence_due.fn(champion, *tonight)
    assert not task.licence_due.fn(None, *tonight)


def test_a_damaged_ledger_stops_the_night_at_its_start(store: Store) -> None:
    task.open_registry.fn(NAME)
    (home() / "ledger" / "ledger.db").write_bytes(b"not a database" * 400)
    with pytest.raises(IntegrityError, match=r"ledger\.db: the trial ledger cannot be read"):
        task.open_registry.fn(NAME)
