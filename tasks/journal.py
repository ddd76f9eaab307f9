"""What a night has done so far, on the disk before it goes on: ``runs/<problem>/journal/<run>.jsonl``, a line a step.

```
{"step": "night", "state": "started", "at": …, "problem": …, "run": …, "holder": {…}, "continues": "…"}
{"step": "features", "state": "started", "at": …, "key": ""}
{"step": "features", "state": "reused", "at": …, "key": "3f2a…"}      an output of a stage: reused or computed
{"step": "features", "state": "done", "at": …, "key": ""}
…
{"step": "night", "state": "done", "at": …, "key": "promoted"}
```

A run whose journal has no last line of its own has died, if its process is gone or another has been given its lease.
Lines are only ever appended, each synced; a kill in the middle of one leaves a part that readers pass over.

What a journal does not do: decide anything. What is reused is decided by the outputs' addresses alone.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from tasks.errors import StorageError
from tasks.holder import Holder, is_gone, me
from tasks.storage import home, not_written, watched

NIGHT = "night"
STEPS = (
    "ingest", "features", "windows", "search", "folds", "leaderboard", "refit", "gate",
    "logged", "registered", "verified", "moved", "report",
)  # fmt: skip
"""Of a night that registers a version and moves an alias; between ``gate`` and ``report`` lies the stage register."""
State = Literal["started", "reused", "computed", "done", "failed", "interrupted", "fenced", "dead", "collected"]
UNFINISHED = ("started", "interrupted", "fenced", "dead")
log = logging.getLogger("nocturne.journal")
_WRITTEN: set[Journal] = set()
_CURRENT: ContextVar[Journal | None] = ContextVar("journal", default=None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """What a journal tells of a run. Times are ISO UTC; ``stage`` is the last stage or step that began or was done.

    ``state``: ``started`` while there is no last line, ``done``, ``failed``, ``interrupted``, ``fenced`` (another night
    was given its lease), or ``dead`` (so found by a later night). ``outcome``: the last line's word on it.
    """

    problem: str
    run: str
    state: State
    stage: str
    started: str
    last: str
    holder: Holder | None
    outcome: str = ""
    continues: str = ""
    restart_from: str = ""
    collected: bool = False

    @property
    def died(self) -> bool:
        """Whether it ended without a last line, as far as can be told from here."""
        return self.state == "dead" or (self.state == "started" and self.holder is not None and is_gone(self.holder))


class Journal:
    """One run's journal, opened for writing."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    @classmethod
    def begin(cls, problem: str, run: str, continues: str = "", restart_from: str = "") -> Journal:
        """Open a run's journal and note that it has begun; a run that is tried again goes on in its own.

        continues: the run that died before. Raises StorageError if it cannot be written.
        """
        journal = cls(path_of(problem, run))
        facts: dict[str, Any] = {"problem": problem, "run": run, "holder": asdict(me())}
        journal._open()
        journal.write(NIGHT, "started", **facts, continues=continues, restart_from=restart_from)
        return journal

    @classmethod
    def of(cls, problem: str, run: str) -> Journal:
        """A run's journal, to be added to."""
        return cls(path_of(problem, run))

    @contextmanager
    def kept(self) -> Iterator[None]:
        """While the block runs, ``mark`` and every stored output of a stage are noted here."""
        before = _CURRENT.set(self)
        _WRITTEN.add(self)
        try:
            with watched(self._output):
                yield
        finally:
            _WRITTEN.discard(self)
            _CURRENT.reset(before)

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Note a step's beginning before the block runs, and how it ended after."""
        self.write(name, "started")
        try:
            yield
        except Exception as error:
            self.write(name, "failed", type(error).__name__)
            raise
        except BaseException:
            self.write(name, "interrupted")
            raise
        self.write(name, "done")

    def end(self, state: State, outcome: str = "") -> None:
        """The last line."""
        self.write(NIGHT, state, outcome)
        if state in UNFINISHED:
            self._open()
        else:
            self._marker.unlink(missing_ok=True)

    def collected(self, by: str) -> None:
        """Note that a later run has seen to what this one left."""
        self.write(NIGHT, "collected", by)
        self._marker.unlink(missing_ok=True)

    def write(self, step: str, state: State, key: str = "", **more: Any) -> None:
        """Append a line and sync it. Raises StorageError if that cannot be done."""
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        line = json.dumps({"step": step, "state": state, "at": at, "key": key, **more}) + "\n"
        try:
            with self._lock:
                _append(self.path, line.encode())
        except OSError as error:
            raise StorageError(f"the journal cannot be written: {not_written(self.path, error)}") from error

    @property
    def _marker(self) -> Path:
        """There while the run is unfinished, so that nobody need read a thousand journals to find one."""
        return self.path.parent / "unfinished" / self.path.stem

    def _open(self) -> None:
        try:
            self._marker.parent.mkdir(parents=True, exist_ok=True)
            self._marker.touch()
        except OSError as error:
            raise StorageError(f"the journal cannot be written: {not_written(self._marker, error)}") from error

    def _output(self, stage: str, key: str, reused: bool) -> None:
        self.write(stage, "reused" if reused else "computed", key)


