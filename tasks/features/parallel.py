"""The feature matrix of a large panel from several processes. Never used inside a promoted model.

TA-Lib holds the interpreter's lock, so threads gain nothing (measured: two threads take twice the time of one). Worker
processes are fresh interpreters, not forks. Bars and results pass through one anonymous shared block (memfd: no name
that could be left behind, no limit of /dev/shm), in which every worker has two slots, one to fill while the other is
emptied into the matrix. This process hands out batches of symbols, and computes batches itself in between.

A worker that dies costs time and a warning, never a row: its batches are handed out again.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import select
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..contracts import FeatureSpec
from . import matrix
from .cross_section import members, section_keys, standardise
from .series import Array

if TYPE_CHECKING:
    import pandas as pd

SLOTS = 2
WORTH_A_PROCESS = 100_000
"""Rows for which starting one more process pays."""
TICKET = struct.Struct("<HB")
"""What passes to a worker and back: a batch's number and the slot that it goes to."""
KEEP_MEMORY = {"MALLOC_TRIM_THRESHOLD_": str(2**30), "MALLOC_MMAP_THRESHOLD_": str(2**30)}
"""The C library's allocator would give a batch's memory back to the system, and fetch it again for the next."""
log = logging.getLogger("nocturne.features")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every process has to know: the block's layout, and the edges of the symbols of each batch."""

    rows: int
    inputs: tuple[str, ...]
    columns: tuple[str, ...]
    tick: float
    batches: tuple[tuple[int, ...], ...]
    extra_workers: int

    @property
    def slot_rows(self) -> int:
        """The rows of the largest batch."""
        return max(edges[-1] - edges[0] for edges in self.batches)

    @property
    def values(self) -> int:
        """The numbers that the block holds: the input series, then every worker's slots."""
        return len(self.inputs) * self.rows + self.extra_workers * SLOTS * len(self.columns) * self.slot_rows


class Block:
    """The shared block as arrays."""

    def __init__(self, plan: Plan, handle: int) -> None:
        self.plan = plan
        self._values: Array = np.frombuffer(mmap.mmap(handle, 8 * plan.values), dtype=np.float64)
        self.spec = FeatureSpec(columns=plan.columns, tick=plan.tick)

    @property
    def bars(self) -> dict[str, Any]:
        """The input series of the whole panel."""
        series = self._values[: len(self.plan.inputs) * self.plan.rows].reshape(-1, self.plan.rows)
        bars: dict[str, Any] = dict(zip(self.plan.inputs, series, strict=True))
        return {**bars, "session": bars["session"].view("datetime64[D]")}

    def slot(self, slot: int, batch: int) -> Array:
        """A slot as the rows of a batch: float64 (rows, columns), column-major."""
        edges, columns = self.plan.batches[batch], len(self.plan.columns)
        start = len(self.plan.inputs) * self.plan.rows + slot * columns * self.plan.slot_rows
        rows = edges[-1] - edges[0]
        return self._values[start : start + columns * rows].reshape(columns, rows).T

    def compute(self, batch: int, out: Array) -> None:
        """Write the batch's rows into ``out``."""
        matrix.fill_batch(out, self.bars, self.plan.batches[batch], self.spec)


