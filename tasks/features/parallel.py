"""The feature matrix of a large panel from several processes. Never used inside a promoted model.

TA-Lib holds the interpreter's lock, so threads gain nothing (measured: two threads take twice the time of one). Worker
processes write into one anonymous shared block (memfd: no name that could be left behind, no limit of /dev/shm). Who
computes which symbols is settled by a pipe that holds one byte a chunk: whoever reads the byte has the chunk. A worker
that dies costs time and a warning, never a row: what it did not report as done is computed here.
"""

from __future__ import annotations

import json
import logging
import mmap
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..contracts import FeatureSpec
from .matrix import arrays, fill, symbol_slices
from .matrix import panel as serial_panel
from .series import Array

if TYPE_CHECKING:
    import pandas as pd

CHUNKS = 64
"""Shares of the panel that processes take one by one; one byte names a chunk, so at most 255."""
WORTH_A_PROCESS = 100_000
"""Rows below which starting a process costs more than it saves."""
log = logging.getLogger("nocturne.features")


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What every process has to know: the block's layout and which rows belong to which chunk."""

    rows: int
    inputs: tuple[str, ...]
    columns: tuple[str, ...]
    tick: float
    edges: tuple[int, ...]
    chunks: tuple[tuple[int, int], ...]


class Block:
    """The shared block: a row for each input series, then a row for each column."""

    def __init__(self, plan: Plan, handle: int) -> None:
        self.plan = plan
        self._memory = mmap.mmap(handle, block_bytes(plan))
        self.values: Array = np.frombuffer(self._memory, dtype=np.float64).reshape(-1, plan.rows)

    @property
    def features(self) -> Array:
        """Float64 (rows, columns), column-major."""
        return self.values[len(self.plan.inputs) :].T

    def compute(self, chunk: int) -> int:
        """Fill in the columns of one chunk's symbols, and say so by its number."""
        plan, features = self.plan, self.features
        for index in range(*plan.chunks[chunk]):
            rows = slice(plan.edges[index], plan.edges[index + 1])
            bars: dict[str, Any] = {name: self.values[i, rows] for i, name in enumerate(plan.inputs)}
            bars["session"] = bars["session"].view("datetime64[D]")
            fill(features[rows], bars, plan.columns, plan.tick)
        return chunk


def panel(frame: pd.DataFrame, spec: FeatureSpec, workers: int) -> Array:
    """As ``matrix.panel``, bit for bit, from up to ``workers`` processes, this one included."""
    useful = min(workers, len(frame) // WORTH_A_PROCESS + 1)
    if useful < 2 or not hasattr(os, "memfd_create"):
        return serial_panel(frame, spec)
    plan = _plan(frame, spec)
    handle = os.memfd_create("features")
    try:
        os.ftruncate(handle, block_bytes(plan))
        block = Block(plan, handle)
        _load(block, frame)
        _share_out(block, handle, useful - 1)
    finally:
        os.close(handle)
    return block.features


def block_bytes(plan: Plan) -> int:
    """The size of the shared block."""
    return (len(plan.inputs) + len(plan.columns)) * plan.rows * np.dtype(np.float64).itemsize


def taken(tickets: int) -> Iterator[int]:
    """The chunks that fall to this process, until all are taken."""
    while byte := os.read(tickets, 1):
        yield byte[0]


def _plan(frame: pd.DataFrame, spec: FeatureSpec) -> Plan:
    edges = (0, *(rows.stop for rows in symbol_slices(frame["symbol"].to_numpy())))
    marks = np.linspace(0, len(edges) - 1, min(CHUNKS, len(edges) - 1) + 1).astype(int).tolist()
    return Plan(
        rows=len(frame),
        inputs=tuple(arrays(frame.head(0))),
        columns=spec.columns,
        tick=spec.tick,
        edges=edges,
        chunks=tuple(pairwise(marks)),
    )


def _load(block: Block, frame: pd.DataFrame) -> None:
    for target, values in zip(block.values, arrays(frame).values(), strict=False):
        target[:] = values.view(np.float64)


def _share_out(block: Block, handle: int, helpers: int) -> None:
    """Compute every chunk, here and in ``helpers`` worker processes."""
    chunks = set(range(len(block.plan.chunks)))
    with _pipe() as (tickets, issue), _pipe() as (done, report):
        issue.write(bytes(chunks))
        issue.close()
        workers = [_start(block.plan, handle, tickets.fileno(), report.fileno()) for _ in range(helpers)]
        report.close()
        mine = {block.compute(chunk) for chunk in taken(tickets.fileno())}
        theirs = set(done.read())
        codes = [worker.wait() for worker in workers]
    for chunk in _lost(chunks - mine - theirs, codes):
        block.compute(chunk)


@contextmanager
def _pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    reader, writer = os.pipe()
    with os.fdopen(reader, "rb") as source, os.fdopen(writer, "wb") as sink:
        yield source, sink


def _start(plan: Plan, handle: int, tickets: int, report: int) -> subprocess.Popen[bytes]:
    with os.fdopen(os.memfd_create("plan"), "w+b") as stream:
        stream.write(json.dumps(asdict(plan)).encode())
        stream.seek(0)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.worker", str(handle), str(tickets), str(report)],
            stdin=stream,
            pass_fds=(handle, tickets, report),
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )


def _lost(chunks: set[int], codes: Sequence[int]) -> list[int]:
    if chunks:
        log.warning("features: %d shares of the panel computed again: workers ended with %s", len(chunks), codes)
    return sorted(chunks)
