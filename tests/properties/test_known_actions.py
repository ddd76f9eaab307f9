"""Events under any nights (new, late, changed, withdrawn, back again) against what each night itself saw."""

from __future__ import annotations

import tempfile
from datetime import date
from pathlib import Path

import pandas as pd
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tasks.bars.actions import CorporateAction
from tasks.bars.actions_store import ActionStore, Covered
from tasks.bars.describe import SourceDescription
from tasks.bars.readings import Reading, ReadingStore

CLOSED = pd.Timestamp("2019-01-01T21:00:00Z")
DAY = pd.Timedelta(days=1)
DELAY = pd.Timedelta(minutes=30)
DESCRIPTION = SourceDescription(source="p.csv")
Events = dict[tuple[str, int], float]


def ex(day: int) -> date:
    """The session of a day."""
    return (CLOSED + day * DAY).date()


def dividends(events: Events) -> tuple[CorporateAction, ...]:
    """Dividends, sorted; an event is (symbol, day) -> what is paid."""
    return tuple(
        CorporateAction(symbol=symbol, session=ex(day), kind="dividend", value=paid)
        for (symbol, day), paid in sorted(events.items())
    )


def bars(last: int) -> pd.DataFrame:
    """A bar of each symbol on every day up to the last one."""
    time = pd.DatetimeIndex([CLOSED + day * DAY for _ in "AB" for day in range(last + 1)]).as_unit("ns")
    names = [symbol for symbol in "AB" for _ in range(last + 1)]
    return pd.DataFrame({"symbol": names, "time": time, "session": time.tz_localize(None).normalize()})


class Nights(RuleBasedStateMachine):
    """A vendor's events read night after night, anywhere between the moment they are due and two o'clock."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        self.book, self.readings = ActionStore(DESCRIPTION, root=root), ReadingStore(DESCRIPTION, root=root)
        self.vendor: Events = {}
        self.day = 3
        self.seen: list[tuple[int, pd.Timestamp, tuple[CorporateAction, ...]]] = []

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(symbol=st.sampled_from("AB"), day=st.integers(0, 20), paid=st.integers(1, 3))
    def event_comes_or_changes(self, symbol: str, day: int, paid: int) -> None:
        self.vendor[symbol, min(day, self.day + 1)] = float(paid)

    @rule(symbol=st.sampled_from("AB"), day=st.integers(0, 20))
    def event_goes(self, symbol: str, day: int) -> None:
        self.vendor.pop((symbol, day), None)

    @rule(pause=st.integers(0, 2), late=st.sampled_from([0, 5, 299]))
    def night(self, pause: int, late: int) -> None:
        self.day += 1 + pause
        at = CLOSED + self.day * DAY + DELAY + pd.Timedelta(minutes=late)
        self.book.append(dividends(self.vendor), at, [Covered(symbols=(), first=date.min, last=date.max)])
        self.readings.add(Reading(at=at.isoformat(), asked=(), symbols=("A", "B")))
        self.seen.append((self.day, at, dividends(self.vendor)))

    def _known(self, at: pd.Timestamp) -> tuple[CorporateAction, ...]:
        return self.book.known(at, self.readings.read(), bars(self.day), DELAY)

    @invariant()
    def every_night_of_the_past_has_the_events_that_it_saw(self) -> None:
        for day, at, events in self.seen[-2:]:
            come = [event for event in self._known(at) if event.session <= ex(day)]
            assert come == [event for event in events if event.session <= ex(day)]

    @invariant()
    def the_earliest_night_of_a_session_has_the_events_that_are_new_with_it(self) -> None:
        """As of close and delay, however much later that session's bar and event were first read."""
        nights = [None, *self.seen]
        for before, (day, _, events) in list(zip(nights, self.seen, strict=False))[-2:]:
            earlier = {(event.symbol, event.session) for event in before[2]} if before else set()
            new = {e for e in events if e.session == ex(day) and (e.symbol, e.session) not in earlier}
            known = set(self._known(CLOSED + day * DAY + DELAY))
            revised = set(self.book.revisions().query("revision > 0")[["symbol", "session"]].itertuples(index=False))
            assert {e for e in new if (e.symbol, pd.Timestamp(e.session)) not in revised} <= known


Nights.TestCase.settings = settings(max_examples=6, stateful_step_count=10, deadline=None)
test_known_actions = Nights.TestCase
