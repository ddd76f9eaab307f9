"""The state folder's own store is opened by several processes at once, and by one that is killed while it does."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).resolve().parents[2]
OPEN = "from tasks.registry.mlflow_store import open_store; open_store()"


@pytest.mark.slow
def test_two_nights_that_begin_at_once_in_a_new_folder_make_its_tables_once(tmp_path: Path) -> None:
    """MLflow's migrations do not stand two: without a lock the second ended with a CommandError of alembic's."""
    environment = {**os.environ, "NOCTURNE_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-W", "ignore", "-c", OPEN]
    both = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=300)[1] for process in both]
    assert [process.returncode for process in both] == [0, 0], said


KILLED = """
import os, signal, sys
from alembic.operations import Operations
made, seen = Operations.create_table, []
def deadly(self, *given, **more):
    seen.append(given[0])
    if len(seen) == int(sys.argv[1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return made(self, *given, **more)
Operations.create_table = deadly
"""


@pytest.mark.slow
@pytest.mark.parametrize("table", [1, 12])
def test_one_that_is_killed_between_two_tables_leaves_nothing_in_the_way_of_the_next(
    tmp_path: Path, table: int
) -> None:
    """MLflow would find tables without a revision, and each later night would end with "table … already exists"."""
    environment = {**os.environ, "NOCTURNE_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-W", "ignore", "-c", KILLED + OPEN, str(table)]
    killed = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "mlflow" / "mlflow.db").exists()
    again = [sys.executable, "-W", "ignore", "-c", OPEN]
    done = subprocess.run(again, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert [file.name for file in (tmp_path / "mlflow").glob("*mlflow.db*")] == ["mlflow.db"]
    with sqlite3.connect(tmp_path / "mlflow" / "mlflow.db") as database:
        assert database.execute("SELECT count(*) FROM experiments").fetchone() == (1,)
