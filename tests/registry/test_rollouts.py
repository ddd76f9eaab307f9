"""Rollouts in registry and ledger: which read pays, who may take part, and what a run that died leaves to the next."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from flows import rollout as flow
from tasks.contracts import Rows, Snapshot
from tasks.errors import ConfigurationError, RegistryError
from tasks.evaluation import Decision
from tasks.live import Standing
from tasks.problem import Problem
from tasks.registry import mlflow_store, promotions, rollouts
from tasks.registry.judgement import family_of
from tasks.registry.ledger import BEGAN, Asked, Ledger
from tasks.registry.records import Entry, Night
from tasks.registry.rollback import rollback
from tasks.registry.rollouts import Rival
from tasks.registry.standings import StaleEpochError, swap
from tasks.rollout import evidence
from tasks.rollout import store as stores
from tasks.rollout import task as drafting
from tasks.rollout.plan import Ending, Plan
from tasks.rollout.reading import where
from tasks.storage import read_parquet
from tests.registry.shown import PROVED
from tests.registry.test_proof import register

NAME, PREDICTS = "spx", "volatility over 1 x 1d on XNYS"
EARLY = "2019-01-01T21:00:00+00:00"
LATER = Standing(name=NAME, champion="1", fallback="1")


@pytest.fixture
def own(store: mlflow_store.Store) -> mlflow_store.Store:
    """A registry with three versions, of recipes a, b and again a."""
    store.client.create_registered_model(NAME)
    home = Path(store.tracking_uri.removeprefix("sqlite:///")).parent
    for number, recipe in enumerate("aba", start=1):
        end = f"2020-0{number}-01T21:00:00+00:00"
        tags = {"gated_uri": "models:/m", "training_end": end, "gated_training_end": EARLY, "predicts": PREDICTS}
        tags |= {"recipe_sha256": recipe * 8, "candidate": f"model {recipe}", "decision": "kept"}
        tags |= PROVED
        store.client.create_model_version(NAME, source=home.as_uri(), tags=tags)
    with Ledger.open() as ledger:
        promotions.move(ledger, store, Standing(name=NAME), LATER, "baseline", ("first",), "", "nightly")
    return store


def plan(**changes: object) -> Plan:
    agreed = Plan(
        id="20200101T000000Z-v2", name=NAME, mode="gradual", champion="1", challenger="2", predicts=PREDICTS,
        loss="mse", started="2020-01-01T00:00:00+00:00", after="2020-01-01", streams=1, bound=1.0, level=0.025,
        limit=60, read=1, recipe="b" * 8, champion_recipe="a" * 8, evidence="e" * 64,
    )  # fmt: skip
    return dataclasses.replace(agreed, **changes)  # type: ignore[arg-type]


def standing() -> Standing:
    with Ledger.open() as ledger:
        return promotions.standing(ledger, NAME)


def began(**changes: object) -> Plan:
    agreed = plan(**changes)
    stores.begin(agreed)
    flow._standing(agreed)
    return agreed


def lived(agreed: Plan, gains: list[float]) -> None:
    """So many dates on which the challenger does better by so much."""
    days = pd.bdate_range("2020-06-01", periods=len(gains))
    frame = pd.DataFrame({"symbol": "SPX", "session": days, "time": days.tz_localize("UTC"), "share": 0.01})
    frame = frame.assign(champion=0.0, challenger=0.0, label=0.0, champion_loss=0.0, challenger_loss=0.0)
    frame = frame.assign(difference=gains, label_end=frame["time"])
    kept = stores.RolloutStore(stores.folder_of(NAME) / f"rollout-{agreed.id}")
    kept.append("forecasts", frame[list(evidence.FORECASTS)])
    kept.append("outcomes", frame[list(evidence.OUTCOMES)])


def ended() -> Ending:
    last = stores.latest(NAME)
    assert last is not None
    assert last.ending is not None
    return last.ending


@pytest.mark.usefixtures("own")
def test_it_begins_once_with_alias_and_share() -> None:
    agreed = began()
    now = standing()
    assert (now.champion, now.challenger, now.fallback, now.share) == ("1", "2", "1", 0.01)
    assert flow._standing(agreed) == now
    assert began().id == agreed.id
    assert standing().epoch == now.epoch


@pytest.mark.usefixtures("own")
def test_a_shadow_gets_no_share() -> None:
    agreed = began(mode="shadow", read=0)
    assert (standing().challenger, standing().share) == ("2", 0.0)
    lived(agreed, [1.0] * 30)
    flow._act(agreed, standing(), where(agreed))
    assert (standing().champion, standing().challenger, standing().share) == ("1", "2", 0.0)


@pytest.mark.usefixtures("own")
def test_the_share_follows_the_evidence_and_the_same_night_again_moves_nothing() -> None:
    agreed = began()
    lived(agreed, [0.5] * 8)
    for _ in range(2):
        flow._act(agreed, standing(), where(agreed))
        assert (standing().share, standing().epoch) == (0.05, 3)
    with Ledger.open() as ledger:
        newest = promotions.history(ledger, NAME)[0]
    assert (newest.action, newest.by, newest.evidence) == ("rollout", "rollout", "e" * 64)
    assert "of 40 after 8 dates" in newest.why[0]


@pytest.mark.parametrize(
    ("gain", "champion", "outcome", "action"),
    [(1.0, "2", "promoted", "promoted"), (-1.0, "1", "rolled back", "rolled back"), (0.0, "1", "kept", "rollout")],
)
def test_it_ends_and_mlflow_shows_it(
    own: mlflow_store.Store, gain: float, champion: str, outcome: str, action: str
) -> None:
    agreed = began()
    lived(agreed, [gain] * 60)
    flow._act(agreed, standing(), where(agreed))
    now = standing()
    assert (now.champion, now.challenger, now.fallback, now.share) == (champion, "", "1", 0.0)
    assert ended().outcome == outcome
    with Ledger.open() as ledger:
        assert promotions.history(ledger, NAME)[0].action == action
    aliases = {alias: str(version) for alias, version in own.client.get_registered_model(NAME).aliases.items()}
    assert aliases == {"champion": champion, "fallback": "1"}
    assert stores.current(NAME) is None


@pytest.mark.parametrize(("gain", "outcome"), [(1.0, "promoted"), (-1.0, "rolled back"), (0.0, "kept")])
@pytest.mark.usefixtures("own")
def test_a_run_that_dies_after_the_alias_moved_is_finished_by_the_next(
    gain: float, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    agreed = began()
    lived(agreed, [gain] * 60)

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(flow, "_conclude", dies)
        with pytest.raises(KeyboardInterrupt):
            flow._act(agreed, standing(), where(agreed))
    moved = standing()
    assert stores.current(NAME) is not None
    assert flow._over(agreed, moved)
    assert ended().outcome == outcome
    assert standing() == moved, "what was moved is not moved again"


@pytest.mark.usefixtures("own")
def test_a_run_that_dies_before_the_alias_moved_is_put_in_place_by_the_next() -> None:
    agreed = plan()
    stores.begin(agreed)
    assert standing().challenger == ""
    assert not flow._over(agreed, flow._standing(agreed))
    assert (standing().challenger, standing().share) == ("2", 0.01)


def test_whoever_was_faster_makes_the_move_fail(own: mlflow_store.Store) -> None:
    agreed = began()
    lived(agreed, [1.0] * 60)
    seen = standing()
    with Ledger.open() as ledger:
        promotions.move(ledger, own, seen, dataclasses.replace(seen, share=0.0), "rollout", (), "", "somebody")
    with pytest.raises(StaleEpochError):
        flow._act(agreed, seen, where(agreed))
    assert standing().champion == "1"
    assert stores.current(NAME) is not None


def test_a_champion_refitted_goes_on_and_another_recipe_ends_it(own: mlflow_store.Store) -> None:
    agreed = began()
    with Ledger.open() as ledger:
        now = promotions.standing(ledger, NAME)
        now = promotions.move(ledger, own, now, dataclasses.replace(now, champion="3"), "refreshed", (), "", "nightly")
    assert not flow._over(agreed, now)
    own.client.set_model_version_tag(NAME, "3", "recipe_sha256", "c" * 8)
    assert flow._over(agreed, now)
    assert ended().outcome == "superseded"
    assert (standing().champion, standing().challenger, standing().share) == ("3", "", 0.0)


def test_a_challenger_taken_away_by_hand_ends_it(own: mlflow_store.Store) -> None:
    agreed = began()
    with Ledger.open() as ledger:
        now = promotions.standing(ledger, NAME)
        gone = dataclasses.replace(now, challenger="", share=0.0)
        now = promotions.move(ledger, own, now, gone, "rolled back", (), "", "somebody")
    assert flow._over(agreed, now)
    assert "the challenger is none now" in ended().why[0]


@pytest.mark.usefixtures("own")
def test_it_can_be_stopped() -> None:
    began()
    told = flow.stop(NAME, "enough")
    assert told["ending"]["outcome"] == "stopped"
    assert (standing().challenger, standing().share) == ("", 0.0)
    with pytest.raises(ConfigurationError, match="no rollout"):
        flow.stop(NAME, "enough")


@pytest.mark.usefixtures("own")
def test_begun_again_after_a_stop_it_is_another_rollout_and_lives() -> None:
    """On the same bars, with the same bound: nothing but the id differs."""
    for number in (1, 2):
        agreed = drafting._identified(plan(id=f"20200101T00000{number}Z-v2"))
        stores.begin(agreed)
        now = flow._standing(agreed)
        assert (now.challenger, now.share) == ("2", 0.01)
        assert not flow._over(agreed, now)
        flow.stop(NAME, "enough")
    with Ledger.open() as ledger:
        assert [move.action for move in promotions.history(ledger, NAME)][:4] == ["rollout", "challenged"] * 2


@pytest.mark.parametrize("recipe", ["b" * 8, "c" * 8])
def test_a_promotion_killed_before_it_was_noted_is_no_other_end_whatever_came_after(
    own: mlflow_store.Store, recipe: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next night refreshes the new champion, or puts another recipe in its place, before the rollout's does."""
    agreed = began()
    lived(agreed, [1.0] * 60)
    with monkeypatch.context() as patched:
        patched.setattr(flow, "_conclude", lambda *_: None)
        flow._act(agreed, standing(), where(agreed))
    own.client.set_model_version_tag(NAME, "3", "recipe_sha256", recipe)
    with Ledger.open() as ledger:
        now = promotions.standing(ledger, NAME)
        now = promotions.move(ledger, own, now, dataclasses.replace(now, champion="3"), "refreshed", (), "", "nightly")
    assert flow._over(agreed, now)
    assert ended().outcome == "promoted"
    assert standing() == now


