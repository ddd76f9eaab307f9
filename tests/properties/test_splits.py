"""Laws of windows, over panels with holes, other horizons and embargoes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.errors import ConfigurationError
from tasks.splits.windows import ALL_WINDOWS, WindowPlan, assign_windows, term_boundary

CALENDAR = pd.bdate_range("1990-01-01", "2012-12-31")
DAY = np.timedelta64(1, "D")


@dataclass(frozen=True)
class Case:
    """A panel whose symbols miss bars at random, with its settings."""

    times: pd.DatetimeIndex
    sessions: pd.DatetimeIndex
    label_end: pd.DatetimeIndex
    usable: npt.NDArray[np.bool_]
    gate: int
    term: int
    embargo: int
    horizon: int

    def plan(self) -> WindowPlan:
        return assign_windows(
            self.times,
            self.sessions,
            self.label_end,
            self.usable,
            CALENDAR,
            gate_sessions=self.gate,
            term=self.term,
            embargo=self.embargo,
            horizon=self.horizon,
        )


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Two symbols on 700 to 1,000 sessions, each missing up to a tenth of its bars."""
    n, horizon = draw(st.integers(700, 1000)), draw(st.integers(1, 10))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    days, ends, usable = [], [], []
    for _ in range(2):
        have = np.flatnonzero(rng.random(n) > draw(st.floats(0.0, 0.1)))
        own = pd.bdate_range("2000-01-03", periods=n).to_numpy("datetime64[ns]")[have]
        days.append(own)
        ends.append(np.concatenate([own[horizon:], np.full(horizon, np.datetime64("NaT"))]))
        usable.append(rng.random(len(own)) > 0.02)
    session, end = pd.DatetimeIndex(np.concatenate(days)), pd.DatetimeIndex(np.concatenate(ends))
    close = pd.Timedelta(hours=21)
    return Case(
        times=(session + close).tz_localize("UTC"),
        sessions=session,
        label_end=(end + close).tz_localize("UTC"),
        usable=np.concatenate(usable),
        gate=draw(st.integers(60, 150)),
        term=draw(st.integers(21, 90)),
        embargo=draw(st.integers(0, 10)),
        horizon=horizon,
    )


@settings(deadline=None, max_examples=60)
@given(cases())
def test_no_label_reaches_a_later_window_or_its_embargo(case: Case) -> None:
    plan = case.plan()
    bars = np.unique(case.times.to_numpy("datetime64[ns]"))
    end = np.searchsorted(bars, case.label_end.to_numpy("datetime64[ns]"))
    start = np.searchsorted(bars, case.times.to_numpy("datetime64[ns]"))
    for place, name in enumerate(ALL_WINDOWS[:-1]):
        mine = plan.window == name
        later = np.isin(plan.window, ALL_WINDOWS[place + 1 :])
        assert end[mine].max() + case.embargo < start[later].min(), name
    gate = plan.window == "gate"
    assert end[plan.fit_gate].max() + case.embargo < start[gate].min()
    assert not (plan.fit_gate & gate).any()


@settings(deadline=None, max_examples=60)
@given(cases())
def test_windows_are_disjoint_ordered_and_whole_dates(case: Case) -> None:
    plan = case.plan()
    session = case.sessions.to_numpy("datetime64[ns]")
    spans = [(session[plan.window == name].min(), session[plan.window == name].max()) for name in ALL_WINDOWS]
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
    labelled = case.usable & ~np.asarray(case.label_end.isna())
    np.testing.assert_array_equal(plan.fit_all, labelled)
    assert labelled[plan.window != ""].all()
    assert plan.purged == (labelled & (plan.window == "")).sum()
    assert sum(window.rows for window in plan.windows) + plan.purged == labelled.sum()


@settings(deadline=None, max_examples=60)
@given(cases(), st.integers(1, 60))
def test_an_earlier_night_of_the_same_term_has_the_same_search_windows(case: Case, cut: int) -> None:
    """Dropping the last sessions changes nothing before the gate, as long as the term is the same."""
    plan = case.plan()
    session = case.sessions.to_numpy("datetime64[ns]")
    last = np.unique(session)[-cut - 1]
    keep = session <= last
    ended = case.label_end.to_numpy("datetime64[ns]")[keep] <= last + DAY
    try:
        earlier = Case(
            times=case.times[keep],
            sessions=case.sessions[keep],
            label_end=case.label_end[keep].where(ended),
            usable=case.usable[keep],
            gate=case.gate,
            term=case.term,
            embargo=case.embargo,
            horizon=case.horizon,
        ).plan()
    except ConfigurationError:
        assume(False)
    assert earlier.term_start <= plan.term_start
    if earlier.term_start == plan.term_start:
        assert earlier.windows[:-1] == plan.windows[:-1]
        np.testing.assert_array_equal(earlier.fit_gate, plan.fit_gate[keep])
        assert not plan.fit_gate[~keep].any()


@settings(deadline=None, max_examples=200)
@given(st.integers(1, 400), st.integers(0, 3000), st.integers(1, 300), st.integers(5, 260))
def test_the_gate_stays_from_boundary_to_boundary(length: int, first: int, gate: int, term: int) -> None:
    calendar = CALENDAR.to_numpy("datetime64[ns]")
    starts = [term_boundary(calendar[first : first + n], calendar, gate, term) for n in (length, length + 1)]
    found = [int(np.searchsorted(calendar, start)) for start in starts if start is not None]
    # It holds enough, it moves only by whole terms, and only when the next boundary has enough after it.
    for n, place in zip((length, length + 1)[2 - len(found) :], found, strict=True):
        assert place % term == 0
        assert first + n - max(place, first) >= gate
        assert first + n - (place + term) < gate
    if len(found) == 2:
        assert found[1] - found[0] in (0, term)
