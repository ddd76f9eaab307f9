"""What is drawn, against plain arithmetic."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.report import series
from tests.report import nights

DAYS = np.array(["2020-01-01", "2020-01-01", "2020-01-02", "2020-01-03"], dtype="datetime64[ns]")


def _rows(label: list[float], leader: list[float], rival: list[float]) -> series.Forecasts:
    return series.Forecasts(
        window="gate", times=DAYS, label=np.array(label), leader=np.array(leader), rival=np.array(rival)
    )


def test_running_advantage_by_hand() -> None:
    rows = _rows([1.0, 3.0, 2.0, 0.0], [1.0, 2.0, 2.0, 2.0], [0.0, 3.0, 0.0, 1.0])
    times, ahead = series.running_advantage(rows, "mse")
    # By date: leader 0.5, 0, 4; rival 0.5, 4, 1; the rival's whole loss is 5.5.
    assert ahead == pytest.approx(np.array([0.0, 4.0, 1.0]) / 5.5)
    assert list(times) == list(DAYS[1:])


def test_running_advantage_ends_at_the_skill() -> None:
    made = nights.night("volatility")
    leader, rival = made.predictions
    assert leader.folds is not None
    assert rival.folds is not None
    rows = series.in_window(made.labels, "fold", leader.folds, rival.folds)
    assert rows is not None
    _, ahead = series.running_advantage(rows, "mse")
    inside = (made.labels["window"] == "fold").to_numpy()
    label = made.labels["label"].to_numpy()[inside]
    mse = [float(np.mean((label - p.folds[inside]) ** 2)) for p in (leader, rival) if p.folds is not None]
    assert ahead[-1] == pytest.approx(1 - mse[0] / mse[1])


def test_running_advantage_of_probabilities_is_bounded() -> None:
    rows = _rows([1.0, 1.0, 0.0, 1.0], [0.8] * 4, [0.0, 0.0, 0.5, 0.5])
    _, ahead = series.running_advantage(rows, "log_loss")
    sure, even = -np.log(1e-6), np.log(2)
    lead = np.cumsum([sure + np.log(0.8), even + np.log(0.2), even + np.log(0.8)])
    assert ahead == pytest.approx(lead / (sure + 2 * even))


def test_excess_hits_by_hand() -> None:
    rows = _rows([1.0, 0.0, 0.0, 1.0], [0.9, 0.4, 0.3, 0.2], [0.6] * 4)
    _, excess = series.running_excess_hits(rows, rows.leader, usual=1.0)
    # Hits 1, 1 | 1 | 0; always up hits 1, 0 | 0 | 1; so by date 0.5, 1, -1 over three dates.
    assert excess == pytest.approx(np.array([0.5, 1.5, 0.5]) / 3)
    _, rival = series.running_excess_hits(rows, rows.rival, usual=1.0)
    assert rival == pytest.approx(np.zeros(3))


def test_annual_percent_of_one_per_cent_a_day() -> None:
    assert series.annual_percent(np.array([np.log(0.01)]), 252) == pytest.approx(15.8745)


@pytest.mark.parametrize(("calendar", "a_day", "expected"), [("XNYS", 1, 252), ("24/7", 24, 8760), ("24/5", 2, 520)])
def test_bars_per_year(calendar: str, a_day: int, expected: float) -> None:
    session = np.repeat(pd.date_range("2020-01-06", periods=5), a_day)
    frame = pd.DataFrame({"symbol": "A", "session": session})
    assert series.bars_per_year(frame, calendar) == expected


@given(st.integers(1, 500), st.integers(1, 90))
def test_thinning_keeps_the_mean_and_the_bound(n: int, most: int) -> None:
    times = pd.date_range("2020-01-01", periods=n).to_numpy()
    values = np.sin(np.arange(n, dtype=np.float64))
    kept_times, kept, k = series.thinned(times, values, most)
    assert len(kept) == len(kept_times) <= most
    sizes = np.diff(np.append(np.arange(0, n, k), n))
    assert np.dot(sizes, kept) == pytest.approx(values.sum(), abs=1e-9)
    assert (np.diff(kept_times) > np.timedelta64(0)).all()


@given(st.lists(st.sampled_from([0.1, 0.4, 0.5, 0.51, 0.7]), min_size=1, max_size=60), st.integers(1, 10))
def test_bins_hold_every_row_once_in_order(forecast: list[float], most: int) -> None:
    outcome = np.arange(len(forecast), dtype=np.float64)
    found = series.bins(np.array(forecast), outcome, most)
    assert sum(part.rows for part in found) == len(forecast)
    assert sum(part.rows * part.outcome for part in found) == pytest.approx(outcome.sum())
    assert [part.forecast for part in found] == sorted(part.forecast for part in found)
    assert len(found) <= most


def test_rows_without_a_label_or_a_prediction_are_left_out() -> None:
    made = nights.night("volatility")
    leader = made.predictions[0].folds
    assert leader is not None
    holes = leader.copy()
    inside = np.flatnonzero(made.labels["window"] == "gate")
    holes[inside[3]] = np.nan
    labels = made.labels.copy()
    labels.loc[inside[5], "label"] = np.nan
    rows = series.in_window(labels, "gate", holes, None)
    assert rows is not None
    assert len(rows.label) == len(inside) - 2
    assert series.in_window(labels, "gate", np.full(len(labels), np.nan), None) is None


def test_the_index_of_a_panel_moves_by_the_mean_log_return() -> None:
    time = pd.to_datetime(["2020-01-01", "2020-01-02", "2020-01-03"]).tz_localize("UTC")
    frame = pd.DataFrame({"symbol": ["A"] * 3 + ["B"] * 2, "time": [*time, *time[1:]], "close": [10.0, 20, 40, 5, 5]})
    times, index = series.price_line(frame)
    assert list(times) == list(time.tz_localize(None).to_numpy())
    # Day 2: only A has a return (doubles). Day 3: A doubles, B stands still.
    assert index == pytest.approx([100.0, 200.0, 200.0 * np.sqrt(2)])


def test_usual_direction_reads_the_training_window_alone() -> None:
    frame = pd.DataFrame({"window": ["train"] * 3 + ["selection"] * 5, "label": [0.0, 0, 1, 1, 1, 1, 1, 1]})
    assert series.usual_direction(frame) == 0.0


def test_fold_gains_know_the_metrics_direction() -> None:
    assert series.fold_gains((0.9, 1.2), (1.0, 1.0), lower_is_better=True) == pytest.approx((0.1, -0.2))
    assert series.fold_gains((0.9, 1.2), (1.0, 1.0), lower_is_better=False) == pytest.approx((-0.1, 0.2))
    assert series.fold_gains((0.9,), (1.0, 1.0), lower_is_better=True) == ()
