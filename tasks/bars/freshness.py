"""Whether the newest bar is as new as a scheduled night asks for. Pure: no clock, no file."""

from __future__ import annotations

import logging
from datetime import datetime

from tasks.bars.night import CalendarRangeError, sessions_behind
from tasks.problem import Problem

log = logging.getLogger("nocturne.bars")


def lateness(problem: Problem, newest: str, moment: datetime) -> str:
    """Why bars are too old for a night at an aware instant: words that name sessions, source and newest bar.

    newest: when the newest bar closed (ISO 8601, UTC). Empty where the bars are new enough, where the problem does not
    ask (``fresh_within`` 0), and where the calendar does not know the time. Raises ConfigurationError for an unknown
    calendar.
    """
    if not problem.fresh_within:
        return ""
    try:
        missing = sessions_behind(problem.calendar, datetime.fromisoformat(newest), moment)
    except CalendarRangeError as error:
        log.warning("whether bars are late cannot be told: %s", error)
        return ""
    if len(missing) < problem.fresh_within:
        return ""
    first, last = missing[0].label, missing[-1].label
    lacking = f"session {last}" if first == last else f"sessions {first} to {last} ({len(missing)} of them)"
    asked = "the last session" if problem.fresh_within == 1 else f"one of the last {problem.fresh_within} sessions"
    return (
        f"bars are late: {problem.source} lacks {lacking} of {problem.calendar}; its newest bar closed at {newest}, "
        f"and fresh_within asks for a bar of {asked}"
    )
