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
ENOUGH_OF_MANY = 60
EARLIER = 0.6
"""Share of the sessions, from the first on, that decides."""
_YEARS = 10_000
SURVIVED = 5
"""A symbol whose last bar lies within so many sessions of the last one of all has survived."""


def earlier_part(frame: pd.DataFrame) -> pd.DataFrame:
    """The canonical bars of the first 60 % of the sessions of all symbols together, at least of one session."""
    sessions = np.unique(frame["session"].to_numpy())
    return frame[frame["session"].isin(sessions[: max(int(EARLIER * len(sessions)), 1)])]


def opens_by_year(frame: pd.DataFrame, continuous: bool = False) -> pd.DataFrame:
    """How often a session's first open equals the previous session's last close, by symbol and year.

    ``frame``: canonical bars. Columns ``symbol, year, pairs, share, near, repeated``. ``repeated``: the share is above
    10 %, and not for coarse ticks. Where prices move by a few ticks overnight, opens meet the close by chance as often
    as they miss it by one tick to either side; ``near`` is the share of those, and opens that are trades of their own
    equal the close at most as often as that (one standard deviation allowed). Where ticks are coarser than the moves
    themselves, opens tell nothing either, and count as repeated. Markets that never close (``continuous``)
    are not given that benefit: they have no overnight at all. Years with fewer than 20 pairs (60 in a panel) are left
    out.
    """
    symbol, session = frame["symbol"].to_numpy(), frame["session"].to_numpy()
    first = (symbol[1:] == symbol[:-1]) & (session[1:] != session[:-1])
    close = frame["close"].to_numpy()[:-1][first]
    miss = np.abs(frame["open"].to_numpy()[1:][first] - close)
    equal = miss <= 1e-9 * np.abs(close)
    codes, symbols = pd.factorize(symbol[1:][first], sort=True)
    years = pd.DatetimeIndex(session[1:][first]).year.to_numpy()
    groups, group, pairs = np.unique(codes * _YEARS + years, return_inverse=True, return_counts=True)
    tick = pd.Series(np.where(equal, np.nan, miss)).groupby(group).quantile(0.05).to_numpy()
    close_by = ~equal & (miss <= 1.01 * tick[group]) if len(group) else equal
    share, near = (np.bincount(group, weights=flags, minlength=len(groups)) / pairs for flags in (equal, close_by))
    table = pd.DataFrame(
        {
            "symbol": np.asarray(symbols, dtype=object)[groups // _YEARS],
            "year": groups % _YEARS,
            "pairs": pairs,
            "share": share,
            "near": near,
        }
    )
    allowed = 0.0 if continuous else table["near"] + np.sqrt(table["near"] / table["pairs"])
    table["repeated"] = (table["share"] > REPEATED_OPENS) & (table["share"] > allowed)
    enough = ENOUGH if len(symbols) <= 1 else ENOUGH_OF_MANY
    return table[table["pairs"] >= enough].reset_index(drop=True)


def repeated_opens(frame: pd.DataFrame, continuous: bool = False) -> dict[int, float]:
    """Year -> share of opens that repeat the previous close, for years without true opens.

    Those in which more than 10 % of all pairs belong to symbols whose opens repeat the close; the share is theirs.
    """
    table = opens_by_year(frame, continuous)
    years, pairs, share, repeated = (table[name].to_numpy() for name in ("year", "pairs", "share", "repeated"))
    found = {}
    for year in np.unique(years).tolist():
        rows = years == year
        bad = rows & repeated
        if pairs[bad].sum() > REPEATED_OPENS * pairs[rows].sum():
            found[year] = float(np.average(share[bad], weights=pairs[bad]))
    return found


def true_opens(frame: pd.DataFrame, continuous: bool = False) -> bool:
    """Whether opens are trades of their own in every year of the earlier part of ``frame`` (canonical bars).

    One bad year condemns the whole source: a feature must mean the same in every row.
    """
    return not repeated_opens(earlier_part(frame), continuous)


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


def survivors_only(frame: pd.DataFrame, quarantined: tuple[str, ...] = ()) -> bool:
    """Whether several symbols all reach the last session (or miss its last five at most): nobody vanished.

    ``frame``: canonical bars. Symbols that end because they were quarantined did not vanish, and do not count.
    """
    last = frame.loc[~frame["symbol"].isin(quarantined)].groupby("symbol")["session"].max()
    sessions = np.unique(frame["session"].to_numpy())
    return len(last) > 1 and bool((last >= sessions[-SURVIVED:][0]).all())


def never_closes(calendar: str) -> bool:
    """Whether sessions of this calendar follow one another without a break: 24/7, and 24/5 within the week."""
    return calendar.startswith("24/")


def opens_warning(frame: pd.DataFrame, continuous: bool = False) -> str:
    """What to tell a reader of years whose opens are no trades of their own; empty where there are none."""
    bad = repeated_opens(frame, continuous)
    if not bad:
        return ""
    years = ", ".join(f"{year} {share:.0%}" for year, share in bad.items())
    if true_opens(frame, continuous):
        return (
            f"opens repeat the previous close in later years ({years}); features of the overnight gap are kept, since "
            f"the first {EARLIER:.0%} of the sessions decide"
        )
    return f"no true opens: they repeat the previous close ({years}); features of the overnight gap are left out"
