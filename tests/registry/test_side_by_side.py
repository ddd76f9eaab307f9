"""Champion and challenger with different feature code in one process that is a stranger's, as MLflow loads them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.registry import mlflow_store, model_log, travel
from tasks.registry.bundle import entry_facts
from tasks.registry.records import Entry, Night
from tasks.registry.serving.pickles import scan
from tests.registry.conftest import make_bars, make_entry, make_night, raw
from tests.registry.test_travel import copy_project, double_features

STRANGER = """
import json, multiprocessing, sys
from concurrent.futures import ThreadPoolExecutor
import pandas as pd
import tasks  # a module of the stranger's own

FOLDERS, BARS = json.loads(sys.argv[1]), sys.argv[2]

def predict(folder):
    import mlflow
    return float(mlflow.pyfunc.load_model(folder).predict(pd.read_parquet(BARS))["prediction"].iloc[0])

def main():
    here = [predict(folder) for folder in FOLDERS]
    with ThreadPoolExecutor(4) as threads:
        threaded = list(threads.map(predict, FOLDERS * 3))
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        spawned = pool.map(predict, FOLDERS)
    packages = sorted({name.split(".")[0] for name in sys.modules if name.startswith("nocturne_model_")})
    print(json.dumps({
        "here": here, "threaded": threaded, "spawned": spawned, "packages": packages, "mine": tasks.MINE,
        "project": [name for name in sys.modules if name.startswith(("tasks.", "flows"))],
    }))

if __name__ == "__main__":
    main()
"""


def log(store: mlflow_store.Store, night: Night, entry: Entry, folder: Path) -> Path:
    """The shipped model's folder, as anyone pulls it."""
    run = mlflow_store.new_run(store, mlflow_store.experiment(store, "x"), "run", {})
    uri = model_log.log_model(run, "model", night, entry.shipped, entry_facts(entry, "shipped"))
    folder.mkdir()
    return mlflow_store.fetch(store, uri, folder)


@pytest.fixture
def folders(tmp_path: Path, store: mlflow_store.Store, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The same model with the project's features, and with features twice as large."""
    night = make_night(tmp_path, make_bars())
    entry = make_entry(night)
    first = log(store, night, entry, tmp_path / "champion")
    copy_project(tmp_path / "changed")
    double_features(tmp_path / "changed")
    monkeypatch.setattr(travel, "ROOT", tmp_path / "changed")
    return [first, log(store, night, entry, tmp_path / "challenger")]


def test_two_versions_predict_side_by_side_in_a_strangers_process(tmp_path: Path, folders: list[Path]) -> None:
    raw(make_bars()).to_parquet(tmp_path / "bars.parquet")
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "tasks.py").write_text("MINE = True\n")
    (stranger / "service.py").write_text(STRANGER)
    done = subprocess.run(
        [sys.executable, "service.py", json.dumps([str(folder) for folder in folders]), str(tmp_path / "bars.parquet")],
        cwd=stranger,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": "", "MLFLOW_DISABLE_TELEMETRY": "true"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    champion, challenger = said["here"]
    assert champion != challenger, "each with its own features"
    assert said["threaded"] == [champion, challenger] * 3
    assert said["spawned"] == [champion, challenger]
    assert len(said["packages"]) == 2
    assert said["mine"] is True
    assert said["project"] == [], "nothing of this project is imported, though it is installed"
    for folder in folders:
        require_only_what_is_reached(folder)


def require_only_what_is_reached(folder: Path) -> None:
    """No module that serving does not reach; the bytecode of whoever loads a local folder is Python's own."""
    (package,) = (folder / "code").iterdir()
    files = {path.relative_to(package).as_posix() for path in package.rglob("*.py")}
    assert files == set(travel.travelling_files())
    scan(folder)
