"""Bars that were seen before: of a later session, or under another name.

A bar that shows a later session's prices is pure look-ahead. It is a real defect: in a widely used file of 505 American
shares, 265 of them carry on 2017-08-01 the bar of a session up to four days later.

Prices are few and ranges are short in ticks, so that equal bars also happen by chance: two five-cent ranges of a cheap
share agree once in a few thousand pairs. What counts is how many such pairs the whole history would show by chance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tasks.bars.defects.defect import Defect
from tasks.bars.defects.history import Floats, History, Rows
from tasks.bars.raw import PRICES
from tasks.bars.stamps import Mask

CHANCE = 0.01
"""A pair is a copy if the history would show fewer than this many such pairs by chance."""
SAME_DATES = 5
"""So many symbols that repeat the same session on the same other one are copies, each of them."""
VOLUME_SPREAD = 1.4
"""Chance that two volumes of a symbol agree within x is about 1.4 x, for logs with a standard deviation of 0.4."""
SAME_SHARE = 0.95
SAME_BARS = 20


@dataclass(frozen=True, slots=True)
class _Pairs:
    """Rows with the same open, high, low and close and a range: ``early`` before ``late``, on different sessions."""

    early: Rows
    late: Rows


def later_bars(h: History) -> list[Defect]:
    """Bars equal to a later session's, of the same symbol or of another, that chance does not explain.

    The earlier bar is taken to be the wrong one: it shows what nobody knew yet. (Held against another vendor's prices,
    the earlier bar was wrong in 37 of 37 such pairs of that file, and the later one right in 13 of 14.) Bars without a
    range, as of an illiquid share, are never compared.
    """
    pairs = _pairs(h)
    shared = _same_dates(h, pairs)
    worth = (shared >= SAME_DATES) | _telling(h, pairs)
    found = []
    for i in np.flatnonzero(worth).tolist():
        early, late = int(pairs.early[i]), int(pairs.late[i])
        if shared[i] < SAME_DATES and _expected(h, early, late) >= CHANCE:
            continue
        whose = "" if h.symbol[early] == h.symbol[late] else f" of {h.name(late)}"
        detail = f"equal to the bar of {h.day(late)}{whose}, a later session's ({_prices(h, early)})"
        found.append(Defect(at=early, detail=detail))
    return sorted(found, key=lambda defect: defect.at)


def _pairs(h: History) -> _Pairs:
    """Each repeated row with the next of the same prices on another session: its symbol's if there is one, else any."""
    rows = np.flatnonzero(h.high > h.low)
    rows = rows[pd.DataFrame({name: getattr(h, name)[rows] for name in PRICES}).duplicated(keep=False).to_numpy()]
    early, late = _next_equal(h, rows[np.lexsort((h.time[rows], h.symbol[rows], *_keys(h, rows)))], own=True)
    rest = rows[~np.isin(rows, early)]
    across = _next_equal(h, rest[np.lexsort((h.time[rest], *_keys(h, rest)))], own=False)
    return _Pairs(np.concatenate([early, across[0]]), np.concatenate([late, across[1]]))


def _keys(h: History, rows: Rows) -> list[Floats]:
    return [getattr(h, name)[rows] for name in PRICES]


def _next_equal(h: History, ordered: Rows, *, own: bool) -> tuple[Rows, Rows]:
    early, late = ordered[:-1], ordered[1:]
    equal = np.logical_and.reduce([a == b for a, b in zip(_keys(h, early), _keys(h, late), strict=True)])
    equal &= (h.session[early] < h.session[late]) & ((h.symbol[early] == h.symbol[late]) == own)
    return early[equal], late[equal]


def _same_dates(h: History, pairs: _Pairs) -> Rows:
    """For each pair within one symbol, how many symbols have one between the same two sessions; else 0."""
    own = h.symbol[pairs.early] == h.symbol[pairs.late]
    frame = pd.DataFrame({"own": own, "early": h.position[pairs.early], "late": h.position[pairs.late]})
    frame["symbol"] = h.symbol[pairs.early]
    counts = frame.groupby(["own", "early", "late"])["symbol"].transform("nunique").to_numpy()
    return np.where(own, counts, 0).astype(np.int64)


