"""The trial ledger: what is spent stays spent, what was written stays written, and no knob buys a new budget."""

from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import IntegrityError, StorageError
from tasks.evaluation import Decision, Licence
from tasks.registry.chain import SEED, _digest, _digest_of_read
from tasks.registry.families import Family, Term
from tasks.registry.ledger import Asked, Ledger, Reading, Trial
from tasks.storage import PROJECT, home

TERM = Term(first="2018-12-12", next="2019-12-12", before="2017-12-11")
DAYS = [str(day.date()) for day in pd.bdate_range("2017-01-02", "2020-12-31")]
FAMILY = Family(predicts="return over 1 x 1d on XNYS", symbols=frozenset({"SPX"}), series=frozenset({"f1"}), term=TERM)
OTHER_HORIZON = "return (less the date's mean) over 6 x 1d on XNYS"
PROMOTED = Decision(outcome="promoted", promote="gbm", reasons=("better than every rival",))
KEPT = Decision(outcome="kept", promote="", reasons=("not shown to be better",))


def asked(recipe: str = "r1", last: str = "2018-12-31", **changes: Any) -> Asked:
    dates = [day for day in DAYS if day <= last]
    wish = Asked(problem="spx", family=FAMILY, recipe=recipe, evidence=f"{recipe} {last}", dates=dates, alpha=0.05)
    return dataclasses.replace(wish, **changes)


def test_reads_are_numbered_within_family_and_term(ledger: Ledger) -> None:
    read = [ledger.spend(asked(f"r{number}")) for number in range(1, 5)]
    assert [item.k for item in read] == [1, 2, 3, 4]
    assert [item.level for item in read] == pytest.approx([0.025, 0.05 / 6, 0.05 / 12, 0.05 / 20])
    assert sum(item.level for item in read) < 0.05
    assert ledger.reads(FAMILY) == 4
    later = Term(first=TERM.next, next="2020-12-10", before=TERM.first)
    moved = dataclasses.replace(FAMILY, term=later)
    assert ledger.spend(asked("r9", last="2020-01-31", family=moved)).k == 1, "a new term has a new budget"
    assert ledger.spend(asked("r8", last="2019-01-31")).k == 6, "an as_of run counts with all that was read since"


@pytest.mark.parametrize(
    ("change", "k"),
    [
        ({"problem": "a-copy-under-another-name"}, 2),
        ({"family": dataclasses.replace(FAMILY, symbols=frozenset({"SPX", "NDX"}))}, 2),
        ({"family": dataclasses.replace(FAMILY, symbols=frozenset({"copy"}))}, 2),
        ({"family": dataclasses.replace(FAMILY, predicts="return (another tick) over 1 x 1d on XNYS")}, 2),
        ({"family": dataclasses.replace(FAMILY, predicts=OTHER_HORIZON, series=frozenset({"f9"}))}, 2),
        ({"family": dataclasses.replace(FAMILY, symbols=frozenset({"NDX"}), series=frozenset({"f2"}))}, 1),
        ({"family": dataclasses.replace(FAMILY, symbols=frozenset({"X"}), series=frozenset({"f2"}), problem="spx")}, 2),
        ({"family": dataclasses.replace(FAMILY, predicts="volatility", series=frozenset({"f9"}))}, 1),
        ({"alpha": 0.2}, 2),
    ],
)
def test_only_other_bars_or_another_target_have_a_budget_of_their_own(ledger: Ledger, change: Any, k: int) -> None:
    ledger.spend(asked("r1"))
    assert ledger.spend(asked("r2", **change)).k == k


def test_identical_evidence_counts_once(ledger: Ledger) -> None:
    first, _ = ledger.spend(asked("r1")), ledger.spend(asked("r2"))
    assert ledger.spend(asked("r1")) == first
    assert ledger.spend(asked("r1", problem="copy")) == first
    assert ledger.reads(FAMILY) == 2
    assert ledger.spend(asked("r1", alpha=0.2)).level == first.level, "a laxer policy does not reopen a read"
    assert ledger.spend(asked("r1", alpha=0.01)).level == 0.005


