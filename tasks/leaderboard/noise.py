"""Markets in which nothing can be known: made from real bars, so that everything else about them is real.

``signs`` is the null of returns: each bar, in logs about the previous close, keeps or flips its sign at random, and
high and low change places where it flips. Ranges, volumes, calendar and the clustering of volatility stay; no direction
can be forecast. All symbols of a date flip together, so that they stay correlated. (Shuffled blocks of returns are no
null: they keep their autocorrelation.)

``simulated_ranges`` is the null of volatility: log ranges follow a fitted HAR (half the log of the mean squared range
over 1, 5 and 22 bars) with residuals drawn anew, so that the baseline is the truth and whatever beats it is lucky.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

FloatArray = npt.NDArray[np.float64]

PRICES = ("open", "high", "low", "close")
HAR = (1, 5, 22)
WARM_UP = 66
LARGEST = 3.0
"""A simulated log range stays within so many standard deviations of the real ones' mean: no price overflows."""


def signs(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Canonical bars (n rows) with i.i.d. signs; each symbol's first bar stays as it is.

    Prices of a symbol start where the real ones do; the result is again canonical. The same seed flips the same times,
    whatever the symbols.
    """
    distinct, code = np.unique(frame["time"].to_numpy("datetime64[ns]"), return_inverse=True)
    flipped = (np.random.default_rng(seed).random(len(distinct)) < 0.5)[code]
    bars, first = _log_bars(frame)
    return _rebuilt(frame, _flipped(bars, flipped & ~first))


def simulated_ranges(frame: pd.DataFrame, seed: int) -> pd.DataFrame:
    """Canonical bars whose log ranges follow a HAR fitted to each symbol; everything else of a bar is drawn with it.

    Each residual brings along the shape of the bar that it belongs to (open, high, low and close in units of its range)
    with a random sign, so that nothing but HAR's three terms forecasts anything. Bars without a range are drawn like
    others, with the least range of the symbol. Symbols with fewer than 132 bars keep their bars.
    """
    rng = np.random.default_rng(seed)
    bars, _ = _log_bars(frame)
    for rows in _symbols(frame):
        if len(rows) >= 2 * WARM_UP:
            bars[rows] = _simulated(bars[rows], rng)
    return _rebuilt(frame, bars)


def _simulated(bars: FloatArray, rng: np.random.Generator) -> FloatArray:
    spread = bars[:, 1] - bars[:, 2]
    x = np.log(np.maximum(spread, spread[spread > 0].min(initial=1e-2)))
    design = _har_terms(x)
    fitted = np.arange(HAR[-1], len(x))
    coefficients = np.linalg.lstsq(design[fitted - 1], x[fitted], rcond=None)[0]
    residual = x[fitted] - design[fitted - 1] @ coefficients
    drawn = rng.integers(len(fitted), size=len(x))
    path = _path(x, coefficients, residual[drawn])
    shapes = bars[fitted[drawn]] / np.exp(x[fitted[drawn]])[:, None]
    made = _flipped(shapes * np.exp(path)[:, None], rng.random(len(x)) < 0.5)
    made[0] = bars[0]
    return made


def _path(x: FloatArray, coefficients: FloatArray, shocks: FloatArray) -> FloatArray:
    """Log ranges by the recursion, from the real first ones on."""
    squares = np.exp(2.0 * x)
    low, high = x.mean() - LARGEST * x.std(), x.mean() + LARGEST * x.std()
    path = x.copy()
    for t in range(HAR[-1], len(x)):
        past = [0.5 * np.log(squares[t - days : t].mean()) for days in HAR]
        path[t] = min(max(coefficients[0] + float(coefficients[1:] @ past) + shocks[t], low), high)
        squares[t] = np.exp(2.0 * path[t])
    return path


def _har_terms(x: FloatArray) -> FloatArray:
    """A one, and half the log of the mean squared range over 1, 5 and 22 bars: (n, 4), NaN until a window is full."""
    squares = np.exp(2.0 * x)
    terms = [np.ones(len(x))]
    for days in HAR:
        means = np.convolve(squares, np.full(days, 1.0 / days))[: len(x)]
        means[: days - 1] = np.nan
        terms.append(0.5 * np.log(means))
    return np.column_stack(terms)


def _log_bars(frame: pd.DataFrame) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """Open, high, low, close (n, 4) as logs about the symbol's previous close (its first bar: about its open)."""
    prices = np.log(frame[list(PRICES)].to_numpy(np.float64))
    first = np.ones(len(frame), dtype=bool)
    symbol = frame["symbol"].to_numpy()
    first[1:] = symbol[1:] != symbol[:-1]
    previous = np.concatenate([[np.nan], prices[:-1, 3]])
    about = np.where(first, prices[:, 0], previous)
    return prices - about[:, None], first


def _flipped(bars: FloatArray, flip: npt.NDArray[np.bool_]) -> FloatArray:
    turned = -bars[:, [0, 2, 1, 3]]
    return np.where(flip[:, None], turned, bars)


def _rebuilt(frame: pd.DataFrame, bars: FloatArray) -> pd.DataFrame:
    start = np.log(frame["open"].to_numpy(np.float64))
    about = np.empty(len(frame))
    for rows in _symbols(frame):
        closes = start[rows[0]] + np.cumsum(bars[rows, 3])
        about[rows] = np.concatenate([[start[rows[0]]], closes[:-1]])
    prices = np.exp(about[:, None] + bars)
    made = dict(zip(PRICES, prices.T, strict=True))
    # Rounding must not leave a close above its high.
    made["high"], made["low"] = prices.max(axis=1), prices.min(axis=1)
    return frame.assign(**made)


def _symbols(frame: pd.DataFrame) -> list[npt.NDArray[np.int64]]:
    codes = pd.factorize(frame["symbol"])[0]
    return np.split(np.arange(len(frame)), np.flatnonzero(np.diff(codes)) + 1) if len(frame) else []
