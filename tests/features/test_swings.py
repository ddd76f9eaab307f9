"""Confirmed swings, and what is read off them, against a plain loop."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.features import matrix
from tasks.features.swings import CLIP, FIBONACCI, RECENT, SCALES, Scale
from tests.features.market import TICK, Bars, cut, index_bars, made_bars

NAMES = (
    *("fib_retracement", "fib_distance", "swing_direction", "support", "resistance"),
    *("swing_high_age", "swing_low_age"),
)
Pivot = tuple[int, float]  # the bar that confirmed it, its price


def _pivots(bars: Bars, now: int, scale: Scale, high: bool) -> list[Pivot]:
    """Swings confirmed up to ``now`` and still remembered, the latest first. Written for clarity, not speed."""
    prices, side, found = (bars["high"] if high else -bars["low"]), scale.side, []
    for at in range(now - side, now - side - scale.memory, -1):
        around = [prices[k] for k in range(at - side, at + side + 1) if k != at]
        if prices[at] > max(around):
            found.append((at + side, float(abs(prices[at]))))
    return found


def _unit(bars: Bars, i: int) -> float:
    high, low, before = bars["high"][i - 19 : i + 1], bars["low"][i - 19 : i + 1], bars["close"][i - 20 : i]
    return float(np.mean(np.maximum(high, before) - np.minimum(low, before)))


def _expected(bars: Bars, now: int, scale: Scale) -> list[float]:
    close, unit = float(bars["close"][now]), _unit(bars, now)
    window = slice(now - scale.memory + 1, now + 1)
    edge = {True: (-1, float(bars["high"][window].max())), False: (-1, float(bars["low"][window].min()))}
    found = {high: _pivots(bars, now, scale, high) for high in (True, False)}
    (high_at, top), (low_at, bottom) = (found[side][0] if found[side] else edge[side] for side in (True, False))
    ages = [(now - at) / scale.memory if at >= 0 else 1.0 for at in (high_at, low_at)]
    direction = float(np.sign(ages[1] - ages[0]))
    span, retraced, distance = top - bottom, 0.0, 0.0
    if span > 0.0:
        given = close - bottom if direction < 0 else top - close
        retraced = float(np.clip(given / span, -CLIP, CLIP))
        distance = min((close - bottom - share * span for share in FIBONACCI), key=abs) / unit
    levels = [price for side in (True, False) for _, price in found[side][:RECENT]]
    below = max([p for p in levels if p <= close], default=edge[False][1])
    above = min([p for p in levels if p > close], default=edge[True][1])
    return [retraced, distance, direction, (close - below) / unit, (above - close) / unit, *ages]


@pytest.mark.parametrize("scale", SCALES, ids=lambda scale: f"side {scale.side}")
@pytest.mark.parametrize("source", ["made", "sp500"])
def test_columns_are_what_a_plain_loop_finds(scale: Scale, source: str) -> None:
    bars = made_bars(31, 900, volatility=0.02) if source == "made" else cut(index_bars("sp500"), 0, 2000)
    found = matrix.compute(bars, tuple(f"{name}_{scale.side}" for name in NAMES), TICK)
    for now in range(scale.lookback + 20, len(found), 37):
        np.testing.assert_allclose(found[now], _expected(bars, now, scale), atol=1e-9, err_msg=str(now))


def test_a_swing_counts_from_the_bar_that_confirms_it() -> None:
    """A lone peak 3 bars ago is known now, and was not known one bar before."""
    scale = SCALES[0]
    price = np.full(200, 100.0) + 0.1 * np.sin(np.arange(200.0))
    bars = {name: price.copy() for name in ("open", "close")} | {"high": price + 0.5, "low": price - 0.5}
    bars |= {"volume": np.ones(200), "session": np.arange(200).astype("datetime64[D]")}
    bars["high"][150] = 110.0
    ages = matrix.compute(bars, (f"swing_high_age_{scale.side}",), TICK)[:, 0] * scale.memory
    resistance = matrix.compute(bars, (f"resistance_{scale.side}",), TICK)[:, 0]
    assert ages[150 + scale.side] == pytest.approx(0.0)
    assert ages[150 + scale.side - 1] > 0.0
    assert ages[150 + scale.side + 2] == pytest.approx(2.0)
    assert (resistance[scale.lookback :] >= 0.0).all()
