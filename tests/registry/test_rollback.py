"""An earlier version back in the champion's place: at once, kept in the history, and only if it was proved once."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from flows import cli
from tasks.errors import ConfigurationError, IntegrityError
from tasks.live import Standing
from tasks.registry import mlflow_store, nights
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store
from tasks.registry.projection import shown
from tasks.registry.promotions import history, move, standing
from tasks.registry.records import Entry, LoggedNight, Night
from tasks.registry.rollback import RolledBack, rollback
from tasks.registry.serving.folder import folder_digest
from tests.registry import conftest
from tests.registry.shown import make_versions

NAME = "spx"


@pytest.fixture
def three(store: Store) -> Store:
    """Versions 1, 2, 3 were champion in turn; 4 was never verified, 5 failed, 6 was quarantined, 7 has no digest."""
    make_versions(
        store, NAME,
        {"candidate": "har", "training_end": "2018-12-31"}, {"candidate": "ridge-2"}, {"candidate": "gbm-7"},
        {"verified": ""}, {"verified": "failed: it is not what was evaluated"}, {"outcome": "quarantined"},
        {"model_sha256": ""},
    )  # fmt: skip
    for version in ("1", "2", "3"):
        promote(store, version)
    return store


def promote(store: Store, version: str, name: str = NAME, **change: Any) -> Standing:
    with Ledger.open() as ledger:
        now = standing(ledger, name)
        why = ("better than every rival on the gate at the level of its read, 2.5 %, by more than chance would give",)
        wanted = replace(now, champion=version, **change)
        return move(ledger, store, now, wanted, "promoted", why, "e" * 64, "nightly")


def back(store: Store, to: str = "", why: str = "", name: str = NAME) -> RolledBack:
    with Ledger.open() as ledger:
        return rollback(store, ledger, name, to, why)


def test_the_champion_before_comes_back_and_then_the_one_before_that(three: Store) -> None:
    first = back(three, why="wrong on Monday")
    assert (first.before, first.after, first.candidate, first.epoch) == ("3", "2", "ridge-2", 4)
    assert back(three).after == "1"
    with pytest.raises(ConfigurationError, match="no version was champion before version 1; name one with --to"):
        back(three)
    with Ledger.open() as ledger:
        second, first_move, *_ = history(ledger, NAME)
    assert (first_move.action, first_move.why) == ("rolled back", ("wrong on Monday",))
    assert second.why == ("no reason was given",)
    assert "@" in first_move.by
    assert shown(three, NAME) == second.standing
    assert first.seconds < 5


def test_any_proved_version_can_be_named_and_the_challengers_share_ends(three: Store) -> None:
    promote(three, "3", challenger="1", fallback="2", share=0.25)
    back(three, "1")
    with Ledger.open() as ledger:
        now = standing(ledger, NAME)
    assert (now.champion, now.challenger, now.fallback, now.share) == ("1", "", "2", 0.0)
    assert shown(three, NAME) == now


@pytest.mark.parametrize(
    ("to", "words"),
    [
        ("3", "version 3 is champion already"),
        ("4", "version 4 cannot be put in service: it was never verified \\(no model of it was ever loaded afresh"),
        ("5", "version 5 cannot be put in service: it was never verified \\(failed: it is not what was evaluated\\)"),
        ("6", "version 6 cannot be put in service: it was quarantined"),
        ("7", "version 7 cannot be put in service: it has no digest"),
        ("99", "spx has no version 99 that is ready"),
        ("latest", "spx has no version latest"),
        ("02", "spx has no version 02 that is ready"),
        ("03", "spx has no version 03 that is ready"),
    ],
)
def test_what_may_not_be_champion_is_refused_and_nothing_moves(three: Store, to: str, words: str) -> None:
    before = shown(three, NAME)
    with pytest.raises(ConfigurationError, match=words):
        back(three, to)
    assert shown(three, NAME) == before
    with Ledger.open() as ledger:
        assert standing(ledger, NAME) == before


def test_a_name_can_be_taken_out_of_service_and_put_back(three: Store) -> None:
    promote(three, "3", challenger="1", share=0.5)
    done = back(three, "none", "its data vendor is gone")
    assert (done.before, done.after) == ("3", "")
    assert mlflow_store.champion(three, NAME) is None
    assert three.client.get_registered_model(NAME).aliases == {}
    assert back(three).after == "3", "the last one that was in service"


def test_deleted_versions_are_in_nobodys_way(three: Store) -> None:
    promote(three, "3", fallback="1")
    three.client.delete_model_version(NAME, "1")
    assert back(three).after == "2", "the fallback's place is given up first"
    promote(three, "3")
    three.client.delete_model_version(NAME, "3")
    three.client.delete_model_version(NAME, "2")
    with pytest.raises(ConfigurationError, match="no version was champion before no version; name one with --to"):
        back(three)
    with Ledger.open() as ledger:
        now = standing(ledger, NAME)
    assert (now.champion, now.fallback) == ("", "")
    assert shown(three, NAME) == now
    with pytest.raises(ConfigurationError, match="no version is champion already; nothing was moved"):
        back(three, "none")


def test_the_champion_before_a_deleted_one_is_not_the_deleted_one(three: Store) -> None:
    three.client.delete_model_version(NAME, "3")
    assert back(three).after == "2"


def test_a_registry_from_before_is_adopted_first(store: Store) -> None:
    make_versions(store, NAME, {}, {})
    store.client.set_registered_model_alias(NAME, "champion", "2")
    assert (done := back(store, "1")).before == "2"
    assert done.epoch == 2


def test_a_ledger_that_is_not_this_registrys_rolls_nothing_back(store: Store) -> None:
    make_versions(store, NAME, {}, {"ledger_row": "7", "ledger_sha256": "f" * 64})
    store.client.set_registered_model_alias(NAME, "champion", "2")
    with pytest.raises(IntegrityError, match="not what the registry's entries rest on: spx version 2"):
        back(store, "1")
    assert str(store.client.get_model_version_by_alias(NAME, "champion").version) == "2"


def test_while_consumers_pull_each_gets_one_whole_version(
    store: Store, night: Night, entry: Entry, tmp_path: Path
) -> None:
    """Four rollbacks and promotions back and forth, three consumers that pull by the alias all the while."""
    experiment = mlflow_store.experiment(store, conftest.NAME)
    run_id = mlflow_store.new_run(store, experiment, "night", {})
    logged = LoggedNight(run_id=run_id, experiment_id=experiment, tracking_uri=store.tracking_uri, url="")
    one_fit = replace(entry, shipped=entry.gated)
    other = conftest.make_entry(night, "ridge-1")
    made = [nights.register(store, night, logged, each) for each in (one_fit, replace(other, shipped=other.gated))]
    digests = set()
    for registered in made:
        mlflow_store.set_version_tags(store, registered, {"verified": "largest relative difference 0"})
        digests.add((mlflow_store.version_tags(store, conftest.NAME, registered.version) or {})["model_sha256"])
        promote(store, registered.version, conftest.NAME)
    over = threading.Event()
    pulled: list[str] = []

    def pull(consumer: int) -> None:
        number = 0
        while not over.is_set() or not number:
            folder = tmp_path / f"{consumer}-{number}"
            folder.mkdir()
            pulled.append(folder_digest(mlflow_store.fetch(store, f"models:/{conftest.NAME}@champion", folder)))
            number += 1

    consumers = [threading.Thread(target=pull, args=(number,)) for number in range(3)]
    for consumer in consumers:
        consumer.start()
    for turn in range(4):
        back(store, to="1" if turn % 2 == 0 else "2", name=conftest.NAME)
    over.set()
    for consumer in consumers:
        consumer.join(60)
    assert len(digests) == 2
    assert len(pulled) >= 3
    assert set(pulled) <= digests, "neither a mixture nor a part of one"


def test_the_commands_tell_it_in_eighty_columns(three: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    run = CliRunner().invoke
    said = run(cli.app, ["rollback", NAME, "--why", "wrong on Monday"])
    assert said.exit_code == 0, said.output
    assert f"{NAME}: version 2 is champion in place of version 3 (epoch 4)" in said.stdout
    assert "why: wrong on Monday" in said.stdout
    told = run(cli.app, ["models", NAME, "--history"])
    assert told.exit_code == 0, told.output
    assert max(map(len, told.stdout.splitlines())) <= 80
    first, _, after = told.stdout.partition("champion 3 → 2 (ridge-2)")
    assert "   4  " in first
    assert "rolled back" in first
    assert "wrong on Monday" in after
    assert after.index("champion 2 → 3") < after.index("champion 1 → 2") < after.index("champion none → 1 (har)")
    document = json.loads(run(cli.app, ["models", NAME, "--history", "--json"]).stdout)
    assert [step["standing"]["champion"] for step in document["history"][NAME]] == ["2", "3", "2", "1"]
    assert run(cli.app, ["models", NAME]).stdout.count("version 7") == 1


def test_models_says_what_it_mended(three: Store) -> None:
    three.client.set_registered_model_alias(NAME, "champion", "4")
    said = CliRunner().invoke(cli.app, ["models", NAME])
    assert "mended: spx: the alias champion was on version 4; put back to version 3" in said.stderr
    assert "mended" not in CliRunner().invoke(cli.app, ["models", NAME]).stderr
