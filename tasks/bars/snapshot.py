"""Content-addressed snapshots: the same bars have the same name, whatever file held them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tasks import storage
from tasks.bars.actions import CorporateAction
from tasks.bars.adjusted import adjusted, events
from tasks.bars.check import CheckedBars
from tasks.bars.describe import SourceDescription, parse_as_of
from tasks.bars.digests import values_digest
from tasks.bars.facts import has_volume, never_closes, survivors_only, true_opens
from tasks.bars.schema import COLUMNS
from tasks.contracts import Ref, Snapshot
from tasks.documents import to_json
from tasks.errors import DataError

__all__ = ["freeze", "values_digest"]
log = logging.getLogger("nocturne.bars")


def freeze(checked: CheckedBars, description: SourceDescription, actions: Sequence[CorporateAction] = ()) -> Snapshot:
    """Write the checked bars, up to the description's ``as_of``, as an immutable snapshot, and refer to it.

    ``actions``: the corporate actions known then; the description's ``adjust`` says which of them enter the prices,
    the rest is kept beside the bars. The file lies below the state folder's ``snapshots``, named by the digest of its
    values; one that is there already is verified and used. Raises DataError if no bar closed by then, StorageError if
    it cannot be written.
    """
    quoted = _until(checked.frame, description.as_of)
    if quoted.empty:
        raise DataError(f"{description.source}: no bar closed by {description.as_of}")
    frame = adjusted(quoted, actions, how=description.adjust)
    sha256 = values_digest(frame)
    return Snapshot(
        sha256=sha256,
        bars=_stored(frame, sha256),
        symbols=tuple(frame["symbol"].unique()),
        first=_iso(frame["time"].min()),
        last=_iso(frame["time"].max()),
        bar=description.bar,
        calendar=description.calendar,
        true_opens=true_opens(frame, never_closes(description.calendar)),
        has_volume=has_volume(frame),
        sessions=int(frame.groupby("symbol", sort=False)["session"].nunique().max()),
        quarantined=checked.quarantined,
        quarantined_from=checked.quarantined_from,
        survivors_only=survivors_only(frame, checked.quarantined),
        findings=_findings(checked),
        finding_counts=dict(sorted(Counter(finding.rule for finding in checked.findings).items())),
        warnings=checked.warnings,
        events=_events(events(quoted, actions, description.adjust)),
    )


def _until(frame: pd.DataFrame, as_of: str) -> pd.DataFrame:
    cutoff = parse_as_of(as_of)
    return frame if cutoff is None else frame[frame["time"] <= pd.Timestamp(cutoff)].reset_index(drop=True)


def _stored(frame: pd.DataFrame, sha256: str) -> Ref:
    path = storage.home() / "snapshots" / f"{sha256}.parquet"
    return _present(path, sha256, len(frame)) or storage.write_parquet(path, frame[list(COLUMNS)])


def _present(path: Path, sha256: str, rows: int) -> Ref | None:
    """The snapshot that is there already, if its values are whole."""
    if not path.is_file():
        return None
    ref = Ref(path=str(path), sha256=storage.sha256_file(path), rows=rows)
    try:
        whole = values_digest(storage.read_parquet(ref)) == sha256
    except Exception as error:  # noqa: BLE001 - a damaged file may fail in the parser in any way: it is written anew
        log.warning("%s cannot be read and is written anew: %s", path, error)
        return None
    if not whole:
        log.warning("%s is damaged and is written anew", path)
    return ref if whole else None


def _events(table: pd.DataFrame) -> Ref | None:
    """The events that the prices do not say, kept under the digest of their values."""
    if table.empty:
        return None
    path = storage.home() / "snapshots" / "events" / f"{values_digest(table)}.parquet"
    return storage.write_parquet(path, table)


def _findings(checked: CheckedBars) -> Ref:
    document = [to_json(finding) for finding in checked.findings]
    name = storage.sha256_json(document)
    return storage.write_json(storage.home() / "snapshots" / "findings" / f"{name}.json", document)


def _iso(moment: pd.Timestamp) -> str:
    return moment.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
