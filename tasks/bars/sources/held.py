"""What the store holds of the symbols that a vendor's source is asked for, and whether it is all that is due."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import pandas as pd

from tasks.bars.actions import ACTION_KEYS, actions_frame
from tasks.bars.actions_store import ActionStore
from tasks.bars.describe import SourceDescription
from tasks.bars.digests import values_digest
from tasks.bars.readings import ReadingStore
from tasks.bars.schema import COLUMNS
from tasks.bars.sessions import load_sessions
from tasks.bars.stamps import DAY, Times
from tasks.bars.store import BarStore
from tasks.bars.utc import naive

ENDED = 5
"""A symbol whose newest bar is older than so many sessions, while others have newer ones, has ended and is not late."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """``due``: the close of the newest bar that there should be (ISO 8601, UTC). ``whole``: each symbol has it, but for
    those that ended or were quarantined. ``digest``: SHA-256 of the bars in use and of the events.
    """

    due: str
    whole: bool
    digest: str


def held(description: SourceDescription, moment: datetime) -> Held:
    """What is stored of the described symbols (of all, where none are named), against what closed by an aware time.

    Nobody is asked and nothing is written. Raises IntegrityError if a part differs from its record.
    """
    bars = BarStore(description).in_use()
    events = actions_frame(ActionStore(description).read())
    if description.symbols:
        bars, events = (part[part["symbol"].isin(description.symbols)] for part in (bars, events))
    closes = _closes(description, naive(pd.Timestamp(moment)))
    contents = values_digest(bars[list(COLUMNS)]), values_digest(events[[*ACTION_KEYS, "value"]])
    return Held(
        due=str(closes[-1]),
        whole=_whole(bars, closes, description),
        digest=hashlib.sha256(" ".join(contents).encode()).hexdigest(),
    )


def _closes(description: SourceDescription, moment: np.datetime64) -> Times:
    """When the last sessions closed, and last of all the newest bar that is due."""
    sessions = load_sessions(description.calendar, moment - 31 * DAY, moment + DAY)
    closed = sessions.closes[sessions.closes <= moment]
    closed = closed[-31:]
    if description.daily:
        return closed
    step = np.timedelta64(description.step)
    opened = sessions.opens[sessions.opens <= moment].max()
    inside = opened + (moment - opened) // step * step
    newest = min(inside, sessions.closes[sessions.opens == opened][0])
    return np.append(closed, newest) if newest > closed[-1] else closed


def _whole(bars: pd.DataFrame, closes: Times, description: SourceDescription) -> bool:
    newest = bars.groupby("symbol")["time"].max().dt.tz_localize(None)
    wanted = newest.reindex(list(description.symbols)) if description.symbols else newest
    last = ReadingStore(description).newest(description.symbols, since=pd.Timestamp(closes[0], tz="UTC"))
    wanted = wanted[~wanted.index.isin(last.quarantined if last else ())]
    ended = wanted < closes[-min(ENDED + 1, len(closes))]
    return bool(not ended.all() and (wanted[~ended] >= closes[-1]).all())
