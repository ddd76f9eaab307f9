"""From predictions and labels to what is drawn: one value a date, bins, running sums. Pure arithmetic, no drawing.

All rows count: a panel is averaged by date first, as the gate does. Rows without a label or a prediction are left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.statistics.losses import row_losses

Floats = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]

SESSIONS_A_YEAR = {"24/7": 365, "24/5": 260}
TRADING_DAYS = 252


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecasts:
    """Labels and predictions of one window, row by row, (n,) each, in time order. ``rival`` may be all NaN."""

    window: Literal["fold", "gate"]
    times: Times
    label: Floats
    leader: Floats
    rival: Floats


@dataclass(frozen=True, slots=True)
class Bin:
    """Rows of about equal forecast: mean forecast, mean outcome, its standard error, how many."""

    forecast: float
    outcome: float
    error: float
    rows: int


def in_window(
    labels: pd.DataFrame, window: Literal["fold", "gate"], leader: Floats, rival: Floats | None
) -> Forecasts | None:
    """The rows of a window that have a label and the leader's prediction (and the rival's); None if there are none.

    ``labels``: columns time, label, window; ``leader`` and ``rival``: float64 (n,), aligned with it.
    """
    other = np.full(len(labels), np.nan) if rival is None else rival
    label = labels["label"].to_numpy(np.float64)
    keep = (labels["window"] == window).to_numpy() & np.isfinite(label) & np.isfinite(leader)
    if rival is not None:
        keep &= np.isfinite(rival)
    if not keep.any():
        return None
    times = naive_utc(labels["time"])[keep]
    order = np.argsort(times, kind="stable")
    return Forecasts(
        window=window,
        times=times[order],
        label=label[keep][order],
        leader=leader[keep][order],
        rival=other[keep][order],
    )


def naive_utc(times: pd.Series) -> Times:
    """Bar times as naive UTC datetime64[ns], which Matplotlib takes."""
    index = pd.DatetimeIndex(times)
    return (index.tz_convert("UTC").tz_localize(None) if index.tz is not None else index).to_numpy("datetime64[ns]")


def by_date(times: Times, values: Floats) -> tuple[Times, Floats]:
    """The mean of the rows of each time, in time order. ``times`` is sorted."""
    unique, start = np.unique(times, return_index=True)
    counts = np.diff(np.append(start, len(times)))
    return unique, np.add.reduceat(values, start) / counts


def thinned(times: Times, values: Floats, most: int) -> tuple[Times, Floats, int]:
    """At most ``most`` points: means of k consecutive ones at the middle one's time. Returns k too (1: untouched)."""
    k = max(1, -(-len(values) // most))
    if k == 1:
        return times, values, 1
    start = np.arange(0, len(values), k)
    counts = np.diff(np.append(start, len(values)))
    return times[start + counts // 2], np.add.reduceat(values, start) / counts, k


def bars_per_year(labels: pd.DataFrame, calendar: str) -> float:
    """Bars of one symbol in a year: sessions a year of the calendar times the usual number of bars a session."""
    bars = labels.groupby(["symbol", "session"], observed=True, sort=False).size().median()
    return float(bars) * SESSIONS_A_YEAR.get(calendar, TRADING_DAYS)


def annual_percent(log_volatility: Floats, bars_a_year: float) -> Floats:
    """Volatility in per cent a year from the log volatility of one bar: 100 exp(f) sqrt(bars a year)."""
    return np.asarray(100 * np.exp(log_volatility) * np.sqrt(bars_a_year), dtype=np.float64)


def running_advantage(rows: Forecasts, loss: Literal["mse", "log_loss"]) -> tuple[Times, Floats]:
    """How far ahead of the rival the leader was by each date: summed loss difference by date, as a share of the
    rival's whole loss. Its last value is the skill on this window. After Goyal and Welch (2008), figure 1.
    """
    times, lead = by_date(rows.times, row_losses(loss, rows.label, rows.leader))
    _, rival = by_date(rows.times, row_losses(loss, rows.label, rows.rival))
    return times, np.cumsum(rival - lead) / np.sum(rival)


def running_excess_hits(rows: Forecasts, forecast: Floats, usual: float) -> tuple[Times, Floats]:
    """Hits less those of always saying ``usual`` (1 up, 0 down), summed by date, as a share of all dates."""
    hit = ((forecast > 0.5) == (rows.label > 0.5)).astype(np.float64)
    base = ((rows.label > 0.5) == (usual > 0.5)).astype(np.float64)
    times, excess = by_date(rows.times, hit - base)
    return times, np.cumsum(excess) / len(times)


def usual_direction(labels: pd.DataFrame) -> float:
    """The direction that was more frequent in the training window: 1 up, 0 down."""
    seen = labels.loc[labels["window"] == "train", "label"].mean()
    return float(seen > 0.5) if np.isfinite(seen) else 1.0


def bins(forecast: Floats, outcome: Floats, most: int = 10) -> tuple[Bin, ...]:
    """Bins of about equal size by forecast; a forecast that is constant has one. Standard errors take rows as
    independent.
    """
    edges = np.unique(np.quantile(forecast, np.linspace(0, 1, most + 1)))
    place = np.clip(np.searchsorted(edges, forecast, side="right") - 1, 0, max(0, len(edges) - 2))
    found = []
    for index in np.unique(place):
        inside = place == index
        rows = int(inside.sum())
        error = float(outcome[inside].std(ddof=1) / np.sqrt(rows)) if rows > 1 else float("nan")
        found.append(Bin(float(forecast[inside].mean()), float(outcome[inside].mean()), error, rows))
    return tuple(found)


def price_line(bars: pd.DataFrame) -> tuple[Times, Floats]:
    """What the windows are drawn over: the close of one symbol, or for a panel an index of equal weights that starts
    at 100 and moves by the mean log return of the symbols that have one that day. Closes that are not positive are
    left out of the index.
    """
    times = naive_utc(bars["time"])
    if bars["symbol"].nunique() <= 1:
        return times, bars["close"].to_numpy(np.float64)
    close = bars["close"].where(bars["close"] > 0)
    returns = np.log(close).groupby(bars["symbol"], observed=True, sort=False).diff()
    mean = returns.groupby(times).mean().fillna(0.0)
    return mean.index.to_numpy("datetime64[ns]"), 100 * np.exp(mean.cumsum().to_numpy(np.float64))


def fold_gains(folds: tuple[float, ...], reference: tuple[float, ...], lower_is_better: bool) -> tuple[float, ...]:
    """Fold by fold, the gain over the reference as a share of the reference's score; empty if the folds differ."""
    if len(folds) != len(reference):
        return ()
    sign = 1 if lower_is_better else -1
    return tuple(sign * (r - f) / abs(r) if r else 0.0 for f, r in zip(folds, reference, strict=True))
