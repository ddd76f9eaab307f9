"""Progress of a night: stages with their seconds, engines with models done, budget and best so far.

Everything is a log record of ``nocturne.progress`` that carries ``stage`` and ``elapsed`` (and, from engines,
``budget`` and ``best``), so that the terminal, Prefect's UI and a log file show the same.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

SECONDS_BETWEEN_LINES = 3.0
ENGINES = ("baseline", "linear", "h2o", "autokeras", "transfer")
BUDGETED = ("h2o", "autokeras", "transfer", "pretrain")
log = logging.getLogger("nocturne.progress")


class StageClock:
    """Wall seconds by stage, in the order in which stages ran."""

    def __init__(self) -> None:
        self.started = time.monotonic()
        self.seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage and announce its start and end; a stage entered twice adds up."""
        begun = time.monotonic()
        log.info("%s: started", name, extra={"stage": name, "elapsed": self.elapsed(), "state": "started"})
        try:
            yield
        except BaseException:
            log.info("%s: failed", name, extra={"stage": name, "elapsed": self.elapsed(), "state": "failed"})
            raise
        took = time.monotonic() - begun
        self.seconds[name] = self.seconds.get(name, 0.0) + took
        log.info("%s: done in %.1f s", name, took, extra={"stage": name, "elapsed": self.elapsed(), "state": "done"})

    def elapsed(self) -> float:
        """Seconds since the clock was made."""
        return time.monotonic() - self.started


class PlainView(logging.Handler):
    """One line an event, for logs and pipes; an engine's own progress at most once in a few seconds."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.console = console
        self.begun = time.monotonic()
        self.said: dict[str, float] = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Print a progress record or a warning as one line."""
        line = _line(record)
        if line and not self._too_soon(record):
            seconds = time.monotonic() - self.begun
            self.console.print(f"[{seconds:6.1f} s] {line}", markup=False, highlight=False, soft_wrap=True)

    def _too_soon(self, record: logging.LogRecord) -> bool:
        if hasattr(record, "state") or not hasattr(record, "stage"):
            return False
        stage, now = str(record.stage), time.monotonic()
        if now - self.said.get(stage, 0.0) < SECONDS_BETWEEN_LINES:
            return True
        self.said[stage] = now
        return False


class LiveView(logging.Handler):
    """A table that updates in place, for a terminal: a row a stage or engine."""

    def __init__(self, console: Console) -> None:
        super().__init__(logging.INFO)
        self.rows: dict[str, tuple[str, str, float]] = {}
        self.notes: list[str] = []
        self.live = Live(console=console, refresh_per_second=4, get_renderable=self._table)

    def __enter__(self) -> LiveView:
        self.live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.live.stop()

    def emit(self, record: logging.LogRecord) -> None:
        """Update the stage's row, or print a warning above the table."""
        stage = getattr(record, "stage", "")
        if stage:
            begun = self.rows.get(stage, ("", "", time.monotonic()))[2]
            state = getattr(record, "state", "running")
            self.rows[stage] = (state, _status(record), begun)
            if stage in ("search", "folds", "refit") and state in ("done", "failed"):
                for engine in ENGINES:  # they end with their stage, however they ended
                    self.rows.pop(engine, None)
        elif record.levelno >= logging.WARNING:
            self.live.console.print(Text(f"! {record.getMessage()}", style="yellow"))

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 1))
        for stage, (state, status, begun) in list(self.rows.items()):
            mark: Any = {"done": Text("✓", style="green"), "failed": Text("✗", style="red")}.get(state)
            running = f"{time.monotonic() - begun:.0f} s" if mark is None else ""
            table.add_row(mark or Spinner("dots"), stage, Text(status, style="dim"), running)
        return table


@contextmanager
def shown(console: Console) -> Iterator[None]:
    """Show progress on this console while the block runs: in place on a terminal, else as plain lines."""
    root = logging.getLogger("nocturne")
    previous = root.level
    view: PlainView | LiveView = LiveView(console) if console.is_terminal else PlainView(console)
    root.addHandler(view)
    root.setLevel(logging.INFO)
    try:
        if isinstance(view, LiveView):
            with view:
                yield
        else:
            yield
    finally:
        root.removeHandler(view)
        root.setLevel(previous)


def _line(record: logging.LogRecord) -> str:
    stage = getattr(record, "stage", "")
    if stage:
        return f"{stage}: {_status(record)}"
    if record.levelno >= logging.WARNING:
        return f"warning: {record.getMessage()}"
    return record.getMessage() if "reused" in record.getMessage() else ""


def _status(record: logging.LogRecord) -> str:
    """An engine's message with its budget; the engine's name already stands before it."""
    message = record.getMessage().removeprefix(f"{getattr(record, 'stage', '')}: ")
    budget = getattr(record, "budget", None)
    bounded = budget and getattr(record, "stage", "") in BUDGETED
    return f"{message}, {getattr(record, 'elapsed', 0):.0f} of at most {budget:.0f} s" if bounded else message