def test_a_recipe_is_read_again_only_after_21_more_gate_dates(ledger: Ledger) -> None:
    first = ledger.spend(asked("r1", "2018-12-31"))
    after = [day for day in DAYS if day > "2018-12-31"]
    for fresh in (1, 20):
        refused = ledger.spend(asked("r1", after[fresh - 1]))
        assert (refused.k, refused.level, refused.row) == (0, 0.0, 0)
        assert refused.not_read == (
            f"this recipe was read on the gate through 2018-12-31, {fresh} gate dates ago; it is read again after 21"
        )
    assert ledger.reads(FAMILY) == 1, "a refusal spends nothing"
    assert ledger.spend(asked("r1", after[20])).k == 2
    assert ledger.spend(asked("r1", "2018-12-03", evidence="an earlier as_of")).not_read
    assert first.k == 1


def test_a_promotion_that_never_came_about_keeps_its_read(ledger: Ledger) -> None:
    """The run died between the ledger's commit and the alias: the next night, with one bar more, can finish it."""
    won = ledger.spend(asked("r1"))
    ledger.record_decision(won, "spx", "r1", PROMOTED)
    assert ledger.unfinished("spx") is not None
    assert ledger.unfinished("spx")[0] == "gbm"  # type: ignore[index]
    again = ledger.spend(asked("r1", "2019-01-02"))
    assert (again.k, again.level) == (won.k, won.level)
    assert ledger.spend(asked("r1", "2019-01-02", problem="copy")).not_read, "it was decided for one problem"
    ledger.record_decision(again, "spx", "r1", KEPT)
    assert ledger.spend(asked("r1", "2019-01-03")).not_read, "on the later bars it lost: then it is over"


def test_a_promotion_that_came_about_is_finished(ledger: Ledger) -> None:
    won = ledger.spend(asked("r1"))
    ledger.record_decision(won, "spx", "r1", PROMOTED)
    ledger.record_alias("spx", "r1", "7")
    assert ledger.unfinished("spx") is None
    assert ledger.spend(asked("r1", "2019-01-02")).not_read
    ledger.record_decision(Reading(not_read="own recipe"), "spx", "r1", KEPT)
    assert ledger.unfinished("spx") is None
    assert ledger.unfinished("unheard-of") is None


def test_what_is_known_of_a_recipe_is_known_of_its_own_target(ledger: Ledger) -> None:
    """Counted together, for both are tries at the same bars; but a forecast six days ahead is not one of five."""
    won = ledger.spend(asked("r1"))
    ledger.record_decision(won, "spx", "r1", PROMOTED)
    other = dataclasses.replace(FAMILY, predicts=OTHER_HORIZON, series=frozenset({"f9"}))
    first = ledger.spend(asked("r1", evidence="other labels", family=other))
    assert (first.k, first.not_read) == (2, ""), "neither refused for the other's read, nor given it although it won"
    assert ledger.reads(other) == ledger.reads(FAMILY) == 2
    licence = Licence(
        recipe_sha256="r1", term=TERM.first, granted=True, increase=0.0, upper=0.0, limit=0.01, origins=8, dates=440
    )
    ledger.record_licence("spx", FAMILY, "2018-12-31", licence)
    assert ledger.licence(FAMILY, "r1") == licence
    assert ledger.licence(other, "r1") is None


def test_a_licence_is_given_once_a_term_and_recipe(ledger: Ledger) -> None:
    first = Licence(
        recipe_sha256="r1", term=TERM.first, granted=False, increase=float("nan"), upper=0.02, limit=0.01,
        origins=8, dates=440,
    )  # fmt: skip
    assert ledger.licence(FAMILY, "r1") is None
    ledger.record_licence("spx", FAMILY, "2018-12-31", first)
    second = dataclasses.replace(first, granted=True, upper=0.0)
    stands = ledger.record_licence("copy", FAMILY, "2019-03-01", second)
    assert (stands.granted, stands.upper) == (False, 0.02)
    assert ledger.licence(FAMILY, "r2") is None
    later = dataclasses.replace(FAMILY, term=Term(first=TERM.next, next="2020-12-10", before=TERM.first))
    assert ledger.licence(later, "r1") is None
    assert ledger.record_licence("spx", later, "2020-01-31", second) == second