def test_a_name_taken_out_of_service_ends_it(own: mlflow_store.Store) -> None:
    agreed = began()
    with Ledger.open() as ledger:
        rollback(own, ledger, NAME, "none", "nothing is to be served")
    assert flow._over(agreed, flow._standing(agreed))
    assert ended().outcome == "superseded"
    assert "no champion" in ended().why[0]
    again = plan(id="20200102T000000Z-v2", evidence="f" * 64)
    stores.begin(again)
    assert flow._over(again, flow._standing(again)), "and what had only been agreed on"


def test_a_run_that_dies_once_it_has_claimed_a_read_loses_nothing(own: mlflow_store.Store, night: Night) -> None:
    """The agreement is on the disk before: the next run, or the evening's, goes on from it with the same read."""
    problem = night.problem.model_copy(update={"name": NAME})
    with Ledger.open() as ledger:
        won = ledger.spend(dataclasses.replace(gate_read(night, "b" * 8), problem=NAME))
        ledger.record_decision(won, NAME, "b" * 8, Decision(outcome="promoted", promote="ridge", reasons=()))
    for tag, value in {"decision": "promoted", "ledger_read": str(won.row)}.items():
        own.client.set_model_version_tag(NAME, "2", tag, value)
    stores.agree(plan(read=0))
    agreed = stores.agreed(NAME)
    assert agreed is not None
    flow._paid(agreed, problem, data(night))
    assert stores.current(NAME) is None
    assert stores.agreed(NAME) == agreed
    paid = flow._paid(agreed, problem, data(night))
    assert (paid.read, paid.read_row, paid.approved) == (1, won.row, True)
    stores.begin(paid)
    assert stores.agreed(NAME) is None


