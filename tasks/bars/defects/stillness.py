"""Bars in which nothing happens: prices that stand still without trading, and highs that equal lows."""

from __future__ import annotations

import numpy as np

from tasks.bars.defects.defect import Defect
from tasks.bars.defects.history import History, runs

FROZEN_BARS = 5
"""A week: illiquid shares go a few days without a trade; the longest real stretch seen in funds was three."""
RANGELESS = 0.01


def frozen(h: History) -> list[Defect]:
    """Stretches of at least five bars (intraday: a session's worth) at the last price, without range and volume.

    The vendor repeats a price that nobody trades at. Where the source has no volume, price and range alone decide.
    """
    still = (h.high == h.low) & (h.close == h.previous(h.close))
    if h.has_volume:
        still &= ~(h.volume > 0)
    least = max(FROZEN_BARS, 1 if h.daily else _bars_a_session(h))
    starts, lengths = runs(still, h.begins)
    long = lengths >= least
    return [
        Defect(at=at, rows=n, detail=f"{n:,} bars without trading at {h.close[at]:.10g}, to {h.day(at + n - 1)}")
        for at, n in zip(starts[long].tolist(), lengths[long].tolist(), strict=True)
    ]


def rangeless(h: History) -> list[Defect]:
    """Symbols of whose bars more than 1 % have a high that equals the low: one finding each.

    Such a bar was not observed through the session (S&P 500 before 1962: closes alone). A volatility target takes one
    tick for its range, and refuses more than 1 % of them.
    """
    flat = h.high == h.low
    counts = np.bincount(h.symbol[flat], minlength=len(h.names))
    sizes = np.bincount(h.symbol, minlength=len(h.names))
    found = []
    for symbol in np.flatnonzero(counts > RANGELESS * sizes).tolist():
        rows = np.flatnonzero(flat & (h.symbol == symbol))
        share = counts[symbol] / sizes[symbol]
        detail = (
            f"{counts[symbol]:,} of {sizes[symbol]:,} bars ({share:.1%}) have no range, the last on {h.day(rows[-1])}"
        )
        found.append(Defect(at=int(rows[0]), rows=len(rows), detail=detail))
    return found


def _bars_a_session(h: History) -> int:
    """Median number of bars in a session of a symbol."""
    first = np.flatnonzero(h.begins | np.r_[True, np.diff(h.position) != 0])
    return int(np.median(np.diff(np.r_[first, len(h)]))) if len(h) else 1