def test_a_gate_without_dates_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="without dates"):
        ledger.spend(asked(dates=[]))


def spent(path: Path, count: int = 3) -> None:
    with Ledger.open(path) as ledger:
        for number in range(count):
            reading = ledger.spend(asked(f"r{number}"))
            ledger.record_decision(reading, "spx", f"r{number}", KEPT)
        night = {"last": "2018-12-31", "leaderboard": "b", "snapshot": "s", "predictions": "p", "rows": 9, "dates": 9}
        trials = [Trial(candidate="gbm", engine="h2o", recipe="r", selection_loss=float("nan"), fold_loss=0.1)]
        assert ledger.append_trials("spx", FAMILY, night, trials)
        assert not ledger.append_trials("spx", FAMILY, night, trials), "a resumed night is noted once"
        assert [trial["selection_loss"] for trial in ledger.nights(FAMILY)[0]["trials"]] == [None]
        ledger.verify()


@pytest.mark.parametrize("table", ["reads", "outcomes", "nights", "trials"])
@pytest.mark.parametrize("verb", ["UPDATE {} SET at = 'x'", "DELETE FROM {}"])
def test_rows_can_be_neither_altered_nor_removed(tmp_path: Path, table: str, verb: str) -> None:
    spent(tmp_path / "l.db")
    with sqlite3.connect(tmp_path / "l.db") as raw, pytest.raises(sqlite3.IntegrityError, match="append-only"):
        raw.execute(verb.format(table))
    raw.close()


@pytest.mark.parametrize(
    ("crime", "words"),
    [
        ("UPDATE reads SET level = 0.05 WHERE id = 2", r"row 2 of reads \(.*\) is not what was written"),
        ("UPDATE reads SET k = 1 WHERE id = 3", "row 3 of reads"),
        ("DELETE FROM reads WHERE id = 1", "row 1 of reads is missing"),
        ("DELETE FROM reads WHERE id = 2", "row 2 of reads is missing"),
        ("DELETE FROM reads WHERE id = 3", "reads has 2 rows, .*the last rows are gone"),
        ("DELETE FROM reads", "reads has 0 rows"),
        ("UPDATE outcomes SET outcome = 'promoted' WHERE id = 1", "row 1 of outcomes"),
        ("UPDATE trials SET fold_loss = 0.2", "row 1 of trials"),
        ("UPDATE trials SET fold_loss = 9e999", "row 1 of trials"),
        ("UPDATE reads SET recipe = CAST(recipe AS BLOB) WHERE id = 2", "row 2 of reads"),
        ("UPDATE outcomes SET reasons = NULL WHERE id = 2", "row 2 of outcomes"),
        ("UPDATE reads SET id = id + 10", "row 1 of reads is missing"),
        ("SELECT 1", "the triggers that keep nights append-only are gone"),
    ],
)
def test_who_goes_round_the_triggers_is_found(tmp_path: Path, crime: str, words: str) -> None:
    path = tmp_path / "l.db"
    spent(path)
    raw = sqlite3.connect(path)
    triggers = raw.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        raw.execute(f"DROP TRIGGER {name}")
    for statement in crime.split(";"):
        raw.execute(statement)
    if crime != "SELECT 1":
        for _, definition in triggers:
            raw.execute(definition)
    raw.commit()
    raw.close()
    with pytest.raises(IntegrityError, match=f"l.db: the trial ledger was altered: .*{words}"):
        Ledger.open(path)


@given(
    st.lists(st.none() | st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)),
    st.integers(min_value=1),
)
def test_a_row_that_was_read_has_the_digest_that_it_was_written_with(values: list[Any], number: int) -> None:
    assert _digest_of_read("reads", number, values, SEED) == _digest("reads", number, values, SEED)