def mark(step: str, key: str = "") -> None:
    """Note in the present night's journal that a step is done; without a night, nothing."""
    journal = _CURRENT.get()
    if journal is not None:
        journal.write(step, "done", key)


def interrupted() -> None:
    """The last line of every journal that this process writes: for who ends it at once, from whichever thread."""
    for journal in tuple(_WRITTEN):
        with suppress(StorageError):
            journal.end("interrupted")


def path_of(problem: str, run: str) -> Path:
    """Where a run's journal lies. Raises ValueError if one of the names cannot be a folder's or file's."""
    for name in (problem, run):
        if not name or name in (".", "..") or Path(name).name != name or "\0" in name:
            raise ValueError(f"{name!r} cannot name a journal")
    return home() / "runs" / problem / "journal" / f"{run}.jsonl"


def _folder(problem: str) -> Path:
    return path_of(problem, "any").parent


def lines(path: Path) -> list[dict[str, Any]]:
    """A journal's lines in order; parts of lines that a kill has left are passed over. Empty if there is no file."""
    found = []
    with suppress(FileNotFoundError):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with suppress(ValueError):
                found.append(json.loads(line))
    return [line for line in found if isinstance(line, dict) and {"step", "state", "at"} <= line.keys()]


def told(path: Path) -> Past | None:
    """What one journal tells; None if it says nothing."""
    entries = lines(path)
    begun = [entry for entry in entries if entry["step"] == NIGHT and entry["state"] == "started"]
    if not begun:
        return None
    ends = [e for e in entries[entries.index(begun[-1]) :] if e["step"] == NIGHT and e["state"] not in _OPEN]
    of_stages = [e["step"] for e in entries if e["step"] != NIGHT and e["state"] not in ("reused", "computed")]
    header = begun[-1]
    return Past(
        problem=header.get("problem", path.parent.parent.name),
        run=path.stem,
        state=ends[-1]["state"] if ends else "started",
        stage=of_stages[-1] if of_stages else "",
        started=begun[0]["at"],
        last=entries[-1]["at"],
        holder=_holder(header.get("holder")),
        outcome=ends[-1].get("key", "") if ends else "",
        continues=header.get("continues", ""),
        restart_from=header.get("restart_from", ""),
        collected=entries[-1]["state"] == "collected",
    )


def nights(problem: str, most: int = 0) -> tuple[Past, ...]:
    """The runs of a problem that left a journal, last written first; ``most`` of them, 0 for all."""
    paths = sorted(_folder(problem).glob("*.jsonl"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return tuple(filter(None, map(told, paths[: most or None])))


def last(problem: str) -> Past | None:
    """The run that wrote last, or None if there never was one."""
    return next(iter(nights(problem, 1)), None)


def unfinished(problem: str) -> tuple[Past, ...]:
    """The runs that did not end by themselves and that no later one has seen to, in the order in which they began."""
    runs = (marker.name for marker in (_folder(problem) / "unfinished").glob("*"))
    found = filter(None, (told(path_of(problem, run)) for run in runs))
    return tuple(sorted(found, key=lambda past: past.started))


_OPEN = ("started", "collected")


def _append(path: Path, line: bytes) -> None:
    """After a part of a line that a kill has left, on a line of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        size = os.fstat(handle).st_size
        torn = size > 0 and os.pread(handle, 1, size - 1) != b"\n"
        left = b"\n" + line if torn else line
        try:
            while left:  # a disk that is nearly full takes a part, and says so only when it is given the rest
                left = left[os.write(handle, left) :]
            os.fsync(handle)
        except OSError:
            os.ftruncate(handle, size)
            raise
    finally:
        os.close(handle)


def _holder(document: Any) -> Holder | None:
    try:
        return Holder(**document)
    except TypeError:
        return None
