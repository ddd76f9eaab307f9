"""Who takes which place after a night: champion, challenger, and a fallback that is kept ready."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import Candidate, EngineName
from tasks.documents import digest
from tasks.errors import RegistryError
from tasks.evaluation import Decision, Outcome
from tasks.live import Standing
from tasks.registry import fallback, mlflow_store, parity, places, proof, scoring, takeover, task
from tasks.registry.client.sources import open_source
from tasks.registry.fits import Fits
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store
from tasks.registry.nights import register
from tasks.registry.projection import shown
from tasks.registry.promotions import history, move, standing
from tasks.registry.records import Entry, LoggedNight, Night
from tasks.registry.signatures import signature_of
from tasks.registry.standings import StaleEpochError, swap
from tasks.registry.verification import Subject
from tasks.registry.watched import show_drift
from tests.registry.conftest import NAME

KEPT = Decision(outcome="kept", promote="", reasons=("not shown to be better than lhar",))
BASELINES = ("ridge-1", "ridge-2")


@pytest.fixture
def tonight(night: Night) -> Night:
    """The night, with two of its candidates as the baselines; ridge-1 is the better one."""
    candidates = tuple(as_engine(item, night) for item in night.results[0].candidates)
    scores = tuple(
        replace(score, engine="baseline") if score.candidate in BASELINES else score
        for score in night.leaderboard.scores
    )
    results = (replace(night.results[0], candidates=candidates),)
    return replace(night, results=results, leaderboard=replace(night.leaderboard, scores=scores))


def as_engine(candidate: Candidate, _night: Night) -> Candidate:
    engine: EngineName = "baseline" if candidate.name in BASELINES else "linear"
    return replace(candidate, engine=engine)


@pytest.fixture
def fits(tonight: Night) -> Fits:
    """Every candidate, refitted; what ships is the same model."""
    named = {candidate.name: candidate for candidate in tonight.results[0].candidates}
    return Fits(gated=named, all_rows=named)


@pytest.fixture
def logged(store: Store) -> LoggedNight:
    """Where the night's models go."""
    experiment = mlflow_store.experiment(store, NAME)
    run_id = mlflow_store.new_run(store, experiment, "night", {})
    return LoggedNight(run_id=run_id, experiment_id=experiment, tracking_uri=store.tracking_uri, url="")


@pytest.fixture
def believed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """No clean process: every version is what was evaluated. How many each of the processes would have loaded."""
    asked: list[int] = []

    def verify(store: Store, subjects: Any, _night: Night) -> tuple[float, ...]:
        asked.append(len(subjects))
        for subject in subjects:
            mlflow_store.set_version_tags(store, subject.registered, {"verified": "believed"})
        return tuple(0.0 for _ in subjects)

    monkeypatch.setattr(places, "verify", verify)
    return asked


Play = Callable[..., Standing]


@pytest.fixture
def play(store: Store, tonight: Night, fits: Fits, logged: LoggedNight) -> Play:
    """A night's end with this candidate and decision, judged against the present champion."""

    def run(
        name: str = "ridge-0", decision: Decision | None = None, takeover: str = "at_once", **change: Any
    ) -> Standing:
        night = replace(tonight, problem=tonight.problem.model_copy(update={"takeover": takeover}))
        judged = mlflow_store.champion(store, NAME)
        with Ledger.open() as ledger:
            expected = standing(ledger, NAME)
        entry = as_entry(night, fits, name, decision)
        entry = replace(entry, expected=expected, **change)
        registered = register(store, night, logged, entry)
        return places.take_places(
            store, night, logged, fits, Subject(registered=registered, entry=entry), judged
        )  # fmt: skip

    return run


def as_entry(night: Night, fits: Fits, name: str, decision: Decision | None = None) -> Entry:
    gated = fits.gated[name]
    promoted = Decision(outcome="promoted", promote=name, reasons=("better than every baseline",))
    return Entry(
        shipped=gated, gated=gated, shipped_training_end=night.snapshot.last, gated_training_end=night.snapshot.last,
        decision=decision or promoted, score=night.leaderboard.scores[0],
    )  # fmt: skip


def tags_of(store: Store, version: str) -> dict[str, str]:
    return mlflow_store.version_tags(store, NAME, version) or {}


