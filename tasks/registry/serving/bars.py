"""What consumers hand over, made into checked arrays: raw bars in any reasonable types, or words about what is wrong.

Accepted: integer, float32, nullable and decimal numbers; times as dates, ISO strings, naive or zoned stamps, of any
resolution. Refused with ModelInputError: missing columns, text or missing numbers, prices that are not positive, bars
whose high or low does not enclose them, negative volume, times that are duplicate, out of order or of another bar
size, symbols that the model was not trained on, prices on another scale than in training, holes (see ``likeness``). At
most five examples are named.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from ...errors import ModelInputError
from ...features.dates import NANOSECONDS_A_DAY
from .likeness import Likeness
from .times import instants_of, sessions, stamped

PRICES = ("open", "high", "low", "close")
NUMBERS = (*PRICES, "volume")
BAR_NANOSECONDS = {
    "1d": NANOSECONDS_A_DAY,
    "1h": 3_600 * 10**9,
    "30min": 1_800 * 10**9,
    "15min": 900 * 10**9,
    "5min": 300 * 10**9,
    "1min": 60 * 10**9,
}
_EXAMPLES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class BarRules:
    """What a model expects of bars. No symbols: it takes any one. tz: the exchange's, which dates daily bars.

    likeness: what they are compared with; None for a model that was logged without training statistics.
    """

    bar: str
    tz: str = "UTC"
    symbols: tuple[str, ...] = ()
    has_volume: bool = True
    negative_prices: bool = False
    likeness: Likeness | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SymbolBars:
    """One symbol's bars in time order. ``given`` is the time column as it came; ``time`` ns since 1970 UTC.

    session: datetime64[D], the date of the features. numbers: float64 (5, n): open, high, low, close, volume.
    """

    symbol: str
    given: pd.Series
    time: npt.NDArray[np.int64]
    session: npt.NDArray[np.datetime64]
    numbers: npt.NDArray[np.float64]

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The bars as the feature matrix takes them: contiguous columns by name, and the sessions."""
        numbers: dict[str, npt.NDArray[Any]] = dict(zip(NUMBERS, self.numbers, strict=True))
        return numbers | {"session": self.session}


def read_bars(bars: pd.DataFrame, rules: BarRules, tail: int | None = None) -> list[SymbolBars]:
    """Each symbol's checked bars, in order of first appearance; only the last ``tail`` of each, if given.

    Daily bars: a column of bare dates holds session labels; otherwise a stamp is the bar's close, and the session its
    date where the exchange is. Shorter bars: the UTC date of the close. Midnight UTC ends the day before.
    Raises ModelInputError as the module says.
    """
    _require_columns(bars, rules)
    read = []
    for symbol, rows in _by_symbol(bars, rules):
        kept = rows if tail is None else rows[-tail:]
        if len(kept) < len(rows):
            earlier = rows[: len(rows) - len(kept) + 1]
            require_order(symbol, stamped(bars["time"], earlier, symbol))
        read.append(_read(bars, symbol, kept, rules))
    return read


def _require_columns(bars: pd.DataFrame, rules: BarRules) -> None:
    if not isinstance(bars, pd.DataFrame):
        raise ModelInputError(f"bars must be a pandas DataFrame, got {type(bars).__name__}")
    wanted = ["time", *(NUMBERS if rules.has_volume else PRICES)]
    missing = [name for name in wanted if name not in bars.columns]
    if missing:
        raise ModelInputError(
            f"bars lack the columns {missing}; the model takes [symbol], {', '.join(wanted)}, got {list(bars.columns)}"
        )
    if not bars.columns.is_unique:
        doubled = [name for name in ("symbol", *wanted) if (bars.columns == name).sum() > 1]
        if doubled:
            raise ModelInputError(f"bars have several columns of one name: {doubled}")
    if not len(bars):
        raise ModelInputError("bars are empty")


