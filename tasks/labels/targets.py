"""Labels: what happened over the next ``h`` bars of each symbol, and when the last of those bars closed.

```
bar      t        t+1       t+2   ...   t+h
         |         [---- the label looks at these ----]
         features end here                    label_end
```

Four targets: ``volatility`` (Parkinson, log scale), ``return`` (log return; ``neutral``: less the date's mean over the
panel), ``direction`` (1.0 up, 0.0 not up), ``triple_barrier`` (which ends where it touches). A label never crosses from
one symbol into the next; the last ``h`` bars of a symbol have none (NaN, NaT). Each label's weight is its average
uniqueness. Nothing is read, written or split here.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import pandas as pd

from tasks.contracts import Target
from tasks.errors import ConfigurationError, DataError
from tasks.labels.neutral import LEAST_NAMES, less_date_mean
from tasks.labels.rows import (
    EXAMPLES,
    BoolArray,
    FloatArray,
    IntArray,
    Symbols,
    TimeArray,
    check_order,
    check_positive,
    has_ahead,
    stamps,
    symbol_edges,
)
from tasks.labels.triple_barrier import triple_barrier
from tasks.statistics.uniqueness import average_uniqueness

PARKINSON = 4.0 * np.log(2.0)
"""E[range²] of a driftless Brownian motion is 4 ln 2 times its variance (Parkinson 1980, Journal of Business 53)."""

FLOORED_LIMIT = 0.01
"""Above this share of bars whose range was floored, the label measures the tick and not the market."""

ROUNDING = 1e-6
"""A range of exactly one tick differs from the floor by rounding alone (below 1e-9) and does not count as floored."""

log = logging.getLogger("nocturne.labels")


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Aligned with the bars: float64 labels (NaN where there is none), the times of their ends (UTC, NaT).

    ``weight`` is each label's average uniqueness among its symbol's labels, in (0, 1], NaN where there is no label.
    """

    label: FloatArray
    label_end: pd.DatetimeIndex
    weight: FloatArray
    floored_share: float = 0.0
    warnings: tuple[str, ...] = ()


@dataclass(slots=True, kw_only=True)
class _Draft:
    """Labels in the making: float64 values, and the first and last row that each looks at (-1 where none)."""

    label: FloatArray
    first: IntArray
    last: IntArray
    floored_share: float = 0.0
    warnings: tuple[str, ...] = ()


def make_labels(
    frame: pd.DataFrame,
    target: Target,
    variance: Literal["range", "total"],
    tick: float,
    true_opens: bool,
    *,
    member: BoolArray | None = None,
) -> Labels:
    """Label every bar of a canonical bars frame (n rows, sorted by symbol and time).

    ``volatility``: 1/2 log(mean over the next h bars of ln²(high/low) / (4 ln 2)), each log range floored at one tick;
    ``variance="total"`` adds ln²(open_t / close_{t-1}) to every bar. ``return``: ln(close_{t+h} / close_t), for a
    ``neutral`` target less the date's mean (see ``neutral``). ``direction``: 1.0 if close_{t+h} > close_t, else 0.0 (a
    zero return is "not up"). ``triple_barrier``: see there. Labels are NaN, and ends NaT, on the last h bars of each
    symbol. But for past volatility and the date's mean, depends on no bar but t..t+h of the same symbol.

    ``member``: bool (n,), rows that belonged to the universe; others have no label and count in no mean.
    Raises DataError for rows out of order, for prices that have no logarithm, and where more than 1 % of the ranges
    were floored; ConfigurationError where the overnight return is asked of a source without true opens, or neutral
    labels of fewer than 20 symbols.
    """
    check_order(frame)
    draft = _draft(frame, target, variance, tick, true_opens)
    if member is not None:
        draft.label[~member] = np.nan
    end = _end(frame, draft)
    if target.neutral:
        draft.label, end = _neutral(frame, draft.label, end, member)
    return Labels(
        label=draft.label,
        label_end=pd.DatetimeIndex(np.where(np.isnan(draft.label), np.datetime64("NaT"), end)).tz_localize("UTC"),
        weight=_weight(frame["symbol"].to_numpy(), draft),
        floored_share=draft.floored_share,
        warnings=draft.warnings,
    )


