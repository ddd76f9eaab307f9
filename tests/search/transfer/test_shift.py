"""The shift between markets: none where there is none, found where it is, and blind to a market's size."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import scipy.stats

from tasks.errors import EngineError
from tasks.search.transfer.adaptation import ALIKE, APART, LEAST_SHARE, MANY, choose, told
from tasks.search.transfer.channels import CHANNELS, Bars, windows
from tasks.search.transfer.shift import MOST_WINDOWS, ChannelShift, Shift, apart, measured, scale_free, summaries
from tests.search.transfer.shifted import ends, market

LENGTH = 16


def between(source: Bars, target: Bars, seed: int = 1) -> Shift:
    return measured((source, ends(source, LENGTH)), (target, ends(target, LENGTH)), LENGTH, seed)


@pytest.fixture(scope="module")
def source() -> Bars:
    return market(2400, 2, 1)


def test_two_draws_of_one_market_are_hardly_told_apart(source: Bars) -> None:
    found = between(source, market(2400, 2, 2))
    assert found.auc == pytest.approx(0.5, abs=0.1)
    assert found.mmd_p > 0.01
    assert found.effective_share > 0.8
    assert choose(found, target_rows=500)[0] == "mix"


@pytest.mark.parametrize(
    "changes", [{"persistence": 0.5}, {"roughness": 0.6}, {"lean": 0.5}], ids=["persistence", "roughness", "lean"]
)
def test_a_market_that_differs_is_told_apart(source: Bars, changes: dict[str, float]) -> None:
    found = between(source, market(2400, 2, 2, **changes))  # type: ignore[arg-type]
    assert found.auc > 0.7
    assert found.auc_p < 1e-6
    assert found.mmd_p == pytest.approx(1 / 201)
    assert found.mmd2 > 0


def test_a_market_of_larger_bars_is_the_same_and_its_level_is_told(source: Bars) -> None:
    """Whatever is ten times as volatile has the same windows, once they are free of scale."""
    values = source.values.copy()
    values[:, [0, 2]] *= 10.0
    values[:, 1] += np.log(10.0)
    found = between(source, Bars(values=values, starts=source.starts))
    assert found.level_gap == pytest.approx(np.log(10.0), rel=1e-4)
    assert found.auc == pytest.approx(0.5, abs=0.1)
    assert max(each.distance for each in found.channels) < 0.01  # float32 rounds


def test_a_channel_that_leans_is_named_with_scipys_distance(source: Bars) -> None:
    other = market(2400, 2, 2, lean=0.6)
    found = between(source, other)
    furthest = max(found.channels, key=lambda each: each.distance)
    assert furthest.channel in ("bop", "medprice", "return_1")
    last = [
        scale_free(windows(each, apart(ends(each, LENGTH), LENGTH), LENGTH))[0][:, -1, 3] for each in (source, other)
    ]
    body = next(each for each in found.channels if each.channel == "bop")
    assert body.distance == pytest.approx(scipy.stats.ks_2samp(*last).statistic, rel=1e-9)
    assert "furthest" in told(found)


def test_a_volume_that_one_side_lacks_is_named_and_not_compared(source: Bars) -> None:
    found = between(source, market(2400, 2, 2, volume=False))
    assert found.lacking == ("relative_volume_20",)
    assert "relative_volume_20" not in {each.channel for each in found.channels}
    assert found.auc == pytest.approx(0.5, abs=0.1)
    assert "one side lacks relative_volume_20" in told(found)


def test_opens_and_volumes_that_one_side_lacks_are_named_and_not_compared(source: Bars) -> None:
    found = between(market(2400, 2, 2, opens=False, volume=False), source)
    assert found.lacking == ("relative_volume_20", "bop")
    assert not {"relative_volume_20", "bop"} & {each.channel for each in found.channels}
    assert found.auc == pytest.approx(0.5, abs=0.1)


def test_the_same_windows_give_the_same_figures(source: Bars) -> None:
    other = market(1200, 1, 2)
    assert between(source, other) == between(source, other)


def test_windows_that_are_looked_at_share_no_bar() -> None:
    bars = market(900, 2)
    rows = apart(ends(bars, LENGTH), LENGTH)
    assert np.diff(rows).min() >= LENGTH
    assert len(rows) == 2 * (900 // LENGTH)
    many = apart(np.arange(LENGTH, 100_000, dtype=np.int64), LENGTH)
    assert len(many) == MOST_WINDOWS
    assert (many[0], many[-1]) == (LENGTH, LENGTH + (100_000 - LENGTH - 1) // LENGTH * LENGTH)


def test_too_few_windows_are_refused() -> None:
    bars = market(200)
    with pytest.raises(EngineError, match="the target has 12 windows of 16 bars that share no bar: 20 are needed"):
        measured((market(900), ends(market(900), LENGTH)), (bars, ends(bars, LENGTH)), LENGTH, 1)


def test_summaries_hold_what_the_formulas_say() -> None:
    bars = market(200)
    steps, level = scale_free(windows(bars, ends(bars, LENGTH), LENGTH))
    found = summaries(steps)
    assert found.shape == (len(steps), 2 * len(CHANNELS) + 3)
    one = steps[7]
    assert found[7, 0] == pytest.approx(one[:, 0].mean())
    assert found[7, len(CHANNELS) + 3] == pytest.approx(one[:, 3].std())
    assert found[7, -3] == pytest.approx(one[-5:, 1].mean())
    assert found[7, -2] == pytest.approx(np.mean(one[1:, 1] * one[:-1, 1]) / np.mean(one[:, 1] ** 2))
    assert level[7] == pytest.approx(bars.values[7 : 7 + LENGTH, 1].mean(), rel=1e-5)


ALIKE_SHIFT = Shift(
    source_windows=100, target_windows=90, mmd2=0.001, mmd_p=0.4, auc=0.52, auc_p=0.3, aligned_auc=0.51,
    effective_share=0.97, level_gap=0.1, channels=(ChannelShift(channel="bop", distance=0.07, p=0.8),),
)  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "rows", "labelled", "method"),
    [
        ({}, 500, True, "mix"),
        ({}, 500, False, "none"),
        ({"auc": ALIKE, "aligned_auc": 0.7}, 500, True, "weights"),
        ({"auc": 0.7, "effective_share": LEAST_SHARE - 0.01, "aligned_auc": 0.55}, 500, True, "coral"),
        ({"auc": 0.7, "aligned_auc": 0.55}, 500, False, "coral"),
        ({"auc": APART, "aligned_auc": 0.55}, 500, True, "coral"),
        ({"auc": 0.9, "aligned_auc": 0.8}, MANY - 1, True, "mmd"),
        ({"auc": 0.9, "aligned_auc": 0.8}, MANY, True, "adversarial"),
        ({"auc": 0.9, "aligned_auc": 0.8}, MANY, False, "adversarial"),
    ],
)
def test_each_size_of_shift_has_its_method_and_reason(
    changes: dict[str, Any], rows: int, labelled: bool, method: str
) -> None:
    found = dataclasses.replace(ALIKE_SHIFT, **changes)
    chosen, reason = choose(found, target_rows=rows, labelled=labelled)
    assert chosen == method
    assert f"AUC {found.auc:.2f}, {found.aligned_auc:.2f} after CORAL" in reason
    assert "furthest bop at KS 0.07" in reason
