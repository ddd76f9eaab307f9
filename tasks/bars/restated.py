"""History that the vendor changed after it was read: what is small, what is a split, and what must stop a promotion.

A model that was judged on yesterday's history says little where that history is no longer true. So a night that sees
bars restated beyond the tolerance does not promote; the next one, which learns from the new values throughout, may.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from tasks.bars.raw import PRICES
from tasks.contracts import Finding

RULE = "restated"
PRICE = 0.001
"""Tolerated change of a price: 0.1 %. Vendors round, and correct a last trade by a cent."""
VOLUME = 1.5
"""Tolerated factor between volumes, on bars older than the last five sessions: volume is settled for days."""
SETTLED = 5
FRESH = pd.Timedelta(hours=20)
"""What was restated within so many hours counts: a night that is run again sees the same, the next night does not."""
RESCALED = 5
"""So many bars of a symbol that all changed by one factor were rescaled, as vendors do after a split."""


def restatements(revisions: pd.DataFrame, now: pd.Timestamp) -> list[Finding]:
    """What changed beyond the tolerance within the last 20 hours, one finding a bar.

    ``revisions``: everything the bar store ever held (``BarStore.revisions``). A symbol of which five bars or more, and
    all that changed, were multiplied by one factor is one finding of the rule ``rescaled``: its returns are the same.
    """
    changes = _changes(revisions, now)
    found: list[Finding] = []
    for symbol, rows in changes.groupby("symbol", sort=True):
        factor = _one_factor(rows)
        if factor is not None:
            detail = f"{len(rows):,} bars to {rows['session'].max():%Y-%m-%d} were multiplied by {factor:.6g}"
            found.append(_finding("rescaled", str(symbol), rows.iloc[-1], detail))
            continue
        newest = np.sort(revisions.loc[revisions["symbol"] == symbol, "session"].unique())[-SETTLED:]
        beyond = _beyond(rows, rows["session"] >= newest[0])
        found += [_finding(RULE, str(symbol), row, _words(row)) for _, row in rows[beyond].iterrows()]
    return found


def told(findings: list[Finding]) -> str:
    """What to tell a reader of the night; empty where nothing was restated."""
    rows = [finding for finding in findings if finding.rule == RULE]
    if not rows:
        return ""
    named = ", ".join(f"{finding.symbol} {finding.time[:10]}" for finding in rows[:5])
    more = f" and {len(rows) - 5:,} more" if len(rows) > 5 else ""
    return f"{RULE}: {len(rows):,} bars changed beyond the tolerance since they were read ({named}{more})"


def _changes(revisions: pd.DataFrame, now: pd.Timestamp) -> pd.DataFrame:
    """Bars whose latest revision is fresh and replaced one that was read earlier, with the old values beside the new.

    A row that a later row of the same file replaced was not history yet: both were read at once.
    """
    again = revisions.duplicated(["symbol", "time"], keep=False)
    history = revisions[again]
    grouped = history.groupby(["symbol", "time"], sort=False)
    old = grouped[[*PRICES, "volume", "known_at"]].shift(1).add_prefix("old_")
    rows = history.join(old)
    fresh = (rows["known_at"] > now - FRESH) & (rows["known_at"] <= now) & (rows["old_known_at"] < rows["known_at"])
    return rows[fresh].drop_duplicates(["symbol", "time"], keep="last")


def _beyond(rows: pd.DataFrame, young: pd.Series[bool]) -> pd.Series[bool]:
    price = np.logical_or.reduce([~_near(rows[name], rows[f"old_{name}"], PRICE) for name in PRICES])
    volume = ~_near(rows["volume"], rows["old_volume"], float(np.log(VOLUME)))
    return pd.Series(price | (volume & ~young.to_numpy()), index=rows.index)


def _near(new: pd.Series[float], old: pd.Series[float], tolerance: float) -> Any:
    """Whether two columns differ by no more than a log tolerance; equal values always do."""
    a, b = new.to_numpy(dtype=np.float64), old.to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a == b) | (np.abs(np.log(a / b)) <= tolerance)


def _one_factor(rows: pd.DataFrame) -> float | None:
    """The factor by which all four prices of all the rows changed, if there is one: rounding to a cent allowed."""
    if len(rows) < RESCALED:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(np.stack([rows[name] / rows[f"old_{name}"] for name in PRICES]))
    factor = float(np.median(ratios))
    allowed = PRICE + 0.01 / rows["low"].to_numpy()
    alike = np.all(np.isfinite(ratios)) and np.all(np.abs(ratios - factor) <= allowed)
    return float(np.exp(factor)) if alike and abs(factor) > PRICE else None


def _words(row: Any) -> str:
    names = [name for name in (*PRICES, "volume") if row[name] != row[f"old_{name}"]]
    changed = ", ".join(f"{name} {row[f'old_{name}']:.15g} became {row[name]:.15g}" for name in names)
    return f"{changed} (read before {row['known_at']:%Y-%m-%d %H:%M} UTC, and then)"


def _finding(rule: str, symbol: str, row: Any, detail: str) -> Finding:
    severity: Any = "warning" if rule == RULE else "info"
    return Finding(rule=rule, severity=severity, symbol=symbol, time=f"{row['time']:%Y-%m-%dT%H:%M:%SZ}", detail=detail)
