"""How long each window must be for the horizon, and the refusal in words where one is not.

A label over h bars makes neighbours share h - 1 of their h bars, so n bars hold about n / h independent labels. Each
window needs enough of those for what is done in it:

- validation, blending, selection and each fold: 5 h bars (five labels that do not overlap at all, the least from which
  a spread can be seen) and never fewer than 20 bars and 20 dates (a month), since an early stop or a rank on less is
  luck;
- train: twice that in labels (10 h bars), 60 dates (a quarter), and 250 rows (a year of one symbol's daily bars), since
  a fit needs more than a mean does;
- gate: ``gate_sessions`` dates.

The search windows share the first part of the dates before the gate, the folds the rest (``layout``).
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from tasks.contracts import Window, WindowName
from tasks.errors import ConfigurationError
from tasks.problem import Problem
from tasks.splits.layout import SEARCH_SHARE, SHARES

WINDOW_DATES = 20
WINDOW_LABELS = 5
TRAIN_DATES = 60
TRAIN_ROWS = 250
TRAIN_LABELS = 10
SECONDS_A_BAR = {"1h": 3600, "30min": 1800, "15min": 900, "5min": 300, "1min": 60}


def least_bars(name: WindowName, horizon: int) -> int:
    """The least number of distinct bar times that a search window must hold after the purge."""
    if name == "train":
        return max(TRAIN_DATES, TRAIN_LABELS * horizon)
    return max(WINDOW_DATES, WINDOW_LABELS * horizon)


def least_dates(name: WindowName, gate_sessions: int) -> int:
    """The least number of distinct dates that a window must hold after the purge."""
    if name == "gate":
        return gate_sessions
    return TRAIN_DATES if name == "train" else WINDOW_DATES


def check_sizes(windows: Sequence[Window], bars: Sequence[int], *, horizon: int, gate_sessions: int) -> None:
    """Raise ConfigurationError if any window is too short, naming all of them, the horizon and what to change.

    windows: in time order, each fold by itself; bars: how many distinct bar times each of them holds.
    """
    titles = _titles(windows)
    sized = list(zip(titles, windows, bars, strict=True))
    short = [title for title, window, count in sized if _is_short(window, count, horizon, gate_sessions)]
    if short:
        listed = "; ".join(_sized(title, window, count, horizon, gate_sessions) for title, window, count in sized)
        raise ConfigurationError(
            f"windows too short for a horizon of {horizon} bars: {', '.join(short)}. {listed}. "
            "Give a longer history, or lower horizon, embargo, folds, gate_sessions or term"
        )


def _titles(windows: Sequence[Window]) -> list[str]:
    folds = itertools.count(1)
    return [f"fold {next(folds)}" if window.name == "fold" else window.name for window in windows]


def precheck(n_sessions: int, lookback: int, problem: Problem) -> None:
    """Refuse before anything costly what cannot work: raises ConfigurationError with the sessions each part needs.

    n_sessions: sessions of the longest symbol's history; lookback: bars that the longest feature needs before its
    first value. Only a necessary condition (the gate may begin up to a term earlier than assumed here); intraday bars
    count at 24 hours a session, so that nothing is refused which could work.
    """
    per_session = 1 if problem.bar == "1d" else 86_400 // SECONDS_A_BAR[problem.bar]
    search = _least_before_gate(problem, per_session)
    warm_up = _sessions(lookback, per_session)
    tail = _sessions(problem.horizon, per_session)
    needed = warm_up + search + problem.gate_sessions + tail
    if n_sessions < needed:
        raise ConfigurationError(
            f"{n_sessions} sessions are too few for a horizon of {problem.horizon} bars: at least {needed} are "
            f"needed (features' lookback {warm_up}, search windows and {problem.folds} folds {search}, gate "
            f"{problem.gate_sessions}, last labels {tail}). Give a longer history, or lower horizon, embargo, folds, "
            "max_lookback or gate_sessions"
        )


def check_horizon(problem: Problem) -> None:
    """Refuse, before bars are read, a horizon that no gate window can judge. Raises ConfigurationError."""
    per_session = 1 if problem.bar == "1d" else 86_400 // SECONDS_A_BAR[problem.bar]
    gate = problem.gate_sessions * per_session
    if problem.horizon + problem.embargo >= gate:
        raise ConfigurationError(
            f"a horizon of {problem.horizon} bars with an embargo of {problem.embargo} is as long as the gate "
            f"window: its {problem.gate_sessions} sessions hold {gate} bars of {problem.bar} at most. Lower horizon or "
            "embargo, or raise gate_sessions"
        )


def _least_before_gate(problem: Problem, per_session: int) -> int:
    # A barrier may be touched on the next bar; every other label takes the whole horizon.
    gap = problem.embargo + (1 if problem.target == "triple_barrier" else problem.horizon)
    train = max(TRAIN_DATES, _sessions(least_bars("train", problem.horizon) + gap, per_session))
    other = max(WINDOW_DATES, _sessions(least_bars("selection", problem.horizon) + gap, per_session))
    search = max(train / SHARES["train"], other / SHARES["selection"])
    return max(int(search / SEARCH_SHARE), int(other * problem.folds / (1.0 - SEARCH_SHARE)))


def _sessions(bars: int, per_session: int) -> int:
    return bars // per_session


def _is_short(window: Window, bars: int, horizon: int, gate_sessions: int) -> bool:
    if window.dates < least_dates(window.name, gate_sessions):
        return True
    if window.name == "gate":
        return False
    return bars < least_bars(window.name, horizon) or (window.name == "train" and window.rows < TRAIN_ROWS)


def _sized(title: str, window: Window, bars: int, horizon: int, gate_sessions: int) -> str:
    needs = f"{least_dates(window.name, gate_sessions)} dates"
    if window.name != "gate":
        needs += f", {least_bars(window.name, horizon)} bars"
    if window.name == "train":
        needs += f", {TRAIN_ROWS} rows"
    return f"{title}: {window.rows:,} rows, {window.dates:,} dates, {bars:,} bars (needs {needs})"
