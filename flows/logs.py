"""A night's log as JSON lines: ``runs/<problem>/logs/<run>.jsonl`` below the state folder, one object a record.

Fields: ``time`` (UTC, ISO 8601), ``level``, ``logger``, ``problem``, ``run``, ``stage``, ``engine`` (empty outside an
engine), ``message``, and ``error`` with the traceback where there is one. Engines' own lines are among them
(``nocturne.search.h2o`` and its sisters: ``tasks/search/engine_log.py``). Secrets are masked before anything is
written, in what goes to Prefect too.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TextIO

from flows.progress import ENGINES
from tasks.errors import ConfigurationError
from tasks.masking import error_text, mask_logs, masked
from tasks.storage import home

LOGGERS = ("nocturne", "prefect")
MOST_CHARACTERS = 20_000
MOST_FILES = 400
"""Of a problem; the oldest go when a night begins."""

log = logging.getLogger("nocturne.logs")
_RUN: ContextVar[str] = ContextVar("nocturne_run", default="")
_STAGE: ContextVar[str] = ContextVar("nocturne_stage", default="")


class RunLog(logging.Handler):
    """Appends records of one run to its file; those of other runs in the same process are left to theirs."""

    def __init__(self, path: Path, problem: str, run: str) -> None:
        super().__init__(logging.INFO)
        self.fixed = {"problem": problem, "run": run}
        self.stream = _opened(path)

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line; a disk that is full costs the line, not the night."""
        if _RUN.get() not in ("", self.fixed["run"]):
            return
        try:
            self.stream.write(json.dumps({**_line(record), **self.fixed}) + "\n")
        except (OSError, ValueError):
            self.handleError(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        """Say nothing: a log that cannot be written has nowhere to say so."""

    def close(self) -> None:
        """Close the file; what a full disk did not take is lost."""
        with suppress(OSError):
            self.stream.close()
        super().close()


@contextmanager
def run_log(problem: str, run: str) -> Iterator[Path]:
    """Log everything of a run to its file while the block runs. Raises ConfigurationError if a name is not one."""
    path = log_file(problem, run)
    _prune(path.parent)
    mask_logs()
    handler = RunLog(path, problem, run)
    token = _RUN.set(run)
    undo = [_listen(logging.getLogger(name), handler) for name in LOGGERS]
    try:
        yield path
    finally:
        for forget in undo:
            forget()
        _RUN.reset(token)
        handler.close()


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Records of the block, and of the tasks that are submitted in it, belong to this stage."""
    token = _STAGE.set(name)
    try:
        yield
    finally:
        _STAGE.reset(token)


def log_file(problem: str, run: str) -> Path:
    """Where a run's log lies. Raises ConfigurationError if a name cannot name a file."""
    for name in (problem, run):
        if not name or name in (".", "..") or Path(name).name != name or "\0" in name:
            raise ConfigurationError(f"logs: {name!r} cannot name a folder or file")
    return home() / "runs" / problem / "logs" / f"{run}.jsonl"


def _listen(logger: logging.Logger, handler: RunLog) -> Any:
    """Attach the log; returns what undoes it."""
    level = logger.level
    logger.addHandler(handler)
    if logger.getEffectiveLevel() > logging.INFO:
        logger.setLevel(logging.INFO)

    def forget() -> None:
        logger.removeHandler(handler)
        logger.setLevel(level)

    return forget


def _line(record: logging.LogRecord) -> dict[str, Any]:
    told = str(getattr(record, "stage", ""))
    engine = str(getattr(record, "engine", "")) or (told if told in ENGINES else "")
    line = {
        "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname,
        "logger": record.name,
        "stage": _STAGE.get() or ("" if told in ENGINES else told),
        "engine": engine,
        "message": masked(record.getMessage())[:MOST_CHARACTERS],
    }
    error = error_text(record)
    if error:
        line["error"] = masked(error)[-MOST_CHARACTERS:]
    return line


def _opened(path: Path) -> TextIO:
    """The log, to be appended to; where it cannot be, the run goes on without and says so."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        log.warning("%s: the run has no log of its own: %s", path, error.strerror)
        return Path(os.devnull).open("w", encoding="utf-8")


def _prune(folder: Path) -> None:
    with suppress(OSError):  # another run may prune at the same time
        files = sorted(folder.glob("*.jsonl"), key=lambda path: path.stat().st_mtime)
        for path in files[: max(0, len(files) - MOST_FILES)]:
            path.unlink(missing_ok=True)
