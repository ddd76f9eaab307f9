"""Which pictures a night has, with their titles, captions and legends. Names appear here and never inside a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tasks.report import pictures, series, transfer_pictures, transfers, words
from tasks.report.night import Night
from tasks.report.series import Forecasts
from tasks.report.svg import Picture


@dataclass(frozen=True, slots=True)
class Drawing:
    """A picture with its title, what to see in it, and the lines that its legend names."""

    title: str
    caption: str
    picture: Picture
    legend: tuple[tuple[str, str], ...] = ()


def drawings(night: Night) -> list[Drawing]:
    """All pictures of a night in reading order; the windows over the price come last."""
    found = [rows for rows in (_rows_of(night, "fold"), _rows_of(night, "gate")) if rows is not None]
    drawn = _forecast_drawings(night, found) if found else []
    drawn += [*_transfers(night), *_equity(night)]
    times, price = series.price_line(night.bars)
    picture = pictures.windows_over_price(times, price, night.facts.rows.windows)
    symbols = night.facts.snapshot.symbols
    over = words.clean(symbols[0], 60) if len(symbols) == 1 else f"an equal-weight index of {len(symbols)} symbols"
    caption = f"Close of {over}. Stretches without colour belong to no window: lookback, purge, embargo."
    return [*drawn, Drawing("The windows over the price", caption, picture)]


def _rows_of(night: Night, window: Literal["fold", "gate"]) -> Forecasts | None:
    arrays = {p.role: p.folds if window == "fold" else p.gate for p in night.predictions}
    leader = arrays.get("leader")
    if leader is None and window == "fold":  # on the gate it was not read: another's forecasts are not drawn as its own
        leader = arrays.get("baseline")
    return None if leader is None else series.in_window(night.labels, window, leader, arrays.get("baseline"))


def _forecast_drawings(night: Night, found: list[Forecasts]) -> list[Drawing]:
    lines = _legend(night)
    target, panel = night.facts.rows.target, len(night.facts.snapshot.symbols) > 1
    by_date = " Symbols are averaged by date." if panel else ""
    if target.kind == "classification":
        return [_calibration(found, lines), _hits(night, found, lines, by_date)]
    over_time = _volatility(night, found, lines, by_date) if target.name == "volatility" else _returns(found, lines)
    if not all(np.isfinite(rows.rival).all() for rows in found):  # the leader is itself the best baseline
        return [over_time]
    return [over_time, _ahead(found, target.loss, lines, by_date)]


def _transfers(night: Night) -> list[Drawing]:
    """What each transfer gained beside the same without pre-training."""
    found = transfers.gains(night.facts)
    if not found:
        return []
    caption = (
        "Gain as a share of the loss of the same without pre-training, on the walk-forward rows, with its 95 % "
        "interval; right of zero the transfer helped. Numbers are those of the table of transfers."
    )
    unknown = (("rival", "not known"),) if any(verdict == "not known" for *_, verdict in found) else ()
    legend = (("good", "helps"), ("soft", "no difference"), ("bad", "hurts"), *unknown)
    return [Drawing("What the transfers were worth", caption, transfer_pictures.worths(found), legend)]


def _equity(night: Night) -> list[Drawing]:
    """Growth of one after costs: the leader's rule, before costs, and buying and holding."""
    scores = night.facts.leaderboard.scores
    leader = scores[0].candidate if scores else ""
    frame = night.equities.get(leader)
    if frame is None or not len(frame):
        return []
    name = words.clean(leader, 60)
    legend = (("leader", f"{name}, after costs"), ("outcome", f"{name}, before costs"), ("rival", "buy and hold"))
    test = next(each for each in night.facts.leaderboard.backtests if each.candidate == leader)
    caption = f"Growth of 1 over the walk-forward rows, traded by the rule “{words.clean(test.rule, 80)}”."
    if test.illustrative:
        caption += f" Illustrative: {words.clean(test.illustrative, 300)}."
    return [Drawing("What it would have earned", caption, pictures.equity(frame), legend)]


def _ahead(
    found: list[Forecasts], loss: Literal["mse", "log_loss"], lines: tuple[tuple[str, str], ...], by_date: str
) -> Drawing:
    caption = (
        "Running gain over the best baseline, as a share of its whole loss in the window: rising where it does "
        f"better, and it ends at the skill on that window.{by_date}"
    )
    return Drawing("Who was ahead, and when", caption, pictures.advantage(found, loss), lines)


def _legend(night: Night) -> tuple[tuple[str, str], ...]:
    roles = {item.role: words.clean(item.candidate, 60) for item in night.predictions}
    lines = [("leader", roles["leader"])] if "leader" in roles else []
    if "baseline" in roles:
        lines.append(("rival", f"{roles['baseline']} (best baseline)"))
    return tuple(lines)


def _volatility(night: Night, found: list[Forecasts], lines: tuple[tuple[str, str], ...], by_date: str) -> Drawing:
    a_year = series.bars_per_year(night.labels, night.facts.snapshot.calendar)
    caption = (
        f"Volatility in % a year: 100 · exp(forecast) · √{a_year:,.0f}. The leaderboard's losses are on the log scale."
        f"{by_date}"
    )
    picture = pictures.volatility_over_time(found, a_year)
    return Drawing("Forecast and outcome", caption, picture, (("outcome", "outcome"), *lines))


def _returns(found: list[Forecasts], lines: tuple[tuple[str, str], ...]) -> Drawing:
    caption = (
        "Up to ten bins of equal size by forecast, each with two standard errors (too narrow where labels "
        "overlap). On the dotted line forecasts would be right on average; a flat row of points says nothing."
    )
    return Drawing("Forecast and outcome", caption, pictures.return_bins(found), lines[:1])


def _calibration(found: list[Forecasts], lines: tuple[tuple[str, str], ...]) -> Drawing:
    caption = (
        "Up to ten bins of equal size by forecast, each with two standard errors. On the dotted line probabilities "
        "mean what they say; a base rate is a single point."
    )
    return Drawing("Forecast and outcome: calibration", caption, pictures.calibration(found), lines)


def _hits(night: Night, found: list[Forecasts], lines: tuple[tuple[str, str], ...], by_date: str) -> Drawing:
    usual = series.usual_direction(night.labels)
    caption = (
        f"Hits beyond always saying “{'up' if usual else 'down'}” (the usual direction in the training window), summed "
        f"over time, as a share of all dates in the window.{by_date}"
    )
    return Drawing("Excess hit rate", caption, pictures.excess_hits(found, usual), lines)
