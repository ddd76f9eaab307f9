"""Labels: what happened over the next ``h`` bars of each symbol, and when the last of those bars closed.

```
bar      t        t+1       t+2   ...   t+h
         |         [---- the label looks at these ----]
         features end here                    label_end
```

Three targets: ``volatility`` (Parkinson, log scale), ``return`` (log return), ``direction`` (1.0 up, 0.0 not up). A
label never crosses from one symbol into the next; the last ``h`` bars of a symbol have none (NaN, NaT). Nothing is
read, written or split here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import Target
from tasks.errors import ConfigurationError, DataError

FloatArray = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]

PARKINSON = 4.0 * np.log(2.0)
"""E[range²] of a driftless Brownian motion is 4 ln 2 times its variance (Parkinson 1980, Journal of Business 53)."""

FLOORED_LIMIT = 0.01
"""Above this share of bars whose range was floored, the label measures the tick and not the market."""

ROUNDING = 1e-6
"""A range of exactly one tick differs from the floor by rounding alone (below 1e-9) and does not count as floored."""

EXAMPLES = 5
log = logging.getLogger("nocturne.labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Aligned with the bars: float64 labels (NaN where there is none), the times of their ends (UTC, NaT)."""

    label: FloatArray
    label_end: pd.DatetimeIndex
    floored_share: float = 0.0
    warnings: tuple[str, ...] = ()


def make_labels(
    frame: pd.DataFrame,
    target: Target,
    variance: Literal["range", "total"],
    tick: float,
    true_opens: bool,
) -> Labels:
    """Label every bar of a canonical bars frame (n rows, sorted by symbol and time).

    ``volatility``: 1/2 log(mean over the next h bars of ln²(high/low) / (4 ln 2)), each log range floored at one tick;
    ``variance="total"`` adds ln²(open_t / close_{t-1}) to every bar. ``return``: ln(close_{t+h} / close_t).
    ``direction``: 1.0 if close_{t+h} > close_t, else 0.0 (a zero return is "not up"). Labels are NaN, and ends NaT, on
    the last h bars of each symbol. Depends on no bar but t..t+h of the same symbol.

    Raises DataError for rows out of order, for prices that have no logarithm, and where more than 1 % of the ranges
    were floored; ConfigurationError where the overnight return is asked of a source without true opens.
    """
    symbols = frame["symbol"].to_numpy()
    _check_order(frame, symbols)
    labelled = _labelled(symbols, target.horizon)
    if target.name == "volatility":
        variances, floored = bar_variance(frame, variance, tick, true_opens)
        share, warnings = _floored(floored, symbols)
        label = _half_log_mean(variances, target.horizon, labelled)
    else:
        share, warnings = 0.0, ()
        label = _forward_close(frame, target, labelled)
    return Labels(label=label, label_end=_ends(frame, target.horizon, labelled), floored_share=share, warnings=warnings)


def bar_variance(
    frame: pd.DataFrame, variance: Literal["range", "total"], tick: float, true_opens: bool
) -> tuple[FloatArray, BoolArray]:
    """Each bar's variance (log units squared), and whether its range was below one tick and therefore floored.

    The overnight term of a symbol's first bar is NaN: no label looks at it.
    Raises DataError for prices that are not positive, ConfigurationError for ``total`` without true opens.
    """
    _check_positive(frame, ["high", "low"] if variance == "range" else ["open", "high", "low", "close"])
    high, low = frame["high"].to_numpy(float), frame["low"].to_numpy(float)
    log_range, floor = np.log(high / low), np.log1p(tick / low)
    floored = log_range < floor * (1.0 - ROUNDING)
    result = np.maximum(log_range, floor) ** 2 / PARKINSON
    if variance == "total":
        result = result + _overnight(frame, true_opens) ** 2
    return result, floored


def _overnight(frame: pd.DataFrame, true_opens: bool) -> FloatArray:
    if not true_opens:
        raise ConfigurationError(
            "variance 'total' adds the overnight return, but this source has no true opens (they repeat the previous "
            "close): set variance to 'range', or use a source with opening prices"
        )
    previous = frame.groupby("symbol", sort=False)["close"].shift(1).to_numpy(float)
    return np.asarray(np.log(frame["open"].to_numpy(float) / previous), dtype=np.float64)


