"""On which session each window, walk-forward fold, gate and origin begins: dates alone, no rows.

The gate begins at a term boundary of the calendar. What lies before it is shared out: search windows first, then folds
of equal length. Origins follow the gate's start at fixed distances. So a later bar moves nothing within a term, except
that it may add an origin at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from tasks.contracts import SEARCH_WINDOWS, WindowName
from tasks.errors import ConfigurationError

Day = np.datetime64
DayArray = npt.NDArray[np.datetime64]

SEARCH_SHARE = 0.6
"""Share of the dates before the gate that the engines search on; the folds have the rest. Twenty years of daily bars
leave some 14 years before the gate: 8 and a half to search on, more than one each for five folds."""

SHARES: dict[WindowName, float] = {"train": 0.58, "validation": 0.14, "blending": 0.14, "selection": 0.14}
"""Shares of the search dates: 5 years to fit on, and more than a year each to stop early on, to blend on and to make a
first choice on. 300 dates put the standard error of a mean loss near 6 % of its spread; more would cost the fit."""

ORIGIN_SESSIONS = 63
"""Sessions from one origin inside the gate to the next: a quarter. How far apart a refresh's refits are tried."""

ORIGIN_DATES = 21
"""The least dates that an origin's fit must have left to be scored on: a month."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """First sessions, ascending: of the four search windows, of each fold, of the gate, of each origin inside it."""

    search: tuple[Day, ...]
    folds: tuple[Day, ...]
    gate: Day
    origins: tuple[Day, ...]

    @property
    def scored(self) -> dict[str, Day]:
        """For each fit that is scored, by its name, the first session that it is scored on; in time order."""
        folds = {f"fit_fold_{number}": start for number, start in enumerate(self.folds, start=1)}
        origins = {f"fit_origin_{number}": start for number, start in enumerate(self.origins, start=1)}
        return {**folds, "fit_gate": self.gate, **origins}


def lay_out(label_sessions: DayArray, calendar: DayArray, *, gate_sessions: int, term: int, folds: int) -> Layout:
    """Where everything begins, for the (sorted, distinct) sessions that have features and a label.

    calendar: all sessions of the exchange from its fixed beginning. Raises ConfigurationError where there is no term
    boundary with ``gate_sessions`` dates after it and search dates before.
    """
    boundary = term_boundary(label_sessions, calendar, gate_sessions, term)
    gate = _checked(boundary, label_sessions, gate_sessions)
    before = label_sessions[label_sessions < gate]
    shares = np.cumsum([0.0, *(SEARCH_SHARE * SHARES[name] for name in SEARCH_WINDOWS)])
    steps = SEARCH_SHARE + (1.0 - SEARCH_SHARE) * np.arange(1, folds) / folds
    starts = _at(before, np.concatenate([shares, steps]))
    return Layout(
        search=tuple(starts[: len(SEARCH_WINDOWS)]),
        folds=tuple(starts[len(SEARCH_WINDOWS) :]),
        gate=gate,
        origins=tuple(_origins(label_sessions, calendar, gate)),
    )


def term_boundary(label_sessions: DayArray, calendar_sessions: DayArray, gate_sessions: int, term: int) -> Day | None:
    """The last term boundary that leaves ``gate_sessions`` of the (sorted, distinct) label sessions, None if none does.

    Boundaries are ``calendar_sessions[::term]``: they depend on the calendar alone, so neither another night's bars nor
    a longer history moves them.
    """
    boundaries = calendar_sessions[::term]
    left = len(label_sessions) - np.searchsorted(label_sessions, boundaries)
    enough = np.flatnonzero(left >= gate_sessions)
    return boundaries[enough[-1]] if len(enough) else None


def _checked(gate: Day | None, label_sessions: DayArray, gate_sessions: int) -> Day:
    """The gate's first session, if there is one with search dates before it; else raise ConfigurationError."""
    if gate is None or not (label_sessions < gate).any():
        raise ConfigurationError(
            f"only {len(label_sessions)} dates have features and a label; the gate needs {gate_sessions} of them after "
            "a term boundary, and the search needs dates before that. Give a longer history, or lower gate_sessions "
            "or term"
        )
    return gate


def _at(sessions: DayArray, shares: npt.NDArray[np.float64]) -> Sequence[Day]:
    # Rounding first keeps a share such as 0.58 + 0.14 from falling one date short of its product.
    places = np.floor(np.round(shares * len(sessions), 9)).astype(int)
    return [sessions[place] for place in places]


def _origins(label_sessions: DayArray, calendar: DayArray, gate: Day) -> Sequence[Day]:
    after = calendar[int(np.searchsorted(calendar, gate)) + ORIGIN_SESSIONS :: ORIGIN_SESSIONS]
    left = len(label_sessions) - np.searchsorted(label_sessions, after)
    return list(after[left >= ORIGIN_DATES])
