"""Raw bars placed in their sessions: the arrays that every check reads, row by row with the source."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.bars.actions import CorporateAction
from tasks.bars.describe import SourceDescription, parse_as_of
from tasks.bars.raw import PRICES, RawBars
from tasks.bars.refusal import printable
from tasks.bars.sessions import Placed, Sessions, load_sessions, place
from tasks.bars.stamps import DAY, Mask, Times
from tasks.bars.utc import naive
from tasks.contracts import Finding, Severity

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """``raw`` with, per row: its place in the calendar, and whether it counts at all (``live``).

    ``stamps`` holds the best known time of a row: its close, else its stamp or date, else NaT. Not live: symbols that
    were not asked for, bars after ``as_of``, and bars that are not finished at ``now``. ``actions``: splits that
    explain a jump.
    """

    raw: RawBars
    description: SourceDescription
    sessions: Sessions
    placed: Placed
    code: npt.NDArray[np.int32]
    file: npt.NDArray[np.int32]
    row: npt.NDArray[np.int64]
    stamps: Times
    now: np.datetime64
    live: Mask
    unfinished: Mask
    later: Mask
    actions: tuple[CorporateAction, ...] = ()

    def values(self, column: str) -> Floats:
        """A column of the raw frame as float64 (n,)."""
        return self.raw.frame[column].to_numpy(dtype=np.float64)

    def symbol(self, at: int) -> str:
        """The printable symbol of a row; empty if it has none."""
        return printable(self.raw.symbols[self.code[at]], 64) if self.code[at] >= 0 else ""

    def file_name(self, at: int) -> str:
        """The printable name of the file that a row came from."""
        return printable(self.raw.files[self.file[at]], 120)

    def finding(self, at: int, rule: str, severity: Severity, detail: str) -> Finding:
        """A finding about one row: symbol, time and row number filled in, the file named in the detail."""
        return Finding(
            rule=rule,
            severity=severity,
            symbol=self.symbol(at),
            time=iso(self.stamps[at]),
            row=int(self.row[at]),
            detail=f"{self.file_name(at)}: {detail}",
        )


def build_panel(raw: RawBars, description: SourceDescription, now: pd.Timestamp) -> Panel:
    """Place every row in the calendar and mark what is not to be used yet.

    Raises ConfigurationError for an unknown calendar, CalendarRangeError for years that it does not cover.
    """
    frame = raw.frame
    dates, instants = frame["date"].to_numpy(), frame["instant"].to_numpy()
    moment = naive(now)
    sessions = _sessions(dates, instants, description, moment)
    placed = place(dates, instants, sessions, description)
    wanted = _wanted(raw, description)
    blank = np.zeros(len(frame), dtype=bool)
    panel = Panel(
        raw=raw,
        description=description,
        sessions=sessions,
        placed=placed,
        code=frame["code"].to_numpy(dtype=np.int32),
        file=frame["file"].to_numpy(dtype=np.int32),
        row=frame["row"].to_numpy(dtype=np.int64),
        stamps=np.where(np.isnat(placed.close), np.where(np.isnat(instants), dates, instants), placed.close),
        now=moment,
        live=wanted,
        unfinished=blank,
        later=blank,
    )
    return _without_unknown_future(panel)


def _without_unknown_future(panel: Panel) -> Panel:
    later = np.zeros(len(panel.live), dtype=bool)
    cutoff = parse_as_of(panel.description.as_of)
    if cutoff is not None:
        later = panel.live & (panel.stamps > np.datetime64(cutoff.replace(tzinfo=None), "ns"))
    live = panel.live & ~later
    # A bar is unfinished if it closes after now; one that begins more than a bar from now is no bar but a wrong stamp.
    step = np.timedelta64(panel.description.step)
    unfinished = live & (panel.placed.close > panel.now) & (panel.placed.start <= panel.now + step)
    return replace(panel, live=live & ~unfinished, unfinished=unfinished, later=later)


def _wanted(raw: RawBars, description: SourceDescription) -> Mask:
    code = raw.frame["code"].to_numpy()
    if not description.symbols:
        return np.ones(len(code), dtype=bool)
    chosen = [at for at, name in enumerate(raw.symbols) if name in set(description.symbols)]
    return np.isin(code, chosen)


def _sessions(dates: Times, instants: Times, description: SourceDescription, now: np.datetime64) -> Sessions:
    known = np.concatenate([dates[~np.isnat(dates)], instants[~np.isnat(instants)]])
    # A stamp far in the future is refused by its own rule, and must not ask the calendar for its year.
    known = known[known <= now + 30 * DAY]
    first, last = (known.min(), known.max()) if len(known) else (now - 30 * DAY, now)
    return load_sessions(description.calendar, first - 10 * DAY, last + 10 * DAY)


def iso(moment: np.datetime64) -> str:
    """ISO 8601 in UTC, empty for NaT."""
    return "" if np.isnat(moment) else f"{moment.astype('datetime64[s]')}Z"


def canonical(panel: Panel, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """The canonical bars frame of the given rows, in their order; volume 0 where the source has none."""
    names = np.asarray(panel.raw.symbols, dtype=object)
    volume = panel.values("volume")[rows] if panel.raw.has_volume else np.zeros(len(rows))
    return pd.DataFrame(
        {
            "symbol": names[panel.code[rows]],
            "time": pd.DatetimeIndex(panel.placed.close[rows]).tz_localize("UTC"),
            "session": panel.placed.session[rows],
            **{name: panel.values(name)[rows] for name in PRICES},
            "volume": volume,
        }
    )
