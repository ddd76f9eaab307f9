"""The report's pictures: windows over the price, forecast against outcome, and who was ahead when.

Only numbers, dates and fixed words are drawn here. Colours: the leader, the rival (best baseline), the outcome.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import matplotlib.dates as mdates
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tasks.contracts import Window
from tasks.report.series import (
    Bin,
    Floats,
    Forecasts,
    Times,
    annual_percent,
    bins,
    by_date,
    naive_utc,
    running_advantage,
    running_excess_hits,
    thinned,
)
from tasks.report.svg import Picture, colour, picture
from tasks.report.words import signed

MOST_POINTS = {False: 640, True: 180}
TITLES = {
    "fold": "Walk-forward folds (used to choose)",
    "gate": "Gate window (never used to choose)",
}
DASHED, SOLID = (0, (4, 1.5)), "-"
STEPS = (
    *((f"{hours}h", "%H:%M") for hours in (1, 3, 6)),
    *((f"{days}D", "%d %b") for days in (1, 2, 7, 14)),
    *((f"{months}MS", "%b %Y") for months in (1, 2, 3, 6)),
    *((f"{years}YS", "%Y") for years in (1, 2, 5, 10, 20)),
)
Paint = Callable[[Any, Forecasts, bool], None]


def windows_over_price(times: Times, price: Floats, windows: Sequence[Window]) -> Picture:
    """The price, on a log scale where it can be, with each window as a coloured stretch and purged gaps left blank."""

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        drawn = thinned(times, price, 2 * MOST_POINTS[narrow])
        if np.all(price > 0):
            axes.set_yscale("log")
            _plain_log_ticks(axes, price)
        _headroom(axes, price, 0.34 if narrow else 0.12)
        for window in windows:
            _shade(axes, window, narrow)
        axes.plot(drawn[0], drawn[1], color=colour("ink"), linewidth=1.1)
        axes.margins(x=0.01)
        _dates(axes, narrow)

    return picture("windows", paint, 290, 260)


def _shade(axes: Any, window: Window, narrow: bool) -> None:
    first, last = (naive_utc(pd.Series([pd.Timestamp(moment)]))[0] for moment in (window.first, window.last))
    tint = colour(f"w-{window.name}")
    axes.axvspan(first, last, color=tint, alpha=0.22, linewidth=0)
    axes.axvspan(first, last, ymin=0, ymax=0.03, color=tint, linewidth=0)
    middle = first + (last - first) / 2
    axes.annotate(
        window.name, (middle, 1), xycoords=("data", "axes fraction"), xytext=(0, -5), textcoords="offset points",
        rotation=90 if narrow and window.name != "train" else 0,
        ha="center", va="top", fontsize=10.5, color=colour("ink"),
    )  # fmt: skip


def _headroom(axes: Any, price: Floats, share: float) -> None:
    """Room above the price for the windows' names."""
    low, high = float(price.min()), float(price.max())
    if low > 0:
        axes.set_ylim(low / (high / low) ** 0.06, high * (high / low) ** share)
    else:
        axes.set_ylim(low - 0.06 * (high - low), high + share * (high - low))


def _plain_log_ticks(axes: Any, price: Floats) -> None:
    low, high = float(price.min()), float(price.max())
    steps = MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]).tick_values(low, high)
    axes.set_yticks([step for step in steps if low * 0.9 <= step <= high * 1.1 and step > 0])
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.4g}" if value < 1e4 else f"{value:,.0f}"))
    axes.minorticks_off()


def volatility_over_time(found: Sequence[Forecasts], bars_a_year: float) -> Picture:
    """Outcome and forecasts as volatility in per cent a year, window below window, on one scale."""

    def one(axes: Any, rows: Forecasts, narrow: bool) -> None:
        for values, name, width, dash in (
            (rows.label, "outcome", 0.9, SOLID),
            (rows.rival, "rival", 1.3, DASHED),
            (rows.leader, "leader", 1.6, SOLID),
        ):
            times, mean = by_date(rows.times, annual_percent(values, bars_a_year))
            times, mean, _ = thinned(times, mean, MOST_POINTS[narrow])
            axes.plot(times, mean, color=colour(name), linewidth=width, linestyle=dash)
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
        _dates(axes, narrow)

    return picture("forecast", _panels(found, one, stacked=True), 200 * len(found), 190 * len(found))


def calibration(found: Sequence[Forecasts]) -> Picture:
    """How often it went up, against how often that was forecast, in bins of equal size with two standard errors."""

    def one(axes: Any, rows: Forecasts, narrow: bool) -> None:
        leader, rival = bins(rows.leader, rows.label), _bins_of(rows.rival, rows.label)
        _few_ticks(axes, narrow)
        _diagonal(axes, [point.forecast for point in (*leader, *rival)])
        _points(axes, rival, "rival", "D", 1.0)
        _points(axes, leader, "leader", "o", 1.0)
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:.3g} %"))
        axes.set_xlabel("forecast probability of up")
        axes.set_ylabel("share that went up")

    return picture("forecast", _panels(found, one, stacked=False), 300, 260 * len(found))


def return_bins(found: Sequence[Forecasts]) -> Picture:
    """Mean outcome against mean forecast in ten bins of equal size, in per cent, with two standard errors."""

    def one(axes: Any, rows: Forecasts, narrow: bool) -> None:
        leader = bins(rows.leader, rows.label)
        _diagonal(axes, [100 * point.forecast for point in leader])
        _points(axes, leader, "leader", "o", 100.0)
        axes.axhline(0, color=colour("soft"), linewidth=0.8)
        _few_ticks(axes, narrow)
        axes.set_xlabel("forecast, % over the horizon")
        axes.set_ylabel("mean outcome, %")

    return picture("forecast", _panels(found, one, stacked=False), 300, 260 * len(found))


