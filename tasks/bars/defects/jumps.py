"""Prices that leave their level and should not have: wrong units, splits that were not applied, spikes that revert.

A jump alone proves nothing: shares do halve overnight. What a real move leaves behind is trading, a wide range and
turnover far above the usual. What an error leaves behind is a bar that lies apart from both neighbours and a price that
comes back to where it was, or a round factor with no more trading than on any other day.

Thresholds were set on real bars: over 700,000 daily bars of American shares, the widest gap between a real bar and
both of its neighbours, in opposite directions, was 3 robust daily volatilities (Tesla, 2018-09-28; single prints of an
illiquid fund: 5); the smallest wrong one was 8 (S&P 500, 1961-04-17, 68.68 for 66.68).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from tasks.bars.defects.defect import Defect
from tasks.bars.defects.history import History, Rows, median_ratio

APART = 6.0
"""A bar lies apart if the gap to its neighbours' ranges is this many volatilities, and at least 2 %."""
LEAST_GAP = 0.02
SPIKE_BARS = 5
"""An excursion of more bars than this needs a round factor to be called an error."""
LONGER_GAP = 0.20
"""Two to five bars that lie apart must lie this far: bad news and a takeover bid within a week move 10 % each way."""
EXCURSION = 63
"""Bars within which an excursion by a round factor must end to be one."""
RETURNED = 0.25
"""An excursion has ended where the price is back within this share of the jump."""
WICK = 0.35
WICK_VOLATILITIES = 15.0
CROWD = 5
"""So many symbols with a tenth of such an extreme in one session are a market event (2015-08-24), not bad prints."""
CROWD_WICK = 0.10
NEAR_SESSIONS = 5
"""Bars further apart than this many sessions are no neighbours."""

SPLITS = (1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0, 12.0, 15.0, 20.0, 25.0, 30.0, 35.0, 40.0, 50.0, 100.0)
TURNOVER = 4.0
"""A split day's turnover is at most this many times the median of the month before; half of that below 2:1."""
RANGE = 4.5
"""A split day's range is at most this many times the usual one; half of that below 2:1."""
CERTAIN_NEAR = 0.15
UNEXPLAINED = 0.15


def unit_errors(h: History) -> list[Defect]:
    """Bars whose prices are off by 10, 100, 1000 … for a stretch that ends within 63 bars, or, by 100 and more, not.

    A factor of exactly ten or more comes from cents for pounds, points for prices, or a split that was applied to some
    bars only. The tolerance is three volatilities, between 5 % and 25 %.
    """
    found = []
    for at in _level_changes(h, np.log(10.0) - 0.25):
        jump = _jump(h, at)
        power = round(abs(jump) / np.log(10.0))
        near = min(max(3 * h.volatility(at), 0.05), 0.25)
        if power == 0 or abs(abs(jump) - power * np.log(10.0)) > near or _ends_excursion(h, at):
            continue
        end = _comes_back(h, at, jump)
        if end is None and power < 2:
            continue
        last = end if end is not None else int(h.after(at, len(h))[-1]) + 1
        word = "times" if jump > 0 else "a fraction 1 /"
        until = f"until {h.day(last)}" if end is not None else "and stay there"
        detail = f"prices are {word} {10**power:,} what they were ({_pair(h, at)}) {until}"
        found.append(Defect(at=at, rows=last - at, detail=detail))
    return found


def unapplied_splits(h: History) -> list[Defect]:
    """Opens that differ from the previous close by a split's factor, with no more trading than usual.

    Prices falling by 3:2 or more: within four volatilities (3 % to 6 %) of the factor, a usual range, a usual turnover
    in money, and about as many shares traded as before, or more. Rising: the same for 3:2 and 2:1; no share rises
    threefold and more overnight by the market's doing, so that there 15 % are near enough. A factor that is undone
    within 63 bars was applied to some bars only. Opens are compared, since a split takes effect before them.
    """
    return [found for at in _level_changes(h, np.log(1.4)) if (found := _split(h, at)) is not None]