def test_what_was_agreed_on_and_never_began_can_be_ended(own: mlflow_store.Store, night: Night) -> None:
    problem = night.problem.model_copy(update={"name": NAME})
    flow._paid(stores.agree(plan(read=0)), problem, data(night))
    assert flow.stop(NAME, "enough")["headline"].startswith("no rollout")
    assert stores.agreed(NAME) is None
    with Ledger.open() as ledger:
        assert [row["outcome"] for row in ledger.chain.rows("outcomes", "read = 1")] == [BEGAN, "kept"]
    with pytest.raises(ConfigurationError, match="no rollout"):
        flow.stop(NAME, "enough")


def test_who_may_take_part(own: mlflow_store.Store) -> None:
    assert rollouts.chosen(own, NAME, LATER) == "3"
    assert rollouts.chosen(own, NAME, LATER, "2") == "2"
    assert rollouts.chosen(own, NAME, dataclasses.replace(LATER, challenger="2")) == "2"
    with pytest.raises(ConfigurationError, match="version 1 is the champion"):
        rollouts.chosen(own, NAME, LATER, "1")
    with pytest.raises(ConfigurationError, match="has no version 01"):
        rollouts.chosen(own, NAME, LATER, "01")
    with pytest.raises(ConfigurationError, match="no version 9"):
        rollouts.rival(own, NAME, "9")
    one, two, again = (rollouts.rival(own, NAME, version) for version in "123")
    assert two.learned == "2020-02-01T21:00:00+00:00"
    problem = Problem(name=NAME, source="builtin:sp500")
    with pytest.raises(ConfigurationError, match="cannot be compared"):
        rollouts.require_comparable(one, two, problem)
    one, two, again = (dataclasses.replace(each, predicts=problem.predicts) for each in (one, two, again))
    rollouts.require_comparable(one, two, problem)
    with pytest.raises(ConfigurationError, match="own recipe"):
        rollouts.require_comparable(one, again, problem)
    own.client.delete_model_version_tag(NAME, "2", "gated_uri")
    with pytest.raises(ConfigurationError, match="does not tell its gated_uri"):
        rollouts.rival(own, NAME, "2")