def advantage(found: Sequence[Forecasts], loss: Literal["mse", "log_loss"]) -> Picture:
    """Who was ahead when: the leader's running advantage over the rival; rising while it does better."""

    def one(axes: Any, rows: Forecasts, narrow: bool) -> None:
        _running(axes, running_advantage(rows, loss), "leader", narrow)
        axes.axhline(0, color=colour("rival"), linewidth=1.4, linestyle=DASHED)

    return picture("ahead", _panels(found, one, stacked=False), 230, 190 * len(found))


def equity(frame: pd.DataFrame) -> Picture:
    """Growth of one (columns session, net, gross, hold), on a log scale where nothing is lost whole."""

    def paint(figure: Figure, narrow: bool) -> None:
        axes = figure.add_subplot()
        times = frame["session"].to_numpy("datetime64[ns]")
        for column, name, width, dash in (
            ("hold", "rival", 1.3, DASHED),
            ("gross", "outcome", 0.9, SOLID),
            ("net", "leader", 1.6, SOLID),
        ):
            values = frame[column].to_numpy(np.float64)
            keep = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS[narrow])).astype(int))
            axes.plot(times[keep], values[keep], color=colour(name), linewidth=width, linestyle=dash)
        axes.axhline(1, color=colour("soft"), linewidth=0.9)
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.margins(x=0.01)
        _dates(axes, narrow)

    return picture("equity", paint, 260, 220)


def excess_hits(found: Sequence[Forecasts], usual: float) -> Picture:
    """Hits beyond always saying the usual direction, summed over time, for the leader and the rival."""

    def one(axes: Any, rows: Forecasts, narrow: bool) -> None:
        axes.axhline(0, color=colour("soft"), linewidth=0.9)
        if np.isfinite(rows.rival).all():
            _running(axes, running_excess_hits(rows, rows.rival, usual), "rival", narrow)
        _running(axes, running_excess_hits(rows, rows.leader, usual), "leader", narrow)

    return picture("ahead", _panels(found, one, stacked=False), 230, 190 * len(found))


def _few_ticks(axes: Any, narrow: bool) -> None:
    axes.xaxis.set_major_locator(MaxNLocator(4 if narrow else 6))


def _bins_of(forecast: Floats, outcome: Floats) -> tuple[Bin, ...]:
    return bins(forecast, outcome) if np.isfinite(forecast).all() else ()


def _running(axes: Any, line: tuple[Times, Floats], name: str, narrow: bool) -> None:
    times, values = line
    # A running sum is thinned by skipping, not by averaging, so that its last value stays what it is.
    keep = np.unique(np.append(np.arange(0, len(values), max(1, len(values) // MOST_POINTS[narrow])), len(values) - 1))
    axes.plot(
        times[keep],
        100 * values[keep],
        color=colour(name),
        linewidth=1.6,
        linestyle=SOLID if name == "leader" else DASHED,
    )
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: signed(f"{value:+.3g} %") if value else "0 %"))
    _dates(axes, narrow or len(axes.figure.axes) > 1)


def _points(axes: Any, points: Sequence[Bin], name: str, marker: str, scale: float) -> None:
    if not points:
        return
    x, y, error = (scale * np.array([getattr(p, k) for p in points]) for k in ("forecast", "outcome", "error"))
    spread = np.where(np.isfinite(error), 2 * error, 0.0)
    axes.vlines(x, y - spread, y + spread, color=colour(name), linewidth=1.1, alpha=0.5)
    axes.plot(x, y, marker=marker, markersize=5.5, color=colour(name), linewidth=1.0, markeredgewidth=0)


def _diagonal(axes: Any, forecasts: Sequence[float]) -> None:
    low, high = min(forecasts), max(forecasts)
    room = 0.08 * (high - low) or 0.02 * max(1.0, abs(high))
    axes.plot(
        [low - room, high + room], [low - room, high + room], color=colour("soft"), linewidth=0.9, linestyle=(0, (2, 2))
    )


def _panels(found: Sequence[Forecasts], one: Paint, *, stacked: bool) -> Callable[[Figure, bool], None]:
    def paint(figure: Figure, narrow: bool) -> None:
        down = stacked or narrow
        figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.09 if down else 0.04)
        shape = (len(found), 1) if down else (1, max(2, len(found)))
        grid = figure.subplots(*shape, squeeze=False, sharey=False).ravel()
        for axes, rows in zip(grid, found, strict=False):
            axes.set_title(TITLES[rows.window])
            one(axes, rows, narrow)
        for empty in grid[len(found) :]:
            empty.set_visible(False)

    return paint


def _dates(axes: Any, narrow: bool) -> None:
    low, high = (pd.Timestamp(mdates.num2date(edge)) for edge in axes.dataLim.intervalx)
    step, ticks = date_ticks(low.tz_localize(None), high.tz_localize(None), 4 if narrow else 9)
    axes.set_xticks(mdates.date2num(ticks.to_numpy()), [moment.strftime(step) for moment in ticks])


def date_ticks(first: pd.Timestamp, last: pd.Timestamp, most: int) -> tuple[str, pd.DatetimeIndex]:
    """Round dates in [first, last], at most so many and as many as that allows, and how to write them.

    Matplotlib's own locator warns at some spans, and its labels depend on each other.
    """
    for step, style in STEPS:
        ticks = pd.date_range(first.normalize(), last, freq=step)
        ticks = ticks[ticks >= first]
        if len(ticks) <= most:
            return style, ticks
    return "%Y", pd.DatetimeIndex([first])
