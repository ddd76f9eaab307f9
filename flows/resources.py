"""What a night takes of its machine, by stage: processor seconds, peak memory, bytes written, growth of its state.

A thread looks once a second at this process and all its descendants (engines, their JVMs, feature workers). Processor
seconds and bytes of a process that ended between two looks count as of the last one; what it was waited for counts in
full. Memory is proportional (shared pages are divided among those who share them) where the system tells it: that
costs milliseconds a process, and is asked for only where the plain sum reaches a new peak.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tasks.report.usage import Sample, StageUse

SECONDS = 1.0
MOST_SAMPLES = 2000
"""Then every second one is dropped, and samples come half as often."""

_MB = 1e6
_NEW_PEAK = 1.02


@dataclass(slots=True)
class _Totals:
    """Since the meter began: processor seconds and megabytes written, and of the last look megabytes of memory."""

    cpu: float = 0.0
    written: float = 0.0
    memory: float = 0.0


@dataclass(slots=True)
class _Stage:
    began: float
    cpu: float
    written: float
    plain_peak: float = 0.0
    peak: float = 0.0


@dataclass
class Meter:
    """Samples a process tree until it is closed; its stages may follow one another, not overlap."""

    stages: dict[str, StageUse] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    cost: float = 0.0
    """Processor seconds that the looking itself took."""

    def __post_init__(self) -> None:
        self._root = psutil.Process()
        self._tree: list[psutil.Process] = []
        self._seen: dict[tuple[int, float], tuple[float, float]] = {}
        self._interval, self._last = SECONDS, (time.monotonic(), 0.0)
        self._first = self._reaped()
        self._current: _Stage | None = None
        self._lock, self._closed = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="resources", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop looking."""
        self._closed.set()
        self._thread.join(timeout=5)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count what the block takes as this stage's; a stage entered twice adds up."""
        with self._lock:
            totals = self._look()
            self._current = _Stage(time.monotonic(), totals.cpu, totals.written)
            self._note_peak(totals)
        try:
            yield
        finally:
            with self._lock:
                self._note_peak(totals := self._look())
                self.stages[name] = _add(self.stages.get(name), self._used(totals))
                self._current = None

    def _used(self, totals: _Totals) -> StageUse:
        stage = self._current
        assert stage is not None
        return StageUse(
            seconds=time.monotonic() - stage.began,
            cpu_seconds=max(0.0, totals.cpu - stage.cpu),
            peak_mb=stage.peak or stage.plain_peak,
            written_mb=max(0.0, totals.written - stage.written),
        )

    def _run(self) -> None:
        while not self._closed.wait(self._interval):
            begun = time.thread_time()
            with self._lock:
                totals = self._look()
                self._note_peak(totals)
                self._keep(totals)
            self.cost += time.thread_time() - begun

    def _keep(self, totals: _Totals) -> None:
        now = time.monotonic()
        before, cpu = self._last
        busy = 100 * (totals.cpu - cpu) / max(now - before, 1e-9) / (os.cpu_count() or 1)
        self._last = (now, totals.cpu)
        self.samples.append(
            Sample(at_ms=int(time.time() * 1000), cpu_percent=max(0.0, busy), memory_mb=totals.memory,
                   written_mb=totals.written)
        )  # fmt: skip
        if len(self.samples) >= MOST_SAMPLES:
            self.samples, self._interval = self.samples[1::2], 2 * self._interval

    def _look(self) -> _Totals:
        memory, living = 0.0, 0.0
        self._tree = self._descendants()
        for process in self._tree:
            try:
                with process.oneshot():
                    times, key = process.cpu_times(), (process.pid, process.create_time())
                    memory += process.memory_info().rss
                    self._seen[key] = (times.user + times.system, _written(process))
                living += self._seen[key][0]
            except psutil.Error:
                continue
        # Whoever was waited for is counted whole by the system, also those that no look has met.
        waited = living + self._reaped() - self._first
        cpu = max(waited, sum(seconds for seconds, _ in self._seen.values()))
        return _Totals(cpu, sum(written for _, written in self._seen.values()) / _MB, memory / _MB)

    def _descendants(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.Error:
            return [self._root]

    def _note_peak(self, totals: _Totals) -> None:
        stage = self._current
        if stage is None or totals.memory <= stage.plain_peak * _NEW_PEAK:
            return
        stage.plain_peak = totals.memory
        stage.peak = max(stage.peak, sum(_proportional(process.pid) for process in self._tree) / _MB)

    @staticmethod
    def _reaped() -> float:
        times = os.times()
        return times.children_user + times.children_system


def folder_mb(folder: Path) -> float:
    """Megabytes of all files below a folder; what vanishes meanwhile counts as nothing."""
    total, waiting = 0, [str(folder)]
    while waiting:
        try:
            with os.scandir(waiting.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        total += entry.stat(follow_symlinks=False).st_size
        except OSError:
            continue
    return total / _MB


def _add(before: StageUse | None, now: StageUse) -> StageUse:
    if before is None:
        return now
    return StageUse(
        seconds=before.seconds + now.seconds,
        cpu_seconds=before.cpu_seconds + now.cpu_seconds,
        peak_mb=max(before.peak_mb, now.peak_mb),
        written_mb=before.written_mb + now.written_mb,
    )


def _written(process: psutil.Process) -> float:
    try:
        return float(process.io_counters().write_bytes)
    except (psutil.Error, AttributeError):  # another system, or another user's process
        return 0.0


def _proportional(pid: int) -> float:
    """Bytes of a process with shared pages divided among their users; 0 where the system does not tell."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    line = next((line for line in text.splitlines() if line.startswith("Pss:")), "Pss: 0")
    return 1024.0 * float(line.split()[1])