def _split(h: History, at: int) -> Defect | None:
    if not _starts_session(h, at) or _ends_excursion(h, at):
        return None
    jump = float(_log(h.open[at] / h.close[at - 1]))
    factor = min(SPLITS, key=lambda value: abs(abs(jump) - np.log(value)))
    certain = jump > 0 and factor >= 3
    near = CERTAIN_NEAR if certain else min(max(4 * h.volatility(at), 0.03), 0.06)
    if abs(abs(jump) - np.log(factor)) > near:
        return None
    turnover, ranges = (TURNOVER, RANGE) if factor >= 2 else (0.5 * TURNOVER, 0.5 * RANGE)
    if not certain and not (_quiet(h, at, turnover, ranges) and (jump > 0 or _traded_on(h, at))):
        return None
    back = _comes_back(h, at, jump)
    name = f"{factor:g}:1" if jump < 0 else f"1:{factor:g}"
    until = f"; undone on {h.day(back)}" if back is not None else ""
    detail = f"a {name} split, or the like, is not applied to the bars before ({_pair(h, at)}){until}"
    return Defect(at=at, detail=detail)


def spikes(h: History) -> list[Defect]:
    """Up to five bars that lie apart from the bars before and after, and a price that comes back.

    Apart: the gap between their ranges and both neighbours' is at least six robust volatilities and 2 %. Back: the
    closes around them differ by at most half of that gap. Several bars need a gap of 20 %. Then the wicks.
    """
    found: list[Defect] = []
    free = np.ones(len(h), dtype=bool)
    for length in range(1, SPIKE_BARS + 1):
        for at in _excursions(h, length):
            if free[at : at + length].all():
                free[at : at + length] = False
                noun = "the bar lies" if length == 1 else f"{length} bars lie"
                detail = f"{noun} apart from both neighbours: close {_triple(h, at, length)}"
                found.append(Defect(at=at, rows=length, detail=detail))
    return found + [defect for defect in wicks(h) if free[defect.at]]


