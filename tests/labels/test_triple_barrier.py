"""The triple barrier against a literal walk bar by bar, by hand, and cut short."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.contracts import Target
from tasks.errors import DataError
from tasks.labels.targets import Labels, make_labels
from tasks.labels.triple_barrier import LEAST_RETURNS, SPAN, past_volatility

TICK = 0.01
WARM_UP = LEAST_RETURNS + 1


def target(horizon: int, profit: float = 2.0, stop: float = 2.0) -> Target:
    return Target(
        name="triple_barrier", horizon=horizon, kind="classification", loss="log_loss", profit=profit, stop=stop
    )


def frame_of(bars: dict[str, list[tuple[float, float, float, float]]]) -> pd.DataFrame:
    """Canonical bars from open, high, low, close by symbol."""
    parts = []
    for symbol, rows in bars.items():
        session = pd.bdate_range("2020-01-02", periods=len(rows))
        part = pd.DataFrame(rows, columns=["open", "high", "low", "close"])
        part.insert(0, "symbol", symbol)
        part.insert(1, "time", session.tz_localize("UTC") + pd.Timedelta(hours=21))
        part.insert(2, "session", session)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def walks(lengths: list[int], seed: int, jump: float = 0.0) -> pd.DataFrame:
    """Random walks of uneven volatility, with gaps between close and open, and days without any move."""
    rng = np.random.default_rng(seed)
    bars = {}
    for number, length in enumerate(lengths):
        rows, close = [], 50.0
        for _ in range(length):
            if rng.random() < 0.05:
                rows.append((close, close, close, close))
                continue
            sigma = 0.01 * math.exp(rng.normal(0, 0.7))
            opens = close * math.exp(rng.normal(0, sigma * 0.5) + (jump if rng.random() < 0.05 else 0.0))
            close = round(opens * math.exp(rng.normal(0, sigma)), 2)
            rows.append((opens, max(opens, close) * (1 + sigma), min(opens, close) / (1 + sigma), close))
        bars[f"S{number}"] = rows
    return frame_of(bars)


def literal(frame: pd.DataFrame, aim: Target, true_opens: bool) -> list[tuple[float, Any]]:
    """Label and end of every bar, as the text of the definition says it, one bar at a time."""
    out: list[tuple[float, Any]] = []
    for _, part in frame.groupby("symbol"):
        rows = part.to_dict("records")
        for t in range(len(rows)):
            entered = t + 1 if true_opens else t + 1 + 1
            last = entered + aim.horizon - 1
            squares = [math.log(rows[i]["close"] / rows[i - 1]["close"]) ** 2 for i in range(1, t + 1)]
            if last >= len(rows) or len(squares) < LEAST_RETURNS:
                out.append((math.nan, pd.NaT))
                continue
            weights = [(1 - 2 / (SPAN + 1)) ** age for age in range(len(squares))][::-1]
            mean = sum(w * s for w, s in zip(weights, squares, strict=True)) / sum(weights)
            width = max(math.sqrt(mean) * math.sqrt(aim.horizon), math.log1p(TICK / rows[t]["close"]))
            entry = rows[t + 1]["open"] if true_opens else rows[t + 1]["close"]
            upper, lower = entry * math.exp(aim.profit * width), entry * math.exp(-aim.stop * width)
            out.append(_walk(rows[entered : last + 1], entry, (upper, lower), true_opens))
    return out


def _walk(ahead: list[Any], entry: float, barriers: tuple[float, float], true_opens: bool) -> tuple[float, Any]:
    upper, lower = barriers
    for bar in ahead:
        if true_opens and bar["open"] >= upper:
            return 1.0, bar["time"]
        if bar["low"] <= lower:
            return 0.0, bar["time"]
        if bar["high"] >= upper:
            return 1.0, bar["time"]
    return float(ahead[-1]["close"] > entry), ahead[-1]["time"]


def make(frame: pd.DataFrame, aim: Target, true_opens: bool = True) -> Labels:
    return make_labels(frame, aim, "range", TICK, true_opens)


@pytest.mark.parametrize("true_opens", [True, False])
@pytest.mark.parametrize(("horizon", "profit", "stop"), [(1, 1.0, 1.0), (5, 2.0, 2.0), (10, 0.5, 1.5), (3, 3.0, 0.4)])
def test_labels_are_the_literal_walk(horizon: int, profit: float, stop: float, true_opens: bool) -> None:
    frame, aim = walks([150, 20, 90], seed=horizon, jump=0.04), target(horizon, profit, stop)
    labels = make(frame, aim, true_opens)
    expected = literal(frame, aim, true_opens)
    np.testing.assert_array_equal(labels.label, [label for label, _ in expected])
    assert labels.label_end.tolist() == [end for _, end in expected]
    assert {0.0, 1.0} <= set(labels.label[~np.isnan(labels.label)])


def calm(ahead: list[tuple[float, float, float, float]]) -> pd.DataFrame:
    """Closes that alternate by one per cent, 100 and 101, up to a bar that closes at 100; then what is given."""
    closes = [100.0 if day % 2 == 0 else 101.0 for day in range(31)]
    return frame_of({"AAA": [(close, close, close, close) for close in closes] + ahead})


ONE = math.log(1.01) * math.sqrt(2)
"""Past volatility over two bars."""
UP, DOWN = 100 * math.exp(ONE), 100 * math.exp(-ONE)
QUIET = (100.0, 100.1, 99.9, 100.0)


@pytest.mark.parametrize(
    ("ahead", "label", "bars"),
    [
        ([(100.0, UP + 0.01, 99.9, 100.0), QUIET], 1.0, 1),
        ([(100.0, 100.1, DOWN - 0.01, 100.0), QUIET], 0.0, 1),
        ([QUIET, (100.0, UP + 0.01, 99.9, 100.0)], 1.0, 2),
        ([QUIET, (100.0, 100.1, 99.9, 100.05)], 1.0, 2),
        ([QUIET, QUIET], 0.0, 2),
        ([QUIET, (100.0, 100.1, 99.9, 99.95)], 0.0, 2),
        ([(100.0, UP - 0.01, DOWN + 0.01, 100.0), (100.0, 100.1, 99.9, 100.1)], 1.0, 2),
        ([QUIET, (UP + 0.5, UP + 0.6, UP + 0.4, UP + 0.5)], 1.0, 2),
        ([QUIET, (DOWN - 0.5, DOWN - 0.4, DOWN - 0.6, DOWN - 0.5)], 0.0, 2),
    ],
    ids=[
        *("profit", "stop", "profit later", "limit up", "limit unchanged is not up", "limit down"),
        *("short of both", "opens above", "opens below"),
    ],
)
def test_by_hand(ahead: list[tuple[float, float, float, float]], label: float, bars: int) -> None:
    frame = calm(ahead)
    labels = make(frame, target(2, 1.0, 1.0))
    assert labels.label[30] == label
    assert labels.label_end[30] == frame["time"][30 + bars]
    assert labels.warnings == ()


def test_both_barriers_in_one_bar_are_a_stop_and_counted() -> None:
    labels = make(calm([(100.0, UP + 1, DOWN - 1, UP), QUIET]), target(2, 1.0, 1.0))
    assert labels.label[30] == 0.0
    (warning,) = labels.warnings  # of the labels of this bar and of the one before
    assert "2 of 9 triple-barrier labels (22.22%) end in a bar that reaches both barriers" in warning


def test_a_bar_that_opened_beyond_the_profit_barrier_was_there_first() -> None:
    labels = make(calm([QUIET, (UP + 1, UP + 2, DOWN - 1, DOWN)]), target(2, 1.0, 1.0))
    assert labels.label[30] == 1.0
    assert labels.warnings == ()


def test_barriers_are_met_at_their_price() -> None:
    """A high equal to the barrier touches it."""
    aim = target(1, 1.0, 1.0)
    frame = calm([QUIET])
    width = past_volatility(frame)[30]
    frame.loc[31, "high"] = 100.0 * np.exp(width)
    assert make(frame, aim).label[30] == 1.0
    frame.loc[31, "high"] = np.nextafter(100.0 * np.exp(width), 0)
    assert make(frame, aim).label[30] == 0.0


def test_without_true_opens_the_entry_is_the_next_close_and_the_walk_starts_after_it() -> None:
    spike = (100.0, UP + 5, DOWN - 5, 100.0)
    frame = calm([spike, QUIET, (100.0, 100.1, 99.9, 100.05)])
    labels = make(frame, target(2, 1.0, 1.0), true_opens=False)
    assert labels.label[30] == 1.0
    assert labels.label_end[30] == frame["time"][33]
    assert np.isnan(labels.label[31])
    assert "no true opens: the triple barrier enters at the next close" in labels.warnings[0]


def test_a_frozen_price_has_barriers_of_one_tick() -> None:
    frozen = [(50.0, 50.0, 50.0, 50.0)] * 40
    moved = [*frozen, (50.0, 50.02, 50.0, 50.0)]
    labels = make(frame_of({"AAA": moved}), target(1, 1.0, 1.0))
    assert labels.label[39] == 1.0
    assert (labels.label[22:39] == 0.0).all()
    assert labels.warnings[-1].startswith("18 of 18 triple-barrier labels have barriers raised to one tick")


def test_volatility_is_that_of_pandas_and_knows_nothing_later() -> None:
    frame = walks([120, 80], seed=9)
    found = past_volatility(frame)
    for _, part in frame.groupby("symbol"):
        squares = np.log(part["close"]).diff() ** 2
        expected = squares.ewm(span=SPAN, min_periods=LEAST_RETURNS).mean() ** 0.5
        np.testing.assert_allclose(found[part.index], expected, rtol=1e-12)
        assert np.isnan(found[part.index[: WARM_UP - 1]]).all()


def test_weights_are_the_uniqueness_of_the_actual_walks() -> None:
    frame = walks([70], seed=3)
    labels = make(frame, target(6, 0.5, 0.5))
    time = frame["time"].tolist()
    spans = {t: range(t + 1, time.index(end) + 1) for t, end in enumerate(labels.label_end) if not pd.isna(end)}
    count = [sum(bar in span for span in spans.values()) for bar in range(len(frame))]
    for t, span in spans.items():
        assert labels.weight[t] == pytest.approx(np.mean([1 / count[bar] for bar in span]), rel=1e-12)
    assert len({len(span) for span in spans.values()}) > 3
    np.testing.assert_array_equal(np.isnan(labels.weight), np.isnan(labels.label))


def test_prices_without_a_logarithm_are_refused() -> None:
    frame = walks([40], seed=1)
    frame.loc[5, "open"] = 0.0
    with pytest.raises(DataError, match=r"row 6 \(S0, .*open 0\.0"):
        make(frame, target(2))
    assert np.isfinite(make(frame, target(2), true_opens=False).label).any()


PANELS = st.lists(st.integers(20, 60), min_size=1, max_size=3)
AIMS = st.builds(target, st.integers(1, 8), st.floats(0.2, 3.0), st.floats(0.2, 3.0))


@settings(deadline=None, max_examples=40)
@given(PANELS, AIMS, st.booleans(), st.integers(0, 10_000), st.data())
def test_a_label_knows_no_bar_after_its_end(
    lengths: list[int], aim: Target, true_opens: bool, seed: int, data: st.DataObject
) -> None:
    frame = walks(lengths, seed, jump=0.03)
    whole = make(frame, aim, true_opens)
    labelled = np.flatnonzero(~np.isnan(whole.label))
    if not len(labelled):
        return
    row = int(data.draw(st.sampled_from(labelled.tolist())))
    end, prices = whole.label_end[row], ["open", "high", "low", "close"]
    later = (frame["time"] > end) & (frame["symbol"] == frame["symbol"][row])
    changed = frame.copy()
    changed.loc[later, prices] *= data.draw(st.sampled_from([0.5, 3.0]))
    again = make(changed, aim, true_opens)
    assert again.label[row] == whole.label[row]
    assert again.label_end[row] == end


@settings(deadline=None, max_examples=25)
@given(PANELS, AIMS, st.booleans(), st.integers(0, 10_000))
def test_a_panel_is_its_symbols_and_the_literal_walk(
    lengths: list[int], aim: Target, true_opens: bool, seed: int
) -> None:
    frame = walks(lengths, seed, jump=0.03)
    labels, expected = make(frame, aim, true_opens), literal(frame, aim, true_opens)
    np.testing.assert_array_equal(labels.label, [label for label, _ in expected])
    assert labels.label_end.tolist() == [end for _, end in expected]
    for _, part in frame.groupby("symbol"):
        alone = make(part.reset_index(drop=True), aim, true_opens)
        np.testing.assert_array_equal(labels.weight[part.index], alone.weight)
