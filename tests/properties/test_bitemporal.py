"""A store under any nights (new bars, restated, dropped, back again) against a plain list of what each night saw."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from tasks.bars.describe import SourceDescription
from tasks.bars.readings import Reading, ReadingStore
from tasks.bars.revisions import VALUES
from tasks.bars.snapshot import values_digest
from tasks.bars.store import BarStore

OPENED = pd.Timestamp("2019-01-01T21:00:00Z")
DAY = pd.Timedelta(days=1)
LATER = pd.Timedelta(hours=2)
DESCRIPTION = SourceDescription(source="p.csv")
COLUMNS = ["symbol", "time", *VALUES]
Bars = dict[tuple[str, int], int]


def frame(bars: Bars) -> pd.DataFrame:
    """Canonical bars, sorted; a bar is (symbol, day) -> price."""
    keys = sorted(bars)
    time = pd.DatetimeIndex([OPENED + day * DAY for _, day in keys], dtype="datetime64[ns, UTC]")
    values = {name: [float(bars[key]) for key in keys] for name in VALUES}
    session = time.tz_localize(None).normalize()
    return pd.DataFrame({"symbol": [symbol for symbol, _ in keys], "time": time, "session": session, **values})


class Nights(RuleBasedStateMachine):
    """One source read night after night; two stores on the same folder take turns as two processes would."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        root = Path(self.folder.name)
        self.stores = [BarStore(DESCRIPTION, root=root, keeps=keeps) for keeps in (True, False)]
        self.readings = ReadingStore(DESCRIPTION, root=root)
        self.source: Bars = {}
        self.day = 3
        self.seen: list[tuple[pd.Timestamp, str]] = []

    def teardown(self) -> None:
        self.folder.cleanup()

    @rule(symbol=st.sampled_from("AB"), day=st.integers(0, 20), price=st.integers(1, 4))
    def bar_comes_or_changes(self, symbol: str, day: int, price: int) -> None:
        self.source[symbol, min(day, self.day)] = price

    @rule(symbol=st.sampled_from("AB"), day=st.integers(0, 20))
    def bar_goes(self, symbol: str, day: int) -> None:
        if len(self.source) > 1:
            self.source.pop((symbol, day), None)

    @rule(writer=st.integers(0, 1), pause=st.integers(0, 2))
    def night(self, writer: int, pause: int) -> None:
        self.day += 1 + pause
        self.source["A", self.day] = 1
        at, bars = OPENED + self.day * DAY + LATER, frame(self.source)
        self.stores[writer].append(bars, at, covers=())
        self.readings.add(Reading(at=at.isoformat(), asked=(), symbols=("A", "B")))
        self.seen.append((at, values_digest(bars[COLUMNS])))

    @invariant()
    def every_night_of_the_past_is_as_it_was(self) -> None:
        looks = self.readings.read()
        for at, digest in self.seen[-1:] + self.seen[: -1 : max(1, len(self.seen) // 3)]:
            for store in self.stores:
                known = store.known(at, looks)
                assert values_digest(known.frame[COLUMNS]) == digest
                assert known.assumed == 0

    @invariant()
    def nothing_that_was_ever_seen_is_lost(self) -> None:
        if self.seen:
            stored = self.stores[1].read()
            assert values_digest(self.stores[1].in_use()[COLUMNS]) == self.seen[-1][1]
            assert set(stored["symbol"]) <= {"A", "B"}
            assert (stored["time"] <= self.seen[-1][0]).all()


Nights.TestCase.settings = settings(max_examples=6, stateful_step_count=12, deadline=None)
test_nights = Nights.TestCase
