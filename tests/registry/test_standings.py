"""Standings in the ledger, in either kind of database: moved by compare-and-swap, kept for ever, asked of any time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import RegistryError, StorageError
from tasks.live import Standing
from tasks.registry.chain import Chain
from tasks.registry.chain_database import Schema
from tasks.registry.chain_sqlite import SqliteDatabase
from tasks.registry.ledger import Ledger
from tasks.registry.ledger_tables import SCHEMA
from tasks.registry.promotions import champions
from tasks.registry.signatures import record_signature, signature_of
from tasks.registry.standings import StaleEpochError, at, history, names, standing, swap
from tasks.storage import PROJECT
from tests.registry import race

NAME = "spx"
NOTHING = Standing(name=NAME)


def promote(ledger: Ledger, version: str, by: str = "nightly", **change: Any) -> Standing:
    now = standing(ledger, NAME)
    return swap(ledger, now, replace(now, champion=version, **change), "promoted", (f"{version} is better",), "e1", by)


def test_a_name_begins_without_a_standing_and_counts_its_epochs(ledger: Ledger) -> None:
    assert standing(ledger, NAME) == NOTHING
    assert history(ledger, NAME) == ()
    first = promote(ledger, "1")
    assert first == replace(NOTHING, epoch=1, champion="1")
    second = promote(ledger, "2", challenger="1", fallback="1", share=0.25)
    assert standing(ledger, NAME) == second == Standing(
        name=NAME, epoch=2, champion="2", challenger="1", fallback="1", share=0.25
    )  # fmt: skip
    swap(ledger, Standing(name="ndx"), Standing(name="ndx", champion="7"), "adopted", (), "", "adoption")
    assert (standing(ledger, "ndx").epoch, standing(ledger, NAME).epoch) == (1, 2), "each name has epochs of its own"
    assert names(ledger) == ("ndx", NAME)
    newest, oldest = history(ledger, NAME)
    assert (newest.standing, oldest.standing) == (second, first)
    assert (newest.action, newest.why, newest.by, newest.evidence) == ("promoted", ("2 is better",), "nightly", "e1")
    ledger.verify()


@pytest.mark.parametrize("version", ["03", "three", "0", "-1", "٣", "3 "])
def test_a_version_stands_in_the_ledger_as_mlflow_writes_it(version: str) -> None:
    with Ledger.in_memory() as ledger, pytest.raises(RegistryError, match="is no version's number"):
        swap(ledger, NOTHING, replace(NOTHING, champion=version), "promoted", (), "", "nightly")


def test_the_slower_of_two_is_told_who_was_faster_and_moves_nothing(ledger: Ledger) -> None:
    seen = promote(ledger, "1")
    promote(ledger, "2", by="rollout")
    with pytest.raises(StaleEpochError) as caught:
        swap(ledger, seen, replace(seen, champion="3"), "promoted", (), "", "nightly")
    said = str(caught.value)
    assert "decided in epoch 1 (champion version 1), and rollout has moved it to epoch 2 since (promoted," in said
    assert "champion version 2); nothing was moved. Look at 'nocturne models spx --history'" in said
    with pytest.raises(StaleEpochError, match="decided in epoch 5"):
        swap(ledger, replace(seen, epoch=5), seen, "promoted", (), "", "nightly")
    with pytest.raises(StaleEpochError, match="knows of no move at all"):
        swap(ledger, Standing(name="ndx", epoch=3), Standing(name="ndx"), "promoted", (), "", "nightly")
    assert len(history(ledger, NAME)) == 2


@pytest.mark.parametrize(
    ("change", "action", "words"),
    [
        ({"share": 1.5, "challenger": "2"}, "rollout", "a share of 1.5 is not between 0 and 1"),
        ({"share": float("nan"), "challenger": "2"}, "rollout", "a share of nan"),
        ({"share": 0.5}, "rollout", "a share of 0.5 needs a champion and a challenger"),
        ({"challenger": "1"}, "challenged", "version 1 cannot challenge itself"),
        ({"name": "ndx"}, "promoted", "a move cannot make it the standing of ndx"),
        ({}, "crowned", "'crowned' is no kind of move"),
    ],
)
def test_what_no_standing_can_be_is_refused(ledger: Ledger, change: Any, action: Any, words: str) -> None:
    now = promote(ledger, "1")
    with pytest.raises(RegistryError, match=words):
        swap(ledger, now, replace(now, **change), action, (), "", "nightly")
    assert standing(ledger, NAME) == now


def test_any_moment_has_its_champion(ledger: Ledger) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    for version in ("1", "2", "3"):
        promote(ledger, version)
    moves = history(ledger, NAME)
    for move in moves:
        found = at(ledger, NAME, datetime.fromisoformat(move.at))
        assert found.epoch >= move.standing.epoch, "moves of one millisecond are told by the last of them"
    assert at(ledger, NAME, before) == NOTHING
    assert at(ledger, NAME, datetime.now(UTC) + timedelta(days=1)).champion == "3"
    with pytest.raises(ValueError, match="needs a time zone"):
        at(ledger, NAME, datetime(2026, 1, 1))


def test_a_clock_that_goes_back_does_not_reorder_history(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(ledger, "1")
    (first,) = history(ledger, NAME)

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime(2020, 1, 1, tzinfo=tz)

    with monkeypatch.context() as yesterday:
        yesterday.setattr("tasks.registry.standings.datetime", Earlier)
        promote(ledger, "2")
    assert [move.at for move in history(ledger, NAME)] == [first.at, first.at]
    assert at(ledger, NAME, datetime.fromisoformat(first.at)).champion == "2"


def test_what_is_written_alongside_is_written_with_it_or_not_at_all(ledger: Ledger) -> None:
    row = ledger.alias_row(NAME, "r1", "1")
    now = swap(ledger, NOTHING, replace(NOTHING, champion="1"), "promoted", (), "", "nightly", alongside=row)
    with pytest.raises(StaleEpochError):
        swap(ledger, NOTHING, replace(NOTHING, champion="2"), "promoted", (), "", "nightly", alongside=row)
    with pytest.raises(KeyError):
        swap(ledger, now, replace(now, champion="2"), "promoted", (), "", "nightly", alongside=("outcomes", {}))
    assert len(ledger.chain.rows("outcomes")) == 1
    assert standing(ledger, NAME) == now


def test_a_later_signature_stands_in_place_of_an_earlier_one(ledger: Ledger) -> None:
    assert signature_of(ledger, NAME, "1") is None
    for key in ("old key", "new key"):
        record_signature(ledger, NAME, "1", "d1", "{}", key)
    record_signature(ledger, NAME, "2", "d2", "", "")
    found, unsigned = signature_of(ledger, NAME, "1"), signature_of(ledger, NAME, "2")
    assert found is not None
    assert (found.model_sha256, found.signature, found.signing_key) == ("d1", "{}", "new key")
    assert unsigned is not None
    assert (unsigned.model_sha256, unsigned.signature) == ("d2", "")


@pytest.mark.parametrize("promoters", [2, 4])
def test_of_threads_that_move_one_standing_exactly_one_wins(ledger: Ledger, promoters: int) -> None:
    counts = race.in_threads(promoters, 40)
    assert counts.right, str(counts)


def test_of_two_processes_exactly_one_wins(ledger: Ledger) -> None:
    counts = race.in_processes(2, 100)
    assert counts.right, str(counts)


STOPPED = """
import sys
from dataclasses import replace
from tasks.registry.ledger import Ledger
from tasks.registry.standings import standing, swap
with Ledger.open() as ledger:
    seen = standing(ledger, "spx")
    print("seen", flush=True)
    sys.stdin.readline()
    swap(ledger, seen, replace(seen, champion="9"), "promoted", (), "", "the stopped one")
