"""Leases, in either kind of database: real processes are killed, stopped and resumed, and clocks are set wrong."""

from __future__ import annotations

import contextvars
import json
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from tasks import holder
from tasks.errors import IntegrityError, StorageError
from tasks.holder import is_gone, me
from tasks.registry import chain, leases
from tasks.registry.chain_database import Database
from tasks.registry.chain_postgres import PostgresDatabase
from tasks.registry.chain_sqlite import SqliteDatabase
from tasks.registry.fence import FencedError
from tasks.registry.leases import LeaseHeldError, look, take
from tasks.registry.ledger import Ledger
from tasks.registry.ledger_place import connect
from tasks.registry.standings import history, standing, swap
from tasks.storage import PROJECT

NAME, TERM, DAY = "spx", 1.0, 86_400.0
Start = Callable[..., "Other"]


class Other:
    """Another process that may hold the lease."""

    def __init__(self, run: str, term: float) -> None:
        command = [sys.executable, "-m", "tests.registry.holder", NAME, run, str(term)]
        self.process = subprocess.Popen(command, cwd=PROJECT, stdin=-1, stdout=-1, text=True)
        self.said = self.hear()

    def hear(self) -> str:
        """Its next line."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def tell(self, word: str) -> str:
        """What it answers."""
        assert self.process.stdin is not None
        self.process.stdin.write(word + "\n")
        self.process.stdin.flush()
        return "" if word == "release" else self.hear()

    def send(self, number: int) -> None:
        """Send it a signal; of a fatal one, wait for the end."""
        self.process.send_signal(number)
        if number == signal.SIGKILL:
            self.process.wait()


@pytest.fixture
def other() -> Iterator[Start]:
    started: list[Other] = []

    def start(run: str = "a", term: float = TERM) -> Other:
        started.append(Other(run, term))
        return started[-1]

    yield start
    for each in started:
        with suppress(ProcessLookupError):
            each.process.kill()
        each.process.communicate()


@pytest.fixture
def wrong_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Set the clock that this process reads off the database."""

    def set_off(seconds: float) -> None:
        for kind in (SqliteDatabase, PostgresDatabase):
            right = kind.clock
            monkeypatch.setattr(kind, "clock", lambda self, right=right: right(self) + seconds)

    return set_off


def elsewhere(run: str, age: float = 0.0) -> None:
    """A lease of a process on another machine, which nobody renews any more. age: of the last renewal, seconds."""
    lease = take(NAME, run, term=TERM)
    holder = json.dumps(asdict(replace(me(), host="far", kernel="another boot")))
    database = connect()
    at = database.clock() - age
    database.execute("UPDATE leases SET holder = ?, renewed = ? WHERE name = ?", (holder, at, lease.fence.name))
    database.close()


@pytest.mark.usefixtures("ledger")
def test_who_holds_it_is_told_at_once_and_who_was_killed_is_succeeded_at_once(other: Start) -> None:
    first = other(term=3600)
    assert first.said == "held 1"
    begun = time.monotonic()
    with pytest.raises(LeaseHeldError, match=rf"run a has been at work since .*process {first.process.pid}.* kill "):
        take(NAME, "b")
    with pytest.raises(LeaseHeldError):
        leases.refuse_if_held(NAME)
    assert time.monotonic() - begun < 2
    assert (LeaseHeldError.exit_code, first.tell("write")) == (5, "wrote")
    first.send(signal.SIGKILL)
    leases.refuse_if_held(NAME)
    with take(NAME, "b", term=3600) as second:
        assert second.fence.token == 2
        assert first.process.returncode == -signal.SIGKILL
    assert other("c").said == "held 3", "given back, it is free"


def test_a_holder_that_was_stopped_past_its_term_is_fenced_when_it_goes_on(other: Start, ledger: Ledger) -> None:
    stopped = other()
    assert stopped.tell("write") == "wrote"
    stopped.send(signal.SIGSTOP)
    said: list[str] = []
    with take(NAME, "b", waits=True, term=TERM, said=said.append) as mine:
        assert mine.fence.token == 2
        stopped.send(signal.SIGCONT)
        assert stopped.tell("write") == "FencedError"
        assert stopped.tell("look") == "FencedError"
        with Ledger.open() as fenced:
            now = standing(fenced, NAME)
            swap(fenced, now, replace(now, champion="9"), "promoted", (), "", "b")
        assert stopped.tell("write") == "FencedError"
        stopped.tell("release")
        assert stopped.process.wait(10) == 0
        mine.require()
    assert len(said) == 1
    assert "waits for it to end" in said[0]
    assert [(move.by, move.standing.champion) for move in history(ledger, NAME)] == [("b", "9"), ("a", "1")]