def bar_variance(
    frame: pd.DataFrame, variance: Literal["range", "total"], tick: float, true_opens: bool
) -> tuple[FloatArray, BoolArray]:
    """Each bar's variance (log units squared), and whether its range was below one tick and therefore floored.

    The overnight term of a symbol's first bar is NaN: no label looks at it.
    Raises DataError for prices that are not positive, ConfigurationError for ``total`` without true opens.
    """
    check_positive(frame, ["high", "low"] if variance == "range" else ["open", "high", "low", "close"])
    high, low = frame["high"].to_numpy(float), frame["low"].to_numpy(float)
    log_range, floor = np.log(high / low), np.log1p(tick / low)
    floored = log_range < floor * (1.0 - ROUNDING)
    result = np.maximum(log_range, floor) ** 2 / PARKINSON
    if variance == "total":
        result = result + _overnight(frame, true_opens) ** 2
    return result, floored


def _draft(
    frame: pd.DataFrame, target: Target, variance: Literal["range", "total"], tick: float, true_opens: bool
) -> _Draft:
    if target.name == "triple_barrier":
        walked = triple_barrier(frame, target, tick, true_opens)
        return _Draft(label=walked.label, first=walked.first, last=walked.last, warnings=walked.warnings)
    symbols = frame["symbol"].to_numpy()
    labelled = has_ahead(symbols, target.horizon)
    rows = np.arange(len(frame))
    first, last = np.where(labelled, rows + 1, -1), np.where(labelled, rows + target.horizon, -1)
    if target.name != "volatility":
        return _Draft(label=_forward_close(frame, target, labelled), first=first, last=last)
    variances, floored = bar_variance(frame, variance, tick, true_opens)
    share, warnings = _floored(floored, symbols)
    label = _half_log_mean(variances, target.horizon, labelled)
    return _Draft(label=label, first=first, last=last, floored_share=share, warnings=warnings)


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
    check_positive(frame, ["close"])
    label[now] = np.log(close[then] / close[now])
    return label


def _neutral(
    frame: pd.DataFrame, label: FloatArray, end: TimeArray, member: BoolArray | None
) -> tuple[FloatArray, TimeArray]:
    """Labels less their date's mean over the members, and when they are known."""
    inside = np.ones(len(label), dtype=bool) if member is None else member
    symbols = frame["symbol"].nunique()
    if symbols < LEAST_NAMES:
        raise ConfigurationError(
            f"neutral takes the mean of at least {LEAST_NAMES} symbols off each date, the bars have {symbols}: give "
            "more symbols, or set neutral to false"
        )
    out, ends = np.full(len(label), np.nan), end.copy()
    date, known = stamps(frame["time"]).view(np.int64), end.view(np.int64)
    out[inside], late = less_date_mean(label[inside], known[inside], date[inside])
    ends[inside] = late.view("datetime64[ns]")
    return out, ends


def _end(frame: pd.DataFrame, draft: _Draft) -> TimeArray:
    """The closes of the last bars that labels look at, NaT where there is no label."""
    ends = stamps(frame["time"])[draft.last]
    ends[np.isnan(draft.label)] = np.datetime64("NaT")
    return ends


def _weight(symbols: Symbols, draft: _Draft) -> FloatArray:
    weight = np.full(len(symbols), np.nan)
    edges = symbol_edges(symbols)
    # One symbol at a time, so that a weight does not depend on the rounding of sums over other symbols.
    for start, stop in pairwise(edges):
        rows = start + np.flatnonzero(~np.isnan(draft.label[start:stop]))
        weight[rows] = average_uniqueness(draft.first[rows] - start, draft.last[rows] - start)
    return weight


def _floored(floored: BoolArray, symbols: Symbols) -> tuple[float, tuple[str, ...]]:
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
