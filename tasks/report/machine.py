"""What the night took of its machine, by stage, as shown."""

from __future__ import annotations

from dataclasses import dataclass

from tasks.report import words
from tasks.report.facts import Facts
from tasks.report.protocol import Number
from tasks.report.usage import StageUse


@dataclass(frozen=True, slots=True)
class Row:
    """A stage's figures as shown."""

    name: str
    wall: Number
    cpu: Number
    cores: Number
    peak: Number
    written: Number


@dataclass(frozen=True, slots=True)
class Used:
    """A row a stage, and a sentence on the whole; no rows where nothing was measured."""

    rows: tuple[Row, ...]
    said: str


def used(facts: Facts) -> Used:
    """The table of the stages that had ended when the page was made."""
    return Used(rows=tuple(_row(name, use) for name, use in facts.resources.items()), said=_said(facts))


def megabytes(value: float) -> str:
    """Megabytes as a person says them: 0 MB, 0.4 MB, 312 MB, 3.1 GB."""
    if value >= 999.5:
        return f"{value / 1000:.1f} GB"
    return f"{value:.0f} MB" if value >= 9.95 or value == 0 else f"{max(value, 0.1):.1f} MB"


def _row(name: str, use: StageUse) -> Row:
    cores = use.cpu_seconds / use.seconds if use.seconds > 0 else 0.0
    return Row(
        name=name,
        wall=Number(words.duration(use.seconds), use.seconds),
        cpu=Number(words.duration(use.cpu_seconds), use.cpu_seconds),
        cores=Number(f"{cores:.1f}", cores),
        peak=Number(megabytes(use.peak_mb), use.peak_mb),
        written=Number(megabytes(use.written_mb), use.written_mb),
    )


def _said(facts: Facts) -> str:
    uses = facts.resources.values()
    cpu, peak = sum(use.cpu_seconds for use in uses), max((use.peak_mb for use in uses), default=0.0)
    return (
        f"{words.duration(cpu)} of processor time in all, at most {megabytes(peak)} of memory at once; the state "
        f"folder grew by {megabytes(max(facts.grown_mb, 0.0))}. Looked at once a second, this process and all that it "
        "started; what a process wrote between the last look and its end is missing."
    )
