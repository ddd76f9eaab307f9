"""Markets of noise: canonical, as real as can be, and without anything to know."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
from arch.data import sp500

from tasks.bars.schema import COLUMNS, validate_bars
from tasks.leaderboard import noise

Floats = npt.NDArray[np.float64]


@pytest.fixture(scope="module")
def bars() -> pd.DataFrame:
    """The S&P 500 twice: whole, and its first half under another name."""
    raw = sp500.load().rename(columns=str.lower)
    session = pd.DatetimeIndex(raw.index)
    one = raw[["open", "high", "low", "close", "volume"]].astype(float).reset_index(drop=True)
    one.insert(0, "session", session)
    one.insert(0, "time", (session + pd.Timedelta(hours=21)).tz_localize("UTC"))
    parts = [one.assign(symbol="A"), one.iloc[:2500].assign(symbol="B")]
    whole: pd.DataFrame = pd.concat(parts, ignore_index=True)[list(COLUMNS)]
    return whole


def log_returns(frame: pd.DataFrame) -> Floats:
    return np.asarray(np.diff(np.log(frame["close"].to_numpy())))


def ranges(frame: pd.DataFrame) -> Floats:
    return np.asarray(np.log(frame["high"] / frame["low"]))


def test_signs_keep_everything_but_the_direction(bars: pd.DataFrame) -> None:
    made = validate_bars(noise.signs(bars, 1))
    pd.testing.assert_frame_equal(
        made[["symbol", "time", "session", "volume"]], bars[["symbol", "time", "session", "volume"]]
    )
    np.testing.assert_allclose(ranges(made), ranges(bars), atol=1e-9)
    a, b = (frame[frame["symbol"] == "A"] for frame in (made, bars))
    np.testing.assert_allclose(np.abs(log_returns(a)), np.abs(log_returns(b)), atol=1e-9)
    flips = np.sign(log_returns(a) * log_returns(b))
    assert abs(np.mean(flips < 0) - 0.5) < 0.03
    # A gap against the previous close flips with its bar.
    gap = np.log(a["open"].to_numpy()[1:] / a["close"].to_numpy()[:-1])
    real = np.log(b["open"].to_numpy()[1:] / b["close"].to_numpy()[:-1])
    np.testing.assert_allclose(gap[flips != 0], (flips * real)[flips != 0], atol=1e-9)


def test_symbols_of_a_date_flip_together(bars: pd.DataFrame) -> None:
    made = noise.signs(bars, 2)
    a, b = (made[made["symbol"] == name].iloc[:2500] for name in "AB")
    np.testing.assert_allclose(log_returns(a), log_returns(b), atol=1e-12)


def test_a_seed_is_a_market(bars: pd.DataFrame) -> None:
    for make in (noise.signs, noise.simulated_ranges):
        pd.testing.assert_frame_equal(make(bars, 3), make(bars, 3))
        assert not make(bars, 3)["close"].equals(make(bars, 4)["close"])


def test_no_direction_is_left(bars: pd.DataFrame) -> None:
    """Over 40 markets the first five autocorrelations of returns average to nothing; the real ones do not."""
    one = bars[bars["symbol"] == "A"].reset_index(drop=True)

    def sides(frame: pd.DataFrame) -> list[float]:
        up = np.sign(log_returns(frame))
        return [float(np.corrcoef(up[:-lag], up[lag:])[0, 1]) for lag in range(1, 6)]

    made = np.array([sides(noise.signs(one, seed)) for seed in range(40)])
    assert np.abs(made.mean(axis=0)).max() < 4 / np.sqrt(40 * len(one))
    assert np.abs(np.array(sides(one))).max() > 4 / np.sqrt(len(one))


def test_simulated_ranges_follow_a_har_and_nothing_else(bars: pd.DataFrame) -> None:
    one = bars[bars["symbol"] == "A"].reset_index(drop=True)
    made = validate_bars(noise.simulated_ranges(one, 5))
    x, real = (np.log(ranges(frame)) for frame in (made, one))
    assert x.mean() == pytest.approx(real.mean(), abs=0.3)
    assert x.std() == pytest.approx(real.std(), rel=0.15)
    terms = [pd.Series(np.exp(2 * x)).rolling(days).mean().to_numpy() for days in (1, 5, 22)]
    design = np.column_stack([np.ones(len(x)), 0.5 * np.log(np.column_stack(terms))])[22:-1]
    falling = np.minimum(np.concatenate([[0.0], log_returns(made)]), 0.0)[22:-1]
    y = x[23:]
    plain = y - design @ np.linalg.lstsq(design, y, rcond=None)[0]
    lever = np.column_stack([design, falling])
    levered = y - lever @ np.linalg.lstsq(lever, y, rcond=None)[0]
    # The leverage effect, worth t = 10 and more on the real bars, is gone.
    t = np.sqrt(len(y) * (plain @ plain / (levered @ levered) - 1.0))
    assert t < 3.0
    assert abs(np.corrcoef(plain[:-1], plain[1:])[0, 1]) < 0.05


def test_short_histories_and_empty_frames_pass(bars: pd.DataFrame) -> None:
    short = bars.iloc[:50].reset_index(drop=True)
    made = noise.simulated_ranges(short, 1)
    np.testing.assert_allclose(made[["open", "close"]], short[["open", "close"]])
    assert noise.signs(bars.iloc[:0], 1).empty