def _by_symbol(bars: pd.DataFrame, rules: BarRules) -> Iterator[tuple[str, npt.NDArray[np.intp]]]:
    if "symbol" not in bars.columns:
        yield known_symbol("", rules, "give a column 'symbol'"), np.arange(len(bars))
        return
    groups = _grouped(bars)
    unknown = [symbol for symbol in groups if not isinstance(symbol, str)]
    if unknown:
        raise ModelInputError(f"column 'symbol' must hold text, got {_some(unknown)}")
    never_seen = [str(symbol) for symbol in groups if rules.symbols and symbol not in rules.symbols]
    if never_seen:
        raise ModelInputError(_never_seen(never_seen, rules))
    for symbol, rows in groups.items():
        yield str(symbol), np.asarray(rows)


def _grouped(bars: pd.DataFrame) -> dict[Any, npt.NDArray[np.intp]]:
    alone = _only_symbol(bars["symbol"])
    if alone:
        return {alone: np.arange(len(bars))}
    try:
        groups: Any = bars.groupby("symbol", sort=False, dropna=False).indices
    except TypeError as error:  # lists and the like
        raise ModelInputError(f"column 'symbol' must hold text: {error}") from error
    return dict(groups)


def _only_symbol(symbols: pd.Series) -> str:
    """The symbol, if all rows have the same: grouping takes longer than a prediction. Nothing otherwise."""
    values = symbols.to_numpy()
    first = values[0]
    return first if isinstance(first, str) and values.dtype == object and bool((values == first).all()) else ""


def known_symbol(symbol: str, rules: BarRules, cure: str) -> str:
    """The symbol, or the model's only one where none is named. Raises ModelInputError for one that it does not know."""
    if symbol and rules.symbols and symbol not in rules.symbols:
        raise ModelInputError(_never_seen([symbol], rules))
    if not symbol and len(rules.symbols) > 1:
        raise ModelInputError(_which(rules, cure))
    return symbol or (rules.symbols[0] if rules.symbols else "")


def _never_seen(symbols: list[str], rules: BarRules) -> str:
    return (
        f"the model was not trained on {_some(symbols)}; it knows {_some(rules.symbols)} ({len(rules.symbols)} symbols)"
    )


def _which(rules: BarRules, what: str) -> str:
    return f"the model knows {len(rules.symbols)} symbols ({_some(rules.symbols)}): {what}"


def require_order(symbol: str, time: npt.NDArray[np.int64]) -> None:
    """That times before the tail ascend into it: else the last rows are not the latest. Raises ModelInputError."""
    steps = time[1:] <= time[:-1]
    if steps.any():
        late = np.flatnonzero(steps)
        raise ModelInputError(
            f"{_of(symbol)}bars out of time order: sort them by time; {len(late)} bars are not later than the one "
            f"before, the first is bar {late[0] + 2}"
        )


def _read(bars: pd.DataFrame, symbol: str, rows: npt.NDArray[np.intp], rules: BarRules) -> SymbolBars:
    whole = len(rows) == len(bars)
    given = bars["time"] if whole else bars["time"].iloc[rows]
    time, naive = instants_of(given, symbol)
    names = NUMBERS if rules.has_volume or "volume" in bars.columns else PRICES
    numbers = np.zeros((len(NUMBERS), len(rows)))
    for i, name in enumerate(names):
        numbers[i] = _numbers(bars[name] if whole else bars[name].iloc[rows], symbol)
    return checked(symbol, given, time, numbers, naive=naive, rules=rules)


def checked(
    symbol: str,
    given: Any,
    time: npt.NDArray[np.int64],
    numbers: npt.NDArray[np.float64],
    *,
    naive: bool,
    rules: BarRules,
) -> SymbolBars:
    """One symbol's arrays, once they are what the rules ask for; naive: the times carried no zone.

    given: times to be named in messages, by ``iloc``. Raises ModelInputError as the module says.
    """
    session = sessions(symbol, time, rules.bar, rules.tz, naive=naive)
    _check_order(symbol, given, time, session, rules.bar)
    _check_values(symbol, given, numbers, rules)
    if rules.likeness is not None:
        rules.likeness.check(symbol, time, numbers[NUMBERS.index("close")])
    return SymbolBars(symbol=symbol, given=given, time=time, session=session, numbers=numbers)