"""


def test_a_promoter_that_was_stopped_is_fenced_when_it_goes_on(ledger: Ledger) -> None:
    """Stopped for as long as one likes between its decision and its move; meanwhile another moves."""
    promote(ledger, "1")
    command = [sys.executable, "-c", STOPPED]
    with subprocess.Popen(
        command, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as stopped:
        assert stopped.stdout is not None
        assert stopped.stdout.readline() == "seen\n"
        os.kill(stopped.pid, signal.SIGSTOP)
        now = promote(ledger, "2", by="the other one")
        os.kill(stopped.pid, signal.SIGCONT)
        _, said = stopped.communicate("go\n", timeout=60)
    assert stopped.returncode == 1
    assert "StaleEpochError: spx: the move was decided in epoch 1" in said
    assert "the other one has moved it to epoch 2" in said
    assert standing(ledger, NAME) == now


def test_rollbacks_lead_further_back_each_time(ledger: Ledger) -> None:
    for version in ("1", "2", "3"):
        promote(ledger, version)
    now = standing(ledger, NAME)
    swap(ledger, now, replace(now, fallback="1"), "kept ready", (), "", "nightly")
    assert champions(history(ledger, NAME)) == ["1", "2", "3"]
    for version, left in (("2", ["1", "2"]), ("1", ["1"])):
        now = standing(ledger, NAME)
        swap(ledger, now, replace(now, champion=version), "rolled back", (), "", "desk")
        assert champions(history(ledger, NAME)) == left
    promote(ledger, "4")
    assert champions(history(ledger, NAME)) == ["1", "4"]


def test_a_ledger_of_version_one_gets_the_later_tables_and_nothing_else_is_touched(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    first = {name: columns for name, columns in SCHEMA.tables.items() if name not in SCHEMA.since}
    with Chain(SqliteDatabase(path), Schema(version=1, tables=first)) as chain, chain.transaction():
        chain.append("outcomes", dict.fromkeys(first["outcomes"], "x") | {"read": 1})
    before = listing(path)
    with Ledger.open(path) as ledger:
        promote(ledger, "1")
    after = listing(path)
    assert before.items() <= after.items()
    assert {table for _, table, _ in set(after) - set(before)} == {"promotions", "signatures", "leases", "slots"}


def listing(path: Path) -> dict[tuple[str, str, str], str]:
    """Every table, trigger and row, by kind."""
    database = SqliteDatabase(path)
    made = database.query("SELECT type, tbl_name, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    found = {
        (row["type"], row["tbl_name"], row["name"]): row["sql"] for row in made if "sqlite_" not in row["tbl_name"]
    }
    for table in {name for _, name, _ in found}:
        found |= {("row", table, str(row["id"])): str(row) for row in database.query(f'SELECT * FROM "{table}"')}
    database.close()
    return found


def test_a_table_that_was_dropped_is_not_made_anew(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    with Ledger.open(path) as ledger:
        promote(ledger, "1")
    database = SqliteDatabase(path)
    database.execute("DROP TABLE promotions")
    database.close()
    with pytest.raises(StorageError, match="no such table: promotions"):
        Ledger.open(path)
