"""From which stage on a night is computed anew, and what later nights make of that."""

from __future__ import annotations

from flows.restart import STAGES, salts
from tasks import journal
from tasks.journal import Journal, Past

NAME = "spx"


def died(run: str, restart_from: str) -> Past:
    """A run that is unfinished."""
    Journal.begin(NAME, run, restart_from=restart_from)
    return journal.unfinished(NAME)[-1]


def test_a_restart_salts_its_stage_and_all_after_it_and_later_nights_go_on_from_there() -> None:
    assert salts(NAME, "", "a", None) == {}
    first = salts(NAME, "folds", "b", None)
    assert first == dict.fromkeys(STAGES[STAGES.index("folds") :], "b")
    assert salts(NAME, "", "c", None) == first
    second = salts(NAME, "gate", "d", None)
    assert (second["folds"], second["refit"], second["gate"], second["report"]) == ("b", "b", "d", "d")
    assert "search" not in second
    assert salts("ndx", "", "e", None) == {}, "another problem's outputs are its own"


def test_a_restart_that_died_is_continued_and_one_from_elsewhere_is_not() -> None:
    first = salts(NAME, "search", "a", None)
    dead = died("a", "search")
    assert salts(NAME, "search", "b", dead) == first
    assert salts(NAME, "", "b", dead) == first
    assert salts(NAME, "folds", "b", dead) == first | dict.fromkeys(STAGES[STAGES.index("folds") :], "b")


def test_a_restart_after_one_that_was_whole_computes_once_more() -> None:
    first = salts(NAME, "search", "a", None)
    assert salts(NAME, "search", "b", None) != first


def test_a_restart_that_died_twice_is_continued_a_third_time() -> None:
    first = salts(NAME, "search", "a", None)
    Journal.begin(NAME, "a", restart_from="search")
    Journal.begin(NAME, "b", continues="a", restart_from="search")
    twice = journal.told(journal.path_of(NAME, "b"))
    assert salts(NAME, "search", "c", twice) == first
    Journal.begin(NAME, "c", continues="b")
    assert salts(NAME, "search", "d", journal.told(journal.path_of(NAME, "c"))) == first, "one of nowhere went on in it"
    Journal.begin(NAME, "e", continues="c", restart_from="folds")
    elsewhere = journal.told(journal.path_of(NAME, "e"))
    assert salts(NAME, "search", "f", elsewhere)["search"] == "f"


def test_a_run_that_names_itself_as_the_one_before_is_followed_once() -> None:
    salts(NAME, "search", "a", None)
    Journal.begin(NAME, "b", continues="b", restart_from="search")
    assert salts(NAME, "search", "c", journal.told(journal.path_of(NAME, "b")))["search"] == "c"