def _half_log_mean(variances: FloatArray, horizon: int, labelled: BoolArray) -> FloatArray:
    # A plain sum of h shifted slices: unlike differences of a running sum, it forgets whatever lies outside the window.
    n = len(variances)
    total = np.zeros(n)
    for ahead in range(1, min(horizon, n - 1) + 1):
        total[: n - ahead] += variances[ahead:]
    label = np.full(n, np.nan)
    label[labelled] = 0.5 * np.log(total[labelled] / horizon)
    return label


def _forward_close(frame: pd.DataFrame, target: Target, labelled: BoolArray) -> FloatArray:
    close = frame["close"].to_numpy(float)
    now = np.flatnonzero(labelled)
    then = now + target.horizon
    label = np.full(len(close), np.nan)
    if target.name == "direction":
        # Prices are compared and not their logarithms, so instruments that trade below zero have a direction too.
        label[now] = (close[then] > close[now]).astype(float)
        return label
    _check_positive(frame, ["close"])
    label[now] = np.log(close[then] / close[now])
    return label


def _labelled(symbols: npt.NDArray[np.object_], horizon: int) -> BoolArray:
    n = len(symbols)
    mask = np.zeros(n, dtype=bool)
    if n > horizon:
        mask[: n - horizon] = symbols[: n - horizon] == symbols[horizon:]
    return mask


def _ends(frame: pd.DataFrame, horizon: int, labelled: BoolArray) -> pd.DatetimeIndex:
    values = _stamps(frame["time"])
    ends = np.full(len(values), np.datetime64("NaT"), dtype="datetime64[ns]")
    now = np.flatnonzero(labelled)
    ends[now] = values[now + horizon]
    return pd.DatetimeIndex(ends).tz_localize("UTC")


def _stamps(times: pd.Series) -> npt.NDArray[np.datetime64]:
    # A zoned series converts to an array of Python objects unless the type is asked for.
    return times.to_numpy(dtype="datetime64[ns]")


def _floored(floored: BoolArray, symbols: npt.NDArray[np.object_]) -> tuple[float, tuple[str, ...]]:
    share = float(floored.mean()) if len(floored) else 0.0
    by_symbol = pd.Series(floored).groupby(symbols).mean().sort_values(ascending=False, kind="stable")
    worst = by_symbol[by_symbol > FLOORED_LIMIT]
    named = "; ".join(f"{symbol}: {part:.2%}" for symbol, part in worst.head(EXAMPLES).items())
    if share > FLOORED_LIMIT:
        raise DataError(
            f"the high-low range is below one tick on {share:.2%} of the bars (limit {FLOORED_LIMIT:.0%}; {named}): "
            "volatility would measure the tick. Check that high and low are real, set tick to the true price step, or "
            "leave these symbols out"
        )
    if len(worst) == 0:
        return share, ()
    log.warning("ranges below one tick on more than %s of the bars of %d symbols", f"{FLOORED_LIMIT:.0%}", len(worst))
    return share, (
        f"ranges below one tick on more than {FLOORED_LIMIT:.0%} of the bars of {len(worst)} symbols: {named}",
    )


def _check_order(frame: pd.DataFrame, symbols: npt.NDArray[np.object_]) -> None:
    times = _stamps(frame["time"])
    same = symbols[1:] == symbols[:-1]
    bad = np.flatnonzero((same & (times[1:] <= times[:-1])) | (~same & (symbols[1:] < symbols[:-1])))
    if len(bad):
        row = int(bad[0]) + 1
        raise DataError(
            f"bars must be sorted by symbol and time without repeats; row {row + 1} ({symbols[row]}, "
            f"{frame['time'].iloc[row]}) is out of order: sort the bars before labelling"
        )


def _check_positive(frame: pd.DataFrame, columns: list[str]) -> None:
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
