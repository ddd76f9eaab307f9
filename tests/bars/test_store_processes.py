"""Two processes that append to one store at once, and one that is killed between a part and its record."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.bars.describe import SourceDescription
from tasks.bars.store import BarStore

DESCRIPTION = SourceDescription(source="p.csv")
WRITER = """
import os, signal, sys
from pathlib import Path
import pandas as pd
from tasks import storage
from tasks.bars.describe import SourceDescription
from tasks.bars.store import BarStore
folder, symbol, nights, die = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4] == "die"
if die:
    storage.write_json = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
for night in range(nights):
    days = pd.date_range("2019-01-01", periods=night + 1).as_unit("ns")
    bars = pd.DataFrame({"symbol": symbol, "time": days.tz_localize("UTC"), "session": days})
    bars = bars.assign(open=1.0, high=1.0, low=1.0, close=1.0, volume=float(night // 4))
    at = pd.Timestamp("2019-02-01T22:00:00Z") + pd.Timedelta(days=night)
    BarStore(SourceDescription(source="p.csv"), root=folder).append(bars, at, covers=(symbol,))
"""


def _writer(folder: Path, symbol: str, nights: int, end: str = "live") -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", WRITER, str(folder), symbol, str(nights), end])


@pytest.mark.slow
def test_what_two_writers_append_at_once_is_all_there(tmp_path: Path) -> None:
    writers = [_writer(tmp_path, symbol, 12) for symbol in "AB"]
    assert [writer.wait(240) for writer in writers] == [0, 0]
    store = BarStore(DESCRIPTION, root=tmp_path)
    bars = store.read()
    assert bars.groupby("symbol").size().to_dict() == {"A": 12, "B": 12}
    assert (bars["volume"] == 2.0).all()
    # Eleven nights brought a bar, and every fourth restated all before: 12 + 4 + 8 values a symbol.
    assert store.revisions().groupby("symbol").size().to_dict() == {"A": 24, "B": 24}
    assert len(store.parts()) == 24


def test_a_writer_killed_between_a_part_and_its_record_leaves_the_store_as_it_was(tmp_path: Path) -> None:
    killed = _writer(tmp_path, "A", 1, "die")
    assert killed.wait(120) == -signal.SIGKILL
    store = BarStore(DESCRIPTION, root=tmp_path)
    assert len(list(store.folder.glob("*.parquet"))) == 1
    assert store.read().empty
    assert store.parts() == []