def rival(night: Night, **changes: object) -> Rival:
    made = Rival(
        version="2", candidate="ridge", model_uri="", gated_uri="", training_end="2020-01-01",
        gated_training_end=EARLY, recipe_sha256="b" * 8, predicts=night.problem.predicts,
    )  # fmt: skip
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def data(night: Night) -> tuple[Snapshot, Rows]:
    return night.snapshot, night.rows


def test_a_version_that_the_gate_did_not_approve_spends_a_read_and_the_same_plan_the_same_one(night: Night) -> None:
    with Ledger.in_memory() as ledger:
        first = rollouts.claim(ledger, night.problem, data(night), rival(night), "e1")
        assert (first.k, first.level) == (1, 0.025)
        assert rollouts.claim(ledger, night.problem, data(night), rival(night), "e1") == first
        second = rollouts.claim(ledger, night.problem, data(night), rival(night), "e2")
        assert second.k == 2, "another try of it is another read, at once"
        assert second.level == pytest.approx(0.05 / 6)
        rollouts.conclude(ledger, name=NAME, recipe="b", read_row=first.row, promoted="", why=("time",))
        rollouts.conclude(ledger, name=NAME, recipe="b", read_row=first.row, promoted="", why=("time",))
        assert [row["outcome"] for row in ledger.chain.rows("outcomes", "read = ?", (first.row,))] == [
            BEGAN, "kept"
        ]  # fmt: skip


