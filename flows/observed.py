"""What a night leaves behind of itself while it runs: its log, its stages' seconds, and what it took of its machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

from flows.logs import run_log, stage
from flows.progress import StageClock
from flows.resources import Meter, folder_mb
from tasks.report.usage import Sample, StageUse
from tasks.storage import home

MOST_POINTS = 300


class Observed(StageClock):
    """A clock of stages that also says which stage a log record belongs to, and measures each."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter
        self._before: float | None = None

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time, log and measure a stage; one that is entered twice adds up. Before the first the folder is measured."""
        if self._before is None:
            self._before = folder_mb(home())
        with stage(name), self._meter.stage(name), super().stage(name):
            yield

    @property
    def resources(self) -> dict[str, StageUse]:
        """What each stage took that has ended."""
        return dict(self._meter.stages)

    @property
    def samples(self) -> tuple[Sample, ...]:
        """The machine's use over time, so far."""
        return tuple(self._meter.samples)

    def points(self) -> tuple[tuple[str, float, int, int], ...]:
        """MLflow's system metrics of this night's processes, over time, and each ended stage's totals.

        Name, value, milliseconds since 1970, step. At most MOST_POINTS looks, evenly chosen.
        """
        every = -(-len(self.samples) // MOST_POINTS) or 1
        chosen = self.samples[::every]
        now = chosen[-1].at_ms if chosen else 0
        over_time = [
            (f"system/{name}", value, sample.at_ms, step)
            for step, sample in enumerate(chosen)
            for name, value in (
                ("cpu_utilization_percentage", sample.cpu_percent),
                ("system_memory_usage_megabytes", sample.memory_mb),
                ("disk_written_megabytes", sample.written_mb),
            )
        ]
        totals = [
            (f"stage/{stage}/{name}", value, now, 0)
            for stage, use in self.resources.items()
            for name, value in dataclasses.asdict(use).items()
        ]
        return (*over_time, *totals)

    def grown_mb(self) -> float:
        """Megabytes by which the state folder has grown since the first stage began."""
        return 0.0 if self._before is None else folder_mb(home()) - self._before


@contextmanager
def observed(problem: str, run_id: str) -> Iterator[Observed]:
    """Log and measure a night while the block runs. Raises ConfigurationError if a name cannot name a file."""
    with run_log(problem, run_id):
        meter = Meter()
        try:
            yield Observed(meter)
        finally:
            meter.close()