class Worker:
    """A worker process, and the batches that it has."""

    def __init__(self, plan: Plan, handle: int, number: int) -> None:
        self._process = _start(plan, handle)
        self._slots = [number * SLOTS + slot for slot in range(SLOTS)]
        self.batches: set[int] = set()

    @property
    def free(self) -> bool:
        """Whether it can take another batch."""
        return bool(self._slots)

    def fileno(self) -> int:
        """What ``select`` waits on: a ticket that comes back."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def give(self, batch: int) -> None:
        """Hand over a batch. Raises BrokenPipeError if the process is gone."""
        assert self._process.stdin is not None
        self.batches.add(batch)
        self._process.stdin.write(TICKET.pack(batch, self._slots.pop()))

    def collect(self, block: Block, out: Array) -> None:
        """Move a finished batch into the matrix. Raises BrokenPipeError if the process is gone."""
        ticket = os.read(self.fileno(), TICKET.size)
        if len(ticket) < TICKET.size:
            raise BrokenPipeError
        batch, slot = TICKET.unpack(ticket)
        edges = block.plan.batches[batch]
        out[edges[0] : edges[-1]] = block.slot(slot, batch)
        self.batches.discard(batch)
        self._slots.append(slot)

    def stop(self) -> int:
        """End the process, which has no more to do, and say how it ended."""
        self._process.kill()
        self._process.communicate()
        return self._process.returncode


def panel(frame: pd.DataFrame, spec: FeatureSpec, workers: int) -> Array:
    """As ``matrix.panel``, bit for bit, from up to ``workers`` processes, this one included.

    Small panels, and those of few and long symbols, are computed by this process alone.
    """
    extra_workers = min(workers - 1, len(frame) // WORTH_A_PROCESS)
    plan = _plan(frame, spec, extra_workers) if extra_workers > 0 else None
    if plan is None or extra_workers * SLOTS * plan.slot_rows > plan.rows or not hasattr(os, "memfd_create"):
        return matrix.panel(frame, spec)
    out = np.empty((len(spec.columns), len(frame)), dtype=np.float64).T
    with _block(plan, frame, spec.bar) as (block, handle), ExitStack() as running:
        crew = [Worker(plan, handle, number) for number in range(extra_workers)]
        for worker in crew:
            running.callback(worker.stop)
        _work(block, out, crew)
    keys = section_keys(frame, spec.bar)
    standardise(out, spec.columns, keys, spec.cross_section, workers, member=members(frame, spec))
    return out


def _work(block: Block, out: Array, crew: list[Worker]) -> None:
    """Hand out the batches and compute some here, until all are in the matrix."""
    waiting = deque(range(len(block.plan.batches)))
    while waiting or any(worker.batches for worker in crew):
        for worker in list(crew):
            try:
                while worker.free and waiting:
                    worker.give(waiting.popleft())
            except BrokenPipeError:
                _dismiss(worker, crew, waiting)
        if waiting:
            edges, batch = block.plan.batches, waiting.popleft()
            block.compute(batch, out[edges[batch][0] : edges[batch][-1]])
        _collect(block, out, crew, waiting)


def _collect(block: Block, out: Array, crew: list[Worker], waiting: deque[int]) -> None:
    busy = [worker for worker in crew if worker.batches]
    ready, _, _ = select.select(busy, [], [], 0 if waiting else None) if busy else ([], [], [])
    for worker in ready:
        try:
            worker.collect(block, out)
        except BrokenPipeError:
            _dismiss(worker, crew, waiting)


def _dismiss(worker: Worker, crew: list[Worker], waiting: deque[int]) -> None:
    crew.remove(worker)
    waiting.extend(sorted(worker.batches))
    log.warning("features: a worker process ended with %s; its share is computed again", worker.stop())


def _plan(frame: pd.DataFrame, spec: FeatureSpec, extra_workers: int) -> Plan:
    edges = matrix.symbol_edges(frame["symbol"].to_numpy())
    return Plan(
        rows=len(frame),
        inputs=tuple(matrix.arrays(frame.head(0), spec.bar)),
        columns=spec.columns,
        tick=spec.tick,
        batches=tuple(tuple(batch) for batch in matrix.batches(edges)),
        extra_workers=extra_workers,
    )


@contextmanager
def _block(plan: Plan, frame: pd.DataFrame, bar: str) -> Iterator[tuple[Block, int]]:
    handle = os.memfd_create("features")
    try:
        os.ftruncate(handle, 8 * plan.values)
        block = Block(plan, handle)
        for name, values in matrix.arrays(frame, bar).items():
            block.bars[name][:] = values
        yield block, handle
    finally:
        os.close(handle)


def _start(plan: Plan, handle: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", f"{__package__}.worker", str(handle)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        pass_fds=(handle,),
        bufsize=0,
        env={**os.environ, **KEEP_MEMORY, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # a process that is gone already is noticed when it is given a batch
        process.stdin.write(json.dumps(asdict(plan)).encode() + b"\n")
    return process
