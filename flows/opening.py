"""What comes before a night's first stage, and after its last: one night at a time, and none that need not be.

1. A scheduled run whose session does not exist is skipped (``guard``); one whose bars are late waits (``late``).
2. The lease: a run of a deployment waits for another night of the problem to end, anyone else is told who is at work.
3. A scheduled slot that another run has done already is skipped: it was sent twice.
4. A deployment's night on which nothing has changed is answered from the record of the last one, unless a night that
   died is to be continued.
5. Else the journal begins. It says which run this one continues, and which stages are computed anew.

A run that does not come to its stages ends as Skipped or Unchanged, and its message says why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext
from prefect.runtime import deployment
from prefect.states import Completed

from flows import interrupt, unchanged
from flows.automations import tell
from flows.guard import reason_to_skip, scheduled, skipped
from flows.late import wait_for_bars
from flows.observed import Observed
from flows.restart import Stage, salts
from tasks import journal
from tasks.bars.describe import from_problem
from tasks.bars.parts import forget, read_once
from tasks.bars.turns import turn
from tasks.journal import Journal, unfinished
from tasks.problem import Problem
from tasks.registry import leases
from tasks.registry.fence import FencedError
from tasks.registry.leases import Lease
from tasks.registry.task import champion_now
from tasks.report.document import document
from tasks.report.facts import Facts
from tasks.report.task import publish_unchanged
from tasks.storage import salted

log = logging.getLogger("nocturne.night")


class Opening:
    """A night that may begin its stages, or, where ``over`` is set, one that need not.

    ``dead``: the runs that ended without a last line, and whose orphans this night sees to; this very run among them,
    where it is tried again.
    """

    def __init__(self, problem: Problem, clock: Observed) -> None:
        context = FlowRunContext.get()
        assert context is not None, "a night is opened inside its flow"
        assert context.flow_run is not None
        self.problem, self.clock, self._run = problem, clock, context.flow_run
        self.run = str(context.flow_run.id)
        self.started = datetime.now(UTC).isoformat(timespec="seconds")
        self.over: State[None] | None = None
        self.dead: tuple[str, ...] = ()
        self._lease: Lease | None = None
        self.journal: Journal | None = None
        self._salts: dict[str, str] = {}
        self._mark = ""

    @property
    def deployed(self) -> bool:
        """Whether a deployment made this very run."""
        return self._run.deployment_id is not None

    @property
    def slot(self) -> str:
        """When a deployment's run was to start (ISO UTC): runs that were sent twice share it. Else empty."""
        due = self._run.expected_start_time
        return due.astimezone(UTC).isoformat() if self.deployed and due else ""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A stage of the night: begun only under the lease, timed, in the journal, and computed anew where asked.

        Raises FencedError if another night was given the lease.
        """
        assert self.journal is not None
        self._held.require()
        fetches = name == "ingest" and unchanged.is_fetched(self.problem)
        with ExitStack() as meanwhile:
            meanwhile.enter_context(salted(self._salts.get(name, "")))
            meanwhile.enter_context(self.journal.step(name))
            meanwhile.enter_context(self.clock.stage(name))
            if fetches:
                meanwhile.enter_context(turn(from_problem(self.problem)))
            yield
            if fetches:
                self._mark = unchanged.fingerprint(self.problem)
            forget()  # the stages after ingest read no parts, and need the memory

    def dead_seen_to(self) -> None:
        """Note that what the dead runs left has been seen to."""
        for run in self.dead:
            if run != self.run:  # a run that is tried again is not over
                Journal.of(self.problem.name, run).collected(self.run)
        self.dead = ()

    def keep(self, facts: Facts) -> None:
        """Record the night, so that an unchanged one can be answered from it, and its slot as done."""
        assert self.journal is not None
        kept = document(facts)
        partial = not (kept["whole"] and kept["reproducible"])
        unchanged.record(self.problem, self._mark, kept, partial=partial)
        self._slot_done()
        self.journal.end("done", facts.decision.outcome)

    def begin(self, lease: Lease, restart_from: Stage) -> None:
        """Under the lease: is there anything to do? If so, note what is done."""
        self._lease = lease
        self._mark = unchanged.fingerprint(self.problem)
        by = leases.done_by(self.problem.name, self.slot) if self.slot else ""
        if by not in ("", self.run):
            self.over = skipped(self.problem, f"the night scheduled for {self.slot} was done by run {by}")
        elif not (self.deployed and not restart_from and self._answered()):
            self._write_down(restart_from)

    def has_no_session(self) -> bool:
        """Whether the schedule's session does not exist; the run is over then."""
        reason = reason_to_skip(self.problem, scheduled())
        if reason:
            self.over = skipped(self.problem, reason)
        return bool(reason)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """The journal's last line for whatever ends the night before it is kept."""
        try:
            yield
        except FencedError:
            self._end("fenced")
            raise
        except Exception as error:
            self._end("failed", type(error).__name__)
            raise
        except BaseException:  # cancelled: by a signal of the worker's, by Control-C
            interrupt.end_engines()
            self._end("interrupted")
            raise

    def _end(self, state: journal.State, outcome: str = "") -> None:
        if self.journal is not None:
            self.journal.end(state, outcome)

    def _answered(self) -> bool:
        """Answer the night from the last one's record, if nothing has changed since."""
        begun = time.monotonic()
        before = unchanged.last_night(self.problem, self._mark)
        if before is None:
            return False
        champion = champion_now(self.problem.name)
        if (champion.version if champion else "") != before["decision"]["champion_version"]:
            return False
        answer = unchanged.answer(self.problem, before, time.monotonic() - begun, self.run)
        publish_unchanged(answer)
        self._slot_done()
        reason = answer["decision"]["reasons"][0]
        tell("unchanged", self.problem.name, headline=answer["decision"]["headline"], reasons=[reason], run_id=self.run)
        self.over = Completed(name="Unchanged", message=reason)
        return True

    def _write_down(self, restart_from: Stage) -> None:
        left = unfinished(self.problem.name)
        died = left[-1] if left else None
        for past in left:
            if past.state == "started" and past.run != self.run:
                Journal.of(self.problem.name, past.run).end("dead", self.run)
        self.dead = tuple(dict.fromkeys((*(past.run for past in left), *self._tried())))
        continues = died.run if died else ""
        if died is not None and died.run == self.run:  # tried again: it continues what it continued
            continues = died.continues
        self.journal = Journal.begin(self.problem.name, self.run, continues, restart_from)
        if died is not None:
            log.warning(
                "%s: continues run %s, which ended at stage %s", self.problem.name, died.run, died.stage or "start"
            )
        self._salts = salts(self.problem.name, restart_from, self.run, died)

    def _tried(self) -> tuple[str, ...]:
        """This very run, if it has been tried before: one that failed has a last line, but its orphans are there."""
        return (self.run,) if journal.path_of(self.problem.name, self.run).is_file() else ()

    def _slot_done(self) -> None:
        if self.slot:
            leases.note_slot(self.problem.name, self.slot, self._held)

    @property
    def _held(self) -> Lease:
        assert self._lease is not None
        return self._lease


@contextmanager
def opened(problem: Problem, restart_from: Stage, clock: Observed) -> Iterator[Opening]:
    """A night inside its flow's run, as the module's text says; its lease is given back when the block ends.

    Raises LeaseHeldError outside a deployment while another night of the problem is at work, ConfigurationError for a
    schedule before its session's close, and what the source's digest and the ledger's database raise.
    """
    night = Opening(problem, clock)
    if night.has_no_session():
        yield night
        return
    with read_once():
        wait_for_bars(problem, scheduled())
        waits = deployment.get_id() is not None
        with leases.take(problem.name, night.run, waits=waits) as lease, night.ending(), ExitStack() as kept:
            night.begin(lease, restart_from)
            if night.journal is not None:
                kept.enter_context(night.journal.kept())
            yield night
