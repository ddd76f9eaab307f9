"""One night's reading of a source: read, check, append what is new, freeze. No orchestration here."""

from __future__ import annotations

import dataclasses
import logging

import pandas as pd

from tasks import storage
from tasks.bars.check import CheckedBars, check_bars
from tasks.bars.describe import SourceDescription
from tasks.bars.read import read_source
from tasks.bars.refusal import SHOWN, BarsRefusedError
from tasks.bars.restated import restatements
from tasks.bars.restated import told as restated_words
from tasks.bars.snapshot import freeze
from tasks.bars.store import Appended, BarStore
from tasks.contracts import Finding, Snapshot
from tasks.documents import to_json

log = logging.getLogger("nocturne.bars")


def ingest_source(description: SourceDescription, now: pd.Timestamp) -> Snapshot:
    """Read and check the source, append to the store what is new, and freeze a snapshot.

    Raises BarsRefusedError (nothing stored; beyond five findings the message names the file that lists them all),
    SourceUnavailableError, ConfigurationError or StorageError.
    """
    try:
        checked = check_bars(read_source(description), description, now)
    except BarsRefusedError as error:
        raise _with_list(error) from error
    appended = _append(checked, description, now)
    log.info("%s: %d new bars, %d revised", description.source, appended.new, appended.revised)
    restated = restatements(BarStore(description).revisions(), now)
    return freeze(_with_history_warnings(checked, appended, restated), description)


def read_accepted(description: SourceDescription) -> CheckedBars:
    """What the checks accept of a source now; nothing is stored. Raises as ``check_bars`` does."""
    return check_bars(read_source(description), description, pd.Timestamp.now("UTC"))


def _append(checked: CheckedBars, description: SourceDescription, now: pd.Timestamp) -> Appended:
    store = BarStore(description)
    if checked.superseded is not None:
        _append_superseded(store, checked.superseded, now)
    if checked.adjusted is not None:
        BarStore(description, "adjusted").append(checked.adjusted, now, checked.quarantined_from)
    return store.append(checked.frame, now, checked.quarantined_from)


def _append_superseded(store: BarStore, superseded: pd.DataFrame, now: pd.Timestamp) -> None:
    """Keep what a later row of the same file replaced, unless the store knows the bar already."""
    known = pd.MultiIndex.from_frame(store.read()[["symbol", "time"]])
    fresh = superseded[~pd.MultiIndex.from_frame(superseded[["symbol", "time"]]).isin(known)]
    for _, rows in fresh.groupby(fresh.groupby(["symbol", "time"]).cumcount()):
        store.append(rows, now)


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
