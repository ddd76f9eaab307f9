"""MLflow's aliases show the ledger's standing: after a kill, after somebody's hand, and never an older one."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException
from typer.testing import CliRunner

from flows import cli
from tasks.errors import ConfigurationError, RegistryError, StorageError
from tasks.live import Standing
from tasks.registry import mlflow_store, projection, task
from tasks.registry.ledger import Ledger
from tasks.registry.ledger_place import ledger_path
from tasks.registry.mlflow_store import Store
from tasks.registry.projection import mend, repair, shown
from tasks.registry.promotions import history, move, standing
from tasks.registry.standings import StaleEpochError, swap
from tasks.storage import PROJECT
from tests.registry import race
from tests.registry.shown import make_versions

NAME = "spx"


@pytest.fixture
def versions(store: Store) -> Store:
    """A store with four versions."""
    make_versions(store, NAME, {}, {}, {}, {})
    return store


def promote(store: Store, version: str, **change: Any) -> Standing:
    with Ledger.open() as ledger:
        now = standing(ledger, NAME)
        return move(ledger, store, now, replace(now, champion=version, **change), "promoted", ("why",), "e", "nightly")


def test_a_move_is_shown_whole(versions: Store) -> None:
    assert shown(versions, "unheard-of") is None
    now = promote(versions, "2", challenger="3", fallback="1", share=0.05)
    assert shown(versions, NAME) == now == Standing(
        name=NAME, epoch=1, champion="2", challenger="3", fallback="1", share=0.05
    )  # fmt: skip
    tags = versions.client.get_registered_model(NAME).tags
    assert (tags["nocturne.epoch"], tags["nocturne.share"]) == ("1", "0.05")
    promoted = versions.client.get_model_version(NAME, "2").tags["promoted"]
    now = promote(versions, "3", challenger="", share=0.0)
    assert shown(versions, NAME) == now
    assert set(versions.client.get_registered_model(NAME).aliases) == {"champion", "fallback"}
    promote(versions, "2")
    assert versions.client.get_model_version(NAME, "2").tags["promoted"] == promoted, "when it first was"


def test_what_somebody_moved_by_hand_is_put_back_and_said(versions: Store, caplog: pytest.LogCaptureFixture) -> None:
    now = promote(versions, "2", fallback="1")
    client = versions.client
    client.set_registered_model_alias(NAME, "champion", "4")
    client.set_registered_model_alias(NAME, "challenger", "3")
    client.delete_registered_model_alias(NAME, "fallback")
    client.set_registered_model_tag(NAME, "nocturne.share", "a lot")
    client.set_registered_model_tag(NAME, "nocturne.epoch", "99")
    with caplog.at_level(logging.WARNING, "nocturne.registry"):
        task.open_registry.fn(NAME)
    assert shown(versions, NAME) == now
    for words in (
        "spx: the alias champion was on version 4; put back to version 2",
        "spx: the alias challenger was on version 3; taken away",
        "spx: the alias fallback was on none; put back to version 1",
        "spx: the epoch was 99; put right to 1",
    ):
        assert words in caplog.text
    caplog.clear()
    assert mend(versions, NAME) == ()
    assert caplog.text == ""


def test_a_registry_from_before_is_adopted_as_epoch_one(versions: Store, caplog: pytest.LogCaptureFixture) -> None:
    versions.client.set_registered_model_alias(NAME, "champion", "3")
    assert mend(versions, NAME) == (), "who merely looks adopts nothing"
    with Ledger.open() as ledger:
        assert mend(versions, NAME) == ()
        ledger.record_alias(NAME, "r", "3")
        said = repair(versions, ledger, NAME)
        assert said == ("spx: version 3 is adopted as champion, epoch 1: it held the alias before standings were kept",)
        (found,) = history(ledger, NAME)
        assert (found.action, found.by, found.standing.champion) == ("adopted", "adoption", "3")
        assert repair(versions, ledger, NAME) == ()
    assert shown(versions, NAME) == found.standing


def test_an_adopted_champion_that_the_ledger_does_not_know_is_told(versions: Store) -> None:
    versions.client.set_registered_model_alias(NAME, "champion", "3")
    with Ledger.open() as ledger:
        assert "this ledger knows of no promotion of it" in repair(versions, ledger, NAME)[0]


def test_where_neither_side_knows_anything_nothing_is_done(versions: Store) -> None:
    with Ledger.open() as ledger:
        assert repair(versions, ledger, NAME) == repair(versions, ledger, "unheard-of") == ()
        assert history(ledger, NAME) == ()
    assert versions.client.get_registered_model(NAME).tags == {}


def test_the_place_of_a_deleted_version_is_given_up(versions: Store, caplog: pytest.LogCaptureFixture) -> None:
    promote(versions, "3", challenger="4", fallback="2", share=0.25)
    versions.client.delete_model_version(NAME, "2")
    with caplog.at_level(logging.WARNING, "nocturne.registry"):
        task.open_registry.fn(NAME)
    assert "spx: version 2, the fallback, was deleted from the registry: nothing holds that place now" in caplog.text
    with Ledger.open() as ledger:
        now = standing(ledger, NAME)
        (dropped, _) = history(ledger, NAME)
        assert repair(versions, ledger, NAME) == ()
    assert now == shown(versions, NAME) == Standing(name=NAME, epoch=2, champion="3", challenger="4", share=0.25)
    assert (dropped.action, dropped.by) == ("dropped", "repair")
    versions.client.delete_model_version(NAME, "3")
    assert "nocturne rollback spx puts an earlier one in its place" in mend(versions, NAME)[0]
    assert shown(versions, NAME) == Standing(name=NAME, epoch=3, challenger="4")
    task.open_registry.fn(NAME)


@pytest.mark.parametrize("tag", ["nocturne.epoch", "nocturne.share"])
@pytest.mark.parametrize("value", ["inf", "-inf", "nan", "1e999", ""])
def test_a_spoiled_number_is_put_right(versions: Store, tag: str, value: str) -> None:
    now = promote(versions, "2", challenger="3", share=0.25)
    versions.client.set_registered_model_tag(NAME, tag, value)
    assert "put " in mend(versions, NAME)[0]
    assert shown(versions, NAME) == now


def test_a_version_of_which_nothing_is_heard_keeps_its_place(versions: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    now = promote(versions, "3", fallback="2")
    versions.client.delete_registered_model_alias(NAME, "fallback")

    def refused(*_: Any) -> Any:
        raise MlflowException("the database is locked")

    with monkeypatch.context() as broken, Ledger.open() as ledger:
        broken.setattr(type(versions.client), "get_model_version", refused)
        with pytest.raises(RegistryError, match="version 3 cannot be read: the database is locked"):
            repair(versions, ledger, NAME)
        assert standing(ledger, NAME) == now


def test_a_registry_that_lost_the_name_stops_the_night_and_names_the_cure(versions: Store) -> None:
    promote(versions, "3", challenger="4", fallback="2")
    versions.client.delete_registered_model(NAME)
    with pytest.raises(RegistryError, match="nocturne rollback spx --to none"):
        task.open_registry.fn(NAME)
    assert "knows no model of this name" in mend(versions, NAME)[0]
    cured = CliRunner().invoke(cli.app, ["rollback", NAME, "--to", "none"])
    assert cured.exit_code == 0, cured.output
    task.open_registry.fn(NAME)
    assert mend(versions, NAME) == ()
    with Ledger.open() as ledger:
        assert standing(ledger, NAME) == Standing(name=NAME, epoch=2)
    make_versions(versions, NAME, {})
    promote(versions, "1")
    assert mend(versions, NAME) == ()


def test_the_ledger_of_another_registry_moves_nothing_in_this_one(versions: Store) -> None:
    """Somebody's own ledger, with moves of a name of its own, and a tracking URI that is the desk's."""
    make_versions(versions, "desk", {"ledger_row": "7", "ledger_sha256": "f" * 64, "gate_term": "2026-01-01"})
    versions.client.set_registered_model_alias("desk", "champion", "1")
    with Ledger.open() as ledger:
        swap(ledger, Standing(name="desk"), Standing(name="desk", champion="9"), "promoted", (), "", "me")
    assert mend(versions, "desk") == (f"desk: {ledger_path()} is not the ledger of this registry's entries; "
        "aliases left alone",)  # fmt: skip
    assert str(versions.client.get_model_version_by_alias("desk", "champion").version) == "1"


def test_whoever_only_looks_makes_no_ledger(versions: Store) -> None:
    shutil.rmtree(ledger_path().parent, ignore_errors=True)
    assert mend(versions, NAME) == ()
    assert not ledger_path().exists()


BETWEEN = """
import os, signal, sys
from dataclasses import replace
from tasks.live import Standing
from tasks.registry import projection
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import open_store
from tasks.registry.promotions import move, standing
import tasks.registry.promotions as promotions

