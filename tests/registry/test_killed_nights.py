"""A night killed on the way to the registry: nobody is shown what it left, and the next night does not need it."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.registry import mlflow_store, nights, task
from tasks.registry.ledger import Ledger
from tasks.registry.mlflow_store import Store
from tasks.registry.promotions import history
from tasks.registry.records import Entry, LoggedNight, Night
from tasks.storage import PROJECT
from tests.registry.conftest import NAME, takes_its_place

KILLED = """
import os, signal, sys
from pathlib import Path
from tasks.registry import mlflow_store, nights, places
from tasks.registry.records import LoggedNight
from tests.registry.conftest import NAME, make_bars, make_entry, make_night, takes_its_place

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

setattr(*{"upload": (nights, "_seal_tags"), "proof": (places, "verify")}[sys.argv[2]], die)
night = make_night(Path(sys.argv[1]), make_bars())
store = mlflow_store.open_store()
experiment = mlflow_store.experiment(store, NAME)
run = mlflow_store.new_run(store, experiment, "night", {})
logged = LoggedNight(run_id=run, experiment_id=experiment, tracking_uri=store.tracking_uri, url="")
entry = make_entry(night)
takes_its_place(store, nights.register(store, night, logged, entry), entry, night)
"""


@pytest.mark.parametrize(("where", "left"), [("upload", 0), ("proof", 1)])
def test_a_kill_between_upload_and_alias_moves_nothing_and_the_next_night_is_whole(
    store: Store, night: Night, entry: Entry, tmp_path: Path, where: str, left: int
) -> None:
    """Killed before the version is made, or before it is proved."""
    (folder := tmp_path / "killed").mkdir()
    command = [sys.executable, "-c", KILLED, str(folder), where]
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    task.open_registry.fn(NAME)
    assert mlflow_store.champion(store, NAME) is None
    found = mlflow_store.history(store, NAME) if mlflow_store.registered_model(store, NAME) else ()
    assert [version.aliases for version in found] == [()] * left
    with Ledger.open() as ledger:
        assert history(ledger, NAME) == ()
    if where != "proof":
        return
    experiment = mlflow_store.experiment(store, NAME)
    run_id = mlflow_store.new_run(store, experiment, "night", {})
    logged = LoggedNight(run_id=run_id, experiment_id=experiment, tracking_uri=store.tracking_uri, url="")
    registered = nights.register(store, night, logged, entry)
    takes_its_place(store, registered, entry, night)
    newest, orphan = mlflow_store.history(store, NAME)
    assert (newest.aliases, orphan.aliases, orphan.promoted) == (("champion",), (), "")
