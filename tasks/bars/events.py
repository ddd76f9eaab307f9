"""The corporate actions that came with a reading: from the vendor, or from the user's file; those that can be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pandas as pd

from tasks.bars.actions import CorporateAction, each_once, wrong_actions
from tasks.bars.actions_file import read_actions
from tasks.bars.actions_store import Covered
from tasks.bars.describe import SourceDescription
from tasks.bars.refusal import refusal
from tasks.bars.sessions import CalendarRangeError, load_sessions
from tasks.bars.stamps import Times
from tasks.contracts import Finding

NO_BARS = pd.DataFrame({"symbol": np.array([], dtype=object), "session": np.array([], "datetime64[ns]"), "close": []})


@dataclass(frozen=True, slots=True, kw_only=True)
class Brought:
    """Events of a reading, what they should be all of, and what was found wrong with others."""

    actions: tuple[CorporateAction, ...] = ()
    covered: tuple[Covered, ...] = ()
    findings: tuple[Finding, ...] = ()
    from_file: bool = False


def brought(description: SourceDescription, actions: Sequence[CorporateAction], covered: Sequence[Covered]) -> Brought:
    """The vendor's events, or the file's where the description names one, but for those on days without a session.

    Raises DataError for a file that cannot be read, BarsRefusedError where one of its events is on such a day.
    """
    if description.actions:
        mine = read_actions(description.actions)
        whole = Covered(symbols=(), first=date.min, last=date.max)
        came = Brought(actions=mine, covered=(whole,), from_file=True)
    else:
        came = Brought(actions=each_once(actions), covered=tuple(covered))
    return _without_wrong(came, NO_BARS, description)


def within_reason(came: Brought, bars: pd.DataFrame, description: SourceDescription) -> Brought:
    """The events that the bars (canonical, as quoted) do not rule out. Raises BarsRefusedError as ``brought``."""
    return _without_wrong(came, bars, description)


def _without_wrong(came: Brought, bars: pd.DataFrame, description: SourceDescription) -> Brought:
    if not came.actions:
        return came
    wrong = wrong_actions(
        came.actions, _labels(came.actions, description), bars, "refused" if came.from_file else "set_aside"
    )
    if wrong and came.from_file:
        count = "a corporate action" if len(wrong) == 1 else f"{len(wrong):,} corporate actions"
        raise refusal(description.actions, f"{count} cannot be.", list(wrong.values()))
    kept = tuple(action for action in came.actions if action not in wrong)
    return replace(came, actions=kept, findings=(*came.findings, *wrong.values()))


def _labels(actions: Sequence[CorporateAction], description: SourceDescription) -> Times:
    days = [np.datetime64(action.session) for action in actions]
    try:
        return load_sessions(description.calendar, min(days), max(days)).labels
    except CalendarRangeError:
        return np.array([], dtype="datetime64[ns]")  # events from before the calendar's time are left alone
