"""How far labels of different sessions overlap: the least lag at which losses of different dates are related."""

from __future__ import annotations

import numpy as np
import pandas as pd


def label_overlap(rows: pd.DataFrame, horizon: int) -> int:
    """How many later sessions' labels share a bar with a session's labels, at the most.

    rows: columns ``symbol, session``, one row a bar. A session's last label covers the next ``horizon`` bars, so it
    reaches as many sessions as hold the next ``horizon`` - 1 of them: more around early closes and holidays, which is
    why the sessions are counted and no typical size is taken. A session has as many bars as the symbol that has most:
    a symbol that hardly trades does not stretch the calendar.
    """
    sizes = rows.groupby(["session", "symbol"]).size().groupby(level="session").max().to_numpy()
    ends = np.cumsum(sizes)
    reached = np.minimum(np.searchsorted(ends, ends + horizon - 1), len(ends) - 1)
    return int((reached - np.arange(len(ends))).max(initial=0))
