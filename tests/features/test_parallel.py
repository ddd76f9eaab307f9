"""The panel from several processes: the same to the last bit, also when a worker dies."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.contracts import FeatureSpec
from tasks.features import matrix, parallel
from tests.features.market import TICK, made_bars
from tests.features.test_matrix import frame_of

SPEC = FeatureSpec(columns=("har_22", "rsi_14", "ht_sine", "support_3", "cdl_doji", "weekday", "obv_10"), tick=TICK)


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> pd.DataFrame:
    monkeypatch.setattr(parallel, "WORTH_A_PROCESS", 2000)
    monkeypatch.setattr(matrix, "BATCH_ROWS", 500)
    return frame_of(*((f"S{number:02d}", made_bars(number, 400 + number)) for number in range(24)))


def test_two_processes_give_what_one_gives(panel: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    serial = matrix.panel(panel, SPEC)
    started = _count_starts(monkeypatch)
    np.testing.assert_array_equal(parallel.panel(panel, SPEC, workers=3), serial)
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)


def test_small_panels_start_no_process(panel: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WORTH_A_PROCESS", 100_000)
    started = _count_starts(monkeypatch)
    np.testing.assert_array_equal(parallel.panel(panel, SPEC, workers=8), matrix.panel(panel, SPEC))
    assert not started


def test_one_long_symbol_starts_no_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parallel, "WORTH_A_PROCESS", 2000)
    started = _count_starts(monkeypatch)
    frame = frame_of(("A", made_bars(1, 6000)))
    np.testing.assert_array_equal(parallel.panel(frame, SPEC, workers=2), matrix.panel(frame, SPEC))
    assert not started


def test_what_a_killed_worker_had_is_computed_again(
    panel: pd.DataFrame, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    serial = matrix.panel(panel, SPEC)
    started = _count_starts(monkeypatch)
    give = parallel.Worker.give

    def give_and_kill(worker: parallel.Worker, batch: int) -> None:
        give(worker, batch)
        if batch == 1:
            os.kill(started[0].pid, signal.SIGKILL)
            started[0].wait()

    monkeypatch.setattr(parallel.Worker, "give", give_and_kill)
    with caplog.at_level(logging.WARNING, logger="nocturne.features"):
        np.testing.assert_array_equal(parallel.panel(panel, SPEC, workers=2), serial)
    assert "computed again" in caplog.text


def test_a_failure_here_ends_the_workers(panel: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    started = _count_starts(monkeypatch)
    monkeypatch.setattr(parallel.Block, "compute", _fails)
    with pytest.raises(ZeroDivisionError):
        parallel.panel(panel, SPEC, workers=2)
    assert [process.poll() is None for process in started] == [False]


def _fails(*_: Any) -> None:
    raise ZeroDivisionError


def _count_starts(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    started: list[subprocess.Popen[bytes]] = []
    start = parallel._start

    def noted(plan: parallel.Plan, handle: int) -> subprocess.Popen[bytes]:
        started.append(start(plan, handle))
        return started[-1]

    monkeypatch.setattr(parallel, "_start", noted)
    return started