@pytest.mark.parametrize("damage", [b"not a database at all, but long enough to look like a file" * 20, None])
def test_a_damaged_file_is_refused_and_not_made_anew(tmp_path: Path, damage: bytes | None) -> None:
    path = tmp_path / "l.db"
    spent(path, 40)
    data = bytearray(damage or path.read_bytes())
    if damage is None:
        data[4096 : len(data) - 4096] = os.urandom(len(data) - 8192)
    path.write_bytes(data)
    with pytest.raises(IntegrityError, match=r"l\.db: the trial ledger"):
        Ledger.open(path)
    assert path.read_bytes() == data


def test_a_ledger_of_a_later_version_is_refused(tmp_path: Path) -> None:
    spent(tmp_path / "l.db")
    with sqlite3.connect(tmp_path / "l.db") as raw:
        raw.execute("PRAGMA user_version = 9")
    raw.close()
    with pytest.raises(StorageError, match="version 9"):
        Ledger.open(tmp_path / "l.db")


def test_a_lock_that_is_not_let_go_is_named_and_nothing_is_spent(tmp_path: Path) -> None:
    path = tmp_path / "l.db"
    spent(path)
    with Ledger.open(path, wait=0.05) as ledger:
        holder = sqlite3.connect(path, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        with pytest.raises(StorageError, match="locked by another process"):
            ledger.spend(asked("r9"))
        holder.execute("ROLLBACK")
        holder.close()
        assert ledger.reads(FAMILY) == 3
        assert ledger.spend(asked("r9")).k == 4


def test_a_folder_that_cannot_hold_it_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StorageError, match=r"file.ledger\.db"):
        Ledger.open(tmp_path / "file" / "ledger.db")


def test_it_lies_below_the_state_folder() -> None:
    with Ledger.open() as ledger:
        ledger.spend(asked())
    assert (home() / "ledger" / "ledger.db").is_file()


WRITER = """
import sys
from pathlib import Path
from tests.registry.test_ledger import asked
from tasks.registry.ledger import Ledger
with Ledger.open(Path(sys.argv[1])) as ledger:
    print(*[ledger.spend(asked(f"{sys.argv[2]}-{number}")).k for number in range(8)])
"""


def test_concurrent_writers_never_share_a_read(tmp_path: Path) -> None:
    """Three processes open, and make, the same file at once."""
    path = tmp_path / "l.db"
    commands = [[sys.executable, "-c", WRITER, str(path), f"w{number}"] for number in range(3)]
    writers = [subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, text=True) for command in commands]
    said = [writer.communicate(timeout=120)[0] for writer in writers]
    assert sorted(int(k) for answer in said for k in answer.split()) == list(range(1, 25))
    with Ledger.open(path) as ledger:
        ledger.verify()


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.registry.test_ledger import asked
from tasks.registry.ledger import Ledger
ledger = Ledger.open(Path(sys.argv[1]))
reading = ledger.spend(asked("r1"))
if sys.argv[2] == "inside":
    chain = ledger.chain
    chain._database.begin()
    chain.append("outcomes", {"read": 1, "problem": "spx", "recipe": "r1", "outcome": "promoted",
                              "promote": "gbm", "version": "", "reasons": "[]"})
print(reading.k, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("where", ["after", "inside"])
def test_a_kill_after_the_commit_keeps_the_read_and_the_same_evidence_gets_it_again(tmp_path: Path, where: str) -> None:
    path = tmp_path / "l.db"
    command = [sys.executable, "-c", KILLED, str(path), where]
    for _ in range(2):
        done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert done.stdout.strip() == "1", "the rerun has the same read"
    with Ledger.open(path) as ledger:
        assert ledger.reads(FAMILY) == 1
        assert ledger.unfinished("spx") is None, "what was not committed never was"
        assert ledger.spend(asked("r2")).k == 2


def test_a_read_takes_less_than_a_millisecond_in_memory() -> None:
    """Simulations of thousands of nights stand on it; the least of five runs, since other work shares the processor."""
    with Ledger.in_memory() as ledger:
        taken = []
        for run in range(5):
            begun = time.process_time()
            for number in range(40):
                ledger.spend(asked(f"r{run}-{number}"))
            taken.append((time.process_time() - begun) / 40)
    assert min(taken) < 1e-3
