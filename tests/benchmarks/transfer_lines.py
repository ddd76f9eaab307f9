"""What a benchmark has measured, a line of JSON each, and how long a piece of work took without compilation."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tasks.documents import digest
from tests.benchmarks.compilations import compilations

Line = dict[str, Any]


class Lines:
    """What was measured, a line each, in a file that an interrupted run goes on with; other settings' are left alone.

    settings: a dataclass of what can be written as JSON.
    """

    def __init__(self, path: Path, settings: Any) -> None:
        self._path, self._settings = path, digest(asdict(settings))
        known = path.read_text(encoding="utf-8") if path.exists() else ""
        self.all = [line for line in _parsed(known) if line.get("settings") == self._settings]
        if known and not known.endswith("\n"):  # an interruption cut the last line short: the next begins anew
            path.write_text(known + "\n", encoding="utf-8")

    def missing(self, **key: Any) -> bool:
        """Whether no line has these values."""
        return not any(all(line.get(name) == value for name, value in key.items()) for line in self.all)

    def add(self, **values: Any) -> None:
        """Append a line, on the disk before anything else is begun."""
        line = {"settings": self._settings, **values}
        self.all.append(line)
        with self._path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
            stream.flush()
            os.fsync(stream.fileno())


def _parsed(text: str) -> list[Line]:
    """The lines of a file, an empty one for each that an interruption cut short."""
    return [_line(each) for each in text.splitlines()]


def _line(text: str) -> Line:
    try:
        found: Line = json.loads(text)
    except ValueError:
        return {}
    return found


def newest(path: Path) -> list[Line]:
    """The lines of a file that have the settings of its last one."""
    lines = [line for line in _parsed(path.read_text(encoding="utf-8")) if line]
    return [line for line in lines if line["settings"] == lines[-1]["settings"]]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Wall and processor seconds, and how often JAX compiled in them."""

    seconds: float
    cpu: float
    compiled: int


def timed(work: Callable[[], Any]) -> tuple[Any, Timed]:
    """What the work returns, and what it took this process."""
    before, wall, cpu = len(compilations()), time.perf_counter(), time.process_time()
    found = work()
    took = time.perf_counter() - wall, time.process_time() - cpu
    return found, Timed(seconds=took[0], cpu=took[1], compiled=len(compilations()) - before)
