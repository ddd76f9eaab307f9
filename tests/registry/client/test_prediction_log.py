"""Logged predictions: the agreed columns, whole parts, few files, and nobody waits for the disk."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tasks.errors import IntegrityError, StorageError
from tasks.live import LOGGED
from tasks.registry.client import prediction_log
from tasks.registry.client.prediction_log import PredictionLog, Said, closes, read_log

NOW = 1_700_000_000_000_000_000


def said(number: int = 0, rows: int = 1, **changes: Any) -> Said:
    answer = pd.DataFrame({"time": ["2024-03-08"] * rows, "prediction": np.full(rows, float(number))})
    fields: dict[str, Any] = {"name": "m", "version": "3", "role": "champion", "answer": answer, "shown": True}
    return Said(**fields | {"key": "k", "at": NOW + number, "zone": "America/New_York"} | changes)


def test_rows_have_the_agreed_columns_and_types(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    panel = pd.DataFrame(
        {
            "symbol": ["A", "B"],
            "time": pd.to_datetime(["2024-03-08 21:00"] * 2, utc=True),
            "prediction": [1.0, 2.0],
            "lower": [0.5, 1.5],
            "upper": [1.5, 2.5],
        }
    )
    log.put(said(5))
    log.put(said(1, answer=panel, role="challenger", version="4", shown=False, key=""))
    log.close()
    found = read_log(tmp_path)
    assert tuple(found.columns) == LOGGED
    assert found["prediction"].tolist() == [1.0, 2.0, 5.0], "oldest first"
    assert found["symbol"].tolist() == ["A", "B", ""]
    assert found["shown"].tolist() == [False, False, True]
    assert found["lower"].isna().tolist() == [False, False, True]
    assert [str(found[name].dtype) for name in ("time", "at")] == ["datetime64[ns, UTC]"] * 2
    assert found["time"].iloc[0] == pd.Timestamp("2024-03-08 21:00", tz="UTC")
    assert found["at"].iloc[2].value == NOW + 5


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo", "Pacific/Auckland", "UTC"])
def test_a_bare_date_is_an_instant_that_every_reader_dates_alike(zone: str) -> None:
    """The night of a clock change included; the model dates stamps by the exchange's zone, and so do the flows."""
    dates = pd.Series(["2024-03-08", "2024-03-10", "2024-11-03"])
    there = pd.to_datetime(closes(dates, zone), utc=True).tz_convert(zone)
    assert there.strftime("%Y-%m-%d").tolist() == dates.tolist()


def test_stamps_are_kept_as_the_instants_that_they_are() -> None:
    stamps = pd.Series([pd.Timestamp("2024-03-08 16:00", tz="America/New_York"), "2024-03-08T21:00:00Z"])
    assert set(closes(stamps, "America/New_York")) == {pd.Timestamp("2024-03-08 21:00", tz="UTC").value}
    naive = pd.Series(pd.to_datetime(["2024-03-08 21:00"]))
    assert closes(naive, "America/New_York")[0] == pd.Timestamp("2024-03-08 21:00", tz="UTC").value


def test_a_part_is_written_when_it_is_full_and_not_before(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, rows=10)
    for number in range(25):
        log.put(said(number))
    until(lambda: len(list(tmp_path.glob("part-*"))) == 2)
    log.close()
    assert len(list(tmp_path.glob("part-*"))) == 3
    assert len(read_log(tmp_path)) == 25
    assert not list(tmp_path.glob(".*")), "no part is left half-written"


def test_a_part_that_is_not_full_is_written_when_its_time_is_over(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, seconds=0.2)
    log.put(said())
    until(lambda: len(read_log(tmp_path)) == 1)
    log.close()


def test_callers_wait_for_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that answers only when all have called: whoever waited for it would wait for ever."""
    log, answers = PredictionLog(tmp_path, rows=100), threading.Event()
    monkeypatch.setattr(log, "_write", lambda frame: answers.wait(60))
    for number in range(1_000):
        log.put(said(number))
    assert not answers.is_set()
    answers.set()
    log.close()


def test_what_no_queue_can_hold_is_dropped_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problems: list[str] = []
    monkeypatch.setattr(prediction_log, "MOST", 10)
    log, answers = PredictionLog(tmp_path, rows=1, on_problem=problems.append), threading.Event()
    monkeypatch.setattr(log, "_write", lambda frame: answers.wait(60))
    for number in range(20):
        log.put(said(number))
    answers.set()
    assert problems
    assert set(problems) == {"the queue of predictions is full: one was not logged"}


def test_what_a_full_disk_refused_is_written_later_and_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    problems: list[str] = []
    log = PredictionLog(tmp_path / "log", on_problem=problems.append)
    write, full = log._write, [True]

    def refuse(frame: pd.DataFrame) -> None:
        if full:
            raise OSError(28, "No space left on device")
        write(frame)

    monkeypatch.setattr(log, "_write", refuse)
    log.put(said())
    with pytest.raises(StorageError, match="1 logged predictions could not be written"):
        log.flush()
    assert "cannot be written yet: [Errno 28] No space left on device" in problems[0]
    full.clear()
    log.flush()
    assert len(read_log(tmp_path / "log")) == 1


def test_after_the_end_nothing_is_taken_and_no_thread_is_left(tmp_path: Path) -> None:
    problems: list[str] = []
    before = set(threading.enumerate())
    log = PredictionLog(tmp_path, on_problem=problems.append)
    log.put(said())
    log.close()
    log.put(said(1))
    assert problems == ["the log is closed: one was not logged"]
    assert len(read_log(tmp_path)) == 1
    assert set(threading.enumerate()) <= before


def test_an_answer_that_cannot_be_stored_is_left_out_and_said(tmp_path: Path) -> None:
    problems: list[str] = []
    log = PredictionLog(tmp_path, on_problem=problems.append)
    for number, key in enumerate(("a", "\ud800", "b")):
        log.put(said(number, key=key))
    log.flush()
    log.put(said(3, key="c"))
    log.close()
    assert read_log(tmp_path)["key"].tolist() == ["a", "b", "c"]
    assert problems == [problems[0]]
    assert "1 answers were not logged, since they cannot be stored: UnicodeEncodeError" in problems[0]


def test_a_damaged_part_is_named(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path)
    log.put(said())
    log.close()
    part = next(tmp_path.glob("part-*"))
    part.write_bytes(part.read_bytes()[:50])
    with pytest.raises(IntegrityError, match=part.name):
        read_log(tmp_path)


def test_an_empty_log_has_the_columns(tmp_path: Path) -> None:
    assert tuple(read_log(tmp_path).columns) == LOGGED


def test_the_end_of_the_process_loses_nothing(tmp_path: Path) -> None:
    script = f"""
import pandas as pd
from tasks.registry.client import prediction_log
from tasks.registry.client.prediction_log import PredictionLog, Said
log = PredictionLog({str(tmp_path)!r})
for n in range(7):
    answer = pd.DataFrame({{"time": ["2024-03-08"] * 700, "prediction": [float(n)] * 700}})
    log.put(Said("m", "1", "champion", answer, True, "", n))
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, timeout=60)
    assert read_log(tmp_path)["prediction"].value_counts().to_dict() == dict.fromkeys(map(float, range(7)), 700)


def until(holds: Any, seconds: float = 10) -> None:
    """Wait for another thread's work."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