def interrupted(store, ledger, name):
    print("committed", flush=True)
    sys.stdin.readline()
    return projection.project(store, ledger, name)

promotions.project = interrupted
store = open_store()
with Ledger.open() as ledger:
    now = standing(ledger, "spx")
    move(ledger, store, now, replace(now, champion="3"), "promoted", (), "", "the interrupted one")
"""


@pytest.fixture
def interrupted(versions: Store) -> Any:
    """A promoter of version 3 that has committed and not yet moved the alias; version 2 is shown."""
    promote(versions, "2")
    with subprocess.Popen(
        [sys.executable, "-c", BETWEEN], cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "committed\n"
        yield process
        process.kill()


def test_a_kill_between_commit_and_alias_is_repaired_at_the_next_start(
    versions: Store, interrupted: subprocess.Popen[str], caplog: pytest.LogCaptureFixture
) -> None:
    os.kill(interrupted.pid, signal.SIGKILL)
    interrupted.wait(30)
    champion = mlflow_store.champion(versions, NAME)
    assert champion is not None
    assert champion.version == "2", "consumers keep the one that was verified before"
    with caplog.at_level(logging.WARNING, "nocturne.registry"):
        task.open_registry.fn(NAME)
    assert "the alias champion was on version 2; put back to version 3" in caplog.text
    champion = mlflow_store.champion(versions, NAME)
    assert champion is not None
    assert champion.version == "3"


def test_one_stopped_between_commit_and_alias_does_not_show_its_old_standing_later(
    versions: Store, interrupted: subprocess.Popen[str]
) -> None:
    os.kill(interrupted.pid, signal.SIGSTOP)
    now = promote(versions, "4")
    assert now.epoch == 3
    os.kill(interrupted.pid, signal.SIGCONT)
    interrupted.communicate("go\n", timeout=60)
    assert interrupted.returncode == 0
    assert shown(versions, NAME) == now


def test_of_two_promoters_one_wins_and_mlflow_shows_the_last(store: Store) -> None:
    make_versions(store, race.NAME, *[{}] * race.VERSIONS)
    counts = race.in_processes(2, 10, projected=True)
    assert counts.right, str(counts)
    assert race.shows_the_last(store)


def test_what_was_never_proved_is_shown_to_nobody(store: Store) -> None:
    """Neither as champion nor as fallback, nor to a share of the requests; a shadow nobody sees."""
    make_versions(store, NAME, {}, {"verified": ""}, {"model_sha256": ""})
    now = promote(store, "1", challenger="2")
    for change in ({"champion": "2", "challenger": ""}, {"fallback": "3"}, {"share": 0.01}):
        with Ledger.open() as ledger, pytest.raises(ConfigurationError, match="cannot be put in service: it"):
            move(ledger, store, now, replace(now, **change), "rollout", (), "", "rollout")
    assert shown(store, NAME) == now


def test_a_move_that_came_too_late_leaves_the_aliases_alone(versions: Store) -> None:
    seen = promote(versions, "1")
    now = promote(versions, "2")
    with Ledger.open() as ledger, pytest.raises(StaleEpochError):
        move(ledger, versions, seen, replace(seen, champion="3"), "promoted", (), "", "late")
    assert shown(versions, NAME) == now


def test_a_registry_that_answers_slowly_keeps_no_other_problem_waiting(
    versions: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is shown of a name is written by one at a time; the ledger itself stays open for everybody."""
    now = promote(versions, "2")
    asked, answers, wrote = threading.Event(), threading.Event(), projection._write

    def slowly(*given: Any) -> None:
        asked.set()
        assert answers.wait(60)
        wrote(*given)

    monkeypatch.setattr(projection, "_write", slowly)
    versions.client.set_registered_model_alias(NAME, "champion", "4")
    with ThreadPoolExecutor() as pool:
        first = pool.submit(mend, versions, NAME)
        assert asked.wait(60)
        with Ledger.open(wait=0.2) as ledger:
            ledger.record_alias("another", "recipe", "1")
            with (
                pytest.raises(StorageError, match="locked by another process"),
                ledger.chain.alone(f"projection {NAME}"),
            ):
                pass
            with ledger.chain.alone("projection another"):
                pass
        answers.set()
        assert first.result(60) == (f"{NAME}: the alias champion was on version 4; put back to version 2",)
    assert shown(versions, NAME) == now
