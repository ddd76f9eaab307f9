"""A decade of nights: ``python -m tests.faults.decade`` prints what became of each session. ``--seed`` replays it.

The dates are those that a Prefect server computes from the shipped schedule; the calendar, the holidays, the early
closes, the clock changes and the bars are real (S&P 500, 2009 to 2018). Drawn by the seed: slots that are sent twice,
bars that come late or far too late, machines that are down for days and catch up, clocks a day off, values that the
vendor corrects, and nights killed (SIGKILL) at one of their syncs to the disk and run again. What a night does and what
stands in for the rest is said in ``decade_night``.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from unittest import mock
from uuid import UUID, uuid4
from zoneinfo import ZoneInfo

import yaml
from prefect.client.schemas.objects import FlowRun
from prefect.server.schemas.schedules import CronSchedule

from tasks import journal, storage
from tasks.bars.describe import from_problem
from tasks.bars.night import Session, night_of, sessions_between
from tasks.bars.store import BarStore
from tasks.registry.ledger import Ledger
from tests.faults import decade_night
from tests.faults.decade_night import NAME, PROBLEM
from tests.faults.simulated import Clock, Market, world

NEW_YORK = ZoneInfo("America/New_York")
HISTORY = date(2008, 1, 2)
DEPLOYMENT, FLOW = UUID(int=1), UUID(int=2)
OFTEN = {
    "double": 0.02, "late": 0.012, "too late": 0.004, "down": 0.003, "clock": 0.006, "killed": 0.012, "value": 0.02,
}  # fmt: skip
"""What share of slots, or of sessions, has which trouble."""


@dataclass
class Decade:
    """What is injected, and what came of it."""

    first: date
    last: date
    seed: int
    draw: random.Random = field(init=False)
    told: Counter[str] = field(default_factory=Counter)
    syncs: int = 40

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.clock = Clock(datetime.combine(self.first, datetime.min.time(), UTC))
        self.market = Market.opened(self.clock, HISTORY, self.last)

    def happens(self, trouble: str) -> bool:
        """Whether it does, here."""
        drawn = self.draw.random() < OFTEN[trouble]
        self.told[trouble] += drawn
        return drawn

    def sessions(self) -> tuple[Session, ...]:
        """The decade's, by the calendar."""
        return sessions_between("XNYS", self.first, self.last)


def slots(first: date, last: date) -> list[datetime]:
    """When the server starts the shipped nightly deployment, in UTC."""
    shipped = yaml.safe_load((storage.PROJECT / "deployments" / "prefect.yaml").read_text(encoding="utf-8"))
    (nightly,) = [each for each in shipped["deployments"] if each["name"] == "nightly-sp500-volatility"]
    (given,) = nightly["schedules"]
    schedule = CronSchedule(cron=given["cron"], timezone=given["timezone"])
    found: list[datetime] = []
    for year in range(first.year, last.year + 1):
        start = datetime.combine(max(first, date(year, 1, 1)), datetime.min.time(), NEW_YORK)
        end = datetime.combine(min(last, date(year, 12, 31)), datetime.max.time(), NEW_YORK)
        found += asyncio.run(schedule.get_dates(400, start=start, end=end))
    return sorted({datetime.fromtimestamp(moment.timestamp(), UTC) for moment in found})


def trouble_with_the_vendor(decade: Decade) -> None:
    """Bars that come late, and values that are corrected the day after."""
    for session in decade.sessions():
        if decade.happens("late"):
            decade.market.published[session.label] += timedelta(hours=decade.draw.uniform(1.5, 5))
        elif decade.happens("too late"):
            decade.market.published[session.label] += timedelta(hours=decade.draw.uniform(8, 14))
        if decade.happens("value"):
            until = session.close + timedelta(hours=decade.draw.uniform(12, 30))
            decade.market.corrected[session.label] = decade.draw.uniform(-0.0004, 0.0004), until


