"""What every target asks of canonical bars: their order, their prices, and which of them have a whole horizon ahead."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.errors import DataError

FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
BoolArray = npt.NDArray[np.bool_]
TimeArray = npt.NDArray[np.datetime64]
Symbols = npt.NDArray[np.object_]

EXAMPLES = 5


def stamps(times: pd.Series) -> TimeArray:
    """The instants as datetime64[ns]: a zoned series converts to Python objects unless the type is asked for."""
    return times.to_numpy(dtype="datetime64[ns]")


def symbol_edges(symbols: Symbols) -> list[int]:
    """The first row of each symbol, and the number of rows."""
    if len(symbols) == 0:
        return [0]
    return [0, *(np.flatnonzero(symbols[1:] != symbols[:-1]) + 1).tolist(), len(symbols)]


def has_ahead(symbols: Symbols, bars: int) -> BoolArray:
    """Which rows have so many later bars of the same symbol: bool (n,)."""
    n = len(symbols)
    mask = np.zeros(n, dtype=bool)
    if n > bars:
        mask[: n - bars] = symbols[: n - bars] == symbols[bars:]
    return mask


def log_returns(frame: pd.DataFrame) -> FloatArray:
    """ln(close_t / close_{t-1}) within each symbol; NaN on a symbol's first bar."""
    close = frame["close"].to_numpy(float)
    out = np.full(len(close), np.nan)
    out[1:] = np.log(close[1:] / close[:-1])
    out[symbol_edges(frame["symbol"].to_numpy())[:-1]] = np.nan
    return out


def check_order(frame: pd.DataFrame) -> None:
    """Raise DataError, naming the row, unless bars are sorted by (symbol, time) without repeats."""
    symbols, times = frame["symbol"].to_numpy(), stamps(frame["time"])
    same = symbols[1:] == symbols[:-1]
    bad = np.flatnonzero((same & (times[1:] <= times[:-1])) | (~same & (symbols[1:] < symbols[:-1])))
    if len(bad):
        row = int(bad[0]) + 1
        raise DataError(
            f"bars must be sorted by symbol and time without repeats; row {row + 1} ({symbols[row]}, "
            f"{frame['time'].iloc[row]}) is out of order: sort the bars before labelling"
        )


def check_positive(frame: pd.DataFrame, columns: list[str]) -> None:
    """Raise DataError, naming up to five rows, unless every price of the columns is a positive number."""
    values = frame[columns].to_numpy(float)
    rows, cols = np.nonzero(~(np.isfinite(values) & (values > 0)))
    if len(rows):
        named = "; ".join(
            f"row {row + 1} ({frame['symbol'].iloc[row]}, {frame['time'].iloc[row]}): {columns[col]} {values[row, col]}"
            for row, col in zip(rows[:EXAMPLES], cols[:EXAMPLES], strict=True)
        )
        raise DataError(
            f"{len(rows)} prices are not positive numbers and have no logarithm: {named}. Repair or leave out these "
            "bars, or predict 'direction', which needs none"
        )
