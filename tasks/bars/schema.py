"""The contract of a canonical bars frame, as a pandera schema: the last gate before anything is stored."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.utc import naive_times
from tasks.errors import DataError

COLUMNS = ("symbol", "time", "session", "open", "high", "low", "close", "volume")
BOUND = 1e300
"""No price and no volume is larger; infinity is no number here."""


@functools.lru_cache(maxsize=2)
def bars_schema(negative_prices: bool) -> Any:
    """Columns in order, float64 without NaN or infinity, unique (symbol, time) in order, prices consistent."""
    import pandera.pandas as pa  # noqa: PLC0415 - takes a second, and only where bars are checked

    finite = pa.Check.in_range(-BOUND, BOUND)
    price = [finite] if negative_prices else [finite, pa.Check.gt(0)]
    return pa.DataFrameSchema(
        {
            "symbol": pa.Column(object, pa.Check(lambda s: s.map(type).eq(str).all(), name="text")),
            "time": pa.Column(pd.DatetimeTZDtype("ns", "UTC")),
            "session": pa.Column("datetime64[ns]", pa.Check(lambda s: s.dt.normalize().eq(s), name="midnight")),
            **{name: pa.Column(float, price) for name in ("open", "high", "low", "close")},
            "volume": pa.Column(float, [finite, pa.Check.ge(0)]),
        },
        checks=[
            pa.Check(lambda f: f["high"] >= f[["open", "low", "close"]].max(axis=1), name="high is the highest"),
            pa.Check(lambda f: f["low"] <= f[["open", "close"]].min(axis=1), name="low is the lowest"),
            pa.Check(_in_order, name="sorted by symbol and time, each once"),
        ],
        index=pa.Index(int, pa.Check(lambda s: bool((s.to_numpy() == range(len(s))).all()), name="0 to n-1")),
        strict=True,
        ordered=True,
    )


def validate_bars(frame: pd.DataFrame, negative_prices: bool = False) -> pd.DataFrame:
    """The frame itself, if it keeps the contract of canonical bars. Raises DataError naming rules and examples.

    A frame that is seen at a glance to keep it is not taken to the schema, which says what is wrong with the others.
    """
    if _surely_canonical(frame, negative_prices):
        return frame
    import pandera.errors  # noqa: PLC0415 - as above

    try:
        bars_schema(negative_prices).validate(frame, lazy=True)
    except pandera.errors.SchemaErrors as error:
        cases = error.failure_cases.drop_duplicates("check").head(5)
        lines = [f"{case.check} ({case.column}): {case.failure_case}" for case in cases.itertuples()]
        raise DataError("not a canonical bars frame: " + "; ".join(lines)) from error
    return frame


def _surely_canonical(frame: pd.DataFrame, negative_prices: bool) -> bool:
    """Whether every rule of ``bars_schema`` is kept, told from arrays alone; False where that is not certain."""
    if tuple(frame.columns) != COLUMNS or not len(frame) or not _has_types(frame):
        return False
    numbers = {name: frame[name].to_numpy() for name in COLUMNS[3:]}
    if not all((np.abs(values) <= BOUND).all() for values in numbers.values()):  # false for NaN
        return False
    opens, high, low, close, volume = numbers.values()
    session = frame["session"].to_numpy()
    kept = (high >= opens) & (high >= low) & (high >= close) & (low <= opens) & (low <= close) & (volume >= 0)
    kept &= session == session.astype("datetime64[D]")
    return bool(kept.all() and (negative_prices or (low > 0).all()) and _in_order(frame))


def _has_types(frame: pd.DataFrame) -> bool:
    index = frame.index
    return (
        frame["symbol"].dtype == object
        and set(map(type, frame["symbol"].to_numpy())) == {str}
        and frame["time"].dtype == pd.DatetimeTZDtype("ns", "UTC")
        and not frame["time"].hasnans
        and frame["session"].dtype == np.dtype("datetime64[ns]")
        and all(frame[name].dtype == np.float64 for name in COLUMNS[3:])
        and isinstance(index, pd.RangeIndex)
        and (index.start, index.step) == (0, 1)
    )


def symbol_spans(symbols: npt.NDArray[np.object_]) -> dict[str, tuple[int, int]]:
    """Symbol -> its first row and the row after its last; ``symbols`` (n,) has each symbol's rows together."""
    if not len(symbols):
        return {}
    starts = np.flatnonzero(np.r_[True, symbols[1:] != symbols[:-1]])
    ends = np.r_[starts[1:], len(symbols)]
    return {str(symbols[a]): (int(a), int(b)) for a, b in zip(starts, ends, strict=True)}


def _in_order(frame: pd.DataFrame) -> bool:
    symbol, time = frame["symbol"].to_numpy(), naive_times(frame["time"])
    same = symbol[1:] == symbol[:-1]
    return bool(((symbol[1:] > symbol[:-1]) | (same & (time[1:] > time[:-1]))).all())