def live(decade: Decade, every: list[datetime]) -> None:
    """Each slot at its time, or when the machine is back."""
    back = datetime.min.replace(tzinfo=UTC)
    for slot in every:
        if slot >= back and decade.happens("down"):
            back = slot + timedelta(days=decade.draw.uniform(0.5, 9))
        decade.told["nights caught up after an outage"] += slot < back
        decade.clock.now = max(decade.clock.now, slot, back if slot < back else slot)
        _slot(decade, slot)


def _slot(decade: Decade, slot: datetime) -> None:
    if decade.happens("clock"):
        decade.clock.off = timedelta(days=decade.draw.choice([-1, 1]))
        decade.clock.right_from = decade.clock.now + timedelta(hours=2)
    run = _flow_run(slot)
    if decade.happens("killed"):
        run = _killed(decade, run)
    state = decade_night.run(run, decade.clock)
    done = state == "Skipped" and night_of("XNYS", slot).close is not None
    _note(decade, "done before it was killed" if done else state)
    if decade.happens("double"):
        for _ in range(decade.draw.choice([1, 2])):
            _note(decade, f"second: {decade_night.run(_flow_run(slot), decade.clock)}")


def _flow_run(slot: datetime) -> FlowRun:
    when: Any = slot
    return FlowRun(
        id=uuid4(), flow_id=FLOW, deployment_id=DEPLOYMENT, auto_scheduled=True, expected_start_time=when, name="night"
    )


def _note(decade: Decade, state: str) -> None:
    decade.told[state] += 1


def _killed(decade: Decade, run: FlowRun) -> FlowRun:
    """The night in a child that is killed at one of its syncs; the run to go on with: the same, or another."""
    at = decade.draw.randint(1, decade.syncs)
    again = _flow_run(run.expected_start_time) if decade.draw.random() < 0.5 else run  # type: ignore[arg-type]
    child = os.fork()
    if child == 0:
        with _killed_at(at):
            decade_night.run(run, decade.clock)
        os._exit(0)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, -signal.SIGKILL), f"a killed night ended with {code}"
    decade.told["killed, by SIGKILL"] += code != 0
    decade.clock.now += timedelta(hours=1)
    return again


@contextmanager
def _killed_at(at: int) -> Iterator[None]:
    """This process, at its so many-th sync to the disk, just before or just after it."""
    sync, left = os.fsync, [at]

    def deadly(handle: int) -> None:
        left[0] -= 1
        if left[0] > 0 or at % 2:
            sync(handle)
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with mock.patch("os.fsync", deadly):
        yield


@dataclass(frozen=True, kw_only=True)
class Account:
    """What a decade comes to; ``right``: no session was missed or doubled, anywhere."""

    lines: tuple[tuple[str, str], ...]
    wrong: tuple[str, ...]


def account(decade: Decade, every: list[datetime], seconds: float) -> Account:
    """Compare what is on the disk with the calendar."""
    sessions = [str(session.label) for session in decade.sessions()]
    stored = BarStore(from_problem(PROBLEM)).read()
    ingested = Counter(str(day.date()) for day in stored["session"] if day.date() >= decade.first)
    told = decade_night.record()
    with Ledger.open() as ledger:
        nights = [(row["last"], row["snapshot"]) for row in ledger.chain.rows("nights")]
    counted = Counter(nights)
    decade.told["judged again"] = len(counted) - len({last for last, _ in counted})
    missed = [day for day in sessions if ingested[day] == 0]
    doubled = [day for day in sessions if ingested[day] > 1] + [day for (day, _), times in counted.items() if times > 1]
    wrong = [
        *(f"missed: {day}" for day in missed),
        *(f"doubled: {day}" for day in doubled),
        *([f"judged: {told['judged']} sessions"] if told["judged"] != len(sessions) else []),
        *(["judged: not each session once, in order"] if told["chain"] != decade_night.chained("", sessions) else []),
        *(f"unfinished: {past.run}" for past in journal.unfinished(NAME)),
        *(f"slot not done: {slot}" for slot in _not_done(every, decade)),
    ]
    return Account(lines=tuple(_lines(decade, every, len(missed), len(doubled), seconds)), wrong=tuple(wrong))


