"""Windows: where they lie, what the purge removes, what the fits may learn from, and that the gate stays put."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.errors import ConfigurationError
from tasks.splits.windows import ALL_WINDOWS, SHARES, WindowPlan, assign_windows, term_boundary

Make = Callable[..., Any]


def plan(data: Any, *, gate: int = 100, term: int = 50, embargo: int = 5, horizon: int = 1) -> WindowPlan:
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
    )


def test_shares_are_of_the_whole() -> None:
    assert sum(SHARES.values()) == pytest.approx(1.0)


def test_windows_lie_in_time_order_with_the_declared_shares(panel: Make) -> None:
    data = panel(1000, warm_up=100)
    found = plan(data)
    assert tuple(window.name for window in found.windows) == ALL_WINDOWS
    edges = [stamp for window in found.windows for stamp in (window.first, window.last)]
    assert edges == sorted(edges)
    search = int((found.fit_all & (data.sessions < pd.Timestamp(found.term_start))).sum())
    for window in found.windows[:-1]:
        # The purge takes the embargo and the horizon off the end of each.
        assert window.rows == pytest.approx(SHARES[window.name] * search - 6, abs=1)


@pytest.mark.parametrize(("horizon", "embargo"), [(1, 0), (1, 5), (5, 0), (5, 5), (10, 3)])
def test_the_purge_drops_exactly_the_rows_whose_label_and_embargo_reach_the_next_window(
    panel: Make, horizon: int, embargo: int
) -> None:
    data = panel(1500, horizon=horizon)
    found = plan(data, embargo=embargo, horizon=horizon)
    place = {name: np.flatnonzero(found.window == name) for name in ALL_WINDOWS}
    for earlier, later in itertools.pairwise(ALL_WINDOWS):
        assert place[later][0] - place[earlier][-1] == horizon + embargo + 1, (earlier, later)
    assert found.purged == 4 * (horizon + embargo)
    assert place["gate"][-1] == 1500 - horizon - 1


def test_one_date_of_a_panel_is_in_one_window(panel: Make) -> None:
    data = panel(1000, symbols=3)
    found = plan(data)
    names = pd.Series(found.window).groupby(data.times).nunique()
    assert (names == 1).all()
    assert found.windows[0].rows == 3 * found.windows[0].dates


def test_a_row_is_purged_by_its_own_label_end(panel: Make) -> None:
    """Two symbols on the same dates; one skips bars, so that its labels end later."""
    data = panel(1000, symbols=2)
    ends = data.label_end.to_series(index=range(2000))
    slow = ends[1000:].shift(-20)
    slow_ends = pd.DatetimeIndex(pd.concat([ends[:1000], slow]))
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
    last = [np.flatnonzero(found.window[part] == "train")[-1] for part in (slice(0, 1000), slice(1000, 2000))]
    assert last[0] - last[1] == 20


def test_rows_without_features_or_label_are_in_no_window_and_no_fit(panel: Make) -> None:
    data = panel(1000, warm_up=50, horizon=3)
    data.usable[400:410] = False
    found = plan(data, horizon=3)
    idle = ~data.usable | data.label_end.isna()
    assert (found.window[idle] == "").all()
    assert not found.fit_all[idle].any()
    assert not found.fit_gate[idle].any()
    assert found.fit_all.sum() == (~idle).sum()


def test_the_gated_fit_learns_from_all_that_ends_before_the_gate(panel: Make) -> None:
    data = panel(1000, horizon=4)
    found = plan(data, horizon=4, embargo=2)
    gate = int(np.flatnonzero(found.window == "gate")[0])
    np.testing.assert_array_equal(np.flatnonzero(found.fit_gate), np.arange(gate - 4 - 2))
    # Rows between two search windows are purged from both and still teach the gated fit.
    assert (found.window[found.fit_gate] == "").any()


def test_intraday_windows_start_with_a_session(panel: Make) -> None:
    data = panel(600, bars=7, horizon=3)
    found = plan(data, horizon=3, embargo=5)
    for name in ALL_WINDOWS:
        first = np.flatnonzero(found.window == name)[0]
        assert first % 7 == 0, name
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
    assert straight.windows == mixed.windows


def test_the_gate_starts_at_a_term_boundary_of_the_calendar_and_holds_enough(panel: Make) -> None:
    data = panel(1000)
    found = plan(data, gate=120, term=63)
    start = pd.Timestamp(found.term_start)
    assert data.calendar.get_loc(start) % 63 == 0
    assert 120 <= found.windows[-1].dates < 120 + 63


def test_windows_stay_for_a_term_and_then_move_by_one(panel: Make) -> None:
    """Night after night over two terms: windows before the gate never move inside a term."""
    starts, trains = [], []
    for sessions in range(900, 1001):
        found = plan(panel(sessions), gate=100, term=50)
        starts.append(found.term_start)
        trains.append(found.windows[:-1])
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
    assert "too short for a horizon of 30 bars: train, validation, blending, selection. " in message
    assert "needs 20 dates, 150 bars" in message
    assert "lower horizon, embargo, gate_sessions or term" in message


def test_a_horizon_longer_than_a_window_is_refused_and_not_emptied_in_silence(panel: Make) -> None:
    with pytest.raises(ConfigurationError, match=r"validation: 0 rows, 0 dates"):
        plan(panel(900, horizon=120), horizon=120)
