"""Content-addressed snapshots: the same bars have the same name, whatever file held them.

The digest is taken over the values column by column, so that neither the Parquet writer's version nor its
compression, nor the order in which rows were read, changes it.
"""

from __future__ import annotations

import hashlib
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from tasks import storage
from tasks.bars.check import CheckedBars
from tasks.bars.describe import SourceDescription, parse_as_of
from tasks.bars.facts import has_volume, never_closes, survivors_only, true_opens
from tasks.bars.schema import COLUMNS
from tasks.contracts import Ref, Snapshot
from tasks.documents import to_json
from tasks.errors import DataError

log = logging.getLogger("nocturne.bars")


def values_digest(frame: pd.DataFrame) -> str:
    """SHA-256 over the rows' values in (symbol, time) order, with column names; the index does not enter.

    Times enter as nanoseconds since 1970 in UTC, floats as IEEE doubles with one zero and one NaN.
    """
    ordered = frame.sort_values(["symbol", "time"], kind="stable")
    digest = hashlib.sha256(f"{len(ordered)}\n".encode())
    for name in ordered.columns:
        digest.update(f"{name}\0".encode())
        digest.update(_column_bytes(ordered[name]))
    return digest.hexdigest()


def freeze(checked: CheckedBars, description: SourceDescription, as_of: str = "") -> Snapshot:
    """Write the checked bars, up to ``as_of`` (or the description's), as an immutable snapshot, and refer to it.

    The file lies below the state folder's ``snapshots``, named by the digest of its values; one that is there already
    is verified and used. Raises DataError if no bar closed by then, StorageError if it cannot be written.
    """
    frame = _until(checked.frame, as_of or description.as_of)
    if frame.empty:
        raise DataError(f"{description.source}: no bar closed by {as_of or description.as_of}")
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


def _findings(checked: CheckedBars) -> Ref:
    document = [to_json(finding) for finding in checked.findings]
    name = storage.sha256_json(document)
    return storage.write_json(storage.home() / "snapshots" / "findings" / f"{name}.json", document)


def _column_bytes(column: pd.Series[Any]) -> bytes:
    if isinstance(column.dtype, pd.DatetimeTZDtype):
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    if np.issubdtype(column.to_numpy().dtype, np.datetime64):
        return column.to_numpy().astype("datetime64[ns]").astype("<i8").tobytes()
    if column.dtype == object:
        codes, names = pd.factorize(column.to_numpy())
        return b"".join([*(f"{name}\0".encode() for name in names), codes.astype("<i8").tobytes()])
    values = column.to_numpy().astype("<f8") + 0.0
    return np.where(np.isnan(values), np.nan, values).tobytes()


def _iso(moment: pd.Timestamp) -> str:
    return moment.tz_convert("UTC").strftime("%Y-%m-%dT%H:%M:%SZ")
