"""One night's reading of a source: read, check, append what is new, freeze. No orchestration here.

1. Read: a file whole, a vendor's bars as far as they are not stored; splits and dividends with them, or from a file.
2. Check every bar as quoted; known splits explain what would look like an error.
3. Append bars, events and the reading itself to the store.
4. Choose: the bars just accepted, or, for an ``as_of`` that has passed, what the store knew then (``past.py``).
5. Freeze them, brought to the terms of their last bar, as a snapshot.
"""

from __future__ import annotations

import dataclasses
import logging

import pandas as pd

from tasks import storage
from tasks.bars.actions_store import ActionStore
from tasks.bars.adjusted import adjusted
from tasks.bars.check import CheckedBars, check_bars
from tasks.bars.describe import SourceDescription, parse_as_of
from tasks.bars.events import Brought, brought, within_reason
from tasks.bars.past import Night, as_known
from tasks.bars.readings import Reading, ReadingStore
from tasks.bars.refusal import SHOWN, BarsRefusedError
from tasks.bars.restated import restatements
from tasks.bars.restated import told as restated_words
from tasks.bars.snapshot import freeze
from tasks.bars.sources.reading import Reading as SourceReading
from tasks.bars.sources.reading import read_bars
from tasks.bars.store import Appended, BarStore
from tasks.contracts import Finding, Snapshot
from tasks.documents import to_json

log = logging.getLogger("nocturne.bars")


def ingest_source(description: SourceDescription, now: pd.Timestamp) -> Snapshot:
    """Read and check the source, append to the store what is new, and freeze a snapshot of what was known.

    Raises BarsRefusedError (nothing stored; beyond five findings the message names the file that lists them all),
    DataError for a file of corporate actions that breaks a rule, SourceUnavailableError, ConfigurationError or
    StorageError.
    """
    store, book = BarStore(description, keeps=True), ActionStore(description)
    try:
        checked, came = check_reading(description, read_bars(description, now, store), book, now)
    except BarsRefusedError as error:
        raise _with_list(error) from error
    cutoff = parse_as_of(description.as_of)
    past = None if cutoff is None or cutoff >= now else pd.Timestamp(cutoff)
    appended = _append(store, checked, description, now, whole=past is None)
    book.append(came.actions, now, came.covered)
    log.info("%s: %d new bars, %d revised", description.source, appended.new, appended.revised)
    if past is not None:
        night = as_known(checked, store, book, description, past)
    else:
        ReadingStore(description).add(_reading(checked, description, now))
        actions = book.read()
        night = Night(checked=checked, actions=actions, restated=restatements(store.revisions(), now, actions))
    return freeze(_with_history_warnings(night.checked, appended, night.restated), description, actions=night.actions)


def read_accepted(description: SourceDescription) -> CheckedBars:
    """What the checks accept of a source now, in the terms of its last bars; nothing is stored.

    Raises as ``ingest_source`` does.
    """
    book, now = ActionStore(description), pd.Timestamp.now("UTC")
    checked, came = check_reading(description, read_bars(description, now), book, now)
    actions = book.after(came.actions, came.covered)
    return dataclasses.replace(checked, frame=adjusted(checked.frame, actions, how=description.adjust))


def check_reading(
    description: SourceDescription, reading: SourceReading, book: ActionStore, now: pd.Timestamp
) -> tuple[CheckedBars, Brought]:
    """What the checks accept of a reading, and the events that came along and can be; nothing is stored.

    Raises BarsRefusedError, and DataError for a file of corporate actions that breaks a rule.
    """
    came = brought(description, reading.actions, reading.covered)
    checked = check_bars(reading.raw, description, now, book.after(came.actions, came.covered))
    came = within_reason(came, checked.frame, description)
    return dataclasses.replace(checked, findings=(*checked.findings, *came.findings)), came


def _append(
    store: BarStore, checked: CheckedBars, description: SourceDescription, now: pd.Timestamp, *, whole: bool
) -> Appended:
    """``whole``: the reading says which of the stored bars are used from now on."""
    if checked.superseded is not None:
        _append_superseded(store, checked.superseded, now)
    if checked.adjusted is not None:
        BarStore(description, "adjusted").append(checked.adjusted, now, checked.quarantined_from)
    return store.append(checked.frame, now, checked.quarantined_from, covers=description.symbols if whole else None)


def _append_superseded(store: BarStore, superseded: pd.DataFrame, now: pd.Timestamp) -> None:
    """Keep what a later row of the same file replaced, unless the store knows the bar already."""
    known = pd.MultiIndex.from_frame(store.read()[["symbol", "time"]])
    fresh = superseded[~pd.MultiIndex.from_frame(superseded[["symbol", "time"]]).isin(known)]
    for _, rows in fresh.groupby(fresh.groupby(["symbol", "time"]).cumcount()):
        store.append(rows, now)


def _reading(checked: CheckedBars, description: SourceDescription, now: pd.Timestamp) -> Reading:
    return Reading(
        at=now.tz_convert("UTC").isoformat(),
        asked=description.symbols,
        symbols=tuple(sorted({*checked.frame["symbol"].unique(), *checked.quarantined})),
        quarantined=checked.quarantined,
        quarantined_from=checked.quarantined_from,
    )


def _with_history_warnings(checked: CheckedBars, appended: Appended, restated: list[Finding]) -> CheckedBars:
    told = [
        f"{appended.revised:,} bars differ from what was read before; the new values are used"
        if appended.revised
        else "",
        f"{appended.vanished:,} bars that were read before are gone from the source" if appended.vanished else "",
        restated_words(restated),
    ]
    warnings = (*checked.warnings, *(text for text in told if text))
    return dataclasses.replace(checked, warnings=warnings, findings=(*checked.findings, *restated))


def _with_list(error: BarsRefusedError) -> BarsRefusedError:
    if len(error.findings) <= SHOWN:
        return error
    document = [to_json(finding) for finding in error.findings]
    path = storage.home() / "findings" / f"{storage.sha256_json(document)[:16]}.json"
    storage.write_json(path, document)
    return BarsRefusedError(f"{error}\nAll findings: {path}", error.findings)
