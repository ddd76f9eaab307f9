"""Candles as pixels: drawn by hand, against the bars' own prices, and what must not change the picture."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from tasks.features.matrix import compute
from tasks.registry.serving import candles

CHANNELS = ("return_1", "har_1", "medprice", "bop", "relative_volume_20")
LENGTH = 20
Array = npt.NDArray[np.float64]


def made(bars: int, seed: int = 3) -> dict[str, Array]:
    """Sound bars with volumes, float64 arrays."""
    rng = np.random.default_rng(seed)
    close = 100 * np.exp(np.cumsum(rng.normal(0, 0.01, bars)))
    opened = close * np.exp(rng.normal(0, 0.005, bars))
    high = np.maximum(opened, close) * np.exp(rng.exponential(0.004, bars))
    low = np.minimum(opened, close) * np.exp(-rng.exponential(0.004, bars))
    return {"open": opened, "high": high, "low": low, "close": close, "volume": rng.uniform(1e5, 5e5, bars)}


def steps_of(bars: dict[str, Array]) -> npt.NDArray[np.float32]:
    """The channels and masks of ones, float32 (rows, 7), lookback left out."""
    session = np.datetime64("2020-01-01") + np.arange(len(bars["close"]))
    values = compute({**bars, "session": session}, CHANNELS, 0.0001)[21:]
    return np.column_stack([values, np.ones((len(values), 2))]).astype(np.float32)


def windows_of(steps: npt.NDArray[np.float32], length: int = LENGTH) -> npt.NDArray[np.float32]:
    return np.ascontiguousarray(np.lib.stride_tricks.sliding_window_view(steps, length, axis=0).transpose(0, 2, 1))


def window(rows: list[tuple[float, ...]]) -> npt.NDArray[np.float32]:
    """One window of (return, log range, close over middle, body, volume, known), bodies known."""
    parkinson = 0.5 * np.log(4 * np.log(2))
    return np.array([[(r, np.log(s) - parkinson, m, b, v, k, 1) for r, s, m, b, v, k in rows]], dtype=np.float32)


def test_a_picture_drawn_by_hand() -> None:
    """A bar that rises through its whole range of 1, then one of range 1/2 in the upper half that falls from its top
    to its bottom, with half the volume."""
    log2 = float(np.log(2.0))
    drawn = candles.draw(
        candles.places(window([(0.0, 1.0, 0.5, 1.0, log2, 1), (-0.5, 0.5, -0.25, -1.0, float(np.log(1.5)), 1)]))
    )[0]
    rows, volume_rows = candles.heights(2)
    assert (rows, volume_rows, drawn.shape) == (25, 6, (32, 6))
    price, blank, volume = drawn[:rows], drawn[rows], drawn[rows + 1 :]
    assert np.flatnonzero(price[:, 0]).tolist() == [24], "the first opens at the bottom"
    assert price[:, 1].all(), "its stroke is the whole height"
    assert np.flatnonzero(price[:, 2]).tolist() == [0], "and closes at the top"
    assert np.flatnonzero(price[:, 3]).tolist() == [0]
    assert np.flatnonzero(price[:, 4]).tolist() == list(range(13))
    assert np.flatnonzero(price[:, 5]).tolist() == [12]
    assert not blank.any()
    assert volume.sum(axis=0).tolist() == [0, 6, 0, 0, 3, 0]
    assert volume[-3:, 4].all()


def test_marks_lie_where_the_bars_own_prices_do() -> None:
    """Against log prices taken from the bars themselves: what is to first order lies within one pixel."""
    bars = made(200)
    placed = candles.places(windows_of(steps_of(bars)))
    rows, _ = candles.heights(LENGTH)
    for at in (0, 57, len(placed) - 1):
        first = at + 21
        prices = {name: np.log(bars[name][first : first + LENGTH]) for name in ("open", "high", "low", "close")}
        lowest, span = prices["low"].min(), prices["high"].max() - prices["low"].min()
        for mark, name in enumerate(("open", "high", "low", "close")):
            expected = (prices[name] - lowest) / span * (rows - 1)
            assert np.abs(placed[at, :, mark] - expected).max() <= 1.0, name


def test_places_are_whole_and_inside() -> None:
    for length, height in ((5, 32), (20, 64), (60, 96)):
        placed = candles.places(windows_of(steps_of(made(200)), length))
        rows, volume_rows = candles.heights(length)
        assert rows + 1 + volume_rows == height
        assert candles.draw(placed).shape == (len(placed), height, 3 * length)
        marks = placed[:, :, : candles.LEVEL]
        assert (marks == np.rint(marks)).all()
        assert 0 <= marks[..., :4].min() <= marks[..., :4].max() == rows - 1
        assert 1 <= marks[..., candles.VOLUME].min() <= marks[..., candles.VOLUME].max() == volume_rows
        assert (marks[..., candles.LOW] <= np.minimum(marks[..., candles.OPEN], marks[..., candles.CLOSE])).all()
        assert (marks[..., candles.HIGH] >= np.maximum(marks[..., candles.OPEN], marks[..., candles.CLOSE])).all()


@pytest.mark.parametrize("factor", [0.1, 1.0, 7.0])
def test_neither_the_price_nor_the_volatility_is_in_the_picture(factor: float) -> None:
    bars = made(300)
    priced = {name: values * (1.0 if name == "volume" else 10.0) for name, values in bars.items()}
    plain = windows_of(steps_of(bars))
    moved = windows_of(steps_of(priced))
    moved[:, :, [0, 2]] *= np.float32(factor)
    moved[:, :, 1] += np.float32(np.log(factor))
    before, after = candles.places(plain), candles.places(moved)
    # A price that lies half-way between two pixels may be rounded either way.
    assert np.mean(before[..., : candles.LEVEL] != after[..., : candles.LEVEL]) < 1e-3
    assert after[..., candles.LEVEL] - before[..., candles.LEVEL] == pytest.approx(np.log(factor), abs=1e-5)


def test_an_unknown_volume_leaves_no_ink_and_a_volume_of_zero_does() -> None:
    known = windows_of(steps_of(made(100)))
    known[:, 4, 4] = 0.0
    unknown = known.copy()
    unknown[:, :, 4:6] = 0.0
    rows, _ = candles.heights(LENGTH)
    assert not candles.draw(candles.places(unknown))[:, rows:].any()
    assert (candles.places(known)[:, 4, candles.VOLUME] == 1).all()
    garbage = unknown.copy()
    garbage[:, :, 4] = 5.0
    assert (candles.places(garbage) == candles.places(unknown)).all()


def test_an_unknown_open_leaves_no_mark_and_a_body_of_zero_does() -> None:
    known = windows_of(steps_of(made(100)))
    known[:, 4, 3] = 0.0
    unknown = known.copy()
    unknown[:, :, [3, 6]] = 0.0
    rows, _ = candles.heights(LENGTH)
    drawn = candles.draw(candles.places(unknown))[:, :rows].reshape(len(known), rows, LENGTH, 3)
    assert not drawn[..., 0].any()
    assert (drawn[..., 2].sum(axis=1) == 1).all(), "each bar closes somewhere"
    assert (candles.draw(candles.places(known))[:, :rows, 4 * 3].sum(axis=1) == 1).all()
    garbage = unknown.copy()
    garbage[:, :, 3] = 0.7
    assert (candles.places(garbage) == candles.places(unknown)).all()


def test_bars_without_any_range_are_drawn_at_the_bottom() -> None:
    flat = window([(0.0, 1e-30, 0.0, 0.0, 0.0, 0)] * 3)
    flat[:, :, 1] = -np.inf
    assert (candles.places(flat)[..., : candles.LEVEL] == 0).all()


def test_a_window_is_drawn_by_itself() -> None:
    """The same picture alone and among others, whatever bars come later."""
    steps = steps_of(made(120))
    all_of_them = candles.places(windows_of(steps))
    assert (candles.places(windows_of(steps[: LENGTH + 10])) == all_of_them[:11]).all()
    assert (candles.places(windows_of(steps)[30:31]) == all_of_them[30:31]).all()
