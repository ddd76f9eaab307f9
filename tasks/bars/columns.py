"""Which column of a file is which: vendors' names mapped onto time, open, high, low, close, volume, symbol."""

from __future__ import annotations

import re
from collections.abc import Sequence

# In order of preference: where a file has several, the first one listed is used and the others are reported.
ALIASES: dict[str, tuple[str, ...]] = {
    "time": (
        *("timestamp", "datetime", "time", "date", "opentime", "day", "dt", "ts", "t", "tradedate", "tradingday"),
        *("session", "unix", "unixtime", "epoch", "gmttime", "localtime", "starttime", "barstart", "period", "barend"),
        *("closetime", "endtime", "indexlevel0", "unnamed0", ""),
    ),
    "open": ("open", "o", "openprice", "opening", "priceopen", "op", "first"),
    "high": ("high", "h", "highprice", "pricehigh", "hi", "max"),
    "low": ("low", "l", "lowprice", "pricelow", "lo", "min"),
    "close": ("close", "c", "closeprice", "closing", "priceclose", "cl", "last", "closelast", "price", "settle"),
    "adj_close": ("adjclose", "adjustedclose", "closeadj", "closeadjusted", "adjcloseprice", "adjcl", "ac"),
    "volume": ("volume", "vol", "v", "tickvolume", "tickvol", "totalvolume", "volumetraded", "basevolume", "qty"),
    "symbol": (
        *("symbol", "ticker", "sym", "tic", "instrument", "asset", "code", "pair", "actsymbol", "security"),
        *("stock", "ric", "name"),
    ),
}
REQUIRED = ("time", "open", "high", "low", "close")
STARTS = ("opentime", "starttime", "barstart")
_NOISE = re.compile(r"[\s_\-.:/<>\"'*()]+")
_NUMBERED = re.compile(r"^\d+\s*[.:)]\s*(?=\D)")


def plain(name: str) -> str:
    """A column's name without case, spaces, punctuation, a leading number ("1. open") or a byte order mark."""
    return _NOISE.sub("", _NUMBERED.sub("", name.strip().lstrip("\ufeff"))).lower()


def match_columns(names: Sequence[str]) -> dict[str, int]:
    """Canonical name -> position, for those found. A prefix that all names share ("Candlestick.Open") is ignored.

    Where dates and times of day stand in two columns, the second is given as ``clock``.
    """
    simple = [plain(name) for name in _without_prefix(names)]
    found: dict[str, int] = {}
    for canonical, aliases in ALIASES.items():
        position = next((simple.index(alias) for alias in aliases if alias in simple), None)
        if position is not None and position not in found.values():
            found[canonical] = position
    if "date" in simple and "time" in simple:
        found["time"], found["clock"] = simple.index("date"), simple.index("time")
    return found


def named_as_start(name: str) -> bool:
    """Whether a time column's name says that it holds the bar's start."""
    return plain(name) in STARTS


def _without_prefix(names: Sequence[str]) -> list[str]:
    prefixes = {name.split(".", 1)[0] for name in names}
    if len(names) > 1 and len(prefixes) == 1 and all("." in name for name in names):
        return [name.split(".", 1)[1] for name in names]
    return list(names)
