"""Laws of labels: they look at bars t..t+h of one symbol and at nothing else."""

from __future__ import annotations

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.contracts import Target, TargetName
from tasks.labels.targets import Labels, make_labels

TARGETS: list[TargetName] = ["volatility", "return", "direction"]


def _frame(lengths: list[int], seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    n = sum(lengths)
    close = 20.0 + np.abs(rng.normal(0, 5, n)).round(2)
    session = np.concatenate([pd.bdate_range("2021-01-04", periods=length).to_numpy() for length in lengths])
    return pd.DataFrame(
        {
            "symbol": np.repeat([f"S{i}" for i in range(len(lengths))], lengths).astype(object),
            "time": pd.DatetimeIndex(session).tz_localize("UTC") + pd.Timedelta(hours=21),
            "open": close * 1.001,
            "high": close * 1.02,
            "low": close * 0.97,
            "close": close,
        }
    )


def _label(frame: pd.DataFrame, name: TargetName, horizon: int) -> Labels:
    return make_labels(frame, Target(name=name, horizon=horizon, kind="regression", loss="mse"), "total", 0.01, True)


PANELS = st.lists(st.integers(1, 25), min_size=1, max_size=4)


@settings(deadline=None, max_examples=30)
@given(PANELS, st.integers(1, 8), st.sampled_from(TARGETS), st.integers(0, 10_000), st.data())
def test_a_change_of_one_bar_moves_only_the_labels_that_look_at_it(
    lengths: list[int], horizon: int, name: TargetName, seed: int, data: st.DataObject
) -> None:
    frame = _frame(lengths, seed)
    row = data.draw(st.integers(0, len(frame) - 1))
    before = _label(frame, name, horizon)
    prices = ["open", "high", "low", "close"]
    frame[prices] = frame[prices].to_numpy() * np.where(np.arange(len(frame)) == row, 1.5, 1.0)[:, None]
    after = _label(frame, name, horizon)
    # The return looks at the close of its own bar; the overnight term of bar t+1 does too.
    may_move = np.zeros(len(frame), dtype=bool)
    may_move[max(row - horizon, 0) : row + 1] = True
    may_move &= (frame["symbol"] == frame["symbol"][row]).to_numpy()
    np.testing.assert_array_equal(before.label[~may_move], after.label[~may_move])
    assert before.label_end.equals(after.label_end)


@settings(deadline=None, max_examples=30)
@given(PANELS, st.integers(1, 8), st.sampled_from(TARGETS), st.integers(0, 10_000))
def test_a_panel_is_its_symbols_one_by_one(lengths: list[int], horizon: int, name: TargetName, seed: int) -> None:
    frame = _frame(lengths, seed)
    whole = _label(frame, name, horizon)
    for _, part in frame.groupby("symbol"):
        alone = _label(part.reset_index(drop=True), name, horizon)
        np.testing.assert_array_equal(whole.label[part.index], alone.label)
        assert whole.label_end[part.index].equals(alone.label_end)


@settings(deadline=None, max_examples=30)
@given(PANELS, st.integers(1, 8), st.sampled_from(TARGETS), st.integers(0, 10_000))
def test_later_history_never_changes_a_label_that_was_there(
    lengths: list[int], horizon: int, name: TargetName, seed: int
) -> None:
    frame = _frame(lengths, seed)
    whole = _label(frame, name, horizon)
    keep = frame.groupby("symbol").cumcount() < max(lengths) // 2
    part = frame[keep].reset_index(drop=True)
    shorter = _label(part, name, horizon)
    had = ~np.isnan(shorter.label)
    np.testing.assert_array_equal(shorter.label[had], whole.label[keep.to_numpy()][had])
    assert (np.isnan(shorter.label) == shorter.label_end.isna()).all()
