"""Facts about a whole set of bars that decide which features make sense on it."""

from __future__ import annotations

import numpy as np
import pandas as pd

REPEATED_OPENS = 0.10
TRADED_SHARE = 0.95
ENOUGH = 20


def repeated_opens(frame: pd.DataFrame) -> dict[int, float]:
    """Year -> share of sessions whose first open equals the previous session's last close, to the last digit.

    ``frame``: canonical bars. Years with fewer than 20 such pairs are left out.
    """
    symbol, session = frame["symbol"].to_numpy(), frame["session"].to_numpy()
    first = (symbol[1:] == symbol[:-1]) & (session[1:] != session[:-1])
    equal = (frame["open"].to_numpy()[1:] == frame["close"].to_numpy()[:-1])[first]
    years = pd.DatetimeIndex(session[1:][first]).year
    by_year = pd.Series(equal, index=years).groupby(level=0).agg(["mean", "size"])
    return {int(year): float(row["mean"]) for year, row in by_year.iterrows() if row["size"] >= ENOUGH}  # type: ignore[call-overload]


def true_opens(frame: pd.DataFrame) -> bool:
    """Whether opens are trades of their own: in no year do more than 10 % of them repeat the previous close.

    One bad year condemns the whole source: a feature must mean the same in every row.
    """
    return all(share <= REPEATED_OPENS for share in repeated_opens(frame).values())


def has_volume(frame: pd.DataFrame) -> bool:
    """Whether volume says anything: positive on at least 95 % of every year's bars, and not one constant."""
    volume = frame["volume"].to_numpy()
    if not len(volume) or np.all(volume == volume[0]):
        return False
    traded = pd.Series(volume > 0, index=pd.DatetimeIndex(frame["session"]).year).groupby(level=0).mean()
    return bool((traded >= TRADED_SHARE).all())


def opens_warning(frame: pd.DataFrame) -> str:
    """What to tell a reader where the source has no true opens; empty where it has."""
    bad = {year: share for year, share in repeated_opens(frame).items() if share > REPEATED_OPENS}
    if not bad:
        return ""
    years = ", ".join(f"{year} {share:.0%}" for year, share in bad.items())
    return f"no true opens: they repeat the previous close ({years}); features of the overnight gap are left out"
