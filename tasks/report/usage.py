"""What a night took of its machine, as values: by stage for the report, as a series for MLflow's system metrics."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class StageUse:
    """A stage's wall seconds, processor seconds of all its processes, peak memory and megabytes (10⁶) written."""

    seconds: float
    cpu_seconds: float
    peak_mb: float
    written_mb: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One look: milliseconds since 1970, per cent of all processors, megabytes in use, megabytes written so far."""

    at_ms: int
    cpu_percent: float
    memory_mb: float
    written_mb: float
