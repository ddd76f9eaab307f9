"""A ledger that was lost does not begin anew unseen: the registry knows what its entries rest on."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows import cli_registry
from tasks.errors import ConfigurationError, IntegrityError
from tasks.registry import mlflow_store, task
from tasks.registry.card import version_tags
from tasks.registry.continuity import Told, begin_anew, begun_anew, lost
from tasks.registry.judgement import Verdict, judge
from tasks.registry.ledger import Ledger
from tasks.registry.ledger_place import ledger_path
from tasks.registry.mlflow_store import Store
from tasks.registry.records import Mark
from tests.registry.judged import NAME, World, fits_of, night_of

POOR = {"net": 0.0, "zero": 0.0, "mean": 0.0}


def register(store: Store, name: str, tags: dict[str, str]) -> None:
    """A version whose model nobody loads."""
    if name not in mlflow_store.names(store):
        store.client.create_registered_model(name)
    store.client.create_model_version(name, source="file:///nowhere", tags=tags)


def a_night(store: Store, folder: Path, name: str = NAME, last: str = "2018-12-31") -> Verdict:
    """Judged and registered, as every night is; nothing is promoted."""
    world = World(folder, last=last)
    night = night_of(world, name=name)
    verdict = task.judge.fn(night, fits_of(world, POOR), None)
    register(store, name, version_tags(night, verdict.entry, "models:/m-1"))
    return verdict


def test_an_entry_tells_the_row_that_its_night_left(store: Store, tmp_path: Path) -> None:
    verdict = a_night(store, tmp_path)
    found = mlflow_store.newest(store, NAME)
    assert found is not None
    with Ledger.open() as ledger:
        row = ledger.chain.rows("outcomes")[-1]
    assert (found[2]["ledger_row"], found[2]["ledger_sha256"]) == (str(row["id"]), row["sha256"])
    assert (found[2]["ledger_read"], verdict.entry.read_row) == ("1", 1)
    task.open_registry.fn(NAME)


def test_a_deleted_ledger_is_not_silently_made_anew(store: Store, tmp_path: Path) -> None:
    a_night(store, tmp_path)
    kept = tmp_path / "backup.db"
    shutil.copyfile(ledger_path(), kept)
    ledger_path().unlink()
    for _ in range(2):  # the file that the first attempt made is no ledger of this registry either
        with pytest.raises(IntegrityError) as refused:
            task.open_registry.fn(NAME)
        said = str(refused.value)
        assert str(ledger_path()) in said
        assert "holds 0 nights and 0 reads of the gate" in said
        assert f"{NAME} version 1 (outcome 1, read 1 of its term)" in said
        assert "Restore it from a backup" in said
        assert f'nocturne ledger {NAME} --begin-anew "why"' in said
    shutil.copyfile(kept, ledger_path())
    task.open_registry.fn(NAME)


def test_an_older_copy_is_refused(store: Store, tmp_path: Path) -> None:
    a_night(store, tmp_path)
    shutil.copyfile(ledger_path(), tmp_path / "backup.db")
    a_night(store, tmp_path, last="2019-02-01")
    task.open_registry.fn(NAME)
    shutil.copyfile(tmp_path / "backup.db", ledger_path())
    with pytest.raises(IntegrityError, match=rf"{NAME} version 2 \(outcome 2, read 2 of its term\)"):
        task.open_registry.fn(NAME)


def test_another_ledger_is_refused_however_long_it_is(store: Store, tmp_path: Path) -> None:
    a_night(store, tmp_path)
    ledger_path().unlink()
    world = World(tmp_path)
    with Ledger.open() as other:
        for name in ("a-copy", "another"):
            judge(night_of(world, name=name), fits_of(world, POOR), None, other)
    with pytest.raises(IntegrityError, match="and not what the registry's entries rest on"):
        task.open_registry.fn(NAME)


def test_a_copy_under_another_name_does_not_get_round_it(store: Store, tmp_path: Path) -> None:
    a_night(store, tmp_path)
    ledger_path().unlink()
    with pytest.raises(IntegrityError, match=f"{NAME} version 1"):
        task.open_registry.fn("a-copy")


def test_of_a_shared_registry_only_the_problems_own_entries_are_asked_for(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_night(store, tmp_path)
    monkeypatch.setenv("NOCTURNE_TRACKING_URI", store.tracking_uri)
    monkeypatch.setenv("NOCTURNE_HOME", str(tmp_path / "another desk"))
    task.open_registry.fn("another-problem")
    with pytest.raises(IntegrityError, match=f"{NAME} version 1"):
        task.open_registry.fn(NAME)


@pytest.mark.parametrize(
    ("tags", "asked"), [({}, False), ({"gate_read": "0"}, False), ({"gate_term": "2018-12-12", "gate_read": "3"}, True)]
)
def test_an_entry_from_before_rows_were_told_asks_for_some_row(
    store: Store, tmp_path: Path, tags: dict[str, str], asked: bool
) -> None:
    register(store, NAME, tags)
    if asked:
        with pytest.raises(IntegrityError, match="read 3 of its term"):
            task.open_registry.fn(NAME)
    world = World(tmp_path)
    task.judge.fn(night_of(world), fits_of(world, POOR), None)
    task.open_registry.fn(NAME)


def test_the_count_begins_anew_only_knowingly_and_the_ledger_says_so_for_ever(
    store: Store, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a_night(store, tmp_path)
    ledger_path().unlink()
    cli_registry.ledger(NAME, begin_anew="the disk died", as_json=True)
    told = json.loads(capsys.readouterr().out)["begun_anew"]
    assert [(anew["why"], anew["lost"]) for anew in told] == [("the disk died", [f"{NAME} version 1"])]
    cli_registry.ledger()
    assert "the disk died" in capsys.readouterr().out
    task.open_registry.fn(NAME)

    verdict = a_night(store, tmp_path)
    words = "(the disk died): what was read before is not counted."
    assert verdict.evidence.read == 1
    assert any(words in note for note in verdict.evidence.notes)
    assert any(words in reason for reason in verdict.decision.reasons)
    task.open_registry.fn(NAME)
    with Ledger.open() as ledger:
        assert begun_anew(ledger, "9999-01-01") == (), "a term that began later lost nothing"
        ledger.verify()
    ledger_path().unlink()
    with pytest.raises(IntegrityError, match=f"{NAME} version 2"):
        task.open_registry.fn(NAME)


@pytest.mark.parametrize(("row", "why", "words"), [(9, " ", "say why"), (1, "because", "nothing to give up")])
def test_there_must_be_a_reason_and_a_loss(tmp_path: Path, row: int, why: str, words: str) -> None:
    world = World(tmp_path)
    with Ledger.in_memory() as ledger:
        mark = judge(night_of(world), fits_of(world, POOR), None, ledger).entry.ledger
        assert mark is not None
        told = [Told(name="x", version="1", mark=dataclasses.replace(mark, row=row))]
        with pytest.raises(ConfigurationError, match=words):
            begin_anew(ledger, told, why)
        assert ledger.begun_anew() == []


def test_a_row_is_known_by_its_hash(tmp_path: Path) -> None:
    world = World(tmp_path)
    with Ledger.in_memory() as ledger:
        mark: Any = judge(night_of(world), fits_of(world, POOR), None, ledger).entry.ledger
        told = [Told(name="x", version="1", mark=mark)]
        assert lost(ledger, told) == ()
        forged = [dataclasses.replace(told[0], mark=Mark(row=1, sha256="0" * 64))]
        assert lost(ledger, forged) == tuple(forged)
