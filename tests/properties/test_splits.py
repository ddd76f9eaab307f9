"""Laws of windows, over panels with holes, other horizons and embargoes."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tasks.contracts import SEARCH_WINDOWS
from tasks.errors import ConfigurationError
from tasks.splits.layout import ORIGIN_DATES, ORIGIN_SESSIONS, term_boundary
from tasks.splits.windows import WindowPlan, assign_windows

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
    folds: int

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
            folds=self.folds,
        )

    def spans(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The bar at which each row is and the bar at which its label ends, as ordinals (no label: beyond all)."""
        bars = np.unique(self.times.to_numpy("datetime64[ns]"))
        ends = self.label_end.to_numpy("datetime64[ns]")
        return np.searchsorted(bars, self.times.to_numpy("datetime64[ns]")), np.searchsorted(bars, ends)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Two symbols, each missing up to a tenth of its bars; labels end anywhere within the horizon, as barriers do."""
    n, horizon = draw(st.integers(1300, 1700)), draw(st.integers(1, 7))
    touched_early = draw(st.booleans())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    days, ends, usable = [], [], []
    for _ in range(2):
        have = np.flatnonzero(rng.random(n) > draw(st.floats(0.0, 0.1)))
        own = pd.bdate_range("2000-01-03", periods=n).to_numpy("datetime64[ns]")[have]
        days.append(own)
        whole = np.arange(len(own) - horizon)
        reach = rng.integers(1, horizon + 1, len(whole)) if touched_early else horizon
        ends.append(np.concatenate([own[whole + reach], np.full(horizon, np.datetime64("NaT"))]))
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
        folds=draw(st.integers(5, 8)),
    )


@settings(deadline=None, max_examples=40)
@given(cases())
def test_no_label_reaches_a_later_window_or_fold_or_its_embargo(case: Case) -> None:
    plan = case.plan()
    start, end = case.spans()
    masks = [plan.window == name for name in SEARCH_WINDOWS]
    masks += [plan.scored_by == f"fit_fold_{k}" for k in range(1, case.folds + 1)]
    masks += [plan.window == "gate"]
    for place, mine in enumerate(masks[:-1]):
        later = np.logical_or.reduce(masks[place + 1 :])
        assert end[mine].max() + case.embargo < start[later].min(), place


@settings(deadline=None, max_examples=40)
@given(cases())
def test_no_label_that_a_fit_learns_from_reaches_what_it_is_scored_on_or_the_embargo(case: Case) -> None:
    plan = case.plan()
    start, end = case.spans()
    for name, marked in plan.fits.items():
        if name != "fit_all":
            scored = plan.scored_by == name
            assert scored.any(), name
            assert end[marked].max() + case.embargo < start[scored].min(), name
            assert not (marked & scored).any()
    assert not (plan.scored_by == "fit_all").any()


@settings(deadline=None, max_examples=40)
@given(cases())
def test_every_scored_row_has_one_fit_and_later_fits_know_all_that_earlier_ones_did(case: Case) -> None:
    plan = case.plan()
    walked = np.isin(plan.window, ("fold", "gate"))
    np.testing.assert_array_equal(plan.scored_by != "", walked)
    fold = np.array([name.startswith("fit_fold_") for name in plan.scored_by])
    np.testing.assert_array_equal(plan.window == "fold", fold)
    assert all((later | ~earlier).all() for earlier, later in itertools.pairwise(plan.fits.values()))


@settings(deadline=None, max_examples=40)
@given(cases())
def test_windows_and_folds_are_disjoint_ordered_whole_dates_and_cover_all_but_the_purge(case: Case) -> None:
    plan = case.plan()
    session = case.sessions.to_numpy("datetime64[ns]")
    masks = [plan.window == name for name in SEARCH_WINDOWS]
    masks += [plan.scored_by == name for name in plan.fits if name != "fit_all"]
    spans = [(session[mask].min(), session[mask].max()) for mask in masks]
    assert all(a[1] < b[0] for a, b in itertools.pairwise(spans))
    labelled = case.usable & ~np.asarray(case.label_end.isna())
    np.testing.assert_array_equal(plan.fits["fit_all"], labelled)
    assert labelled[plan.window != ""].all()
    assert plan.purged == (labelled & (plan.window == "")).sum()
    assert sum(window.rows for window in plan.windows) + plan.purged == labelled.sum()
    assert sum(fold.rows for fold in plan.folds) == (plan.window == "fold").sum()
    # What no window has lies so near to the next stretch that its label or the embargo can reach it.
    start, end = case.spans()
    begins = np.array([start[mask].min() for mask in masks])
    lost = np.flatnonzero(labelled & (plan.window == ""))
    following = begins[np.searchsorted(begins, start[lost])]
    unusable_dates = 5  # a stretch begins on a date on which some row is usable, if not every row
    assert (end[lost] + case.embargo + unusable_dates >= following).all()


@settings(deadline=None, max_examples=40)
@given(cases())
def test_folds_are_of_equal_length_in_dates(case: Case) -> None:
    plan = case.plan()
    lost = case.horizon + case.embargo + 2
    dates = [fold.dates for fold in plan.folds]
    assert max(dates) - min(dates) <= lost


@settings(deadline=None, max_examples=40)
@given(cases())
def test_origins_lie_a_quarter_apart_and_have_a_month_left(case: Case) -> None:
    plan = case.plan()
    session = case.sessions.to_numpy("datetime64[ns]")
    origins = [name for name in plan.fits if name.startswith("fit_origin_")]
    calendar = CALENDAR.to_numpy("datetime64[ns]")
    gate = int(np.searchsorted(calendar, np.datetime64(plan.term_start)))
    labelled = np.unique(session[plan.fits["fit_all"]])
    for number, name in enumerate(origins, start=1):
        begins = calendar[gate + number * ORIGIN_SESSIONS]
        assert session[plan.scored_by == name].min() >= begins
        assert (labelled >= begins).sum() >= ORIGIN_DATES
    following = gate + (len(origins) + 1) * ORIGIN_SESSIONS
    assert (labelled >= calendar[following]).sum() < ORIGIN_DATES


@settings(deadline=None, max_examples=40)
@given(cases(), st.integers(1, 60))
def test_an_earlier_night_of_the_same_term_has_the_same_windows_folds_and_origins(case: Case, cut: int) -> None:
    """Dropping the last sessions changes nothing before the gate and no origin, as long as the term is the same."""
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
            folds=case.folds,
        ).plan()
    except ConfigurationError:
        assume(False)
    assert earlier.term_start <= plan.term_start
    if earlier.term_start == plan.term_start:
        assert earlier.windows[:-1] == plan.windows[:-1]
        assert earlier.folds == plan.folds
        walked = [name for name in earlier.fits if name != "fit_all"]
        assert walked == [name for name in plan.fits if name != "fit_all"][: len(walked)]
        for name in walked:
            np.testing.assert_array_equal(earlier.fits[name], plan.fits[name][keep], err_msg=name)
            assert not plan.fits[name][~keep].any()
        before = keep & (plan.window != "gate")
        np.testing.assert_array_equal(earlier.scored_by[before[keep]], plan.scored_by[before])


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
