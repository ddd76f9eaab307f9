"""History that the vendor changed after it was read: what is small, what is a split, and what must stop a promotion.

A model that was judged on yesterday's history says little where that history is no longer true. So a night that sees
bars restated beyond the tolerance does not promote; the next one, which learns from the new values throughout, may.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.actions import CorporateAction
from tasks.bars.raw import PRICES
from tasks.bars.utc import naive, naive_times
from tasks.contracts import Finding

FloatArray = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
RULE = "restated"
BAR = ["symbol", "time"]
PRICE = 0.001
"""Tolerated change of a price: 0.1 %. Vendors round, and correct a last trade by a cent."""
VOLUME = 1.5
"""Tolerated factor between volumes, on bars older than the last five sessions: volume is settled for days."""
SETTLED = 5
FRESH = pd.Timedelta(hours=20)
"""What was restated within so many hours counts: a night that is run again sees the same, the next night does not."""
RESCALED = 5
"""So many bars of a symbol that all changed by one factor were rescaled, as vendors do after a split."""


def restatements(revisions: pd.DataFrame, now: pd.Timestamp, actions: Sequence[CorporateAction] = ()) -> list[Finding]:
    """What changed beyond the tolerance within the last 20 hours, one finding a bar.

    ``revisions``: everything the bar store ever held (``BarStore.revisions``). Bars whose prices were multiplied by the
    ratio of known splits (``actions``) are one finding of the rule ``rescaled``; so is a symbol of which five bars or
    more, and all that changed, were multiplied by one factor: their returns are the same.
    """
    if not _recent(revisions, now).any():
        return []
    changes = _changes(revisions, now)
    found: list[Finding] = []
    for symbol, rows in changes.groupby("symbol", sort=True):
        factor, alike = _rescaled(rows, [action for action in actions if action.symbol == symbol])
        if alike.any():
            last = rows[alike].iloc[-1]
            detail = f"{int(alike.sum())} bars to {rows['session'].max():%Y-%m-%d} were multiplied by {factor:.6g}"
            found.append(_finding("rescaled", str(symbol), last, detail))
        others = rows[~alike]
        newest = np.sort(revisions.loc[revisions["symbol"] == symbol, "session"].unique())[-SETTLED:]
        beyond = _beyond(others, others["session"] >= newest[0])
        found += [_finding(RULE, str(symbol), row, _words(row)) for _, row in others[beyond].iterrows()]
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
    """Bars whose latest revision is fresh, with the values beside it that were read before all fresh ones.

    Two nights that read at once may both have written the new value, so it is not compared with the row before. Where
    all rows are fresh the first reading counts as before; a row that a later row of the same file replaced was not
    history yet: both were read at once.
    """
    known = revisions["known_at"] <= now
    symbols = revisions.loc[_recent(revisions, now), "symbol"].unique()
    history = revisions[known & revisions["symbol"].isin(symbols)]
    history = history[history.duplicated(BAR, keep=False)]
    fresh = history["known_at"] > now - FRESH
    at_first = history["known_at"] == history.groupby(BAR, sort=False)["known_at"].transform("first")
    earlier = [rows.drop_duplicates(BAR, keep="last") for rows in (history[~fresh], history[at_first])]
    before = pd.concat(earlier).drop_duplicates(BAR)
    names = [*PRICES, "volume"]
    old = before[[*BAR, *names, "known_at"]].rename(columns={name: f"old_{name}" for name in [*names, "known_at"]})
    last = history[fresh].drop_duplicates(BAR, keep="last").merge(old, on=BAR, how="left")
    # A bar that was out of use for a while may come back as it was.
    changed = (last[names].to_numpy() != last[[f"old_{name}" for name in names]].to_numpy()).any(axis=1)
    found: pd.DataFrame = last[changed & (last["old_known_at"] < last["known_at"])]
    return found


def _recent(revisions: pd.DataFrame, now: pd.Timestamp) -> Mask:
    """Values that are not a bar's first one and were read within the last hours."""
    read, moment = naive_times(revisions["known_at"]), naive(now)
    return (revisions["revision"].to_numpy() > 0) & (read <= moment) & (read > moment - FRESH.to_timedelta64())


def _beyond(rows: pd.DataFrame, young: pd.Series[bool]) -> pd.Series[bool]:
    price = np.logical_or.reduce([~_near(rows[name], rows[f"old_{name}"], PRICE) for name in PRICES])
    volume = ~_near(rows["volume"], rows["old_volume"], float(np.log(VOLUME)))
    return pd.Series(price | (volume & ~young.to_numpy()), index=rows.index)


def _near(new: pd.Series[float], old: pd.Series[float], tolerance: float) -> Any:
    """Whether two columns differ by no more than a log tolerance; equal values always do."""
    a, b = new.to_numpy(dtype=np.float64), old.to_numpy(dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        return (a == b) | (np.abs(np.log(a / b)) <= tolerance)


def _rescaled(rows: pd.DataFrame, actions: Sequence[CorporateAction]) -> tuple[float, Mask]:
    """By which factor which of the rows were multiplied, rounding to a cent allowed; none of them if by no one factor.

    The factor is one of known splits, or the median one of all rows, if all of five and more share it.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.log(np.stack([rows[name] / rows[f"old_{name}"] for name in PRICES]))
    allowed = PRICE + 0.01 / np.minimum(rows["low"].to_numpy(), rows["old_low"].to_numpy())
    for ratio in _ratios(actions):
        alike = _near_factor(ratios, np.log(ratio), allowed)
        if alike.any():
            return ratio, alike
    factor = float(np.median(ratios)) if len(rows) >= RESCALED else 0.0
    alike = _near_factor(ratios, factor, PRICE + 0.01 / rows["low"].to_numpy())
    return float(np.exp(factor)), alike & bool(alike.all() and abs(factor) > PRICE)


def _near_factor(ratios: FloatArray, factor: float, allowed: FloatArray) -> Mask:
    return np.asarray(np.all(np.isfinite(ratios) & (np.abs(ratios - factor) <= allowed), axis=0))


def _ratios(actions: Sequence[CorporateAction]) -> list[float]:
    """Factors by which the latest splits, one or more of them, multiply the prices before, and the other way round."""
    found: list[float] = []
    product = 1.0
    for action in sorted((a for a in actions if a.kind == "split"), key=lambda a: a.session, reverse=True):
        product *= action.value
        found += [1.0 / product, product, 1.0 / action.value, action.value]
    return list(dict.fromkeys(ratio for ratio in found if abs(np.log(ratio)) > PRICE))


def _words(row: Any) -> str:
    names = [name for name in (*PRICES, "volume") if row[name] != row[f"old_{name}"]]
    changed = ", ".join(f"{name} {row[f'old_{name}']:.15g} became {row[name]:.15g}" for name in names)
    return f"{changed} (read before {row['known_at']:%Y-%m-%d %H:%M} UTC, and then)"


def _finding(rule: str, symbol: str, row: Any, detail: str) -> Finding:
    severity: Any = "warning" if rule == RULE else "info"
    return Finding(rule=rule, severity=severity, symbol=symbol, time=f"{row['time']:%Y-%m-%dT%H:%M:%SZ}", detail=detail)
