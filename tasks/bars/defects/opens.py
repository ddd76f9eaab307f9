"""Opens that are no trades: the vendor repeats the previous close."""

from __future__ import annotations

import numpy as np
import pandas as pd

from tasks.bars.defects.defect import Defect
from tasks.bars.defects.history import History
from tasks.bars.facts import never_closes, opens_by_year

COLUMNS = ("symbol", "year", "pairs", "share")


def repeated_opens(h: History) -> list[Defect]:
    """Years of a symbol in which more than 10 % of the opens equal the previous close, coarse ticks allowed for.

    S&P 500 before 2006: 95 to 100 %. One finding a symbol and year; see ``facts.opens_by_year``.
    """
    names = np.asarray(h.names, dtype=object)[h.symbol] if len(h) else np.array([], dtype=object)
    frame = pd.DataFrame({"symbol": names, "session": h.session, "open": h.open, "close": h.close})
    table = opens_by_year(frame, never_closes(h.calendar))
    bad = table[table["repeated"]]
    codes = {name: code for code, name in enumerate(h.names)}
    key = h.symbol * 10_000 + h.session.astype("datetime64[Y]").astype(np.int64) + 1970
    found = []
    for symbol, year, pairs, share in zip(*(bad[name].tolist() for name in COLUMNS), strict=True):
        at = int(np.searchsorted(key, codes[symbol] * 10_000 + year))
        detail = f"{share:.0%} of the {pairs:,} opens of {year} equal the previous close"
        found.append(Defect(at=at, rows=pairs, detail=detail))
    return found