@pytest.mark.parametrize("off", [DAY, -DAY])
@pytest.mark.usefixtures("ledger")
def test_a_clock_a_day_off_takes_the_lease_from_nobody_who_lives(
    other: Start, wrong_clock: Callable[[float], None], off: float
) -> None:
    living = other(term=5)
    wrong_clock(off)
    said: list[str] = []
    with pytest.raises(LeaseHeldError):
        take(NAME, "b", term=TERM, said=said.append)
    assert len(said) == 1
    assert "watched for 5 s" in said[0]
    assert living.tell("write") == "wrote"


@pytest.mark.parametrize("age", [DAY, -DAY, 0.0])
@pytest.mark.usefixtures("ledger")
def test_another_machines_lease_is_taken_after_a_term_whatever_the_clock_says(age: float) -> None:
    elsewhere("far away", age)
    begun = time.monotonic()
    with take(NAME, "b", waits=age == 0.0, term=TERM, said=print) as lease:
        assert lease.fence.token == 2
    assert TERM < time.monotonic() - begun < 8 * TERM


@pytest.mark.usefixtures("ledger")
def test_who_waits_longer_than_its_patience_is_told(other: Start) -> None:
    assert other().said == "held 1"
    with pytest.raises(LeaseHeldError):
        take(NAME, "b", waits=True, patience=0.3, said=print)