def _not_done(every: list[datetime], decade: Decade) -> list[datetime]:
    """Slots with a session that no run is noted to have done, but for those whose bars came after the deadline."""
    with Ledger.open() as ledger:
        rows = ledger.chain._database.query("SELECT slot FROM slots WHERE state = 'done'", ())
    done = {row["slot"] for row in rows}
    open_days = {session.label for session in decade.sessions()}
    wanted = [slot for slot in every if night_of("XNYS", slot).day in open_days]
    left = [slot for slot in wanted if slot.isoformat() not in done]
    decade.told["slots whose session the next night took"] = len(left)
    return [] if len(left) <= decade.told["DataError"] else left


def _lines(
    decade: Decade, every: list[datetime], missed: int, doubled: int, seconds: float
) -> Iterator[tuple[str, str]]:
    told, sessions = decade.told, decade.sessions()
    early = [s for s in sessions if s.close.astimezone(NEW_YORK).hour < 16]
    offsets = [slot.astimezone(NEW_YORK).utcoffset() for slot in every]
    yield "dates of the schedule", f"{len(every):,}"
    yield "sessions", f"{len(sessions):,}, of them {len(early)} that closed early"
    yield "holidays skipped", f"{told['Skipped']:,}"
    yield "clock changes", f"{sum(one != other for one, other in pairwise(offsets))}"
    yield "nights run whole", f"{told['Completed']:,}"
    yield "answered from the record", f"{told['Unchanged']:,}"
    yield "slots sent again", f"{told['double']}: " + _split(told, "second: ")
    late = f"{told['late']} by hours, {told['too late']} until the next morning"
    yield "bars late", f"{late}; waited for in every fifth year, else taken by the next night"
    yield "nights failed in words", f"{told['DataError'] + told['BarsRefusedError']}, each made up for by the next"
    yield "machine down", f"{told['down']} times; {told['nights caught up after an outage']} nights caught up"
    yield "clock a day off", f"{told['clock']} nights"
    yield "killed and run again", f"{told['killed, by SIGKILL']} of {told['killed']} that were to be"
    yield "values corrected later", f"{told['value']}"
    yield "on bars corrected since", f"{told['judged again']} nights whose own session's bars were not there yet"
    yield "sessions missed", str(missed)
    yield "sessions doubled", str(doubled)
    spent = sum(os.times()[:4])
    yield "seconds", f"{seconds:.0f} ({1000 * seconds / max(len(every), 1):.0f} ms a night); of a processor {spent:.0f}"


def _split(told: Counter[str], prefix: str) -> str:
    return ", ".join(f"{count} {name.removeprefix(prefix)}" for name, count in told.items() if name.startswith(prefix))


def lived(first: date, last: date, seed: int) -> tuple[Decade, Account]:
    """Live the nights from ``first`` to ``last`` below the present state folder."""
    decade, every, begun = Decade(first, last, seed), slots(first, last), time.monotonic()
    trouble_with_the_vendor(decade)
    digests = {name: storage.code_digest(name) for name in ("tasks", "flows")}
    with (
        world(decade.market),
        mock.patch("flows.unchanged.storage.code_digest", lambda *names: "".join(digests[name] for name in names)),
    ):
        live(decade, every)
        return decade, account(decade, every, time.monotonic() - begun)


def main() -> int:
    """Live, print, and say whether all was right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--first", type=date.fromisoformat, default=date(2009, 1, 2))
    parser.add_argument("--last", type=date.fromisoformat, default=date(2018, 12, 31))
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="decade-") as folder:
        gc.freeze()  # what was imported is not looked through anew in each of 2,600 nights,
        gc.set_threshold(100_000, 20, 20)  # and what a night leaves not many times within it
        os.environ |= {"NOCTURNE_HOME": str(Path(folder) / "home"), "NOCTURNE_LEDGER_URL": ""}
        _, found = lived(asked.first, asked.last, asked.seed)
    for name, text in found.lines:
        print(f"{name:26} {text}")
    for line in found.wrong[:20]:
        print(f"WRONG: {line}")
    print(f"seed {asked.seed}: " + ("no session missed or doubled" if not found.wrong else f"{len(found.wrong)} wrong"))
    return int(bool(found.wrong))


if __name__ == "__main__":
    sys.exit(main())
