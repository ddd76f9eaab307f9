"""Windows of bars drawn as candles, as in Jiang, Kelly and Xiu (2023), "(Re-)Imag(in)ing Price Trends".

Three pixels a bar, from left to right: a mark at the open, a stroke from low to high, a mark at the close. Below a
blank line, where the volume is known, a stroke as high as the bar's volume against the window's largest. Where the
open is not known there is no mark at it, and nothing is taken from it. Pixels are ink or blank; the vertical scale is
the window's own, from its lowest low to its highest high:

    price   . | .        height: 32, 64 or 96 pixels for windows up to 10, 30 or more bars, as in the paper, of which
            . | #        a fifth shows the volume
            # | .
    blank   . . .
    volume  . | .

Prices are drawn on a log scale, to first order in a bar's range: a window whose returns and ranges are all multiplied
by the same number is the same picture. The paper's line of a moving average is left out: nothing in it is not in the
closes.

``places`` gives the row of each mark, small whole numbers; ``draw`` the pixels. A graph that draws from the places
itself (comparisons of whole numbers, exact in float32) shows the very same picture and takes in a hundredth of it.

Travels inside models: NumPy alone.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
OPEN, HIGH, LOW, CLOSE, VOLUME, LEVEL, OPENED = range(7)
PIXELS_A_BAR = 3
_RETURN, _LOG_RANGE, _MEDIAN, _BODY, _RELATIVE_VOLUME, _KNOWN, _BODY_KNOWN = range(7)
_HEIGHTS = ((10, 32), (30, 64))
_TALLEST = 96
_PARKINSON = 0.5 * np.log(4.0 * np.log(2.0))


def heights(length: int) -> tuple[int, int]:
    """How many rows of pixels show prices and how many volumes; one blank row lies between."""
    height = next((rows for bars, rows in _HEIGHTS if length <= bars), _TALLEST)
    volume = height // 5
    return height - volume - 1, volume


def places(windows: Floats) -> Floats:
    """Where the ink is: windows float32 (n, length, 7), as ``return_1, har_1, medprice, bop, volume`` and
    whether volume and body are known, to float32 (n, length, 7).

    Per bar: the rows of open, high, low and close counted from the bottom of the price part (0 is the lowest; -1 for an
    open that is not known), how many rows of the volume part are inked from its bottom (at least one where the volume
    is known, none where it is not), and what a picture does not show: the window's level, the mean of ``har_1``, and
    whether the open is known. A window without any range is drawn
    at the bottom.
    """
    rows, volume_rows = heights(windows.shape[1])
    steps = windows.astype(np.float64)
    prices = _log_prices(steps)
    lowest = prices[:, :, LOW].min(axis=1)[:, None, None]
    span = prices[:, :, HIGH].max(axis=1)[:, None, None] - lowest
    unit = np.divide(rows - 1, span, out=np.zeros_like(span), where=span > 0)
    out = np.empty_like(windows)
    out[:, :, OPEN : CLOSE + 1] = np.clip(np.rint((prices - lowest) * unit), 0, rows - 1)
    out[:, :, OPENED] = steps[:, :, _BODY_KNOWN] > 0
    out[:, :, OPEN] = np.where(out[:, :, OPENED] > 0, out[:, :, OPEN], -1.0)
    out[:, :, VOLUME] = _volume(steps, volume_rows)
    out[:, :, LEVEL] = steps[:, :, _LOG_RANGE].mean(axis=1)[:, None]
    return out


def _log_prices(steps: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Open, high, low and close (n, length, 4) in logs, relative to the first bar's close."""
    returns = steps[:, :, _RETURN].copy()
    returns[:, 0] = 0.0  # the first bar's return leads to it from a bar that is not in the window
    close = np.cumsum(returns, axis=1)
    middle, span = close - steps[:, :, _MEDIAN], np.exp(steps[:, :, _LOG_RANGE] + _PARKINSON)
    opened = close - np.where(steps[:, :, _BODY_KNOWN] > 0, steps[:, :, _BODY], 0.0) * span
    high = np.maximum(middle + span / 2, np.maximum(opened, close))
    low = np.minimum(middle - span / 2, np.minimum(opened, close))
    return np.stack([opened, high, low, close], axis=-1)


def _volume(steps: npt.NDArray[np.float64], rows: int) -> npt.NDArray[np.float64]:
    """Rows inked, (n, length). The column is ln(1 + ratio): its exponential less one is what is drawn."""
    known = steps[:, :, _KNOWN] > 0
    ratio = np.where(known, np.expm1(steps[:, :, _RELATIVE_VOLUME]), 0.0)
    largest = ratio.max(axis=1, keepdims=True)
    share = np.divide(ratio, largest, out=np.zeros_like(ratio), where=largest > 0)
    return np.where(known, np.maximum(np.rint(share * rows), 1.0), 0.0)


def draw(placed: Floats) -> npt.NDArray[np.uint8]:
    """Pixels from ``places``: uint8 (n, height, 3 · length), 1 is ink; the first row is the top."""
    count, length, _ = placed.shape
    rows, volume_rows = heights(length)
    row = np.arange(rows - 1, -1, -1)[:, None]
    marks = placed[:, None, :, :]
    price = np.stack(
        [
            row == marks[..., OPEN],
            (row >= marks[..., LOW]) & (row <= marks[..., HIGH]),
            row == marks[..., CLOSE],
        ],
        axis=-1,
    )
    volume = np.zeros((count, volume_rows, length, PIXELS_A_BAR), dtype=np.bool_)
    volume[..., 1] = np.arange(volume_rows - 1, -1, -1)[:, None] < marks[..., VOLUME]
    blank = np.zeros((count, 1, length, PIXELS_A_BAR), dtype=np.bool_)
    picture = np.concatenate([price, blank, volume], axis=1)
    return np.asarray(picture.reshape(count, -1, PIXELS_A_BAR * length), dtype=np.uint8)