@pytest.mark.usefixtures("ledger")
def test_of_many_who_want_it_one_has_it_and_tokens_only_rise() -> None:
    tokens: list[int] = []
    refused: list[str] = []

    def want(run: str) -> None:
        for _ in range(3):
            try:
                with take(NAME, run, term=60) as lease:
                    tokens.append(lease.fence.token)
            except LeaseHeldError as error:
                refused.append(str(error))

    threads = [threading.Thread(target=want, args=(f"r{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tokens == sorted(set(tokens)) == list(range(1, len(tokens) + 1))
    assert len(tokens) + len(refused) == 12
    held = look(NAME)
    assert held is not None
    assert held.free


def test_writes_in_a_copied_context_are_fenced_and_commands_by_hand_are_not(ledger: Ledger) -> None:
    """A flow's tasks run in threads, each in a copy of the flow's context."""
    with take(NAME, "a", term=60) as lease:
        inside = contextvars.copy_context()
        database = connect()
        database.execute("UPDATE leases SET token = token + 1 WHERE name = ?", (NAME,))
        database.close()
        failed: list[type[BaseException]] = []

        def write() -> None:
            try:
                with Ledger.open() as mine:
                    mine.record_alias(NAME, "recipe", "1")
            except FencedError as error:
                failed.append(type(error))

        thread = threading.Thread(target=inside.run, args=(write,))
        thread.start()
        thread.join()
        assert failed == [FencedError]
        with pytest.raises(FencedError, match="token 1"):
            lease.require()
    assert ledger.chain.rows("outcomes") == []
    ledger.record_alias(NAME, "recipe", "1")
    with Ledger.open() as by_hand:
        by_hand.record_alias(NAME, "recipe", "2")
    assert len(ledger.chain.rows("outcomes")) == 2


@pytest.mark.usefixtures("ledger")
def test_a_slot_is_done_once_and_by_nobody_who_lost_the_lease() -> None:
    slot = "2026-11-20T23:00:00+00:00"
    with take(NAME, "a", term=60) as former:
        assert leases.done_by(NAME, slot) == ""
    with take(NAME, "b", term=60) as lease:
        leases.note_slot(NAME, slot, lease)
    assert leases.done_by(NAME, slot) == "b"
    assert leases.done_by("ndx", slot) == ""
    with pytest.raises(FencedError):
        leases.note_slot(NAME, slot, former)
    assert leases.done_by(NAME, slot) == "b"


@pytest.mark.usefixtures("ledger")
def test_two_of_one_name_are_never_inside_at_once_and_a_fenced_one_never() -> None:
    with Ledger.open() as first, Ledger.open(wait=0.2) as second:
        with first.chain.alone("x"):
            with pytest.raises(StorageError, match="locked by another process"), second.chain.alone("x"):
                pass
            with second.chain.alone("y"):
                pass
        with second.chain.alone("x"):
            pass
    with take(NAME, "a", term=60), Ledger.open() as mine:
        database = connect()
        database.execute("UPDATE leases SET token = token + 1 WHERE name = ?", (NAME,))
        database.close()
        with pytest.raises(FencedError), mine.chain.alone("x"):
            raise AssertionError("it was let in")


def test_a_nights_first_look_verifies_every_row_and_the_later_ones_what_came_since(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    for version in "123":
        ledger.record_alias(NAME, "recipe", version)
    looked: list[int] = []
    digest = chain._digest_of_read

    def noted(table: str, number: int, values: list[Any], previous: str) -> str:
        looked.append(number)
        return digest(table, number, values, previous)

    monkeypatch.setattr(chain, "_digest_of_read", noted)

    def numbers() -> list[int]:
        looked.clear()
        Ledger.open().chain.close()
        return list(looked)

    with take(NAME, "a", term=60):
        assert numbers() == [1, 2, 3]
        assert numbers() == []
        ledger.record_alias(NAME, "recipe", "4")
        assert numbers() == [4]
    assert numbers() == [1, 2, 3, 4], "a command by hand"
    with take(NAME, "b", term=60):
        assert numbers() == [1, 2, 3, 4], "the next night"


def test_a_row_that_was_altered_is_found_by_the_next_night_and_the_last_one_at_once(tmp_path: Path) -> None:
    path = tmp_path / "home" / "ledger" / "ledger.db"
    with Ledger.open() as ledger:
        for version in "123":
            ledger.record_alias(NAME, "recipe", version)

    def alter(row: int, version: str) -> None:
        with sqlite3.connect(path) as raw:
            triggers = raw.execute(
                "SELECT name, sql FROM sqlite_master WHERE tbl_name = 'outcomes' AND type = 'trigger'"
            )
            found = triggers.fetchall()
            for name, _ in found:
                raw.execute(f"DROP TRIGGER {name}")
            raw.execute("UPDATE outcomes SET version = ?, sha256 = sha256 || ? WHERE id = ?", (version, version, row))
            for _, definition in found:
                raw.execute(definition)
        raw.close()

    with take(NAME, "a", term=60):
        Ledger.open().chain.close()
        alter(3, "9")
        with pytest.raises(IntegrityError, match="row 3 of outcomes is not what was written"):
            Ledger.open()
    with take(NAME, "b", term=60), pytest.raises(IntegrityError, match="row 3 of outcomes"):
        Ledger.open()


@pytest.mark.usefixtures("ledger")
def test_whether_the_lease_is_held_is_told_while_another_writes() -> None:
    with take(NAME, "a", term=60) as lease, Ledger.open() as busy, busy.chain.transaction():
        begun = time.monotonic()
        lease.require()
        assert time.monotonic() - begun < 5


@pytest.mark.usefixtures("ledger")
def test_a_ledger_that_cannot_be_read_for_a_moment_is_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with take(NAME, "a", term=20) as lease:
        right, broken = connect, iter((True, True, False))

        def connected() -> Database:
            if next(broken, False):
                raise StorageError("the server restarts")
            return right()

        monkeypatch.setattr(leases, "connect", connected)
        lease.require()
        monkeypatch.undo()
    with take(NAME, "b", term=0.2) as short:
        monkeypatch.setattr(leases, "connect", _refuses)
        with pytest.raises(StorageError, match="no server"):
            short.require()
        monkeypatch.undo()


def _refuses() -> Database:
    raise StorageError("no server")


def test_nobody_holds_what_was_never_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOCTURNE_HOME", str(tmp_path))
    monkeypatch.delenv("NOCTURNE_LEDGER_URL", raising=False)
    leases.refuse_if_held(NAME)
    assert list(tmp_path.iterdir()) == [], "looking makes no ledger"


def test_a_process_is_known_by_more_than_its_number() -> None:
    mine = me()
    assert not is_gone(mine)
    assert is_gone(replace(mine, born=f"{int(mine.born) - 1}")), "its number was given again"
    assert not is_gone(replace(mine, kernel="another", born="0")), "nothing is known of another machine's"
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(replace(mine, pid=child.pid, born="1")), "a zombie has ended"


def test_a_process_that_the_machine_hides_is_not_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """With hidepid, /proc denies other users' processes or shows none of them; the kernel answers for them all."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as child:
        theirs = replace(me(), pid=child.pid, born="1")
        assert is_gone(theirs)
        monkeypatch.setattr(holder, "Path", lambda *_: Path("/nowhere"))
        monkeypatch.setattr(holder, "_BOOT", Path("/"))
        assert not is_gone(theirs)
        child.communicate(b"\n")
        assert is_gone(theirs)
