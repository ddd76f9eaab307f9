"""Whether anything can be new in a source, without asking a vendor: what an unchanged night is recognised by."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tasks.bars import files
from tasks.bars.describe import SourceDescription
from tasks.bars.sources.registry import BUILT_IN, find_source

LIBRARIES = {"yfinance": "yfinance", "ccxt": "ccxt"}


def source_digest(description: SourceDescription, now: datetime | None = None) -> str:
    """SHA-256 of what a reading of the source would depend on, the file of corporate actions included.

    Files and built-in series: their names and bytes. Vendors: the request, the vendor's library, what is stored of the
    symbols that are asked for, and the newest bar that the vendor should have by ``now`` (aware; the present if None);
    nobody is asked. While one of the symbols lacks that bar (it has not been read yet, or was late) the digest is
    another one at each call: the night must be run.

    Raises as ``files.source_digest`` does, and ConfigurationError for a source that there is none of.
    """
    if BUILT_IN.get(description.prefix, "").startswith("tasks.bars.sources.local"):
        found = files.source_digest(description)
    else:
        found = _vendor_digest(description, now or datetime.now(UTC))
    events = Path(description.actions).expanduser() if description.actions else None
    if events is None or not events.is_file():  # one that is missing is for the night to tell
        return found
    return hashlib.sha256(f"{found} {hashlib.sha256(events.read_bytes()).hexdigest()}".encode()).hexdigest()


def _vendor_digest(description: SourceDescription, now: datetime) -> str:
    from tasks.bars.sources.held import held  # noqa: PLC0415 - files and built-in series are answered without pandas

    source, _ = find_source(description)
    stored = held(description, now - source.delay)
    facts = {
        "description": asdict(description),
        "library": _version(description.prefix),
        "due": stored.due,
        "stored": stored.digest,
        "read": "" if stored.whole else now.isoformat(),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _version(prefix: str) -> str:
    try:
        return importlib.metadata.version(LIBRARIES.get(prefix, prefix))
    except importlib.metadata.PackageNotFoundError:
        return ""
