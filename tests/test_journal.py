"""A night's journal: what was written before a kill is read after it, and nothing else is."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tasks import journal
from tasks.errors import StorageError
from tasks.holder import me
from tasks.journal import Journal, path_of, told
from tasks.storage import StageStore, salted

NAME, RUN = "spx", "run-1"


def test_a_nights_steps_stand_in_their_order_with_the_outputs_that_were_used() -> None:
    night = Journal.begin(NAME, RUN, continues="run-0", restart_from="search")
    with night.kept():
        with night.step("features"):
            _stored("a")
        with night.step("register"):
            journal.mark("logged", "17")
    night.end("done", "kept")
    journal.mark("registered", "said outside a night: nobody notes it")
    said = [(line["step"], line["state"]) for line in journal.lines(night.path)]
    assert said == [
        ("night", "started"), ("features", "started"), ("features", "computed"), ("features", "done"),
        ("register", "started"), ("logged", "done"), ("register", "done"), ("night", "done"),
    ]  # fmt: skip
    past = journal.last(NAME)
    assert past is not None
    assert (past.state, past.outcome, past.continues, past.restart_from) == ("done", "kept", "run-0", "search")
    assert (past.run, past.stage, past.died) == (RUN, "register", False)
    assert journal.unfinished(NAME) == ()


def test_a_run_without_a_last_line_is_unfinished_until_somebody_has_seen_to_it() -> None:
    night = Journal.begin(NAME, RUN)
    with pytest.raises(KeyboardInterrupt), night.step("search"):
        raise KeyboardInterrupt
    (past,) = journal.unfinished(NAME)
    assert (past.state, past.stage, past.holder, past.died) == ("started", "search", me(), False), "this process lives"
    assert replace(past, holder=replace(me(), born="1")).died
    night.end("dead", "run-2")
    assert [found.state for found in journal.unfinished(NAME)] == ["dead"]
    night.collected("run-2")
    assert journal.unfinished(NAME) == ()
    assert [found.collected for found in journal.nights(NAME)] == [True]


@pytest.mark.parametrize("state", ["interrupted", "fenced"])
def test_what_woke_up_after_it_was_seen_to_is_seen_to_again(state: journal.State) -> None:
    night = Journal.begin(NAME, RUN)
    night.collected("run-2")
    night.end(state)
    assert [past.state for past in journal.unfinished(NAME)] == [state]


def test_half_a_line_is_passed_over_and_the_next_one_is_whole() -> None:
    night = Journal.begin(NAME, RUN)
    with night.path.open("ab") as stream:
        stream.write(b'{"step": "features", "state": "st')
    assert [line["step"] for line in journal.lines(night.path)] == ["night"]
    night.write("features", "started")
    assert [line["step"] for line in journal.lines(night.path)] == ["night", "features"]


def test_a_run_that_is_tried_again_goes_on_in_its_own_journal() -> None:
    Journal.begin(NAME, RUN).end("failed", "DataError")
    Journal.begin(NAME, RUN)
    past = told(path_of(NAME, RUN))
    assert past is not None
    assert past.state == "started"


@pytest.mark.parametrize("name", ["", "..", "a/b", "a\0b"])
def test_a_journal_lies_below_its_folder_or_nowhere(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a journal"):
        path_of(NAME, name)


def test_a_journal_that_cannot_be_written_stops_the_night(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (file := tmp_path / "file").touch()
    monkeypatch.setenv("NOCTURNE_HOME", str(file))
    with pytest.raises(StorageError, match="the journal cannot be written"):
        Journal.begin(NAME, RUN)


def test_salted_outputs_have_addresses_of_their_own_and_leave_the_common_ones_alone() -> None:
    common = _stored("a")
    with salted("run-9"):
        anew = _stored("a")
        assert _stored("a") == anew, "with the same salt it is found again"
    assert anew != common
    assert _stored("a") == common
    assert (common / "x").read_text() == (anew / "x").read_text() == "a"


def _stored(text: str) -> Path:
    store = StageStore()
    key = store.key("features", {"text": text}, ("tasks/holder.py",))
    if store.get("features", key) is None:
        with store.put("features", key) as staging:
            (staging / "x").write_text(text)
    return store.folder("features", key)