def test_champion_and_fallback_are_proved_in_one_clean_process_and_take_their_places(
    store: Store, tonight: Night, play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    processes: list[int] = []

    def ask(uri: str, uris: Any, *others: Any) -> list[parity.Said]:
        processes.append(len(uris))
        return parity.ask(uri, uris, *others)

    monkeypatch.setattr(proof, "ask", ask)
    now = play()
    assert processes == [2]
    assert now == Standing(name=NAME, epoch=2, champion="1", fallback="2")
    assert shown(store, NAME) == now
    assert tags_of(store, "2")["candidate"] == "ridge-1"
    assert tags_of(store, "2")["outcome"] == "not promoted"
    for version in ("1", "2"):
        assert tags_of(store, version)["verified"].startswith("largest relative difference")
        with Ledger.open() as ledger:
            signed = signature_of(ledger, NAME, version)
        assert signed is not None
        assert signed.model_sha256 == tags_of(store, version)["model_sha256"]
    with Ledger.open() as ledger:
        kept, promoted = history(ledger, NAME)
        assert ledger.unfinished(NAME) is None
    assert (promoted.action, promoted.why, promoted.by) == ("promoted", ("better than every baseline",), "nightly")
    assert promoted.evidence == tags_of(store, "1")["evidence_sha256"]
    assert kept.action == "kept ready"
    assert kept.evidence == tags_of(store, "2")["evidence_sha256"]

    refs = task.live_predictions.fn(NAME, tonight.snapshot)
    assert set(refs) == {"champion", "fallback"}
    for alias, name in (("champion", "ridge-0"), ("fallback", "ridge-1")):
        candidate = next(item for item in tonight.results[0].candidates if item.name == name)
        said = pd.read_parquet(refs[alias].path)["prediction"]  # type: ignore[index]
        expected = pd.read_parquet(candidate.predictions.path)["prediction"]
        pd.testing.assert_series_equal(said, expected, rtol=1e-12)


def test_a_leader_that_is_not_promoted_challenges_and_the_fallback_costs_nothing_more(
    store: Store, play: Play, believed: list[int]
) -> None:
    play()
    assert believed == [2]
    now = play("ridge-3", KEPT)
    assert (now.champion, now.challenger, now.fallback) == ("1", "3", "2")
    assert believed == [2, 1], "the fallback is ready: nothing is registered or loaded for it"
    with Ledger.open() as ledger:
        newest = history(ledger, NAME)[0]
    assert (newest.action, newest.by) == ("challenged", "nightly")
    assert play("ridge-3", KEPT).challenger == "4", "the next night's challenger takes the place"
    assert play("ridge-3").challenger == "4"
    assert believed[-1] == 1, "another champion, the same best baseline"


def test_a_promoted_challenger_leaves_its_place(store: Store, play: Play, believed: list[int]) -> None:
    play()
    seen = play("ridge-3", KEPT)
    with Ledger.open() as ledger:
        assert places._with_champion(seen, seen.challenger, refreshed=False).challenger == ""
        kept = places._with_champion(replace(seen, share=0.25), "9", refreshed=True)
        assert (kept.challenger, kept.share) == (seen.challenger, 0.25), "a refreshed champion is the same recipe"
        assert places._with_champion(replace(seen, share=0.25), "9", refreshed=False).share == 0.0
        assert not takeover.under_way(ledger, NAME)


@pytest.mark.parametrize(
    ("judged", "outcome", "stays"), [("1", "refreshed", True), ("1", "promoted", False), ("7", "refreshed", False)]
)
def test_a_refreshed_champion_keeps_the_drift_monitors_verdict(
    judged: str, outcome: Outcome, stays: bool, store: Store, play: Play, believed: list[int]
) -> None:
    play()
    show_drift(store, NAME, judged, "exceeded")
    now = play("ridge-0", Decision(outcome=outcome, promote="ridge-0", reasons=("a licence",)))
    seen = open_source(store.tracking_uri).seen(NAME)
    assert seen.aliases["champion"] == now.champion == "3"
    assert seen.drifted is stays, "the same recipe is past its limit until the monitor has looked again"


def test_what_takes_over_gradually_is_approved_and_still_a_challenger(play: Play, believed: list[int]) -> None:
    first = play(takeover="gradual")
    assert first.champion == "1", "there is nobody whom the first champion could replace gradually"
    now = play("ridge-3", takeover="gradual")
    assert (now.champion, now.challenger, now.fallback) == ("1", "3", "2")
    with Ledger.open() as ledger:
        why = history(ledger, NAME)[0].why
    assert why[0] == "the night's leader: the gate approved it, and it takes over gradually"


@pytest.mark.parametrize(
    ("name", "decision"),
    [
        ("ridge-0", KEPT),  # the champion's own recipe
        ("ridge-2", KEPT),  # a baseline
        ("ridge-3", Decision(outcome="quarantined", promote="", reasons=("an alarm",))),
    ],
)
def test_who_is_no_challenger(name: str, decision: Decision, play: Play, believed: list[int]) -> None:
    before = play()
    assert play(name, decision) == before
    assert believed == [2], "nothing is loaded"


def test_a_rollout_under_way_keeps_its_challenger(store: Store, play: Play, believed: list[int]) -> None:
    play()
    now = play("ridge-3", KEPT)
    with Ledger.open() as ledger:
        now = move(ledger, store, now, now, "challenged", ("a shadow",), "plan", "rollout")
        assert takeover.under_way(ledger, NAME)
    assert play("ridge-3", KEPT) == now
    with Ledger.open() as ledger:
        now = move(ledger, store, now, replace(now, challenger=""), "rolled back", ("worse",), "plan", "rollout")
        assert not takeover.under_way(ledger, NAME)
    assert play("ridge-3", KEPT).challenger == "5"


def test_whoever_moved_anything_since_the_decision_was_first(
    store: Store, tonight: Night, fits: Fits, logged: LoggedNight, play: Play, believed: list[int]
) -> None:
    now = play()
    judged = mlflow_store.champion(store, NAME)
    entry = replace(as_entry(tonight, fits, "ridge-3"), expected=now)
    subject = Subject(registered=register(store, tonight, logged, entry), entry=entry)
    with Ledger.open() as ledger:
        swap(ledger, now, replace(now, champion="2"), "rolled back", ("a person's",), "", "desk")
    with pytest.raises(StaleEpochError, match="desk has moved it to epoch 3 since"):
        places.take_places(store, tonight, logged, fits, subject, judged)
    with Ledger.open() as ledger:
        assert standing(ledger, NAME).champion == "2"
        assert not ledger.chain.rows("outcomes", "version = ?", (subject.registered.version,))


def test_what_fails_its_proof_takes_no_place(
    store: Store, play: Play, believed: list[int], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    wrong = RegistryError("it is not what was evaluated")
    monkeypatch.setattr(places, "verify", lambda _store, subjects, _night: tuple(wrong for _ in subjects))
    with pytest.raises(RegistryError, match="it is not what was evaluated"):
        play()
    with Ledger.open() as ledger:
        assert history(ledger, NAME) == ()
    monkeypatch.setattr(places, "verify", lambda _store, subjects, _night: (0.0, *(wrong for _ in subjects[1:])))
    with caplog.at_level(logging.WARNING, "nocturne.registry"):
        now = play()
    assert (now.champion, now.fallback) == ("3", "")
    assert "version 4 cannot be kept ready as the fallback: it is not what was evaluated" in caplog.text


def test_when_a_fallback_is_due(tonight: Night, fits: Fits) -> None:
    entry = as_entry(tonight, fits, "ridge-0")
    own = {name: digest(fits.gated[name].recipe) for name in ("ridge-0", *BASELINES)}
    sessions = pd.read_parquet(tonight.snapshot.bars.path)["time"]
    ready = {"recipe_sha256": own["ridge-1"], "training_end": sessions.iloc[-22].isoformat()}

    def name(champion: str, ready: dict[str, str] | None, night: Night = tonight, fits: Fits = fits) -> str:
        found = fallback.due(night, fits, entry, champion, ready)
        return found.name if found is not None else ""

    assert name(own["ridge-0"], None) == "ridge-1", "none is ready: the best baseline"
    assert name(own["ridge-1"], None) == "ridge-2", "the best one is champion itself"
    assert name(own["ridge-0"], ready) == "", "21 sessions old"
    assert name(own["ridge-0"], ready | {"training_end": sessions.iloc[-23].isoformat()}) == "ridge-1", "22"
    assert name(own["ridge-0"], ready | {"training_end": ""}) == "ridge-1"
    assert name(own["ridge-0"], ready | {"recipe_sha256": own["ridge-2"]}) == "ridge-1", "another one is the best now"
    assert name(own["ridge-1"], ready) == "ridge-2", "the one that is ready became champion"
    alone = dataclasses.replace(fits, gated={key: fit for key, fit in fits.gated.items() if key != "ridge-2"})
    assert name(own["ridge-1"], None, fits=alone) == "ridge-1", "there is but one baseline"
    assert name("", None, fits=Fits(gated={}, all_rows={})) == ""
    assert name("", None, fits=Fits(gated=fits.gated, all_rows={})) == "", "what would ship could not be fitted"
    entry = replace(entry, decision=Decision(outcome="quarantined", promote="", reasons=()))
    assert name(own["ridge-0"], None) == "", "an alarm: the night's data are not to be trusted"


def test_live_predictions_need_a_champion_and_tell_of_others(
    store: Store, tonight: Night, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(RegistryError, match="no version is champion"):
        task.live_predictions.fn(NAME, tonight.snapshot)
    rows = len(pd.read_parquet(tonight.snapshot.bars.path))
    good = parity.Said(uri="m", predictions=np.ones(rows), error="", seconds=0)
    bad = replace(good, predictions=good.predictions * np.nan, error="gone")
    monkeypatch.setattr(scoring, "_ask", lambda *_: (good, bad))
    now = Standing(name=NAME, epoch=1, champion="1", fallback="2")
    with caplog.at_level(logging.WARNING, "nocturne.registry"):
        refs = scoring.live_predictions(store, now, tonight.snapshot, tmp_path / "live")
    assert set(refs) == {"champion"}
    assert "the fallback, version 2, cannot be scored: gone" in caplog.text
    with pytest.raises(RegistryError, match="the champion, version 2, cannot be scored"):
        scoring.live_predictions(store, replace(now, champion="2", fallback="1"), tonight.snapshot, tmp_path / "live")