def _excursions(h: History, length: int) -> Iterator[int]:
    """Rows at which so many bars begin that lie apart from those before and after, on the same side."""
    size = len(h) - length - 1
    if size <= 0:
        return
    start = np.arange(1, size + 1)
    inside = np.stack([start + step for step in range(length)])
    after = start + length
    high, low = h.high[inside].max(axis=0), h.low[inside].min(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        above = np.log(low / np.maximum(h.high[start - 1], h.high[after]))
        below = np.log(np.minimum(h.low[start - 1], h.low[after]) / high)
        net = np.abs(np.log(h.close[after] / h.close[start - 1]))
    gap = np.maximum(above, below)
    near = (h.symbol[start - 1] == h.symbol[after]) & (
        h.position[after] - h.position[start - 1] <= length + NEAR_SESSIONS
    )
    least = LEAST_GAP if length == 1 else LONGER_GAP
    for i in np.flatnonzero(near & (gap >= least) & (net <= gap / 2)).tolist():
        if gap[i] >= APART * h.volatility(int(start[i])):
            yield int(start[i])


def wicks(h: History) -> list[Defect]:
    """Highs and lows that no neighbouring price supports: bad prints inside a bar.

    The high (low) is 40 % above (30 % below) the bar's close, the previous close and the next bar's open and close,
    and that is 15 volatilities or more. The bar's own open does not count: a bad print is often the first one. In a
    session in which five symbols and 1 % of them show a tenth of that, nothing is called bad.
    """
    near = [h.close, h.previous(h.close), h.following(h.open), h.following(h.close)]
    with np.errstate(divide="ignore", invalid="ignore"):
        up = np.log(h.high / np.fmax.reduce(near))
        down = np.log(np.fmin.reduce(near) / h.low)
    size = np.maximum(up, down)
    crowded = _crowded(h, size)
    found = []
    for at in np.flatnonzero((size >= WICK) & ~crowded).tolist():
        if size[at] >= WICK_VOLATILITIES * h.volatility(at):
            side, price = ("high", h.high[at]) if up[at] >= down[at] else ("low", h.low[at])
            detail = f"{side} {price:.10g} is supported by no neighbour: close {_triple(h, at, 1)}"
            found.append(Defect(at=at, detail=detail))
    return found


def _crowded(h: History, size: np.ndarray) -> np.ndarray:
    """Rows of sessions in which many symbols show extremes."""
    wide = np.flatnonzero(size >= CROWD_WICK)
    counts = np.bincount(h.position[wide], minlength=int(h.position.max(initial=0)) + 1)
    limit = max(CROWD, 0.01 * len(h.names))
    return counts[h.position] >= limit


def unexplained_jumps(h: History) -> list[Defect]:
    """Opens 15 % and eight volatilities from the previous close, on a day of usual range and turnover.

    So it looks where a spin-off or a special dividend was not adjusted for: the return is not the market's. Said, not
    acted on; needs daily bars with volume.
    """
    found = []
    for at in _level_changes(h, UNEXPLAINED, opens=True) if h.has_volume and h.daily else []:
        jump = float(_log(h.open[at] / h.close[at - 1]))
        if abs(jump) < max(UNEXPLAINED, 8 * h.volatility(at)) or not _quiet(h, at, 2.0, 4.0):
            continue
        if _ends_excursion(h, at):
            continue
        found.append(Defect(at=at, detail=f"the open is {np.expm1(jump):+.0%} from the last close, with usual trading"))
    return found


def _level_changes(h: History, least: float, opens: bool = False) -> list[int]:
    """Rows whose close (and open) lie at least so far from the previous close, in logs, within a few sessions."""
    prior = h.previous(h.close)
    with np.errstate(divide="ignore", invalid="ignore"):
        by_open = np.log(h.open / prior)
        moved = by_open if opens else np.minimum(np.abs(by_open), np.abs(np.log(h.close / prior)))
    step = np.r_[0, np.diff(h.position)]
    return np.flatnonzero((np.abs(moved) >= least) & (step <= NEAR_SESSIONS + 1)).tolist()


def _jump(h: History, at: int) -> float:
    return float(_log(h.close[at] / h.close[at - 1]))


def _starts_session(h: History, at: int) -> bool:
    return bool(not h.begins[at] and h.position[at] != h.position[at - 1])


def _comes_back(h: History, at: int, jump: float) -> int | None:
    """The first row within 63 bars whose close is back at the level before the jump, by one opposite jump."""
    rows: Rows = h.after(at, EXCURSION + 1)[1:]
    if not len(rows):
        return None
    level = _log(h.close[rows] / h.close[at - 1])
    step = _log(h.open[rows] / h.close[rows - 1])
    hits = rows[(np.abs(level) <= RETURNED * abs(jump)) & (np.abs(step + jump) <= RETURNED * abs(jump))]
    return int(hits[0]) if len(hits) else None


def _ends_excursion(h: History, at: int) -> bool:
    """Whether an opposite jump within the 63 bars before brought the price away from where it now is again."""
    jump = _jump(h, at)
    rows = h.before(at, EXCURSION)
    rows = rows[~h.begins[rows]]
    level = _log(h.close[at] / h.close[rows - 1])
    step = _log(h.close[rows] / h.close[rows - 1])
    return bool(np.any((np.abs(level) <= RETURNED * abs(jump)) & (np.abs(step + jump) <= RETURNED * abs(jump))))


def _quiet(h: History, at: int, turnover: float, ranges: float) -> bool:
    """Whether the bar's range and turnover in money are no more than so many times the usual of the bars before."""
    usual = h.ranges_of(h.around(at))
    usual = usual[np.isfinite(usual)]
    if not len(usual) or h.ranges_of(np.array([at]))[0] > ranges * max(float(np.median(usual)), 1e-4):
        return False
    if not h.has_volume:
        return True
    return not median_ratio(h.volume * h.close, np.array([at]), h.before(at, 20)) > turnover


def _traded_on(h: History, at: int) -> bool:
    """Whether no fewer shares change hands than before: a split multiplies them, a collapse of trading is no split."""
    return not h.has_volume or not median_ratio(h.volume, h.after(at, 5), h.before(at, 20)) < 0.5


def _pair(h: History, at: int) -> str:
    return f"close {h.close[at - 1]:.10g}, then open {h.open[at]:.10g}"


def _triple(h: History, at: int, length: int) -> str:
    after = at + length
    later = f", then {h.close[after]:.10g}" if after < len(h) and h.symbol[after] == h.symbol[at] else ""
    before = "" if h.begins[at] else f"{h.close[at - 1]:.10g}, "
    return f"{before}then {h.close[at]:.10g}{later}" if before else f"{h.close[at]:.10g}{later}"


def _log(ratio: Any) -> Any:
    """Natural logarithm; NaN, without a warning, where prices below zero have none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.log(ratio)
