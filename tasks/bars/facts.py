"""Facts about a source that decide which features make sense on it.

Which columns exist is a property of the source. It is decided on the earlier part of its sessions alone, so that
tonight's bars, or any that a gate judges, cannot change the columns.
"""

from __future__ import annotations

import numpy as np
import pandas as pd

REPEATED_OPENS = 0.10
TRADED_SHARE = 0.95
ENOUGH = 20
EARLIER = 0.6
"""Share of the sessions, from the first on, that decides."""


def earlier_part(frame: pd.DataFrame) -> pd.DataFrame:
    """The canonical bars of the first 60 % of the sessions of all symbols together, at least of one session."""
    sessions = np.unique(frame["session"].to_numpy())
    return frame[frame["session"].isin(sessions[: max(int(EARLIER * len(sessions)), 1)])]


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

    One bad year condemns the whole source: a feature must mean the same in every row. Only the earlier part of
    ``frame`` (canonical bars) is looked at.
    """
    return all(share <= REPEATED_OPENS for share in repeated_opens(earlier_part(frame)).values())


def has_volume(frame: pd.DataFrame) -> bool:
    """Whether volume says anything: positive on at least 95 % of every year's bars, and not one constant.

    Only the earlier part of ``frame`` (canonical bars) is looked at.
    """
    earlier = earlier_part(frame)
    volume = earlier["volume"].to_numpy()
    if not len(volume) or np.all(volume == volume[0]):
        return False
    traded = pd.Series(volume > 0, index=pd.DatetimeIndex(earlier["session"]).year).groupby(level=0).mean()
    return bool((traded >= TRADED_SHARE).all())


def opens_warning(frame: pd.DataFrame) -> str:
    """What to tell a reader of years whose opens are no trades of their own; empty where there are none."""
    bad = {year: share for year, share in repeated_opens(frame).items() if share > REPEATED_OPENS}
    if not bad:
        return ""
    years = ", ".join(f"{year} {share:.0%}" for year, share in bad.items())
    if true_opens(frame):
        return (
            f"opens repeat the previous close in later years ({years}); features of the overnight gap are kept, since "
            f"the first {EARLIER:.0%} of the sessions decide"
        )
    return f"no true opens: they repeat the previous close ({years}); features of the overnight gap are left out"