def _numbers(values: pd.Series, symbol: str) -> npt.NDArray[np.float64]:
    if values.dtype == np.float64:
        return values.to_numpy()
    if not _is_numeric(values):
        wrong = next((value for value in values if isinstance(value, (str, bool))), values.iloc[0])
        raise ModelInputError(f"{_of(symbol)}column '{values.name}' must hold numbers, got {values.dtype} {wrong!r}")
    try:
        return values.to_numpy(dtype=np.float64, na_value=np.nan)
    except (TypeError, ValueError, OverflowError) as error:  # the last: an integer beyond 1e308
        raise ModelInputError(f"{_of(symbol)}column '{values.name}' must hold numbers: {error}") from error


def _is_numeric(values: pd.Series) -> bool:
    if values.dtype == object:
        return not any(isinstance(value, (str, bool)) for value in values)
    return pd.api.types.is_numeric_dtype(values.dtype) and not pd.api.types.is_bool_dtype(values.dtype)


def _check_order(
    symbol: str, given: pd.Series, time: npt.NDArray[np.int64], session: npt.NDArray[np.datetime64], bar: str
) -> None:
    steps = time[1:] - time[:-1]
    if (steps <= 0).any():
        _refuse(symbol, given, np.flatnonzero(steps < 0) + 1, "bars out of time order: sort them by time; out of order")
        _refuse(symbol, given, np.flatnonzero(steps == 0) + 1, "times given twice")
    if bar == "1d":
        same = np.flatnonzero(np.diff(session.view(np.int64)) == 0) + 1
        _refuse(symbol, given, same, "the model takes daily bars; sessions with more than one bar")
    if len(steps) < _EXAMPLES:
        return
    # Days have weekends and holidays between them, shorter bars their nights: the usual step tells the size.
    steps.sort()
    usual, size = float(steps[len(steps) // 2] + steps[(len(steps) - 1) // 2]) / 2.0, BAR_NANOSECONDS[bar]
    if not (size <= usual <= 4 * size if bar == "1d" else usual == size):
        raise ModelInputError(
            f"{_of(symbol)}the model takes bars of {bar}, these are usually {pd.Timedelta(usual)} apart"
        )


def _check_values(symbol: str, given: pd.Series, numbers: npt.NDArray[np.float64], rules: BarRules) -> None:
    if _sound(numbers, rules):
        return
    finite = np.isfinite(numbers)
    for i, name in enumerate(NUMBERS):
        _refuse(symbol, given, np.flatnonzero(~finite[i]), f"'{name}' missing or infinite")
    opens, highs, lows, closes, volumes = numbers
    if not rules.negative_prices:
        for i, name in enumerate(PRICES):
            _refuse(symbol, given, np.flatnonzero(numbers[i] <= 0), f"'{name}' zero or negative")
    _refuse(symbol, given, np.flatnonzero(highs < np.maximum(np.maximum(opens, closes), lows)), "'high' below the bar")
    _refuse(symbol, given, np.flatnonzero(lows > np.minimum(opens, closes)), "'low' above the bar")
    _refuse(symbol, given, np.flatnonzero(volumes < 0), "'volume' negative")


def _sound(numbers: npt.NDArray[np.float64], rules: BarRules) -> bool:
    """Whether nothing is wrong with any bar: most are, and this takes a tenth of a search for what is wrong."""
    opens, highs, lows, closes, volumes = numbers
    enclosed = (highs >= opens) & (highs >= closes) & (lows <= opens) & (lows <= closes) & (volumes >= 0.0)
    return bool(enclosed.all() and np.isfinite(numbers).all() and (rules.negative_prices or lows.min() > 0.0))


def _refuse(symbol: str, given: pd.Series, rows: npt.NDArray[np.intp], what: str) -> None:
    if len(rows):
        examples = ", ".join(str(given.iloc[row]) for row in rows[:_EXAMPLES])
        raise ModelInputError(f"{_of(symbol)}{what}: {len(rows)} bars, at {examples}")


def _of(symbol: str) -> str:
    return f"{symbol}: " if symbol else ""


def _some(values: object) -> str:
    listed = [str(value) for value in values]  # type: ignore[attr-defined]
    return ", ".join(listed[:_EXAMPLES]) + (", …" if len(listed) > _EXAMPLES else "")
