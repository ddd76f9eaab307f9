"""Blocks to choose a penalty by: contiguous in time, no date in two of them, no label's bar on both sides."""

from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.search.transfer.blocks import BLOCKS, blocks, with_others
from tasks.search.transfer.panel import Panel
from tests.search.transfer.rows import made_up


@settings(max_examples=60, deadline=None)
@given(
    dates=st.lists(st.integers(0, 60), min_size=1, max_size=120),
    horizon=st.integers(1, 8),
    count=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
def test_blocks_are_contiguous_share_no_date_and_no_bar(dates: list[int], horizon: int, count: int, seed: int) -> None:
    days = np.random.default_rng(seed).permutation(np.array(dates))
    found = blocks(days, days, days + horizon, count)
    assert len(found) == min(count, len(set(dates)))
    assert sorted(np.concatenate([block.left for block in found])) == list(range(len(days))), "each row once"
    spans = [(days[block.left].min(), days[block.left].max()) for block in found]
    assert all(earlier[1] < later[0] for earlier, later in itertools.pairwise(spans))
    sizes = [len(set(days[block.left])) for block in found]
    assert max(sizes) - min(sizes) <= 1
    for block, (first, last) in zip(found, spans, strict=True):
        apart = days[block.fit]
        assert ((apart + horizon <= first) | (apart >= last + horizon)).all()
        kept = (days + horizon <= first) | (days >= last + horizon)
        assert len(block.fit) == kept.sum(), "nothing is purged that need not be"


def test_rows_beside_are_in_every_fit_and_never_left_out() -> None:
    days = np.arange(20)
    for block in with_others(blocks(days, days, days + 1), 20, 3):
        assert {20, 21, 22} <= set(block.fit.tolist())
        assert block.left.max() < 20


def test_a_panels_blocks_have_all_symbols_of_a_date() -> None:
    data = made_up(symbols=("A", "B"))
    panel = Panel.of(data, 24)
    rows = panel.fitted(data.rows("train"), "the train window")
    found = panel.blocks(rows)
    assert len(found) == BLOCKS
    for block in found:
        inside = np.isin(data.sessions[rows], np.unique(data.sessions[rows[block.left]]))
        np.testing.assert_array_equal(np.flatnonzero(inside), block.left)
        assert set(data.symbols[rows[block.left]]) == {"A", "B"}
        assert len(block.fit) + len(block.left) == len(rows), "labels of one bar overlap with none"
