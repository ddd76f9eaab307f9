"""How a night begins after one that died: it is continued and seen to, whatever the record of an earlier one says."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from prefect.client.schemas.objects import FlowRun
from prefect.context import FlowRunContext

from flows import guard, opening, unchanged
from flows.observed import Observed
from flows.opening import Opening
from flows.resources import Meter
from tasks import journal
from tasks.bars.describe import from_problem
from tasks.bars.turns import turn
from tasks.errors import ConfigurationError
from tasks.journal import Journal
from tasks.problem import Problem
from tasks.registry import leases

PROBLEM = Problem(name="spx", source="builtin:sp500")
NIGHT_RUN = UUID("5d9a6f0e-0000-4000-8000-000000000001")


@contextmanager
def begun(run: UUID, problem: Problem = PROBLEM, **facts: Any) -> Iterator[Opening]:
    """A night of this run, under its lease, of which no stage has begun."""
    told = FlowRun(id=run, flow_id=uuid4(), **facts)
    meter = Meter()
    try:
        with (
            FlowRunContext.model_construct(flow_run=told),
            leases.take(problem.name, str(run), term=600) as lease,
        ):
            night = Opening(problem, Observed(meter))
            night.begin(lease, "")
            yield night
    finally:
        meter.close()


def whole(tmp_path: Path, mark: str) -> None:
    """The record of a complete night."""
    (report := tmp_path / "report.html").write_text("a page")
    decision = {"champion_version": "", "outcome": "kept", "headline": "kept", "reasons": [], "promoted": False}
    document = {"run_id": "first", "report": str(report), "decision": decision, "leaderboard": []}
    unchanged.record(PROBLEM, mark, document, partial=False)


def test_a_night_that_died_is_continued_though_nothing_has_changed(tmp_path: Path) -> None:
    mark = unchanged.fingerprint(PROBLEM)
    whole(tmp_path, mark)
    died = Journal.begin(PROBLEM.name, "died", restart_from="search")
    died.end("interrupted")
    assert unchanged.last_night(PROBLEM, mark) is None, "the command line asks here as well"
    with begun(uuid4(), deployment_id=uuid4()) as night:
        assert night.over is None
        assert night.journal is not None
        assert night.dead == ("died",)
        night.dead_seen_to()
        night.journal.end("done", "kept")
    assert journal.last(PROBLEM.name).continues == "died"  # type: ignore[union-attr]
    answer = unchanged.last_night(PROBLEM, mark)
    assert answer is not None
    assert answer["run_id"] == "first"


def test_a_run_that_is_tried_again_sees_to_what_it_left_itself() -> None:
    """Retry in Prefect's pages starts a crashed run under the same id."""
    with begun(NIGHT_RUN) as first:
        assert first.dead == ()
        assert first.journal is not None
        first.journal.write("registered", "done", "5")
    with begun(NIGHT_RUN) as again:
        assert again.dead == (str(NIGHT_RUN),)
        again.dead_seen_to()
        assert [past.run for past in journal.unfinished(PROBLEM.name)] == [str(NIGHT_RUN)], "it may die once more"
        assert again.journal is not None
        again.journal.end("done", "kept")
    assert journal.unfinished(PROBLEM.name) == ()


def test_a_failed_run_that_is_tried_again_sees_to_what_it_left_itself() -> None:
    """It ended by itself, so no other night looks for it: what it registered waits for its own next try."""
    with begun(NIGHT_RUN) as first:
        assert first.journal is not None
        first.journal.end("failed", "StorageError")
    assert journal.unfinished(PROBLEM.name) == ()
    with begun(uuid4()) as other:
        assert other.dead == ()
    with begun(NIGHT_RUN) as again:
        assert str(NIGHT_RUN) in again.dead


def test_nights_that_fetch_from_one_source_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else one's bars would be in the other's mark, which has not read them."""
    monkeypatch.setattr(unchanged, "fingerprint", lambda _: "mark")
    problem = Problem(name="spx", source="yfinance:SPY")
    entered = threading.Event()

    def other() -> None:
        with turn(from_problem(problem.model_copy(update={"name": "another"}))):
            entered.set()

    with begun(uuid4(), problem) as night:
        with night.stage("ingest"):
            thread = threading.Thread(target=other)
            thread.start()
            assert not entered.wait(0.3)
        assert entered.wait(10)
        thread.join()
        with turn(from_problem(problem)), night.stage("features"):
            pass  # nothing but ingest waits


def test_a_run_that_is_tried_again_continues_what_it_continued() -> None:
    Journal.begin(PROBLEM.name, "died").end("interrupted")
    for _ in range(2):
        with begun(NIGHT_RUN) as night:
            assert set(night.dead) == {"died"} | ({str(NIGHT_RUN)} if _ else set())
        past = journal.told(journal.path_of(PROBLEM.name, str(NIGHT_RUN)))
        assert past is not None
        assert past.continues == "died"


def test_a_fetched_nights_mark_is_that_of_what_it_has_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before, the vendor's newest bar is not there, and the mark one that no later night can have."""
    marks = iter(("before", "after", "never"))
    monkeypatch.setattr(unchanged, "fingerprint", lambda _: next(marks))
    recorded: list[str] = []
    monkeypatch.setattr(unchanged, "record", lambda _, mark, *__, **___: recorded.append(mark))
    monkeypatch.setattr(opening, "document", lambda _: {"whole": True, "reproducible": True})
    for source, wanted in (("yfinance:SPY", "after"), ("builtin:sp500", "before")):
        marks = iter(("before", "after", "never"))
        problem = Problem(name="spx", source=source)
        with begun(uuid4(), problem) as night:
            for stage in ("ingest", "features"):
                with night.stage(stage):
                    pass
            night.keep(_Facts())  # type: ignore[arg-type]
        assert recorded.pop() == wanted


class _Facts:
    """A night's facts, as far as its journal asks for them."""

    class decision:  # noqa: N801
        outcome = "kept"


def test_a_schedule_before_the_close_fails_and_a_holiday_is_skipped() -> None:
    early = datetime(2026, 11, 25, 17, 0, tzinfo=UTC)
    with pytest.raises(ConfigurationError, match=r"is not over at 12:00: it closes at 16:00.*schedule the night after"):
        guard.reason_to_skip(PROBLEM, early)
    assert "Thanksgiving" in guard.reason_to_skip(PROBLEM, datetime(2026, 11, 26, 23, 30, tzinfo=UTC))
    assert guard.reason_to_skip(PROBLEM, None) == ""


def test_a_slot_that_was_done_is_skipped_as_a_holiday_is() -> None:
    slot = datetime(2026, 11, 20, 23, 0, tzinfo=UTC)
    facts: dict[str, Any] = {"deployment_id": uuid4(), "expected_start_time": slot}
    with begun(NIGHT_RUN, **facts) as night:
        leases.note_slot(PROBLEM.name, night.slot, night._held)
        assert night.journal is not None
        night.journal.end("done", "kept")
    with begun(uuid4(), **facts) as late:
        assert late.over is not None
        reason = f"the night scheduled for 2026-11-20T23:00:00+00:00 was done by run {NIGHT_RUN}"
        assert (late.over.name, late.over.message) == ("Skipped", reason)
