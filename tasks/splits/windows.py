"""Windows in time order, purged by each label's own end and embargoed: indices and dates only, no prices, no models.

```
 lookback      search rows: the engines look at these only                       gate: read once, by the decision
|.......|== train ==|..|== validation ==|..|== blending ==|..|== selection ==|..|========== gate ==========|hhh|
   no            58 %        14 %              14 %              14 %           ^ at least gate_sessions dates ^ no
 features                ^ purge + embargo: rows whose label ends,              |                            label
                           plus embargo bars, at or after the next window       term boundary: fixed for a term
```

Every cut lies between two sessions, for all symbols at once, so that one date of a panel is never in two windows and an
intraday window starts with a session. A row stays in its window only if the bar at which its label ends, plus the
embargo, lies before the first bar of the next window. The gate begins at the last term boundary (every ``term``-th
session of the calendar, counted from its beginning) that leaves ``gate_sessions`` label dates: it moves once a term and
not every night. Fits: ``fit_gate`` rows end before the gate; ``fit_all`` rows are all that have features and a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from tasks.contracts import SEARCH_WINDOWS, Window, WindowName
from tasks.splits.sizes import check_gate, check_sizes

BoolArray = npt.NDArray[np.bool_]
IntArray = npt.NDArray[np.int64]
DayArray = npt.NDArray[np.datetime64]

SHARES: dict[WindowName, float] = {"train": 0.58, "validation": 0.14, "blending": 0.14, "selection": 0.14}
"""Shares of the search dates. Daily history of twenty years leaves about 14 years of search dates: 8 to fit on, and 2
each to stop early on, to blend on and to rank on. 2 years (some 500 dates) put the standard error of a mean loss near
4.5 % of its spread; more would cost the fit, less would let luck rank."""

ALL_WINDOWS: tuple[WindowName, ...] = (*SEARCH_WINDOWS, "gate")


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowPlan:
    """Row-aligned windows. ``window``: object (n,), a WindowName or ""; the masks: bool (n,).

    ``purged`` counts rows with features and a label that lie in no window because of purge or embargo.
    ``term_start`` is the session (ISO date) at which the gate begins.
    """

    window: npt.NDArray[np.object_]
    fit_gate: BoolArray
    fit_all: BoolArray
    windows: tuple[Window, ...]
    purged: int
    term_start: str


@dataclass(frozen=True, slots=True)
class _Rows:
    """Every row's place in time: its bar and its label's end as ordinals of the distinct bar times, and its session."""

    times: pd.DatetimeIndex
    bar: IntArray
    end: IntArray
    session: DayArray
    eligible: BoolArray


def assign_windows(
    times: pd.DatetimeIndex,
    sessions_of_rows: pd.DatetimeIndex,
    label_end: pd.DatetimeIndex,
    usable: BoolArray,
    calendar_sessions: pd.DatetimeIndex,
    *,
    gate_sessions: int,
    term: int,
    embargo: int,
    horizon: int,
) -> WindowPlan:
    """Give every row (n rows, any order) its window, and say what each fit may learn from.

    times, label_end: UTC bar closes, label_end NaT where there is no label; sessions_of_rows: naive midnights; usable:
    bool (n,), every feature is finite; calendar_sessions: all sessions of the calendar from its fixed beginning.
    The embargo is counted in distinct bar times of the whole panel.

    Raises ConfigurationError, naming each window, its size and what to change, where a window is too short.
    """
    rows = _place(times, sessions_of_rows, label_end, usable)
    gate = _gate_session(rows, calendar_sessions, gate_sessions, term)
    starts = [*_search_starts(rows, gate), gate]
    window = _window_names(rows, starts, embargo)
    windows = tuple(_describe(rows, window, name) for name in ALL_WINDOWS)
    check_sizes(windows, _bars(rows, window), horizon=horizon, gate_sessions=gate_sessions)
    return WindowPlan(
        window=window,
        fit_gate=rows.eligible & (rows.end + embargo < _first_bar(rows, gate)),
        fit_all=rows.eligible,
        windows=windows,
        purged=int((rows.eligible & (rows.session >= starts[0]) & (window == "")).sum()),
        term_start=str(np.datetime_as_string(gate, unit="D")),
    )


def term_boundary(
    label_sessions: DayArray, calendar_sessions: DayArray, gate_sessions: int, term: int
) -> np.datetime64 | None:
    """The last term boundary that leaves ``gate_sessions`` of the (sorted, distinct) label sessions, None if none does.

    Boundaries are ``calendar_sessions[::term]``: they depend on the calendar alone, so neither another night's bars nor
    a longer history moves them.
    """
    boundaries = calendar_sessions[::term]
    left = len(label_sessions) - np.searchsorted(label_sessions, boundaries)
    enough = np.flatnonzero(left >= gate_sessions)
    return boundaries[enough[-1]] if len(enough) else None


def _place(
    times: pd.DatetimeIndex, sessions: pd.DatetimeIndex, label_end: pd.DatetimeIndex, usable: BoolArray
) -> _Rows:
    stamps, ends = (index.to_numpy(dtype="datetime64[ns]") for index in (times, label_end))
    distinct, bar = np.unique(stamps, return_inverse=True)
    eligible = np.asarray(usable, dtype=bool) & ~np.isnat(ends)
    # Without a label a row's end is beyond every bar; it is never eligible, so the value is never compared.
    end = np.where(eligible, np.searchsorted(distinct, ends), len(distinct))
    session = sessions.to_numpy(dtype="datetime64[ns]")
    return _Rows(
        pd.DatetimeIndex(distinct).tz_localize("UTC"), bar.astype(np.int64), end.astype(np.int64), session, eligible
    )


def _gate_session(rows: _Rows, calendar: pd.DatetimeIndex, gate_sessions: int, term: int) -> np.datetime64:
    label_sessions = np.unique(rows.session[rows.eligible])
    gate = term_boundary(label_sessions, calendar.to_numpy(dtype="datetime64[ns]"), gate_sessions, term)
    return check_gate(gate, label_sessions, gate_sessions=gate_sessions)


def _search_starts(rows: _Rows, gate: np.datetime64) -> list[np.datetime64]:
    """The first session of each search window: fixed shares of the dates that have features and a label."""
    sessions = np.unique(rows.session[rows.eligible & (rows.session < gate)])
    cumulative = np.cumsum([0.0, *(SHARES[name] for name in SEARCH_WINDOWS[:-1])])
    # Rounding first keeps a share such as 0.58 + 0.14 from falling one date short of its product.
    places = np.floor(np.round(cumulative * len(sessions), 9)).astype(int)
    return [sessions[place] for place in places]


def _first_bar(rows: _Rows, session: np.datetime64) -> int:
    """Ordinal of the first bar of the panel in or after a session (of any row, usable or not)."""
    later = rows.bar[rows.session >= session]
    return int(later.min()) if len(later) else len(rows.times)


def _window_names(rows: _Rows, starts: Sequence[np.datetime64], embargo: int) -> npt.NDArray[np.object_]:
    which = np.searchsorted(np.array(starts), rows.session, side="right") - 1
    next_bar = np.array([*(_first_bar(rows, start) for start in starts[1:]), np.iinfo(np.int64).max])
    keep = rows.eligible & (which >= 0) & (rows.end + embargo < next_bar[np.maximum(which, 0)])
    names = np.array(ALL_WINDOWS, dtype=object)
    return np.where(keep, names[np.maximum(which, 0)], "").astype(object)


def _bars(rows: _Rows, window: npt.NDArray[np.object_]) -> dict[WindowName, int]:
    return {name: len(np.unique(rows.bar[window == name])) for name in ALL_WINDOWS}


def _describe(rows: _Rows, window: npt.NDArray[np.object_], name: WindowName) -> Window:
    inside = window == name
    if not inside.any():
        return Window(name=name, first="", last="", rows=0, dates=0)
    bars = rows.bar[inside]
    return Window(
        name=name,
        first=rows.times[int(bars.min())].isoformat(),
        last=rows.times[int(bars.max())].isoformat(),
        rows=int(inside.sum()),
        dates=len(np.unique(rows.session[inside])),
    )
