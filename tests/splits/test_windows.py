"""Windows and folds: where they lie, what the purge removes, what fits may learn from, and that the gate stays put."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import SEARCH_WINDOWS
from tasks.errors import ConfigurationError
from tasks.splits.layout import SEARCH_SHARE, SHARES, term_boundary
from tasks.splits.windows import ALL_WINDOWS, WindowPlan, assign_windows

Make = Callable[..., Any]


def plan(
    data: Any, *, gate: int = 100, term: int = 50, embargo: int = 5, horizon: int = 1, folds: int = 5
) -> WindowPlan:
    return assign_windows(
        data.times,
        data.sessions,
        data.label_end,
        data.usable,
        data.calendar,
        gate_sessions=gate,
        term=term,
        embargo=embargo,
        horizon=horizon,
        folds=folds,
    )


def stretches(found: WindowPlan) -> list[np.ndarray]:
    """The rows of each search window, each fold and the gate, in time order."""
    searched = [np.flatnonzero(found.window == name) for name in SEARCH_WINDOWS]
    walked = [
        np.flatnonzero((found.window == "fold") & (found.scored_by == name))
        for name in found.fits
        if name.startswith("fit_fold_")
    ]
    return [*searched, *walked, np.flatnonzero(found.window == "gate")]


def test_shares_are_of_the_whole() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)


def test_windows_and_folds_lie_in_time_order_with_the_declared_shares(panel: Make) -> None:
    data = panel(1500, warm_up=100)
    found = plan(data)
    assert tuple(window.name for window in found.windows) == ALL_WINDOWS
    assert {window.name for window in found.folds} == {"fold"}
    edges = [stamp for window in found.windows for stamp in (window.first, window.last)]
    assert edges == sorted(edges)
    before = int((found.fits["fit_all"] & (data.sessions < pd.Timestamp(found.term_start))).sum())
    for window in found.windows[:4]:
        # The purge takes the embargo and the horizon off the end of each.
        assert window.rows == pytest.approx(SHARES[window.name] * SEARCH_SHARE * before - 6, abs=1)
    for fold in found.folds:
        assert fold.rows == pytest.approx((1 - SEARCH_SHARE) * before / 5 - 6, abs=1)
    together = found.windows[4]
    assert together.rows == sum(fold.rows for fold in found.folds)
    assert (together.first, together.last) == (found.folds[0].first, found.folds[-1].last)


@pytest.mark.parametrize("folds", [5, 7])
@pytest.mark.parametrize(("horizon", "embargo"), [(1, 0), (1, 5), (5, 0), (5, 5), (10, 3)])
def test_the_purge_drops_exactly_the_rows_whose_label_and_embargo_reach_the_next_stretch(
    panel: Make, horizon: int, embargo: int, folds: int
) -> None:
    found = plan(panel(2200, horizon=horizon), embargo=embargo, horizon=horizon, folds=folds)
    places = stretches(found)
    assert len(places) == 4 + folds + 1
    for earlier, later in itertools.pairwise(places):
        assert later[0] - earlier[-1] == horizon + embargo + 1
    assert found.purged == (4 + folds) * (horizon + embargo)
    assert places[-1][-1] == 2200 - horizon - 1


def test_fits_come_in_time_order_and_each_learns_from_all_that_ends_before_its_stretch(panel: Make) -> None:
    found = plan(panel(1500, horizon=3), gate=160, embargo=4, horizon=3)
    origins = [f"fit_origin_{number}" for number in (1, 2)]
    assert list(found.fits) == [*(f"fit_fold_{k}" for k in range(1, 6)), "fit_gate", *origins, "fit_all"]
    for name in list(found.fits)[:-1]:
        first = np.flatnonzero(found.scored_by == name)[0]
        np.testing.assert_array_equal(np.flatnonzero(found.fits[name]), np.arange(first - 3 - 4))


def test_an_origin_every_quarter_while_a_month_is_left_to_score_it_on(panel: Make) -> None:
    for sessions, gate in ((1500, 160), (1503, 147), (1480, 210)):
        data = panel(sessions)
        found = plan(data, gate=gate, term=50)
        start = int(np.flatnonzero(data.sessions == pd.Timestamp(found.term_start))[0])
        expected = [place for place in range(start + 63, sessions, 63) if sessions - 1 - place >= 21]
        names = [name for name in found.fits if name.startswith("fit_origin_")]
        assert [np.flatnonzero(found.scored_by == name)[0] for name in names] == expected
        assert np.flatnonzero(found.scored_by == "fit_gate").tolist() == list(range(start, expected[0]))


def test_a_window_is_worth_its_labels_uniqueness_a_symbol(panel: Make) -> None:
    data = panel(1500, symbols=2)
    names = np.repeat(np.array(["A", "B"], dtype=object), 1500)
    weight = np.where(names == "A", 0.2, 0.4)
    weight[data.label_end.isna()] = np.nan
    found = assign_windows(
        data.times, data.sessions, data.label_end, data.usable, data.calendar,
        gate_sessions=100, term=50, embargo=5, horizon=1, symbols=names, weight=weight,
    )  # fmt: skip
    for window in (*found.windows, *found.folds):
        assert window.effective == pytest.approx(0.3 * window.dates)


def test_one_date_of_a_panel_is_in_one_window(panel: Make) -> None:
    data = panel(1000, symbols=3)
    found = plan(data)
    names = pd.Series(found.window).groupby(data.times).nunique()
    assert (names == 1).all()
    assert found.windows[0].rows == 3 * found.windows[0].dates


def test_a_row_is_purged_by_its_own_label_end(panel: Make) -> None:
    """Two symbols on the same dates; one skips bars, so that its labels end later."""
    data = panel(1200, symbols=2)
    ends = data.label_end.to_series(index=range(2400))
    slow = ends[1200:].shift(-20)
    slow_ends = pd.DatetimeIndex(pd.concat([ends[:1200], slow]))
    found = assign_windows(
        data.times,
        data.sessions,
        slow_ends,
        data.usable,
        data.calendar,
        gate_sessions=100,
        term=50,
        embargo=0,
        horizon=1,
    )
    for inside in (
        found.window == "train",
        found.fits["fit_fold_3"],
        found.fits["fit_gate"],
        found.fits["fit_origin_1"],
    ):
        last = [np.flatnonzero(inside[part])[-1] for part in (slice(0, 1200), slice(1200, 2400))]
        assert last[0] - last[1] == 20


def test_rows_without_features_or_label_are_in_no_window_and_no_fit(panel: Make) -> None:
    data = panel(1000, warm_up=50, horizon=3)
    data.usable[400:410] = False
    found = plan(data, horizon=3)
    idle = ~data.usable | data.label_end.isna()
    assert (found.window[idle] == "").all()
    assert (found.scored_by[idle] == "").all()
    assert not any(marked[idle].any() for marked in found.fits.values())
    assert found.fits["fit_all"].sum() == (~idle).sum()


def test_rows_that_are_purged_between_windows_still_teach_later_fits(panel: Make) -> None:
    found = plan(panel(1000, horizon=4), horizon=4, embargo=2)
    for name in ("fit_fold_1", "fit_gate"):
        assert (found.window[found.fits[name]] == "").any()


def test_intraday_windows_start_with_a_session(panel: Make) -> None:
    data = panel(600, bars=7, horizon=3)
    found = plan(data, horizon=3, embargo=5)
    for place in stretches(found):
        assert place[0] % 7 == 0
    for name in found.fits:
        assert name == "fit_all" or np.flatnonzero(found.scored_by == name)[0] % 7 == 0
    assert found.windows[-1].rows == pytest.approx(7 * found.windows[-1].dates, abs=3)


def test_rows_may_come_in_any_order(panel: Make) -> None:
    data = panel(900, symbols=2)
    shuffle = np.random.default_rng(3).permutation(1800)
    straight = plan(data)
    mixed = assign_windows(
        data.times[shuffle],
        data.sessions[shuffle],
        data.label_end[shuffle],
        data.usable[shuffle],
        data.calendar,
        gate_sessions=100,
        term=50,
        embargo=5,
        horizon=1,
    )
    np.testing.assert_array_equal(straight.window[shuffle], mixed.window)
    np.testing.assert_array_equal(straight.scored_by[shuffle], mixed.scored_by)
    for name, marked in straight.fits.items():
        np.testing.assert_array_equal(marked[shuffle], mixed.fits[name])
    assert (straight.windows, straight.folds) == (mixed.windows, mixed.folds)


def test_the_gate_starts_at_a_term_boundary_of_the_calendar_and_holds_enough(panel: Make) -> None:
    data = panel(1000)
    found = plan(data, gate=120, term=63)
    start = pd.Timestamp(found.term_start)
    assert data.calendar.get_loc(start) % 63 == 0
    assert 120 <= found.windows[-1].dates < 120 + 63


def test_windows_stay_for_a_term_and_then_move_by_one(panel: Make) -> None:
    """Night after night over two terms: windows and folds before the gate never move inside a term."""
    starts, trains = [], []
    for sessions in range(900, 1001):
        found = plan(panel(sessions), gate=100, term=50)
        starts.append(found.term_start)
        trains.append((found.windows[:-1], found.folds))
    changes = [i for i in range(1, len(starts)) if starts[i] != starts[i - 1]]
    assert len(changes) == 2
    assert changes[1] - changes[0] == 50
    assert all((a == b) == (i + 1 not in changes) for i, (a, b) in enumerate(itertools.pairwise(trains)))


def test_term_boundary_takes_the_last_that_leaves_enough() -> None:
    days = pd.bdate_range("2020-01-01", periods=100).to_numpy()
    assert term_boundary(days, days, 30, 20) == days[60]
    assert term_boundary(days, days, 40, 20) == days[60]
    assert term_boundary(days, days, 41, 20) == days[40]
    assert term_boundary(days, days, 101, 20) is None


def test_too_little_history_for_the_gate_is_refused(panel: Make) -> None:
    with pytest.raises(ConfigurationError, match=r"only 89 dates .* gate needs 100.*lower gate_sessions"):
        plan(panel(90))


def test_a_gate_that_leaves_nothing_to_search_is_refused(panel: Make) -> None:
    # The only boundary that leaves enough dates lies before the history starts.
    with pytest.raises(ConfigurationError, match="the search needs dates before"):
        plan(panel(110), gate=100, term=1000)


def test_windows_too_short_for_the_horizon_are_refused_by_name(panel: Make) -> None:
    with pytest.raises(ConfigurationError) as caught:
        plan(panel(700, horizon=30), horizon=30)
    message = str(caught.value)
    assert "too short for a horizon of 30 bars: train, validation, blending, selection, fold 1, fold 2, " in message
    assert "needs 20 dates, 150 bars" in message
    assert "lower horizon, embargo, folds, gate_sessions or term" in message


def test_a_horizon_longer_than_a_window_is_refused_and_not_emptied_in_silence(panel: Make) -> None:
    with pytest.raises(ConfigurationError, match=r"validation: 0 rows, 0 dates"):
        plan(panel(900, horizon=120), horizon=120)
