"""Everything that a night writes, each as a pair of writes that a test may disturb, and disks that disturb them.

A ``Writer`` writes an old state, then a new one over it; what lies below its folder is read back as text, so that a
test can tell old from new from torn.
"""

from __future__ import annotations

import errno
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from tasks import journal, storage
from tasks.bars.describe import SourceDescription
from tasks.bars.snapshot import values_digest
from tasks.bars.store import VALUES, BarStore
from tasks.contracts import Ref
from tasks.journal import Journal
from tasks.registry import leases
from tasks.registry.ledger import Ledger
from tasks.registry.serving.model_folder import read_document, write_model
from tasks.registry.standings import standing, swap

PROMOTED = "spx"


@dataclass(frozen=True)
class Writer:
    """``write(turn)`` writes turn 0 or 1; ``read()`` tells what is there now, and raises if that is damaged."""

    name: str
    write: Callable[[int], object]
    read: Callable[[], str]


def _frame(turn: int) -> pd.DataFrame:
    rows = 300 * (turn + 1)
    days = pd.bdate_range("2015-01-02", periods=rows)
    values = np.random.default_rng(turn).random((rows, len(VALUES)))
    frame = pd.DataFrame(values, columns=list(VALUES))
    times = pd.DatetimeIndex(days.tz_localize("UTC") + pd.Timedelta(hours=21)).as_unit("ns")
    return frame.assign(symbol="SPX", time=times, session=days.as_unit("ns"))[["symbol", "time", "session", *VALUES]]


def _store() -> BarStore:
    return BarStore(SourceDescription(source="disturbed.csv"))


def _append(turn: int) -> None:
    _store().append(_frame(turn), pd.Timestamp(f"2020-01-0{turn + 1}T00:00Z"))


def _bars() -> str:
    kept = _store().read()
    return values_digest(kept[["symbol", "time", *VALUES]]) if len(kept) else ""


def _stage(turn: int) -> None:
    with storage.StageStore().put("disturbed", f"{turn}" * 40) as folder:
        storage.write_parquet(folder / "matrix.parquet", _frame(turn))
        (folder / "below").mkdir()
        (folder / "below" / "model.bin").write_bytes(bytes(20_000))


def _stages() -> str:
    store = storage.StageStore()
    return " ".join(str(turn) for turn in (0, 1) if store.get("disturbed", f"{turn}" * 40) is not None)


def _page() -> Path:
    return storage.home() / "reports" / PROMOTED / "night.html"


def _pages(turn: int) -> None:
    storage.write_text(_page(), f"<html>{'<p>a night</p>' * 2_000 * (turn + 1)}</html>")


def _text() -> str:
    return storage.sha256_file(_page()) if _page().exists() else ""


def _snapshot(turn: int) -> None:
    frame = _frame(turn)
    storage.write_parquet(storage.home() / "snapshots" / f"{values_digest(frame)}.parquet", frame)


def _snapshots() -> str:
    found = sorted((storage.home() / "snapshots").glob("*.parquet"))
    for path in found:
        ref = Ref(path=str(path), sha256=storage.sha256_file(path), rows=0)
        assert values_digest(storage.read_parquet(ref)) == path.stem
    return " ".join(path.stem for path in found)


def _record(turn: int) -> None:
    storage.write_json(storage.home() / "runs" / PROMOTED / "last.json", {"turn": turn, "rows": ["x" * 30_000]})


def _records() -> str:
    path = storage.home() / "runs" / PROMOTED / "last.json"
    return str(storage.read_json(path)["turn"]) if path.exists() else ""


def _promote(turn: int) -> None:
    with Ledger.open() as ledger:
        now = standing(ledger, PROMOTED)
        swap(ledger, now, replace(now, champion=str(turn + 1)), "promoted", ("x" * 20_000,), "", "a test")


def promoted() -> str:
    """The champion by the ledger, which is verified when it is opened."""
    with Ledger.open() as ledger:
        return standing(ledger, PROMOTED).champion


def _lease(turn: int) -> None:
    with leases.take(PROMOTED, f"run {turn} " + "x" * 20_000) as lease:
        leases.note_slot(PROMOTED, f"slot {turn}" + "y" * 20_000, lease)


def _leases() -> str:
    return " ".join(str(turn) for turn in (0, 1) if leases.done_by(PROMOTED, f"slot {turn}" + "y" * 20_000))


def _line(turn: int) -> None:
    if turn == 0:
        Journal.begin(PROMOTED, "run")
    Journal.of(PROMOTED, "run").write("features", "computed", f"{turn}" + "x" * 9_000)


def _lines() -> str:
    path = journal.path_of(PROMOTED, "run")
    return " ".join(line["key"][0] for line in journal.lines(path) if line["key"])


def _model(turn: int) -> None:
    folder = storage.home() / "models" / "linear"
    write_model(folder, {"kind": "linear", "output": "value", "columns": [f"c{n}" for n in range(900 * (turn + 1))]})


def _models() -> str:
    folder = storage.home() / "models" / "linear"
    return str(len(read_document(folder)["columns"])) if (folder / "model.json").exists() else ""


WRITERS = (
    Writer("bar store", _append, _bars),
    Writer("stage store", _stage, _stages),
    Writer("snapshot", _snapshot, _snapshots),
    Writer("report", _pages, _text),
    Writer("record of the night", _record, _records),
    Writer("journal", _line, _lines),
    Writer("model folder", _model, _models),
    Writer("ledger", _promote, promoted),
    Writer("lease", _lease, _leases),
)
"""What a night writes by itself; MLflow's store is tried apart."""
OF_STORAGE = tuple(writer for writer in WRITERS if writer.name not in ("ledger", "lease"))
"""Those that write by Python's own calls; SQLite syncs its files itself (synchronous=EXTRA)."""


def files(folder: Path) -> dict[str, str]:
    """Every file below the folder, with its digest, but for those of the ballast and of locks."""
    return {
        str(path.relative_to(folder)): storage.sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "ballast"
    }


@contextmanager
def small_disk(folder: Path, megabytes: int = 4) -> Iterator[str]:
    """A disk of so many megabytes at ``folder``; yields why there is none where none may be mounted."""
    folder.mkdir(parents=True, exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        why = done.stderr.strip() if done.returncode else ""
    except OSError as error:
        why = str(error)
    try:
        yield why
    finally:
        if not why:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leaving: int) -> None:
    """Fill the disk of the folder but for so many bytes."""
    ballast = folder / "ballast"
    ballast.unlink(missing_ok=True)
    with ballast.open("wb", buffering=0) as stream:
        try:
            while stream.write(bytes(65_536)) == 65_536:
                pass
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
        size = stream.seek(0, os.SEEK_END)
        stream.truncate(max(size - leaving, 0))


def empty(folder: Path) -> None:
    """Take the ballast away."""
    (folder / "ballast").unlink()