def test_reads_of_rollouts_and_of_the_gate_share_one_budget(night: Night) -> None:
    with Ledger.in_memory() as ledger:
        levels = []
        for number in range(20):
            if number % 2:
                levels.append(rollouts.claim(ledger, night.problem, data(night), rival(night), f"e{number}").level)
            else:
                levels.append(ledger.spend(gate_read(night, f"r{number}")).level)
        assert levels == sorted(levels, reverse=True)
        assert sum(levels) < night.problem.alpha


def gate_read(night: Night, recipe: str) -> Asked:
    seen = read_parquet(night.rows.ref, ["symbol", "session", "label", "window"])
    family = family_of(night.problem, night.snapshot, seen)
    return Asked(
        problem=night.problem.name, family=family, recipe=recipe, evidence=recipe,
        dates=[f"{seen['session'].max():%Y-%m-%d}"], alpha=night.problem.alpha,
    )  # fmt: skip


def test_a_version_that_the_gate_approved_uses_the_level_of_that_read_for_one_rollout(night: Night) -> None:
    with Ledger.in_memory() as ledger:
        ledger.spend(gate_read(night, "other"))
        won = ledger.spend(gate_read(night, "b" * 8))
        approved = rival(night, approved=True, read_row=won.row)
        first = rollouts.claim(ledger, night.problem, data(night), approved, "e1")
        assert (first.row, first.k, first.level) == (won.row, 2, won.level)
        assert rollouts.claim(ledger, night.problem, data(night), approved, "e1") == first
        again = rollouts.claim(ledger, night.problem, data(night), approved, "e2")
        assert again.k == 3, "a won read pays for one rollout"
        forged = rival(night, approved=True, read_row=won.row, recipe_sha256="c" * 8)
        assert rollouts.claim(ledger, night.problem, data(night), forged, "e3").k == 4, "the read of another recipe"


@pytest.mark.parametrize("promoted", ["", "2"])
def test_how_a_rollout_ends_settles_every_open_win_of_its_recipe(night: Night, promoted: str) -> None:
    """Two reads decided its promotion; neither may pay for another rollout, nor be won again the next night."""
    win = Decision(outcome="promoted", promote="ridge", reasons=())
    name, recipe = night.problem.name, "b" * 8
    with Ledger.in_memory() as ledger:
        won = [ledger.spend(dataclasses.replace(gate_read(night, recipe), evidence=e), to_come=True) for e in "xy"]
        for read in won:
            ledger.record_decision(read, name, recipe, win)
        paid = rollouts.claim(ledger, night.problem, data(night), rival(night, approved=True, read_row=1), "e1")
        assert paid.k == 1
        assert ledger.open_wins(name, recipe) == [2]
        for _ in range(2):
            rollouts.conclude(ledger, name=name, recipe=recipe, read_row=1, promoted=promoted, why=("it ended",))
        assert ledger.open_wins(name, recipe) == []
        assert len(ledger.chain.rows("outcomes", "outcome = 'alias moved'")) == bool(promoted)
        if not promoted:
            again = rival(night, approved=True, read_row=2)
            assert rollouts.claim(ledger, night.problem, data(night), again, "e2").k == 3


def test_two_models_speak_about_every_row_in_a_clean_process(
    store: mlflow_store.Store, night: Night, entry: Entry
) -> None:
    registered, _ = register(store, night, entry)
    refs = rollouts.predictions(store, NAME, [registered.model_uri, registered.gated_uri], night.snapshot)
    said = [read_parquet(ref)["prediction"].to_numpy(np.float64) for ref in refs]
    assert [len(values) for values in said] == [night.snapshot.bars.rows] * 2
    assert all(np.isfinite(values[-1]) for values in said)
    with pytest.raises(RegistryError, match="does not load"):
        rollouts.predictions(store, NAME, [f"models:/{night.problem.name}/99"], night.snapshot)


def test_a_standing_without_a_champion_is_no_place_for_a_challenger(ledger: Ledger) -> None:
    with pytest.raises(RegistryError, match="needs a champion"):
        swap(ledger, Standing(name="new"), Standing(name="new", challenger="2", share=0.01), "challenged", (), "", "x")
