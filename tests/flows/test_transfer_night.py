"""From a pre-training to a champion that anyone pulls: a night in which a transfer earns its place at the gate."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tasks.documents import digest
from tests.flows.conftest import document, nocturne, played

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("transfer-night")


@pytest.fixture(scope="module")
def story(folder: Path) -> dict[str, Any]:
    return played("run_transfer", folder, timeout=900)


@pytest.fixture(scope="module")
def night(story: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = story["night"]
    return found


def test_transfers_stand_on_the_board_beside_their_control(night: dict[str, Any]) -> None:
    ranked = {entry["candidate"]: entry["skill"] for entry in night["leaderboard"]}
    assert {"transfer-features-1", "transfer-scratch-tcn"} <= set(ranked)
    lines = {line["candidate"]: line for line in night["transfers"]["lines"]}
    assert set(lines) == {"transfer-features-1"}
    features = lines["transfer-features-1"]
    assert features["control"] == "transfer-scratch-tcn"
    assert (features["strategy"], features["backbone"], features["frozen"]) == ("features", "first:1", 1.0)
    assert features["verdict"] == "helps"
    assert 0.05 < ranked["transfer-features-1"] < 0.25


def test_the_night_names_the_backbone_and_what_was_measured_of_it(night: dict[str, Any]) -> None:
    (transfer,) = [engine for engine in night["engines"] if engine["engine"] == "transfer"]
    assert transfer["error"] == ""
    assert any("named by the problem: first:1" in note for note in transfer["notes"])
    assert any("AUC" in note for note in transfer["notes"])
    assert "device: cpu" in transfer["notes"]


def test_a_transfer_that_knows_what_no_baseline_does_is_promoted(night: dict[str, Any]) -> None:
    assert night["decision"]["outcome"] == "promoted"
    assert night["decision"]["candidate"] == "transfer-features-1"


def test_the_champion_is_pulled_and_repeats_the_night_without_this_project(
    night: dict[str, Any], folder: Path, tmp_path: Path
) -> None:
    """In a clean process, with nothing of this project: the whole history and its tail say the same."""
    pulled = document(nocturne(folder / "home", "pull", "second", "--to", str(tmp_path / "model"), "--json"))
    assert pulled["version"] == night["decision"]["champion_version"]
    script = (
        "import sys, json, mlflow, pandas as pd\n"
        f"mlflow.set_tracking_uri({night['tracking_uri']!r})\n"
        "model = mlflow.pyfunc.load_model('models:/second@champion')\n"
        f"bars = pd.read_csv({str(folder / 'second.csv')!r}, parse_dates=['time'])\n"
        "whole = model.predict(bars)['prediction'].iloc[-1]\n"
        "tail = model.predict(bars.tail(200))['prediction'].iloc[-1]\n"
        "assert not {'tasks', 'h2o', 'keras', 'jax', 'prefect'} & set(sys.modules)\n"
        "print(json.dumps([float(whole), float(tail)]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr[-2000:]
    whole, tail = json.loads(done.stdout.splitlines()[-1])
    assert np.isclose(whole, tail, rtol=1e-6)
    assert -6.5 < whole < -3.5


def test_the_champions_recipe_and_its_control_are_kept_for_later_nights(night: dict[str, Any], folder: Path) -> None:
    (kept,) = (folder / "home" / "recipes" / "second").glob("*/*.json")
    leaders = {leader["name"]: leader for leader in json.loads(kept.read_text())["night"]["leaders"]["transfer"]}
    features, control = leaders["transfer-features-1"], leaders["transfer-scratch-tcn"]
    assert features["recipe"]["control"] == control["sha256"] == digest(control["recipe"])
    assert features["recipe"]["control_recipe"] == control["recipe"]
    assert features["recipe"]["backbone"]["name"] == "first"
    assert control["recipe"]["backbone"] == {}
