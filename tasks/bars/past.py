"""What the store knew at a time that has passed: the bars, events and quarantines of a night that could have run then.

A night of then and a run ``as_of`` it now, with whatever the source was restated to meanwhile, have one snapshot.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import pandas as pd

from tasks.bars.actions import CorporateAction
from tasks.bars.actions_store import ActionStore
from tasks.bars.check import CheckedBars
from tasks.bars.describe import SourceDescription
from tasks.bars.readings import ReadingStore
from tasks.bars.restated import restatements
from tasks.bars.sources.registry import find_source
from tasks.bars.store import BarStore
from tasks.contracts import Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class Night:
    """Bars and events as known at its time, and what had been restated within the day before."""

    checked: CheckedBars
    actions: tuple[CorporateAction, ...]
    restated: list[Finding]


def as_known(
    checked: CheckedBars, store: BarStore, book: ActionStore, description: SourceDescription, as_of: pd.Timestamp
) -> Night:
    """``checked``: what the checks accept today of the bars up to ``as_of``; the findings stay, the bars are replaced.

    Where a reading of then is recorded, its quarantine is taken too. Raises IntegrityError if a part was altered.
    """
    looks = ReadingStore(description).read()
    delay = pd.Timedelta(find_source(description)[0].delay)
    known = store.known(as_of, looks, delay)
    frame = known.frame
    if description.symbols:
        frame = frame[frame["symbol"].isin(description.symbols)].reset_index(drop=True)
    night = looks.last(description.symbols, as_of)
    found = replace(checked, frame=frame, warnings=(*checked.warnings, *_told(known.assumed, delay, as_of)))
    if night is None:
        found = replace(found, frame=_without(frame, checked.quarantined_from))
    else:
        found = replace(found, quarantined=night.quarantined, quarantined_from=night.quarantined_from)
    revisions = store.revisions()
    actions = book.known(as_of, looks, revisions, delay)
    revisions = revisions[(revisions["known_at"] <= as_of) & (revisions["time"] <= as_of)]
    return Night(checked=found, actions=actions, restated=restatements(revisions, as_of, actions))


def _without(frame: pd.DataFrame, quarantined_from: Mapping[str, str]) -> pd.DataFrame:
    """The bars before each symbol's quarantine."""
    if not quarantined_from:
        return frame
    since = pd.to_datetime(frame["symbol"].map(quarantined_from))
    return frame[~(frame["session"] >= since)].reset_index(drop=True)


def _told(assumed: int, delay: pd.Timedelta, as_of: pd.Timestamp) -> tuple[str, ...]:
    if not assumed:
        return ()
    after = f"{delay.total_seconds() / 60:g} minutes after" if delay else "when"
    return (
        f"{assumed:,} bars were first read after {as_of:%Y-%m-%d %H:%M} UTC, history and all; they count as known "
        f"{after} they closed",
    )