def _telling(h: History, pairs: _Pairs) -> Mask:
    """Pairs that can be more than chance: volumes agree within 5 %, or the range has 20 hundredths of a per cent."""
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.abs(np.log(h.volume[pairs.early] / h.volume[pairs.late])) < 0.05
    return near | (h.ranges_of(pairs.early) >= 0.002)


def _expected(h: History, early: int, late: int) -> float:
    """How many pairs as alike as this one chance would put into the whole history.

    Two bars agree if the low falls on the same tick (of the span of prices), the range has as many ticks (of about
    twice those of this one), and open and close lie on the same ticks within it; and if volumes agree as closely.
    """
    near = np.append(h.around(early), early)
    ticks = max((h.high[early] - h.low[early]) / _tick(h, early, near), 1.0)
    wide = np.append(h.around(early, 250), early)
    span = max(float(np.ptp(h.close[wide])) / _tick(h, early, near), 1.0)
    alike = 1.0 / (span * 2 * ticks * (ticks + 1) ** 2)
    others = len(wide) if h.symbol[early] == h.symbol[late] else len(h)
    return float(len(h) * others * alike * _volumes_agree(h, early, late))


def _volumes_agree(h: History, early: int, late: int) -> float:
    """Chance that two volumes of a symbol agree as closely as these, known to one share; 1 where there are none."""
    a, b = h.volume[early], h.volume[late]
    if not (a > 0 and b > 0):
        return 1.0
    return float(min(1.0, VOLUME_SPREAD * max(abs(np.log(a / b)), 1.0 / max(a, b))))


def _tick(h: History, at: int, near: Rows) -> float:
    """The step between prices: the 5 % quantile of the differences between distinct prices of the bars around.

    Not finer than the decimals that the bar itself is written with: adjusted prices change their decimals.
    """
    steps = np.diff(np.unique(np.round(np.concatenate(_keys(h, near)), 8)))
    four = np.array([getattr(h, name)[at] for name in PRICES])
    written = next((10.0**-k for k in range(8) if np.all(np.abs(four * 10**k - np.round(four * 10**k)) < 1e-6)), 1e-8)
    return max(float(np.quantile(steps, 0.05)) if len(steps) else 0.0, written)


def _prices(h: History, at: int) -> str:
    return " ".join(f"{getattr(h, name)[at]:.10g}" for name in PRICES)


def same_series(h: History) -> list[Defect]:
    """Symbols whose bars equal another symbol's of the same time, in at least 95 % of those they share (20 or more).

    The name that comes first in the alphabet is kept; the bars of the other are right, and count as no wrong ones. Bars
    without a range do not count.
    """
    frame = pd.DataFrame({name: getattr(h, name) for name in ("time", "open", "high", "low", "close", "symbol")})
    frame["at"] = np.arange(len(h))
    equal = frame[(h.high > h.low) & frame.duplicated(["time", "open", "high", "low", "close"], keep=False)]
    first = equal.groupby(["time", "open", "high", "low", "close"], sort=False)["symbol"].transform("min")
    copies = equal.assign(first=first)[equal["symbol"] > first]
    found = []
    for (symbol, original), rows in copies.groupby(["symbol", "first"]):
        own, theirs = h.time[h.symbol == symbol], h.time[h.symbol == original]
        shared = len(np.intersect1d(own, theirs))
        if len(rows) >= max(SAME_BARS, SAME_SHARE * shared):
            detail = f"{len(rows):,} of {shared:,} bars are those of {h.names[int(original)]} at the same times"
            found.append(Defect(at=int(rows["at"].iloc[0]), rows=0, detail=detail))
    return sorted(found, key=lambda defect: defect.at)
